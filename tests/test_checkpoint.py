from __future__ import annotations

import random
import signal

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import InputError, RunError  # noqa: E402
from hrinet.train.checkpoint import (  # noqa: E402
    Snapshot,
    checkpoints,
    load_snapshot,
    newest_snapshot,
    restore_snapshot,
    save_snapshot,
    take_snapshot,
)
from hrinet.train.log import read_log  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from train_tools import make_cache, tiny, train_elsewhere  # noqa: E402


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scans"))


def trained(seed: int = 0):
    torch.manual_seed(seed)
    network = torch.nn.Conv2d(1, 3, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.1)
    step(network, optimizer)
    return network, optimizer


def step(network, optimizer) -> None:
    network(torch.ones(1, 1, 5, 5)).square().sum().backward()
    optimizer.step()
    optimizer.zero_grad()


def snapshot_of(network, optimizer, number: int = 5) -> Snapshot:
    return take_snapshot(
        step=number, networks={"n": network}, optimizers={"n": optimizer}, facts={"x": [1, "é"]}
    )


def test_everything_comes_back_and_goes_on_alike(tmp_path):
    network, optimizer = trained()
    random.gauss(0, 1)
    np.random.normal()
    save_snapshot(tmp_path, snapshot_of(network, optimizer))
    drawn = torch.rand(3), np.random.normal(size=3), random.gauss(0, 1), random.random()
    step(network, optimizer)
    other, other_optimizer = trained(seed=1)
    snapshot = load_snapshot(tmp_path / "checkpoint-000000005.safetensors")
    assert (snapshot.step, snapshot.facts["x"]) == (5, [1, "é"])
    restore_snapshot(snapshot, networks={"n": other}, optimizers={"n": other_optimizer})
    assert torch.equal(torch.rand(3), drawn[0])
    np.testing.assert_array_equal(np.random.normal(size=3), drawn[1])
    assert (random.gauss(0, 1), random.random()) == drawn[2:]
    step(other, other_optimizer)
    assert torch.equal(other.weight, network.weight)
    assert torch.equal(other.bias, network.bias)


def test_a_snapshot_is_a_copy():
    network, optimizer = trained()
    snapshot = snapshot_of(network, optimizer)
    before = snapshot.tensors["network/n/weight"].clone()
    step(network, optimizer)
    assert torch.equal(snapshot.tensors["network/n/weight"], before)


def test_two_are_kept_and_leftovers_removed(tmp_path):
    left = tmp_path / ".checkpoint-000000001.safetensors.0123abcd.tmp"
    left.write_bytes(b"half")
    for number in (1, 2, 12):
        save_snapshot(tmp_path, snapshot_of(*trained(), number))
    assert [path.name[11:20] for path in checkpoints(tmp_path)] == ["000000012", "000000002"]
    assert not left.exists()
    assert checkpoints(tmp_path / "none") == []
    assert newest_snapshot(tmp_path / "none") is None


@pytest.mark.parametrize("content", [b"", b"\x00" * 100, b"\xff" * 100, None])
def test_a_damaged_one_gives_way_to_the_one_before(tmp_path, content):
    for number in (1, 2):
        path = save_snapshot(tmp_path, snapshot_of(*trained(), number))
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    with pytest.raises(InputError, match="damaged"):
        load_snapshot(path)
    snapshot = newest_snapshot(tmp_path)
    assert snapshot is not None
    assert snapshot.step == 1
    checkpoints(tmp_path)[1].write_bytes(b"")
    with pytest.raises(InputError, match="checkpoint-000000002"):
        newest_snapshot(tmp_path)


def test_of_other_networks(tmp_path):
    snapshot = snapshot_of(*trained())
    network = torch.nn.Conv2d(1, 4, 3)
    with pytest.raises(InputError, match="of other networks"):
        restore_snapshot(snapshot, networks={"n": network}, optimizers={})


def test_a_full_disk_keeps_what_there_was(tmp_path, monkeypatch):
    save_snapshot(tmp_path, snapshot_of(*trained(), 1))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_bytes", full)
    with pytest.raises(RunError, match="No space left"):
        save_snapshot(tmp_path, snapshot_of(*trained(), 2))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000000001.safetensors"]


def test_killed_and_resumed_gives_the_same_bits(cache, tmp_path):
    # Perceptual, so that the loss network has to come back too. Killed in stage 1, then in stage
    # 2, each time at a step that has no checkpoint, and resumed.
    config = tiny(cache, tmp_path / "killed", "hrinet-perceptual")
    first, second = random.choice([4, 5]), random.choice([7, 8])
    for kill_at in (first, second):
        assert train_elsewhere(config, kill_at=kill_at) == -signal.SIGKILL
        assert not (tmp_path / "killed" / "weights.safetensors").exists()
    assert train_elsewhere(config) == 0
    whole = tiny(cache, tmp_path / "whole", "hrinet-perceptual")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as elsewhere: the order of sums depends on it
    train(whole)
    torch.set_num_threads(threads)

    one, other = newest_snapshot(tmp_path / "killed"), newest_snapshot(tmp_path / "whole")
    assert one is not None
    assert other is not None
    assert one.step == other.step == config.steps
    kinds = {name.split("/")[0] + "/" + name.split("/")[1] for name in other.tensors}
    assert {"network/loss_network", "network/d2", "optimizer/d1", "random/torch"} <= kinds
    assert one.tensors.keys() == other.tensors.keys()
    for name, tensor in other.tensors.items():
        assert torch.equal(one.tensors[name], tensor), name
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("killed", "whole")]
    assert weights[0] == weights[1]
    logs = [read_log(tmp_path / run) for run in ("killed", "whole")]
    for records in logs:
        for record in records:
            del record["steps_per_second"]  # the only thing that is not the same
    assert logs[0] == logs[1]


def test_a_folder_that_cannot_be_looked_into_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="xxx: cannot be read: File name too long"):
        checkpoints(tmp_path / ("x" * 300))

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("yaml")

import hrinet  # noqa: E402
from flow_tools import (  # noqa: E402
    TINY,
    make_gaps,
    make_scans,
    one_thread,  # noqa: F401
    perturbed,
    save_flow,
    told,
)
from hrinet.errors import InputError, RequestError, RunError  # noqa: E402
from hrinet.networks.flow_net import FlowNet, FlowNetConfig  # noqa: E402
from hrinet.train.checkpoint import checkpoints, newest_snapshot  # noqa: E402
from hrinet.train.flow import loop  # noqa: E402
from hrinet.train.flow.config import FlowTrainConfig  # noqa: E402
from hrinet.train.flow.loop import learning_rate, train_flow  # noqa: E402
from hrinet.train.flow.scans import load_scans  # noqa: E402
from hrinet.train.log import read_log  # noqa: E402
from hrinet.weights.files import read_weights  # noqa: E402


@pytest.fixture(scope="module")
def manifest(tmp_path_factory):
    return make_scans(tmp_path_factory.mktemp("scans"))


def tiny(manifest, output, **changes) -> FlowTrainConfig:
    return FlowTrainConfig(**{**TINY, "manifest": str(manifest), "output": str(output), **changes})


def tensors_after(folder) -> dict:
    """Everything in the newest checkpoint that training computes."""
    tensors = newest_snapshot(folder).tensors
    return {name: t for name, t in tensors.items() if not name.startswith("random/")}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_learns(manifest, tmp_path):
    config = tiny(
        manifest, tmp_path, steps=60, batch=6, learning_rate=4e-3, warm_up=5, log_every=15
    )
    config = replace(config, thick=0.0, smooth=0.0, sharp=0.0, noise=0.0, coarse=0.0)
    config = replace(config, checkpoint_every=60)
    result = train_flow(config)
    assert (result.step, result.steps, result.is_finished, result.signal) == (60, 60, True, None)
    records = read_log(tmp_path)
    assert [record["step"] for record in records] == [15, 30, 45, 60]
    first, last = records[0], records[-1]
    assert last["motion"] < first["motion"]
    assert last["doubt"] < first["doubt"]
    assert last["gain_over_linear_db"] > first["gain_over_linear_db"] + 0.1
    assert {"decibels", "dissimilarity", "norm", "steps_per_second"} < last.keys()


def test_what_is_exported_is_the_moving_average(manifest, tmp_path):
    result = train_flow(tiny(manifest, tmp_path))
    exported, description = read_weights(result.weights)
    prefix = "network/average/"
    average = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors_after(tmp_path).items()
        if name.startswith(prefix)
    }
    assert same(exported, average)
    assert not same(exported, FlowNet(FlowNetConfig(**description.model)).state_dict())
    assert (description.name, description.steps, description.steps_planned) == ("hrinet-flow", 6, 6)
    assert (description.scans, description.patients) == (2, 2)
    assert description.values["scans_of_known_thickness"] == 2  # their sidecars tell it
    assert description.values["config"]["learning_rate"] == 1e-3
    assert [c.collection for c in description.collections] == ["made"]
    assert str(tmp_path) not in json.dumps(description.values)
    assert str(manifest) not in json.dumps(description.values)


def test_the_average_stays_out_of_autograd(manifest, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(loop, "export_flow", lambda network, *_, **__: exported.append(network))
    train_flow(tiny(manifest, tmp_path))
    assert all(p.is_leaf and not p.requires_grad for p in exported[0].parameters())


def test_killed_and_resumed_it_ends_in_the_same_bits(manifest, tmp_path):
    whole = tiny(manifest, tmp_path / "whole", thick=0.5, noise=0.5)
    train_flow(whole)
    killed = replace(whole, output=str(tmp_path / "killed"))
    assert train_elsewhere(killed, kill_at=5) == -signal.SIGKILL
    assert newest_snapshot(tmp_path / "killed").step == 3
    steps = []
    train_flow(killed, progress=lambda done, total, what: steps.append((done, total, what)))
    assert steps == [(step, 6, "training") for step in (4, 5, 6)]
    assert same(tensors_after(tmp_path / "whole"), tensors_after(tmp_path / "killed"))
    weights = [(tmp_path / n / "weights.safetensors").read_bytes() for n in ("whole", "killed")]
    assert weights[0] == weights[1]
    assert [record["step"] for record in read_log(tmp_path / "killed")] == [3, 6]
    again = train_flow(killed)  # nothing left to do
    assert (again.step, again.is_finished) == (6, True)


def train_elsewhere(config: FlowTrainConfig, *, kill_at: int) -> int:
    """Train in a process that kills itself; returns its exit status."""
    values = {name: getattr(config, name) for name in FlowTrainConfig.__dataclass_fields__}
    code = (
        "import json, os, signal, sys, torch\n"
        "from hrinet.train.flow.config import FlowTrainConfig\n"
        "from hrinet.train.flow.loop import train_flow\n"
        "torch.set_num_threads(1)\n"
        "def progress(done, total, what):\n"
        f"    if done == {kill_at}: os.kill(os.getpid(), signal.SIGKILL)\n"
        "train_flow(FlowTrainConfig(**json.loads(sys.argv[1])), progress=progress)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(hrinet.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(values)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode <= 0, done.stderr
    return done.returncode


def test_a_signal_ends_the_run_with_a_checkpoint(manifest, tmp_path):
    config = tiny(manifest, tmp_path, checkpoint_every=100, log_every=100)
    before = signal.getsignal(signal.SIGINT)

    def interrupt(done, total, what):
        if done == 2:
            os.kill(os.getpid(), signal.SIGINT)

    result = train_flow(config, progress=interrupt)
    assert (result.step, result.steps, result.is_finished) == (3, 6, False)
    assert result.signal == signal.SIGINT
    assert signal.getsignal(signal.SIGINT) is before
    assert newest_snapshot(tmp_path).step == 3
    assert told(result.weights)["steps"] == 3
    assert train_flow(config).is_finished


def test_out_of_time(manifest, tmp_path):
    result = train_flow(tiny(manifest, tmp_path, max_minutes=0.0))
    assert (result.step, result.is_finished, result.signal) == (1, False, None)
    assert newest_snapshot(tmp_path).step == 1


def test_a_schedule_by_time(manifest, tmp_path):
    totals = []
    config = tiny(manifest, tmp_path, steps=10**6, minutes=0.01)
    result = train_flow(config, progress=lambda done, total, what: totals.append((done, total)))
    assert result.is_finished
    assert result.steps is None
    assert result.step == len(totals)
    assert all(done <= total < 10**6 for done, total in totals)
    assert totals[-1][0] == totals[-1][1]
    description = told(result.weights)
    assert description["steps"] == description["steps_planned"] == result.step
    assert newest_snapshot(tmp_path).facts["elapsed_s"] >= 0.6
    assert train_flow(config).step == result.step  # the time of both runs counts


def test_the_rate_warms_up_and_falls_to_1_percent():
    config = FlowTrainConfig(learning_rate=0.1, warm_up=4)
    assert learning_rate(0, 0.0, config) == pytest.approx(0.025)
    assert learning_rate(9, 0.0, config) == pytest.approx(0.1)
    assert learning_rate(9, 0.5, config) == pytest.approx(0.1 * 0.505)
    for over in (1.0, 1.5):
        assert learning_rate(9, over, config) == pytest.approx(0.001)
    assert learning_rate(0, 0.0, replace(config, warm_up=0)) == pytest.approx(0.1)


def test_only_what_may_change_changes_when_resuming(manifest, tmp_path):
    config = tiny(manifest, tmp_path / "run", max_minutes=0.0)
    train_flow(config)
    with pytest.raises(RequestError, match=r"was trained with learning_rate 0\.001, not 0\.5; ch"):
        train_flow(replace(config, learning_rate=0.5))
    with pytest.raises(RequestError, match="resume is 'never'; remove them or set output"):
        train_flow(replace(config, resume="never"))
    (tmp_path / "other").mkdir()
    other = make_scans(tmp_path / "other", spacing_mm=2.5)
    with pytest.raises(InputError, match="run: was trained on other scans than"):
        train_flow(replace(config, manifest=str(other)))
    assert train_flow(replace(config, workers=0, log_every=1)).step == 2
    assert len(checkpoints(tmp_path / "run")) == 2


def test_a_run_of_the_family_is_not_gone_on_with(manifest, tmp_path):
    from hrinet.train.checkpoint import save_snapshot

    config = tiny(manifest, tmp_path, max_minutes=0.0)
    train_flow(config)
    snapshot = newest_snapshot(tmp_path)
    snapshot.facts["config"]["training"] = "family"
    save_snapshot(tmp_path, snapshot)
    with pytest.raises(RequestError, match="holds a training of another kind; change it back, or"):
        train_flow(config)


def test_what_breaks_down_is_stopped(manifest, tmp_path):
    config = tiny(manifest, tmp_path, learning_rate=1e15, warm_up=0, steps=20, checkpoint_every=1)
    config = replace(config, log_every=1)
    broken = r"training broke down by step 1\d: the gradients of 11 st.*begin again in another outp"
    with pytest.raises(RunError, match=broken):
        train_flow(config)
    assert checkpoints(tmp_path)
    assert not (tmp_path / "weights.safetensors").exists()


def test_it_starts_from_other_weights(manifest, tmp_path):
    sizes = {name: TINY[name] for name in ("coarse_width", "fine_width", "decoder_width")}
    network = FlowNet(FlowNetConfig(**sizes, reach_px=TINY["reach_px"]))
    path = tmp_path / "start.safetensors"
    save_flow(path, network)
    config = tiny(manifest, tmp_path / "run", steps=1, learning_rate=1e-9, start_from=str(path))
    exported, _ = read_weights(train_flow(config).weights)
    for name, tensor in network.state_dict().items():
        torch.testing.assert_close(exported[name], tensor, atol=1e-6, rtol=0)
    path.unlink()
    assert train_flow(config).is_finished  # the checkpoint has them now
    again = replace(config, output=str(tmp_path / "more"))
    with pytest.raises(InputError, match=r"start\.safetensors: cannot be read"):
        train_flow(again)
    save_flow(path, FlowNet(FlowNetConfig(coarse_width=3, fine_width=4, decoder_width=5)))
    with pytest.raises(InputError, match="does not fit the network of this configuration"):
        train_flow(again)
    assert not (tmp_path / "more").exists()


def test_it_starts_from_weights_of_fewer_blocks(manifest, tmp_path):
    sizes = {name: TINY[name] for name in ("coarse_width", "fine_width", "decoder_width")}
    network = perturbed(FlowNetConfig(**sizes, reach_px=TINY["reach_px"], decoder_blocks=1))
    path = tmp_path / "start.safetensors"
    save_flow(path, network)
    deeper = tiny(manifest, tmp_path / "run", steps=1, learning_rate=1e-9, start_from=str(path))
    deeper = replace(deeper, decoder_blocks=3, encoder_blocks=2)
    tensors, _ = read_weights(train_flow(deeper).weights)
    larger = FlowNet(deeper.network())
    larger.load_state_dict(tensors)
    gap = make_gaps([-1.0, 0.0, 1.0, 2.0])
    expected, found = network(*gap), larger(*gap)
    torch.testing.assert_close(found.values, expected.values, atol=1e-2, rtol=0)
    torch.testing.assert_close(found.log_error, expected.log_error, atol=1e-3, rtol=0)
    for name in ("decoder.blocks.2", "encoder.texture.1"):
        assert tensors[f"{name}.first.weight"].abs().max() > 0.01  # or it could never learn
    shallower = replace(deeper, output=str(tmp_path / "other"), encoder_blocks=1)
    save_flow(path, larger)
    with pytest.raises(InputError, match="does not fit the network of this configuration"):
        train_flow(shallower)


def test_a_run_with_muon_resumes_bit_exact(manifest, tmp_path):
    config = tiny(manifest, tmp_path / "whole", optimizer="muon")
    train_flow(config)
    cut = replace(config, output=str(tmp_path / "cut"))
    train_flow(cut, progress=lambda step, *_: step == 3 and os.kill(os.getpid(), signal.SIGTERM))
    assert newest_snapshot(tmp_path / "cut").step == 4  # the signal ends the step after
    assert train_flow(cut).step == 6
    assert same(tensors_after(tmp_path / "whole"), tensors_after(tmp_path / "cut"))
    plain = replace(config, output=str(tmp_path / "plain"), optimizer="adamw")
    train_flow(plain)
    assert not same(tensors_after(tmp_path / "whole"), tensors_after(tmp_path / "plain"))


def test_bad_requests_are_one_sentence(manifest, tmp_path):
    with pytest.raises(
        RequestError, match="there is no manifest of scans to train on; pass --mani"
    ):
        train_flow(tiny("", tmp_path / "a"))
    with pytest.raises(RequestError, match=r"expected less than 2\*\*63"):
        tiny(manifest, tmp_path / "a", seed=2**63)
    with pytest.raises(InputError, match=r"none\.json"):
        train_flow(tiny(tmp_path / "none.json", tmp_path / "a"))
    if not torch.cuda.is_available():
        with pytest.raises(RequestError, match="accelerator 'cuda' cannot be had here"):
            train_flow(tiny(manifest, tmp_path / "a", accelerator="cuda"))
    assert not (tmp_path / "a").exists()
    (tmp_path / "file").write_text("")
    with pytest.raises(RequestError, match="cannot be made"):
        train_flow(tiny(manifest, tmp_path / "file" / "b"))


def test_scans_with_uneven_slices_are_left_out(manifest, tmp_path):
    import numpy as np

    from conftest import make_geometry

    found = load_scans(manifest)
    assert [scan.extent.slices for scan in found] == [16, 16]
    assert found[0].extent.spacing_mm == pytest.approx(2.0)
    assert found[0].array.dtype == np.int16
    short = make_geometry(2.0 * np.arange(3), rows=64, columns=64)
    volume = hrinet.Volume(array=np.zeros(short.shape, np.int16), geometry=short)
    hrinet.write(volume, tmp_path / "short.nrrd")
    entries = [{"path": "short.nrrd", "patient": "s", "split": "train"}]
    content = {"schema": "hrinet-manifest-1", "entries": entries}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match="holds no training scan with evenly spaced slices"):
        load_scans(tmp_path / "manifest.json")


def test_dicom_tells_the_thickness(tmp_path):
    from real_data import ct

    folder = ct("train/kits_00072_18sl")
    entries = [{"path": str(folder), "patient": "k", "split": "train"}]
    content = {"schema": "hrinet-manifest-1", "entries": entries}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    (scan,) = load_scans(tmp_path / "manifest.json")
    assert scan.extent.thickness_mm == pytest.approx(3.0)
    assert scan.extent.spacing_mm == pytest.approx(2.5, abs=0.01)
    assert scan.array.min() >= -1024

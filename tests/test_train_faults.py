"""What goes wrong around a training: it is said in one sentence, and leaves nothing behind."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")
pytest.importorskip("yaml")

from lightning_fabric.utilities.exceptions import MisconfigurationException  # noqa: E402

from hrinet.errors import InputError, RequestError, RunError  # noqa: E402
from hrinet.train import loop  # noqa: E402
from hrinet.train.cache import Cache  # noqa: E402
from hrinet.train.caching import build_cache  # noqa: E402
from hrinet.train.config import MAY_CHANGE, TrainConfig  # noqa: E402
from hrinet.train.flow import loop as flow_loop  # noqa: E402
from hrinet.train.flow.config import FlowTrainConfig  # noqa: E402
from hrinet.train.guards import Guards, check_finite  # noqa: E402
from hrinet.train.log import TrainingLog, read_log  # noqa: E402
from hrinet.train.manifest import Entry, Manifest, save_manifest  # noqa: E402
from hrinet.train.memory import TooLittleMemoryError  # noqa: E402
from hrinet.train.processes import first_does, mean_over_processes  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scans"))


@pytest.fixture
def broken(tmp_path):
    """A manifest of one scan that is none."""
    (tmp_path / "a.nii").write_bytes(b"no scan")
    entry = Entry(path="a.nii", patient="a", split="train")
    manifest = Manifest(root=tmp_path, entries=(entry,))
    save_manifest(manifest, tmp_path / "manifest.json")
    return manifest


def test_a_run_that_cannot_go_on_leaves_the_cache_as_it_was(tmp_path):
    made = make_cache(tmp_path)
    entries = tuple(Entry(path=f"{p}.nii", patient=p, split="train") for p in "abc")
    save_manifest(Manifest(root=tmp_path, entries=entries), tmp_path / "manifest.json")
    config = tiny(made, tmp_path / "run", window_hu=(-160.0, 240.0), max_minutes=0.0)
    manifest = str(tmp_path / "manifest.json")
    config = replace(config, manifest=manifest, cache=str(tmp_path / "own"))
    loop.train(config)
    own = Cache.open(tmp_path / "own")
    assert own.window == (-160.0, 240.0)
    values = own.slices(own.volumes[0], [5])
    assert values.max() == 1.0  # 900 HU
    files = sorted(path.name for path in (tmp_path / "own").iterdir())
    with pytest.raises(RequestError, match=r"was trained with window_hu \(-160\.0, 240\.0\), not"):
        loop.train(replace(config, window_hu=(-1024.0, 3071.0)))
    with pytest.raises(RequestError, match="holds trained weights without the checkpoints"):
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "elsewhere" / "weights.safetensors").touch()
        loop.train(replace(config, window_hu=(0.0, 1.0), output=str(tmp_path / "elsewhere")))
    with pytest.raises(InputError, match="nobody"):
        other = replace(config, window_hu=(0.0, 1.0), output=str(tmp_path / "third"))
        loop.train(replace(other, start_from=str(tmp_path / "nobody.safetensors")))
    assert sorted(path.name for path in (tmp_path / "own").iterdir()) == files
    assert not (tmp_path / "third").exists()


@pytest.mark.parametrize(
    ("changes", "advice"),
    [
        ({"batch": 4}, "a step of 4 pairs of 64 x 64 pixels; set accumulate to 2 or more"),
        ({"batch": 4, "accumulate": 2}, "set accumulate to 4 or more"),
        ({"batch": 6, "accumulate": 2}, "set accumulate to 3 or more"),
        ({"batch": 6, "accumulate": 3}, "set accumulate to 6 or more"),
        ({"batch": 4, "accumulate": 4}, "set size to less, or use a machine with more"),
    ],
)
def test_what_to_do_about_too_little_memory(cache, tmp_path, monkeypatch, changes, advice):
    def too_large(*_, **__):
        return torch.empty(1 << 50)

    monkeypatch.setattr(loop, "unsupervised_step", too_large)
    with pytest.raises(RunError, match=advice):
        loop.train(tiny(cache, tmp_path / "run", **changes))


@pytest.mark.parametrize("what", ["Players.of", "strip_pair", "start_from_weights"])
def test_too_little_memory_before_the_first_step_is_one_sentence(
    cache, tmp_path, monkeypatch, what
):
    def too_large(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory")

    config = tiny(cache, tmp_path / "run")
    if what == "start_from_weights":
        loop.train(tiny(cache, tmp_path / "before"))
        config = replace(config, start_from=str(tmp_path / "before" / "weights.safetensors"))
    owner, _, name = what.rpartition(".")
    monkeypatch.setattr(getattr(loop, owner) if owner else loop, name, too_large)
    with pytest.raises(RunError, match="there is not enough memory for"):
        loop.train(config)


def test_scans_that_the_device_cannot_hold(tmp_path, monkeypatch):
    from flow_tools import TINY, make_scans

    def too_large(*_, **__):
        return torch.empty(1 << 50)

    monkeypatch.setattr(flow_loop, "Samples", too_large)
    given = {**TINY, "manifest": str(make_scans(tmp_path)), "output": str(tmp_path / "run")}
    with pytest.raises(RunError, match=r"for the scans of .*manifest\.json, 0 MB, on the"):
        flow_loop.train_flow(FlowTrainConfig(**given))


def test_a_process_that_lacks_memory_says_so_itself(cache, tmp_path, monkeypatch):
    class Second:
        is_global_zero = False
        global_rank = 1

    def too_little(*_, **__):
        raise TooLittleMemoryError("there is not enough memory for it")

    monkeypatch.setattr(loop, "_launch", lambda config: Second())
    monkeypatch.setattr(loop, "_train", too_little)
    with pytest.raises(SystemExit, match="process 1: there is not enough memory for it"):
        loop.train(tiny(cache, tmp_path / "run"))


class Processes:
    """As much of a Fabric as is asked of it, in a process whose partner is gone or does fail."""

    world_size = 2
    device = torch.device("cpu")

    def __init__(self, *, rank: int, problem: str = "") -> None:
        self.is_global_zero = rank == 0
        self._problem = problem

    def all_reduce(self, values: torch.Tensor, *, reduce_op: str) -> torch.Tensor:
        if self._problem:
            raise RuntimeError(self._problem)
        return torch.maximum(values, torch.tensor(0.5))


def test_what_a_process_does_whose_partner_is_gone():
    closed = "[pair.cc:547]\n Connection closed by peer"
    with pytest.raises(RunError, match=r"another process .* \(\[pair.cc:547\] Connection closed"):
        mean_over_processes(Processes(rank=0, problem=closed), torch.zeros(1))
    with pytest.raises(SystemExit) as silent:
        mean_over_processes(Processes(rank=1, problem=closed), torch.zeros(1))
    assert silent.value.code == 1
    with pytest.raises(RuntimeError, match="Timed out"):  # the first is still there
        mean_over_processes(Processes(rank=1, problem="Timed out waiting"), torch.zeros(1))


def test_a_failure_of_the_first_process_ends_the_others():
    def fail() -> None:
        raise RunError("the disk is full")

    with pytest.raises(RunError, match="the disk is full"):
        first_does(Processes(rank=0), fail)
    with pytest.raises(SystemExit) as silent:
        first_does(Processes(rank=1), fail)
    assert not silent.value.code
    closed = "[pair.cc:547]\n Connection closed by peer"
    with pytest.raises(RunError, match="the disk is full"):  # not that the others are gone too
        first_does(Processes(rank=0, problem=closed), fail)
    with pytest.raises(RunError, match="Connection closed"):
        first_does(Processes(rank=0, problem=closed), lambda: 3)
    assert first_does(SimpleNamespace(world_size=1, is_global_zero=True), lambda: 3) == 3


def test_more_devices_than_there_are(cache, tmp_path, monkeypatch):
    def refuse(**options: object) -> None:
        raise MisconfigurationException("You requested gpu: [0, 1]\n But your machine has: [0]")

    monkeypatch.setattr(loop, "Fabric", refuse)
    monkeypatch.setattr(flow_loop, "Fabric", refuse)
    said = r"\(You requested gpu: \[0, 1\] But your machine has: \[0\]\); set accelerator"
    with pytest.raises(RequestError, match=said):
        loop.train(tiny(cache, tmp_path / "run", devices=2, runs=2))
    with pytest.raises(RequestError, match=said):
        flow_loop.train_flow(FlowTrainConfig(manifest="m.json", output=str(tmp_path / "run")))


def test_refused_input_leaves_no_folder(cache, broken, tmp_path):
    output = tmp_path / "runs" / "one"
    config = tiny(cache, output)
    for changes, error in (
        ({"cache": str(tmp_path / "none")}, "holds no finished cache"),
        ({"manifest": str(tmp_path / "none.json")}, "cannot be read"),
        ({"size": 128}, "but size is 128"),
        ({"stage1_from": str(tmp_path)}, "where stage 1 of 4 steps ends"),
        ({"start_from": str(tmp_path / "no.safetensors")}, "does not exist"),
    ):
        with pytest.raises((InputError, RequestError), match=error):
            loop.train(replace(config, **changes))
    manifest = str(tmp_path / "manifest.json")
    with pytest.raises(InputError, match="no readable scan"):
        loop.train(replace(config, manifest=manifest, cache=str(tmp_path / "new" / "cache")))
    assert {path.name for path in tmp_path.iterdir()} == {"a.nii", "manifest.json"}
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match="no readable scan"):
        build_cache(broken, tmp_path / "mine")
    assert (tmp_path / "mine").is_dir()


def test_an_output_that_cannot_be_made_is_refused_before_the_cache_is_built(broken, tmp_path):
    config = TrainConfig(
        manifest=str(tmp_path / "manifest.json"),
        cache=str(tmp_path / "cache"),
        output=str(tmp_path / "a.nii" / "run"),
        accelerator="cpu",
    )
    with pytest.raises(RequestError, match=r"run: cannot be made: .*a\.nii is a file"):
        loop.train(config)


def test_the_advice_of_the_guards_can_be_followed():
    config = TrainConfig(collapse_checks=1, critic_gap_limit=100)
    endless = torch.nn.Linear(1, 1)
    torch.nn.init.constant_(endless.weight, float("inf"))
    sentences = []
    for figures in (
        {"content": float("nan")},
        {"spread": 0.0, "spread_of_inputs": 0.2},
        {"gap": 101.0},
    ):
        with pytest.raises(RunError) as caught:
            Guards(config).check(7, figures)
        sentences.append(str(caught.value))
    with pytest.raises(RunError) as caught:
        check_finite(7, {"d1": endless})
    sentences.append(str(caught.value))
    for sentence in sentences:
        assert "begin again in another output folder with a lower learning_rate or" in sentence
    assert not {"learning_rate", "beta"} & MAY_CHANGE  # so a run cannot go on with others
    assert "or lower collapse_ratio to go on" in sentences[1]
    assert "critic_gap_limit 100; " in sentences[2]
    assert "or raise it to go on" in sentences[2]
    assert {"collapse_ratio", "critic_gap_limit"} <= MAY_CHANGE


@pytest.mark.parametrize(
    "damage",
    [
        *(b"[1]\n", b'"text"\n', b"7\n", b"{}\n", b"[" * 100_000 + b"\n"),
        *(b'{"step": 2}\n', b'{"step": "2", "stage": 1}\n', b'{"step": true, "stage": 1}\n'),
        *(b'\xff\xfe{"step": 2, "stage": 1}\n', b'{"step": 2, "st\n'),
    ],
)
def test_damaged_lines_of_a_log_are_passed_over(tmp_path, damage):
    good = [{"step": step, "stage": 1, "content": 0.5} for step in (1, 2, 3)]
    lines = [json.dumps(record).encode() + b"\n" for record in good]
    (tmp_path / "log.jsonl").write_bytes(lines[0] + damage + lines[1] + lines[2])
    assert read_log(tmp_path) == good
    with TrainingLog(tmp_path, step=2, tensorboard=False) as log:
        log.write(4, 2, {})
    assert read_log(tmp_path) == [*good[:2], {"step": 4, "stage": 2}]


def _manifest(cache: Cache, root: Path, *, collection: str = "made") -> Path:
    """The scans of a cache as ``make_cache`` wrote them, with where they come from."""
    entries = tuple(
        Entry(path=v.path, patient=v.patient, split=v.split, collection=collection, licence="CC0")
        for v in cache.volumes
    )
    save_manifest(Manifest(root=root, entries=entries), root / "manifest.json", overwrite=True)
    return root / "manifest.json"


def test_a_scan_that_cannot_be_read_is_named_and_nothing_is_lost(tmp_path):
    cache = make_cache(tmp_path)
    config = replace(tiny(cache, tmp_path / "run"), manifest=str(_manifest(cache, tmp_path)))
    loop.train(replace(config, stage2_steps=0, stage1_steps=2))
    before = sorted(path.name for path in cache.folder.glob("*.npy"))
    (tmp_path / "b.nii").rename(tmp_path / "away")
    with pytest.raises(InputError, match=r"lists b\.nii, which cannot be used \(.*\)"):
        loop.train(config)
    (tmp_path / "away").rename(tmp_path / "b.nii")
    assert sorted(path.name for path in cache.folder.glob("*.npy")) == before
    assert loop.train(config).is_finished


def test_weights_without_checkpoints_are_not_replaced(tmp_path):
    config = tiny(make_cache(tmp_path), tmp_path / "run")
    finished = loop.train(config)
    for path in (tmp_path / "run").glob("checkpoint-*"):
        path.unlink()
    before = finished.weights.read_bytes()
    for resume in ("auto", "never"):
        with pytest.raises(RequestError, match="trained weights without the checkpoints"):
            loop.train(replace(config, resume=resume))
    assert finished.weights.read_bytes() == before


def test_licences_are_those_of_the_scans_in_the_cache(tmp_path):
    cache = make_cache(tmp_path)
    config = replace(tiny(cache, tmp_path / "run"), manifest=str(_manifest(cache, tmp_path)))
    expected = [{"collection": "made", "licence": "CC0", "scans": 3}]

    def told() -> object:
        return json.loads((tmp_path / "run" / "weights.json").read_text())["collections"]

    loop.train(config)
    assert told() == expected
    loop.train(replace(config, manifest=""))  # as the documentation allows
    assert told() == expected
    _manifest(cache, tmp_path, collection="")
    loop.train(config)
    assert told() == [{"collection": "", "licence": "CC0", "scans": 3}]


def test_the_step_that_trips_a_guard_is_in_the_log(tmp_path):
    config = replace(tiny(make_cache(tmp_path), tmp_path / "run"), critic_gap_limit=1e-9)
    with pytest.raises(RunError, match="D2 ran away"):
        loop.train(config)
    assert abs(read_log(tmp_path / "run")[-1]["gap"]) > 1e-9

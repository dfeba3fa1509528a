"""Read back by TensorBoard's own reader."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("torch")
event_accumulator = pytest.importorskip(
    "tensorboard.backend.event_processing.event_accumulator", reason="needs TensorBoard"
)

from hrinet.train.log import TrainingLog, read_log  # noqa: E402


def _scalars(folder) -> dict[str, list[tuple[int, float]]]:
    reader = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    reader.Reload()
    names = reader.Tags()["scalars"]
    return {name: [(e.step, e.value) for e in reader.Scalars(name)] for name in names}


def test_tensorboard_shows_what_the_log_holds(tmp_path):
    with TrainingLog(tmp_path, step=0, tensorboard=True) as log:
        log.write(50, 1, {"content": 0.25, "critic": -1.5})
        log.write(100, 2, {"content": 0.125})
    assert _scalars(tmp_path) == {
        "content": [(50, 0.25), (100, 0.125)],
        "critic": [(50, -1.5)],
    }
    assert [record["step"] for record in read_log(tmp_path)] == [50, 100]


def test_tensorboard_drops_the_steps_that_a_resumed_run_does_again(tmp_path):
    with TrainingLog(tmp_path, step=0, tensorboard=True) as log:
        for step in (50, 100, 150):
            log.write(step, 1, {"content": 0.5})
    with TrainingLog(tmp_path, step=100, tensorboard=True) as log:
        log.write(150, 1, {"content": 0.75})
    assert _scalars(tmp_path) == {"content": [(50, 0.5), (100, 0.5), (150, 0.75)]}


def test_without_tensorboard_the_log_is_written_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with TrainingLog(tmp_path, step=0, tensorboard=True) as log:
        log.write(50, 1, {"content": 0.5})
    assert read_log(tmp_path) == [{"step": 50, "stage": 1, "content": 0.5}]
    assert not (tmp_path / "tensorboard").exists()

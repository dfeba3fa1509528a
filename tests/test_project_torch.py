"""Projections by PyTorch are those by OpenCV; on tensors of the processor."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.errors import RequestError
from hrinet.project.beam import Beam
from hrinet.project.projector import Mode, project
from hrinet.project.shear import Along, Reduction, Task
from hrinet.project.views import View
from hrinet.volume import Volume
from project_phantoms import stack

pytest.importorskip("torch")


@pytest.mark.parametrize("reduction", ["sum", "maximum", "minimum"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "direction", [(0, 1, 0.3), (0, -0.4, 1), (0.2, 1, -0.3), (0.3, 0.5, 1), (1, 0.2, 0.1)]
)
def test_both_agree(
    reduction: Reduction, weighted: bool, direction: tuple[float, float, float]
) -> None:
    from hrinet.project.shear_torch import run_on

    array = np.random.default_rng(0).integers(-1100, 900, (70, 12, 15)).astype(np.int16)
    array.setflags(write=False)
    main = int(np.argmax(np.abs(direction)))
    axes = {0: (1, 0, 2), 1: (0, 1, 2), 2: (0, 2, 1)}[main]
    slopes = np.array([direction[axes[0]], direction[axes[2]]]) / direction[main]
    along = None
    if weighted:
        steps = np.array(direction) * 0.05
        along = Along(function=lambda x: np.clip(x, 0, 1), start=0.1, steps=steps)
    beam = Beam(40.0) if reduction == "sum" else None
    tasks = [Task(array, axes, slopes, reduction, along, beam, 77.0) for _ in range(2)]
    tasks[0].run((0, 40 if axes[0] == 0 else 7))
    tasks[0].run((40, 70) if axes[0] == 0 else (7, 12))
    run_on(tasks[1], "cpu")
    one, two = (np.where(task.values > 1e5, 0, task.values) for task in tasks)
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=0.05)
    assert np.ptp(one) > 100


@pytest.mark.parametrize("mode", ["mean", "attenuation"])
def test_a_device_that_is_not_there_is_refused(mode: Mode) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    geometry = stack((3, 5, 5))
    volume = Volume(np.zeros(geometry.shape, np.int16), geometry)
    with pytest.raises(RequestError, match="--device cuda"):
        project(volume, [View.turned(0)], mode=mode, device="cuda")

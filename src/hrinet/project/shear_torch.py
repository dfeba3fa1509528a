"""The same sums and extremes on a graphics processor, with PyTorch."""

from __future__ import annotations

import importlib.util
import warnings

import numpy as np

from hrinet.errors import RequestError
from hrinet.project.shear import AIR_HU, FAR, LEFT_OUT, NOTHING_HU, Task
from hrinet.synthesize.registry import Device


def run_on(task: Task, device: Device | str) -> None:
    """Compute ``task.values`` on a device; see :func:`hrinet.project.shear.shear`.

    Planes are moved and mixed as on the processor, with one rounding more where a sum is of shares;
    sums for fractions of a voxel are brought together there.

    Args:
        task: the direction and the volume, which is copied to the device whole.
        device: as PyTorch names it.

    Raises:
        RequestError: if PyTorch or the device is missing.
    """
    if importlib.util.find_spec("torch") is None:
        raise RequestError(f"--device {device} needs torch: pip install 'hrinet[torch]'")
    import torch
    from torch.nn.functional import pad

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # That the array is read-only: nothing writes to it.
            volume = torch.from_numpy(np.ascontiguousarray(task.array)).to(device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise RequestError(f"--device {device}: PyTorch cannot use it: {reason}") from error
    axis_i, axis_k, axis_j = task.axes
    planes = volume.permute(axis_k, axis_i, axis_j)
    outside = float(task.outside)
    result = torch.full(task.values.shape, outside, dtype=torch.float32, device=device)
    for k in range(planes.shape[0]):
        values = planes[k].to(torch.float32)
        plane = torch.nan_to_num(values - AIR_HU)
        plane = torch.where(plane > NOTHING_HU - AIR_HU, plane, 0.0)
        if task.padding is not None:
            plane = torch.where(values == task.padding, 0.0, plane)
        if task.beam is not None:
            plane = plane.clamp(min=0)
            plane = plane + (task.beam.bone_excess - 1) * (plane - 1000).clamp(min=0)
        if task.is_weighted:
            weights = torch.from_numpy(np.ascontiguousarray(task.weights(k))).to(device)
            if task.reduction == "minimum":
                plane = torch.where(weights < LEFT_OUT, FAR, plane)
            else:
                plane = plane * weights
        if task.reduction == "sum":
            height, width = plane.shape
            for s, t, row, column, share in task.shares(k):
                result[s, t, row : row + height, column : column + width] += share * plane
            continue
        (down, right), (below, beside) = task.whole[k].tolist(), task.part[k].tolist()
        framed = pad(plane, (1, 1, 1, 1), value=outside)
        mixed = framed[:, 1:-1]
        if beside > 0:
            mixed = (1 - beside) * framed[:, 1:] + beside * framed[:, :-1]
        inner = mixed[1:-1]
        if below > 0:
            inner = (1 - below) * mixed[1:] + below * mixed[:-1]
        target = result[0, 0, down : down + inner.shape[0], right : right + inner.shape[1]]
        choose = torch.maximum if task.reduction == "maximum" else torch.minimum
        choose(target, inner, out=target)
    task.values[...] = result.cpu().numpy()

"""Scans with hidden slices, for the tools that fit how far hrinet-flow trusts itself."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import hrinet
from hrinet.synthesize.fallback import outside_window, touched
from hrinet.synthesize.hrinet_flow import RunningFlow, Unscaled
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.padding import seen_by_neighbours, without_padding
from hrinet.synthesize.scene import WINDOW
from hrinet.train.manifest import load_manifest
from hrinet.weights.description import Description

LARGEST_GAP_MM = 15.0
LEAST_GAPS = 8
UNEVEN_MM = 0.1

CURVES = ("log_error", "expected_error", "half_width", "gap_power")
"""Of a calibration: how large errors are where the network says that they are so large."""

T = TypeVar("T")


class Hidden(NamedTuple):
    """A slice that was hidden.

    Attributes:
        made: in its place.
        error: absolute, of shape (row, column), HU.
        usable: voxels to look at, of that shape.
    """

    made: Unscaled
    error: np.ndarray
    usable: np.ndarray


def scans(manifest_path: Path) -> Iterator[tuple[str, hrinet.Volume]]:
    """The even scans of training and validation; never one of a test patient."""
    manifest = load_manifest(manifest_path)
    for entry in (*manifest.of_split("train"), *manifest.of_split("validation")):
        volume = hrinet.read(manifest.root / entry.path)
        if np.ptp(np.diff(volume.geometry.positions_mm)) > UNEVEN_MM:
            continue  # Every r-th slice of an uneven scan is another test.
        yield Path(entry.path).name, volume


def require_shipped(
    known: Mapping[str, Any], description: Description, parts: Sequence[str]
) -> None:
    """Refuse a calibration of which the package has another: fits would be to the wrong curves.

    Args:
        known: the calibration.
        description: of the weights in the package.
        parts: that must be the same.
    """
    shipped = description.values["calibration"]
    for part in parts:
        if shipped.get(part) != known.get(part):
            sys.exit(f"{part} is not what the package has; run ship_flow.py first")


def allowed(factors: Sequence[int], slices: int, spacing_mm: float) -> list[int]:
    """The factors that leave a scan enough gaps, none of them too wide."""
    wide = [factor for factor in factors if factor * spacing_mm <= LARGEST_GAP_MM]
    return [factor for factor in wide if slices // factor >= LEAST_GAPS]


def middle(volume: hrinet.Volume, count: int) -> hrinet.Volume:
    """So many slices about the middle one, or all."""
    first = max(0, (len(volume) - count) // 2)
    return volume.subset(range(first, min(len(volume), first + count)))


def hide(
    running: RunningFlow,
    volume: hrinet.Volume,
    factor: int,
    look: Callable[[Hidden], T],
    *,
    threads: int,
) -> list[T]:
    """Synthesize all but every factor-th slice, as the engine does.

    Args:
        running: what :meth:`HrinetFlow.using` gives, for so many gaps at a time as threads.
        volume: with the slices to hide.
        factor: one slice in so many is kept.
        look: what is asked of each; its buffers are used again afterwards.
        threads: that compute.

    Returns:
        What ``look`` gave, in order of position.
    """
    thin, padding = volume.subset(range(0, len(volume), factor)), volume.padding_hu
    positions = thin.geometry.positions_mm
    t = [step / factor for step in range(1, factor)]

    def fill(left: int) -> list[T]:
        around = range(max(left - 1, 0), min(left + 3, len(thin)))
        first = left - around[0]
        slices = [thin.array[index] for index in around]
        gap = Gap(
            slices=tuple(seen_by_neighbours(slices, first, padding)),
            positions_mm=tuple(float(positions[index]) for index in around),
            left=first,
            pixel_spacing_mm=thin.geometry.pixel_spacing,
            slice_thickness_mm=thin.geometry.slice_thickness,
        )
        results = []
        for step, made in enumerate(running.unscaled(gap, t), 1):
            truth = volume.array[left * factor + step]
            near = (truth, *slices[first : first + 2])
            # As in the method's own check: no metal, which is the cubic's, and no padding.
            outside = np.any(
                [outside_window(without_padding(one, padding), WINDOW) for one in near], axis=0
            )
            usable = ~touched(outside)
            if padding is not None:
                usable &= np.all([one != padding for one in near], axis=0)
            if usable.any():
                error = np.abs(np.rint(made.values) - truth)
                results.append(look(Hidden(made, error, usable)))
        return results

    with ThreadPoolExecutor(threads) as pool:
        return [one for several in pool.map(fill, range(len(thin) - 1)) for one in several]

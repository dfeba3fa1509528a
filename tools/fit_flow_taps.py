"""Fit the taps of the flow method to real CT and write ``flow_taps.json``.

    python tools/fit_flow_taps.py DATA/train --manifest DATA/manifest.json

Every folder in DATA/train is one series. Slices are hidden and predicted from those around them:
every second, third, fourth or sixth slice is kept where that makes gaps of 2 to 20 mm. Contiguous
1 mm series are also averaged to thick and overlapping slices before anything is hidden, because
real thick series cannot show what lies between slices that touch. The taps minimize the squared
error of the hidden slices, each divided by the error of linear interpolation there, so that noisy
and coarse scans weigh no more than others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

import hrinet
from hrinet.synthesize import flow
from hrinet.synthesize.flow_taps import (
    COVARIATES,
    GROUPS,
    LEVELS,
    PAIRS,
    SHAPE,
    Float64,
    gap_covariates,
)
from hrinet.synthesize.interpolator import Gap

FACTORS = (2, 3, 4, 6)
GAP_LIMITS_MM = (2.0, 20.0)
HU_LIMITS = (-1024.0, 1500.0)
"""Metal would outweigh everything else in a sum of squares."""

SLABS_MM = {2: (2, 4, 6, 12), 3: (2, 4, 6, 12), 5: (2, 3, 5, 10), 8: (4, 8, 16)}
"""Thickness of simulated slices: gaps to hide them in, mm."""

TERMS = 2 * PAIRS * 2
"""Even and odd, pair, power: the coefficients of one class and covariate."""


@dataclass(frozen=True)
class Experiment:
    """Four slices that are kept and some between the inner two that are hidden.

    Attributes:
        kept: source indices of the slices -1, 0, 1, 2.
        hidden: source index and t of each hidden slice.
        slab: how many source slices are averaged to one.
        thickness_mm: slice thickness after that, mm, or None.
    """

    kept: tuple[int, int, int, int]
    hidden: tuple[tuple[int, float], ...]
    slab: int
    thickness_mm: float | None


@dataclass
class Moments:
    """Normal equations of all experiments that share their covariates.

    A cell is a square between neighbouring levels; in it four classes are active.

    Attributes:
        covariates: shape (COVARIATES,).
        gram: shape (cell, 4 * TERMS, 4 * TERMS).
        right: shape (cell, 4 * TERMS).
    """

    covariates: Float64
    gram: Float64
    right: Float64


def experiments(volume: hrinet.Volume, gaps_a_factor: int) -> Iterator[Experiment]:
    positions = volume.geometry.positions_mm
    spacing = float(np.median(np.diff(positions)))
    thickness = volume.geometry.slice_thickness
    count = len(volume)
    for factor in FACTORS:
        if not GAP_LIMITS_MM[0] <= factor * spacing <= GAP_LIMITS_MM[1]:
            continue
        for left in _spread(factor, count - 2 * factor - 1, gaps_a_factor):
            kept = (left - factor, left, left + factor, left + 2 * factor)
            hidden = tuple((left + k, k / factor) for k in range(1, factor))
            yield Experiment(kept, hidden, 1, thickness)
    if abs(spacing - 1.0) > 0.01 or thickness is None or thickness > 1.05:
        return
    for slab, gaps in SLABS_MM.items():
        for gap in gaps:
            margin = slab // 2 + 1
            steps = [k for k in range(1, gap) if any(k * m % gap == 0 for m in (4, 5, 6))]
            if len(steps) > 3:
                steps = [steps[0], steps[len(steps) // 2], steps[-2]]
            for left in _spread(gap + margin, count - 2 * gap - margin - 1, gaps_a_factor // 2):
                kept = (left - gap, left, left + gap, left + 2 * gap)
                hidden = tuple((left + k, k / gap) for k in steps)
                yield Experiment(kept, hidden, slab, float(slab))


def _spread(first: int, last: int, count: int) -> list[int]:
    if last < first:
        return []
    return sorted(set(np.linspace(first, last, count + 2).round().astype(int)[1:-1].tolist()))


def read_slab(volume: hrinet.Volume, index: int, slab: int) -> flow.Float32:
    first = index - slab // 2
    values = volume.array[first : first + slab].astype(np.float32)
    return np.clip(values.mean(axis=0), *HU_LIMITS).astype(np.float32)


def series_moments(folder: Path, *, gaps_a_factor: int, pixels: int) -> list[Moments]:
    """Moments of one series.

    Args:
        folder: of a DICOM series.
        gaps_a_factor: experiments for every factor.
        pixels: number of pixels drawn from each hidden slice.
    """
    cv2.setNumThreads(1)
    volume = hrinet.read(folder)
    collected: dict[tuple[float, ...], Moments] = {}
    rng = np.random.default_rng(0)
    for experiment in experiments(volume, gaps_a_factor):
        slices = tuple(read_slab(volume, index, experiment.slab) for index in experiment.kept)
        gap = Gap(
            slices=slices,
            positions_mm=tuple(float(volume.geometry.positions_mm[k]) for k in experiment.kept),
            left=1,
            pixel_spacing_mm=volume.geometry.pixel_spacing,
            slice_thickness_mm=experiment.thickness_mm,
        )
        covariates = gap_covariates(gap.width_mm, gap.slice_thickness_mm)
        cells = (LEVELS - 1) ** 2
        moments = collected.setdefault(
            tuple(covariates.round(6)),
            Moments(
                covariates,
                np.zeros((cells, 4 * TERMS, 4 * TERMS)),
                np.zeros((cells, 4 * TERMS)),
            ),
        )
        scene = flow.prepare(gap)
        for index, t in experiment.hidden:
            target = read_slab(volume, index, experiment.slab)
            add_slice(moments, scene, t, target, pixels=pixels, rng=rng)
    return list(collected.values())


def add_slice(
    moments: Moments,
    scene: flow.Scene,
    t: float,
    target: flow.Float32,
    *,
    pixels: int,
    rng: np.random.Generator,
) -> None:
    """Add a random sample of one hidden slice's pixels to the normal equations."""
    features = scene.features(t)
    error = np.square((1 - t) * scene.slices[1] + t * scene.slices[2] - target)
    if not error.any():
        return
    # Pixels are drawn in proportion to how hard their surroundings are, and weighed back.
    chance = np.sqrt(np.maximum(cv2.blur(error, (5, 5)), 0.0)) + 0.1
    chance = (0.2 + 0.8 * chance / chance.mean()) * pixels / chance.size
    chance = np.minimum(chance, 1.0).ravel()
    drawn = np.flatnonzero(rng.random(chance.size) < chance)
    weight = 1.0 / chance[drawn]
    weight *= 1.0 / (weight.sum() * float(error.mean()))

    planes = np.concatenate([g.reshape(-1, 4)[drawn] for g in features.groups], axis=1)
    planes = planes.reshape(-1, len(GROUPS), 4).astype(np.float64)
    base = (1 - t) * planes[:, 1, 1] + t * planes[:, 1, 2]
    planes -= base[:, None, None]
    first, second = planes[..., :2], planes[..., [3, 2]]  # outer, inner
    u, bump = 2 * t - 1, 4 * t * (1 - t)
    even = (second + first).reshape(-1, PAIRS, 1) * np.array([1.0, u * u])
    odd = (second - first).reshape(-1, PAIRS, 1) * np.array([u, u**3])
    terms = bump * np.stack([even, odd], axis=1).reshape(-1, TERMS)
    wanted = target.ravel()[drawn] - base

    levels = [
        np.clip(flow._level(m).ravel()[drawn], 0, LEVELS - 1 - 1e-6)
        for m in (features.mismatch, features.activity)
    ]
    low = [level.astype(int) for level in levels]
    (p, q) = (level - floor for level, floor in zip(levels, low, strict=True))
    corners = np.stack([(1 - p) * (1 - q), (1 - p) * q, p * (1 - q), p * q], axis=1)
    cell_of = low[0] * (LEVELS - 1) + low[1]
    for cell in np.unique(cell_of):
        here = cell_of == cell
        root = np.sqrt(weight[here])
        design = (corners[here][:, :, None] * terms[here][:, None, :]).reshape(-1, 4 * TERMS)
        design = (design * root[:, None]).astype(np.float32)
        moments.gram[cell] += design.T @ design
        moments.right[cell] += design.T @ (wanted[here] * root).astype(np.float32)


def solve(all_moments: Sequence[Moments], *, smoothness: float) -> Float64:
    """Solve the normal equations.

    Args:
        all_moments: of all series.
        smoothness: ties neighbouring classes to each other, relative to the mean information.

    Returns:
        Shape SHAPE.
    """
    classes = LEVELS * LEVELS
    block = COVARIATES * TERMS
    gram = np.zeros((classes * block, classes * block))
    right = np.zeros(classes * block)
    for cell in range((LEVELS - 1) ** 2):
        row, column = divmod(cell, LEVELS - 1)
        active = [(row + i) * LEVELS + column + j for i in (0, 1) for j in (0, 1)]
        where = np.concatenate([np.arange(block) + k * block for k in active])
        local = np.zeros((4, COVARIATES, TERMS, 4, COVARIATES, TERMS))
        local_right = np.zeros((4, COVARIATES, TERMS))
        for moments in all_moments:
            c = moments.covariates
            shaped = moments.gram[cell].reshape(4, 1, TERMS, 4, 1, TERMS)
            local += shaped * np.outer(c, c)[None, :, None, None, :, None]
            local_right += moments.right[cell].reshape(4, 1, TERMS) * c[None, :, None]
        gram[np.ix_(where, where)] += local.reshape(4 * block, 4 * block)
        right[where] += local_right.ravel()
    information = np.diag(gram).reshape(classes, block).sum(axis=0)
    grid = np.arange(classes).reshape(LEVELS, LEVELS)
    for first, second in ((grid[:-1], grid[1:]), (grid[:, :-1], grid[:, 1:])):
        for one, other in zip(first.ravel(), second.ravel(), strict=True):
            i, j = np.arange(block) + one * block, np.arange(block) + other * block
            gram[i, i] += smoothness * information
            gram[j, j] += smoothness * information
            gram[i, j] -= smoothness * information
            gram[j, i] -= smoothness * information
    diagonal = np.arange(len(right))
    gram[diagonal, diagonal] += 1e-6 * np.tile(information, classes) + 1e-12 * information.max()
    return np.asarray(np.linalg.solve(gram, right)).reshape(SHAPE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("train", type=Path, help="folder of series folders")
    parser.add_argument("--manifest", type=Path, help="JSON list with name, collection, licence")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(flow.__file__).parent / "data" / "flow_taps.json",
    )
    parser.add_argument("--gaps", type=int, default=8, help="experiments for a series and factor")
    parser.add_argument("--pixels", type=int, default=6000, help="drawn from each hidden slice")
    parser.add_argument("--smoothness", type=float, default=3e-4)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()

    start = time.monotonic()
    folders = sorted(path for path in options.train.iterdir() if path.is_dir())
    by_size = sorted(folders, key=lambda path: -sum(1 for _ in path.iterdir()))
    work = partial(series_moments, gaps_a_factor=options.gaps, pixels=options.pixels)
    with ProcessPoolExecutor(options.processes) as pool:
        results = dict(zip(by_size, pool.map(work, by_size), strict=True))
    moments = [entry for folder in folders for entry in results[folder]]
    coefficients = solve(moments, smoothness=options.smoothness)

    manifest = json.loads(options.manifest.read_text()) if options.manifest else []
    known = {entry["name"]: entry for entry in manifest if "name" in entry}
    content = {
        "about": "taps of the flow method, fitted by tools/fit_flow_taps.py",
        "shape": list(SHAPE),
        "series": [
            {
                "name": folder.name,
                "collection": known.get(folder.name, {}).get("collection", ""),
                "licence": known.get(folder.name, {}).get("licence", ""),
            }
            for folder in folders
        ],
        "coefficients": [float(f"{value:.5g}") for value in coefficients.ravel()],
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content) + "\n", encoding="utf-8")
    seconds = time.monotonic() - start
    print(f"{options.output}: {len(folders)} series, {coefficients.size} taps, {seconds:.0f} s")


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of the module's docstring."""


if __name__ == "__main__":
    main()

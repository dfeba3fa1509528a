"""Fit by how much hidden slices overstate the errors in the gaps themselves, scan by scan.

    python tools/fit_transfer.py CALIBRATION.json

CALIBRATION.json is what ``tools/fit_slice_trust.py`` has left and ``tools/ship_flow.py`` has put
into the package; the fit is added to it, to be shipped once more. Slices in the middle of the
training scans and of the validation scan are hidden, and the method fills the gaps as a user's:
with its check on the slices that are left, which lie in gaps of twice the width. What was found in
the gaps, over what the check makes of the calibration, is the transfer that was wanted; it is
fitted to how much slices overlap and to how much of the error is noise (least squares on
logarithms, every scan counts alike). Scans as they are taken lie with gaps as wide as their slices
are thick, or less, which no thinned scan does: means of several thin slices stand for those. That
errors of training scans are too small does not matter,
for they are so in the hidden slices too. One scan after the other is left out to see what the fit
is worth on a scan that it has not seen.
"""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from hidden import CURVES, Hidden, allowed, hide, middle, require_shipped, scans

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.synthesize.engine import default_threads
from hrinet.synthesize.hrinet_flow import HrinetFlow
from hrinet.synthesize.transfer import Transfer, overlap_sign
from hrinet.synthesize.trial import prove
from hrinet.weights import packaged_weights
from hrinet.weights.flow import FlowGraphs, load_flow

ROOT = Path(__file__).resolve().parent.parent
FACTORS = (2, 3, 4, 6)
SLABS = ((2, 2), (3, 2), (3, 3), (4, 4), (6, 4))
"""How many thin slices are averaged, and one slab in how many is kept: contiguous, overlapping."""

THIN_MM = 2.6
MOST_SLICES = 61
EVERY = 97
"""Of the voxels of a slice one in so many is looked at; neighbours err alike."""

RIDGE = 3e-3
PARTS = ("error", "half_width")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One scan with one factor.

    Attributes:
        scan: its name.
        averaged: so many of its slices make one; 1 is as it is.
        factor: one slice in so many was kept.
        thickness: of the slices, over the width of the gap; None if unknown.
        noise: of the scan; see :func:`hrinet.synthesize.transfer.noise_sign`.
        found: mean absolute error, HU.
        expected: the same, as expected without any transfer, HU.
        shares: absolute errors of some voxels over their half width without any transfer.
    """

    scan: str
    averaged: int
    factor: int
    thickness: float | None
    noise: float
    found: float
    expected: float
    shares: np.ndarray

    @property
    def wanted(self) -> tuple[float, float]:
        """Factors on expected error and half width that make both right."""
        return self.found / self.expected, float(np.quantile(self.shares, 0.9))


def cell_of(
    graphs: FlowGraphs,
    name: str,
    thin_slices: hrinet.Volume,
    averaged: int,
    factor: int,
    *,
    threads: int,
) -> Cell:
    """Hide and fill; ``graphs`` have no transfer."""
    volume = thickened(thin_slices, averaged)
    method = HrinetFlow(graphs, precision="f32")
    weights = graphs.calibration.slices
    thin = volume.subset(range(0, len(volume), factor))
    thickness, gap = volume.geometry.slice_thickness, factor * volume.geometry.spacing_mm
    with method.using(gaps=threads, threads=1) as running:
        prove(running, thin, padding=thin.padding_hu)
        correction = running.correction

        def look(one: Hidden) -> tuple[float, float, np.ndarray]:
            slices = weights.factor(one.made.signs, level=correction.level)
            found = one.error[one.usable]
            share = found[::EVERY] / np.maximum(one.made.half_width[one.usable][::EVERY], 1e-3)
            expected = float(one.made.error[one.usable].mean()) * correction.error * slices
            return float(found.mean()), expected, share / (correction.half_width * slices)

        slices = hide(running, volume, factor, look, threads=threads)
    found, expected, shares = zip(*slices, strict=True)
    return Cell(
        scan=name,
        averaged=averaged,
        factor=factor,
        thickness=thickness / gap if thickness else None,
        noise=correction.noise,
        found=float(np.mean(found)),
        expected=float(np.mean(expected)),
        shares=np.concatenate(shares),
    )


def solved(cells: list[Cell], part: int, *, with_thickness: bool) -> list[float]:
    """Offset and weights of one part of the transfer; every scan counts alike."""
    if with_thickness:
        cells = [cell for cell in cells if cell.thickness is not None]
    rows = [[1.0, overlap_sign(cell.thickness or 0.0), cell.noise] for cell in cells]
    signs = np.array(rows)[:, [0, 1, 2] if with_thickness else [0, 2]]
    wanted = np.log([cell.wanted[part] for cell in cells])
    weights = np.array([sum(other.scan == cell.scan for other in cells) for cell in cells]) ** -0.5
    a, b = signs * weights[:, None], wanted * weights
    ridge = RIDGE * np.diag([0.0, *[1.0] * (a.shape[1] - 1)])  # The offset is free.
    return [round(float(v), 4) for v in np.linalg.solve(a.T @ a + ridge, a.T @ b)]


def fitted(cells: list[Cell]) -> dict[str, list[float]]:
    """As :meth:`Transfer.of` reads it."""
    whole = {name: solved(cells, part, with_thickness=True) for part, name in enumerate(PARTS)}
    # Unknown slices may be thin, and it is better to expect too much than too little.
    thin = [cell for cell in cells if cell.averaged == 1]
    alone = {
        f"{name}_alone": solved(thin, part, with_thickness=False) for part, name in enumerate(PARTS)
    }
    return {**whole, **alone}


def constants(cells: list[Cell]) -> list[float]:
    """The same factors for all scans, for comparison."""
    return [
        float(np.exp(np.mean(np.log([cell.wanted[part] for cell in cells])))) for part in (0, 1)
    ]


def judge(cell: Cell, transfer: Transfer, *, knows_thickness: bool = True) -> tuple[float, float]:
    """Percentage of voxels within the interval, and expected over found error."""
    thickness = cell.thickness if knows_thickness else None
    error, half_width = transfer.factors(thickness=thickness, noise=cell.noise)
    return 100 * float((cell.shares <= half_width).mean()), cell.expected * error / cell.found


def report(cells: list[Cell]) -> dict[str, float]:
    """Print what the fit is worth on every scan left out; a summary of it."""
    print(f"{'scan left out':24} x  thick noise  wanted       holds %, expected/found")
    print(f"{'':24}    /gap                           fit         no thickness  constants")
    judged = []
    for cell in cells:
        others = [other for other in cells if other.scan != cell.scan]
        transfer = Transfer.of(fitted(others))
        ways = [
            judge(cell, transfer),
            judge(cell, transfer, knows_thickness=False),
            judge(cell, Transfer.of(constants(others))),
        ]
        judged.append(ways)
        told = "  ".join(f"{held:5.1f} {ratio:.2f}" for held, ratio in ways)
        thick = "    " if cell.thickness is None else f"{cell.thickness:4.2f}"
        wanted = " ".join(f"{factor:.2f}" for factor in cell.wanted)
        head = f"{cell.scan[:21]:21} /{cell.averaged} {cell.factor}  {thick} {cell.noise:+5.2f}"
        print(f"{head}  {wanted}    {told}", flush=True)
    off = np.array(judged)[..., 0] - 90
    rms, near = np.sqrt((off**2).mean(0)), (np.abs(off) <= 2).sum(0)
    ratios = np.exp(np.sqrt((np.log(np.array(judged)[..., 1]) ** 2).mean(0)))
    for index, way in enumerate(("fit", "fit without thickness", "constants")):
        print(
            f"{way}: coverage off 90 % by {rms[index]:.2f} points (rms), within 88 to 92 in "
            f"{near[index]} of {len(cells)}; expected error off by a factor of {ratios[index]:.3f}"
        )
    return {"off_on_a_scan_left_out": round(float(rms[0]), 2), "cells": len(cells)}


def main() -> None:
    data = Path(os.environ.get("HRINET_TEST_DATA", ROOT.parent / "shared" / "ct"))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("calibration", type=Path, metavar="CALIBRATION.json")
    parser.add_argument("--manifest", type=Path, default=data / "manifest.json")
    parser.add_argument("--slices", type=int, default=MOST_SLICES, help="of each scan")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    known = json.loads(arguments.calibration.read_text("utf-8"))
    graphs = load_flow(packaged_weights("hrinet-flow"))
    require_shipped(known, graphs.description, (*CURVES, "slices"))
    graphs = replace(graphs, calibration=replace(graphs.calibration, transfer=Transfer()))
    cells = []
    for name, volume in scans(arguments.manifest):
        volume = middle(volume, arguments.slices)
        spacing_mm, count = volume.geometry.spacing_mm, len(volume)
        ways = [(1, factor) for factor in allowed(FACTORS, count, spacing_mm)]
        if volume.geometry.slice_thickness and spacing_mm < THIN_MM:
            ways += [
                (averaged, factor)
                for averaged, factor in SLABS
                if allowed((factor,), count - averaged + 1, spacing_mm)
            ]
        for averaged, factor in ways:
            cells.append(cell_of(graphs, name, volume, averaged, factor, threads=default_threads()))
            print(f"{name} /{averaged} x{factor}: wanted {cells[-1].wanted}", flush=True)
    known["transfer"] = {**fitted(cells), **report(cells)}
    print(known["transfer"])
    arguments.calibration.write_text(json.dumps(known, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()

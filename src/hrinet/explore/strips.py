"""Strips of interpolations: over the course of a training, and of models side by side.

After the thesis, Fig. 4-9 and Figs. 4-1 to 4-3.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from hrinet.errors import InputError
from hrinet.explore.material import Run
from hrinet.explore.sheet import SHOWN_HU, Sheet, gray_of_hu
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.networks.generator import Generator
from hrinet.networks.mixing import alpha_from_position
from hrinet.report.drawing import Pixels
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.registry import build_interpolator
from hrinet.train import Window, to_hu, to_unit
from hrinet.train.log import read_log

BASELINES = ("linear", "cubic")
"""Methods that stand beside the models."""

_STRIP = re.compile(r"step-(\d+)\.png")
_MOST_STRIPS = 10


@dataclass(frozen=True, eq=False, kw_only=True)
class Row:
    """One method's slices.

    Attributes:
        name: of the method.
        images_hu: shape (n, row, column), HU; the first and the last are the given slices.
        psnr_db: of the slices between, mean, on -1000 to 1000 HU; None for the truth.
        ssim: likewise.
    """

    name: str
    images_hu: NDArray[np.float32]
    psnr_db: float | None = None
    ssim: float | None = None


def model_rows(
    run: Run, models: Mapping[str, tuple[Generator, Window]], window: Window
) -> list[Row]:
    """The slices between the ends of a run, hidden and made by every method.

    ``cubic`` sees one more slice on either side where the scan has it, as in ``interpolate``.

    Args:
        run: consecutive slices; the first and the last are given.
        models: generators for gray images and their windows, by name.
        window: HU of 0 and 1 in ``run``.

    Returns:
        The truth, the baselines, the models.
    """
    truth = to_hu(run.images, window)
    positions = np.array(run.positions_mm)
    t = (positions[1:-1] - positions[0]) / (positions[-1] - positions[0])
    rows = [Row(name="true slices", images_hu=truth)]
    gap = _gap_of(run, window)
    for name in BASELINES:
        made = [np.array(image) for image in build_interpolator(name).synthesize(gap, t.tolist())]
        rows.append(_scored(name, np.stack(made), truth))
    for name, (generator, own_window) in models.items():
        rows.append(_scored(name, _interpolated(generator, truth, t, own_window), truth))
    return rows


def draw_rows(rows: Sequence[Row], run: Run, *, subtitle: str) -> Sheet:
    """The strips under each other."""
    start = run.positions_mm[0]
    heads = [f"{position - start:+.1f} mm" for position in run.positions_mm]
    heads[0], heads[-1] = "given", "given"
    labels = []
    for row in rows:
        if row.psnr_db is None or row.ssim is None:
            labels.append([row.name])
        else:
            labels.append([row.name, f"{row.psnr_db:.2f} dB", f"SSIM {row.ssim:.4f}"])
    count = len(run.positions_mm)
    ends = {(row, column) for row in range(len(rows)) for column in (0, count - 1)}
    truth = {(0, column) for column in range(count)}
    return Sheet(
        title="The slices between two given ones, as every method makes them",
        subtitle=subtitle,
        rows=[[gray_of_hu(image) for image in row.images_hu] for row in rows],
        row_labels=labels,
        column_labels=heads,
        side=200,
        framed=ends | truth,
    )


def rows_table(rows: Sequence[Row]) -> str:
    """The measures as a Markdown table."""
    lines = ["| method | PSNR, dB | SSIM |", "|---|--:|--:|"]
    for row in rows:
        if row.psnr_db is not None and row.ssim is not None:
            lines.append(f"| {row.name} | {row.psnr_db:.2f} | {row.ssim:.4f} |")
    return "\n".join(lines)


def draw_progress(folder: Path) -> Sheet:
    """The strips that a training left, from its first to its last step (Fig. 4-9).

    Args:
        folder: of the run.

    Raises:
        InputError: if it holds no strips, or one is damaged.
    """
    found = sorted(
        (int(match[1]), path)
        for path in (folder / "strips").glob("*.png")
        if (match := _STRIP.fullmatch(path.name))
    )
    if not found:
        raise InputError(f"{folder}: holds no strips/step-*.png; expected the output of a training")
    stages = [(int(record["step"]), int(record["stage"])) for record in read_log(folder)]
    steps = [step for step, _ in found]
    shown = [found[k] for k in _chosen(steps, [_stage_of(step, stages) for step in steps])]
    tiles: list[list[Pixels | None]] = []
    labels = []
    for step, path in shown:
        strip = _read_strip(path)
        side = strip.shape[0]
        tiles.append([strip[:, x : x + side] for x in range(0, strip.shape[1], side)])
        stage = _stage_of(step, stages)
        labels.append([f"step {step:,}".replace(",", " "), f"stage {stage}" if stage else ""])
    last = max(len(row) for row in tiles) - 1
    ends = {(row, column) for row in range(len(tiles)) for column in (0, last)}
    return Sheet(
        title="One pair of unrelated slices as training goes on",
        subtitle=f"{folder.name}; stage 1: the generator and D1, stage 2: with D2",
        rows=tiles,
        row_labels=labels,
        column_labels=["given", *[""] * (last - 1), "given"],
        side=128,
        framed=ends,
    )


def has_strips(folder: Path) -> bool:
    """Whether :func:`draw_progress` has anything to draw."""
    return any(_STRIP.fullmatch(path.name) for path in (folder / "strips").glob("*.png"))


@torch.no_grad()
def _interpolated(
    generator: Generator, truth: NDArray[np.float32], t: NDArray[np.float64], window: Window
) -> NDArray[np.float32]:
    ends = torch.from_numpy(to_unit(truth[[0, -1]], window))[:, None]  # (2, 1, row, column)
    a = torch.from_numpy(alpha_from_position(torch.from_numpy(t)).numpy().astype(np.float32))
    made = generator.interpolate(ends[:1], ends[1:], a[None])  # (1, n - 2, 1, row, column)
    return to_hu(made[0, :, 0].numpy(), window)


def _gap_of(run: Run, window: Window) -> Gap:
    slices = [to_hu(run.images[0], window), to_hu(run.images[-1], window)]
    positions = [run.positions_mm[0], run.positions_mm[-1]]
    left = 0
    if run.before is not None:
        slices.insert(0, to_hu(run.before, window))
        positions.insert(0, run.before_mm)
        left = 1
    if run.after is not None:
        slices.append(to_hu(run.after, window))
        positions.append(run.after_mm)
    return Gap(
        slices=tuple(slices),
        positions_mm=tuple(positions),
        left=left,
        pixel_spacing_mm=run.pixel_spacing_mm,
    )


def _scored(name: str, made: NDArray[np.float32], truth: NDArray[np.float32]) -> Row:
    low, high = SHOWN_HU
    pairs = [
        (np.clip(a, low, high), np.clip(b, low, high))
        for a, b in zip(made, truth[1:-1], strict=True)
    ]
    wide = high - low
    return Row(
        name=name,
        images_hu=np.concatenate([truth[:1], made, truth[-1:]]),
        psnr_db=float(np.mean([psnr(a, b, data_range=wide) for a, b in pairs])),
        ssim=float(np.mean([ssim(a, b, data_range=wide) for a, b in pairs])),
    )


def _stage_of(step: int, stages: Sequence[tuple[int, int]]) -> int | None:
    """Stage of the log line that a step belongs to; None if the log does not tell."""
    return next((stage for end, stage in stages if end >= step), None)


def _chosen(steps: Sequence[int], stages: Sequence[int | None]) -> list[int]:
    """Indices of the strips to show: the ends, the last one of stage 1, the rest evenly spread."""
    count = len(steps)
    if count <= _MOST_STRIPS:
        return list(range(count))
    turn = [k for k in range(count - 1) if stages[k] == 1 and stages[k + 1] == 2]
    even = np.linspace(0, count - 1, _MOST_STRIPS - len(turn[:1])).round().astype(int)
    return sorted({*even.tolist(), *turn[:1]})


def _read_strip(path: Path) -> Pixels:
    try:
        with Image.open(path) as image:
            strip = np.asarray(image.convert("L"), np.uint8)
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: is no readable PNG; remove it or train again") from error
    if strip.shape[1] % strip.shape[0]:
        raise InputError(
            f"{path}: is {strip.shape[1]} x {strip.shape[0]} pixels; expected square images side "
            "by side"
        )
    return strip

"""Figures 4-1 to 4-6 of the thesis for the methods under evaluation, and maps of their errors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.evaluate.cache import Cache
from hrinet.evaluate.candidates import REFERENCE, title_of
from hrinet.evaluate.document import Figure
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.scoring import WIDE_HU
from hrinet.evaluate.subject import Subject
from hrinet.explore.sheet import FOOTNOTE, SHOWN_HU, Sheet, gray_of_hu
from hrinet.metrics.psnr import psnr
from hrinet.metrics.ssim import ssim
from hrinet.report.drawing import Pixels
from hrinet.types import SliceArray

ERROR_HU = 300.0
"""Black and white of the error maps: this much too low, this much too high."""

_BODY_HU = -500.0
_REGION = 4
"""The enlarged region is this many times smaller than the slice."""

_TILE = 148


@dataclass(frozen=True, slots=True, eq=False)
class Strip:
    """One gap of one scan, as every method fills it.

    Attributes:
        made: slices of every method by name, shape (slice, row, column), HU.
        ends: the two given slices.
        truth: the hidden slices, or None where there are none.
        indices: of the given slices in the scan.
        t: positions of the slices, in (0, 1).
    """

    made: Mapping[str, NDArray[np.int16]]
    ends: NDArray[np.int16]
    truth: NDArray[np.int16] | None
    indices: tuple[int, int]
    t: tuple[float, ...]


def strips_of(results: Results, section: Section, subject: Subject) -> list[Strip]:
    """The gaps of a scan that were kept for pictures."""
    cache = Cache(results.cache)
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for candidate in section.candidates:
        outcome = results.outcomes.get((section.protocol.key, candidate.name, subject.name))
        slices = cache.slices(outcome.key) if outcome is not None and outcome.key else None
        if slices is not None:
            found[candidate.name] = slices
    if not found:
        return []
    first = next(iter(found.values()))
    strips = []
    place = 0
    while f"ends{place}" in first:
        ends = first[f"ends{place}"]
        indices = first[f"index{place}"]
        truth = first.get(f"truth{place}")
        window = _body_of(np.concatenate([ends, *([] if truth is None else [truth])]))
        strips.append(
            Strip(
                made={name: _cut(s[f"made{place}"], window) for name, s in found.items()},
                ends=_cut(ends, window),
                truth=None if truth is None else _cut(truth, window),
                indices=(int(indices[0]), int(indices[-1])),
                t=tuple(float(t) for t in first[f"t{place}"]),
            )
        )
        place += 1
    return strips


def strip_figure(strip: Strip, section: Section, subject: Subject, number: str) -> Figure:
    """Figures 4-1 to 4-3, 4-5, 4-6: given slices at both ends, a row a method."""
    rows: list[list[Pixels | None]] = []
    labels = []
    if strip.truth is not None:
        rows.append(_tiles(strip, strip.truth))
        labels.append(["true slices"])
    for candidate in section.candidates:
        made = strip.made.get(candidate.name)
        if made is None:
            continue
        rows.append(_tiles(strip, made))
        scores = _scores(made, strip.truth)
        labels.append([title_of(candidate.name), *scores])
    columns = len(rows[0])
    ends = {(row, column) for row in range(len(rows)) for column in (0, columns - 1)}
    truth = {(0, column) for column in range(columns)} if strip.truth is not None else set()
    title = (
        "A large gap, as every method fills it"
        if strip.truth is not None
        else "Between two neighbouring slices, as every method sees it"
    )
    sheet = Sheet(
        title=title,
        subtitle=f"{subject.name}, slices {strip.indices[0]} and {strip.indices[1]}; framed: "
        f"measured; {window_words()}",
        rows=rows,
        row_labels=labels,
        column_labels=["given", *[f"{t:.2f} of the way" for t in strip.t], "given"],
        side=_TILE,
        framed=ends | truth,
        note=note_of(subject),
    )
    return Figure(
        title=f"Figure {number}",
        image=sheet.draw(),
        caption=f"First and last column: the two given slices of {subject.name}. Between them, "
        + (
            "the hidden slices (first row) and what every method made in their place; PSNR and "
            "SSIM are means over the row, of the part shown."
            if strip.truth is not None
            else "what every method makes where no slice was measured; there is no truth."
        )
        + missing_words(section),
    )


def enlarged_figure(strip: Strip, section: Section, subject: Subject) -> Figure | None:
    """Figure 4-4: the middle slice whole and enlarged, with its own PSNR and SSIM."""
    if strip.truth is None or not strip.made:
        return None
    middle = len(strip.truth) // 2
    truth = strip.truth[middle]
    reference = strip.made.get(REFERENCE, next(iter(strip.made.values())))[middle]
    region = _hardest(reference, truth)
    rows: list[list[Pixels | None]] = [
        [_framed(gray_of_hu(truth), region), gray_of_hu(truth[region]), None]
    ]
    labels = [["true slice"]]
    for candidate in section.candidates:
        if candidate.name not in strip.made:
            continue
        image = strip.made[candidate.name][middle]
        decibel, similarity = _scores_of(image, truth)
        errors = _gray_of_error(image.astype(np.float32) - truth)
        rows.append([_framed(gray_of_hu(image), region), gray_of_hu(image[region]), errors[region]])
        labels.append([title_of(candidate.name), f"{decibel:.2f} dB", f"SSIM {similarity:.3f}"])
    sheet = Sheet(
        title="The middle slice of a gap, whole and enlarged",
        subtitle=f"{subject.name}, between slices {strip.indices[0]} and {strip.indices[1]}; "
        f"{window_words()}",
        rows=rows,
        row_labels=labels,
        column_labels=["part with the body", "enlarged", f"error, ±{ERROR_HU:g} HU"],
        side=240,
        framed={(0, 0), (0, 1)},
        note=note_of(subject),
    )
    return Figure(
        title="Figure 4-4",
        image=sheet.draw(),
        caption=f"The enlarged region is the one where the error of {REFERENCE} is largest, found "
        "by computation. PSNR and SSIM are those of the first column." + missing_words(section),
    )


def error_figure(strip: Strip, section: Section, subject: Subject) -> Figure | None:
    """Where and in which direction every method errs."""
    if strip.truth is None:
        return None
    rows: list[list[Pixels | None]] = []
    labels = []
    for candidate in section.candidates:
        made = strip.made.get(candidate.name)
        if made is None:
            continue
        errors = made.astype(np.float32) - strip.truth
        rows.append(list(_gray_of_error(errors)))
        labels.append([title_of(candidate.name), f"MAE {np.abs(errors).mean():.1f} HU"])
    if not rows:
        return None
    sheet = Sheet(
        title="Errors: synthetic less true slice",
        subtitle=f"{subject.name}, between slices {strip.indices[0]} and {strip.indices[1]}; gray "
        f"is no error, black {ERROR_HU:g} HU or more too low, white {ERROR_HU:g} HU or more too "
        "high",
        rows=rows,
        row_labels=labels,
        column_labels=[f"{t:.2f} of the way" for t in strip.t],
        side=_TILE,
        note=note_of(subject),
    )
    return Figure(
        title="Error maps",
        image=sheet.draw(),
        caption=f"Mid-gray: no error; black and white: {ERROR_HU:g} HU too low and too high. "
        "Outlines that remain are structures that the method put in another place or left out.",
    )


def _tiles(strip: Strip, slices: NDArray[np.int16]) -> list[Pixels | None]:
    return [gray_of_hu(one) for one in (strip.ends[0], *slices, strip.ends[-1])]


def _scores(made: NDArray[np.int16], truth: NDArray[np.int16] | None) -> list[str]:
    if truth is None:
        return []
    pairs = [_scores_of(a, b) for a, b in zip(made, truth, strict=True)]
    decibel, similarity = np.mean(pairs, axis=0)
    return [f"{decibel:.2f} dB", f"SSIM {similarity:.3f}"]


def _scores_of(made: SliceArray, truth: SliceArray) -> tuple[float, float]:
    low, high = WIDE_HU
    a, b = (np.clip(one, low, high).astype(np.float32) for one in (made, truth))
    if min(a.shape) < 11:
        return psnr(a, b, data_range=high - low), float("nan")
    return psnr(a, b, data_range=high - low), ssim(a, b, data_range=high - low)


def _gray_of_error(errors: NDArray[np.float32]) -> Pixels:
    return np.asarray(np.rint(np.clip(127.5 + errors * (127.5 / ERROR_HU), 0, 255)), np.uint8)


def _body_of(slices: NDArray[np.int16]) -> tuple[slice, slice]:
    """The square around what is not air, so that little of a picture is empty."""
    rows, columns = slices.shape[1:]
    body = (slices > _BODY_HU).mean(axis=0) > 0.3
    if not body.any():
        return slice(0, rows), slice(0, columns)
    ys, xs = np.flatnonzero(body.any(axis=1)), np.flatnonzero(body.any(axis=0))
    side = min(max(int(np.ptp(ys)), int(np.ptp(xs))) + 17, rows, columns)
    top = int(np.clip((ys[0] + ys[-1] - side) // 2, 0, rows - side))
    left = int(np.clip((xs[0] + xs[-1] - side) // 2, 0, columns - side))
    return slice(top, top + side), slice(left, left + side)


def _cut(stack: NDArray[Any], window: tuple[slice, slice]) -> NDArray[np.int16]:
    return np.asarray(stack[:, window[0], window[1]], np.int16)


def _hardest(image: SliceArray, truth: SliceArray) -> tuple[slice, slice]:
    """The region of a fixed size with the largest mean absolute error, away from the border."""
    side = max(8, min(truth.shape) // _REGION)
    error = np.abs(image.astype(np.float32) - truth)
    means = cv2.boxFilter(error, -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    half = side // 2
    inner = means[half : truth.shape[0] - half, half : truth.shape[1] - half]
    top, left = np.unravel_index(int(inner.argmax()), inner.shape)
    return slice(int(top), int(top) + side), slice(int(left), int(left) + side)


def _framed(gray: Pixels, region: tuple[slice, slice]) -> Pixels:
    gray = gray.copy()
    rows, columns = region
    corners = (columns.start, rows.start), (columns.stop - 1, rows.stop - 1)
    cv2.rectangle(gray, *corners, 255, 2)
    return gray


def window_words() -> str:
    """What black and white mean."""
    return f"gray from {SHOWN_HU[0]:g} to {SHOWN_HU[1]:g} HU"


def note_of(subject: Subject) -> str:
    """The last line of a picture: where the slices are from."""
    source = f"Slices: {subject.attribution}. " if subject.attribution else ""
    return source + FOOTNOTE


def missing_words(section: Section) -> str:
    """Which methods a picture lacks, for the end of its caption."""
    missing = [title_of(c.name) for c in section.candidates if c.missing]
    if not missing:
        return ""
    return f" No row for {', '.join(missing)}: no weights installed."

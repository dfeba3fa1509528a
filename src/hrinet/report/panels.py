"""Layout and drawing of the six panels of a preview."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrinet.geometry import UNIFORM_TOLERANCE, Geometry
from hrinet.report import drawing
from hrinet.report.drawing import ARROW, Colour, Pen, Pixels, Rect, View, views_of
from hrinet.types import Float64Array

MAX_WIDTH = 1800
MAX_HEIGHT = 2000
_MIN_WIDTH = 960
_MARGIN = 40
_COLUMN_GAP = 64
_TICKS = 26  # Room beside a panel for the marks of its slices.
_HEADER = 150
_FOOTER = 112
_ROW_GAP = 46
_MIN_PANEL = 24
_STRAIGHT = 0.1  # Slides of less than this fraction of a voxel are rounding, not tilt.
_FOOTNOTE = "Synthetic slices are computed, not measured. Not for diagnosis."


@dataclass(frozen=True, slots=True)
class Shown:
    """A whole slice for display; its kind is the colour of its mark."""

    pixels: Pixels
    position_mm: float
    kind: Colour


@dataclass(frozen=True, slots=True, kw_only=True)
class Caption:
    """What is written around the panels.

    Attributes:
        title: first line of the picture.
        method: name of the method, or nothing.
        window: lowest and highest value shown, HU.
    """

    title: str
    method: str
    window: tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """The slices of one column of the picture.

    Attributes:
        positions: along the normal, increasing, shape (slice,), mm.
        kinds: the colour of every slice's mark.
        lines: for index axis 1 and 2, the line of pixels along it of every slice.
        slides: for index axis 1 and 2, where those lines begin along it, shape (slice,), mm.
        shown: the slice to show whole.
        lone_mm: height of the cell of a single slice, mm.
    """

    positions: Float64Array
    kinds: tuple[Colour, ...]
    lines: Mapping[int, Sequence[Pixels]]
    slides: Mapping[int, Float64Array]
    shown: Shown | None
    lone_mm: float

    @property
    def edges(self) -> Float64Array:
        """Borders of the slices' cells, shape (slice + 1,), mm; empty without slices."""
        if len(self.positions) == 0:
            return self.positions
        return drawing.cell_edges(self.positions, self.lone_mm)


class Panels:
    """Draws both columns at one scale, over one extent.

    Args:
        geometry: of the output.
        before: the left column; may have no slices.
        after: the right column.
        neighbours: positions between which synthetic slices lie, mm.
        caption: the texts.
    """

    def __init__(
        self,
        geometry: Geometry,
        before: Side,
        after: Side,
        *,
        neighbours: Float64Array,
        caption: Caption,
    ) -> None:
        self._geometry = geometry
        self._views = views_of(geometry)
        self._sides = {"before": before, "after": after}
        self._neighbours = neighbours
        self._caption = caption
        edges = np.concatenate((before.edges, after.edges))
        self._extent = (float(edges.min()), float(edges.max()))
        self._slides = {axis: self._slide_range(axis) for axis in (1, 2)}

    def save(self, path: Path) -> None:
        """Write the picture as a PNG."""
        width, height, scale = self._size()
        pen = Pen(width, height)
        self._draw_header(pen)
        for (name, plane), rect in self.layout.items():
            view = next(v for v in self._views if v.plane == plane)
            pen.draw.rectangle((*rect[:2], rect.right - 1, rect.bottom - 1), fill=drawing.PANEL)
            draw = self._draw_stack if view.has_slices else self._draw_slice
            draw(pen, rect, view, self._sides[name])
        self._draw_footer(pen, scale)
        pen.image.save(path, format="PNG", optimize=False, compress_level=6)

    @property
    def layout(self) -> dict[tuple[str, str], Rect]:
        """The panel of every (``before`` or ``after``, plane) in the picture, pixels."""
        width, _, scale = self._size()
        found = {}
        top = _HEADER
        for view in self._views:
            panel_width, panel_height = self._panel_size(view, scale)
            room = max(panel_height, _MIN_PANEL)
            for number, side in enumerate(self._sides):
                left = _MARGIN + number * _second_column(width)
                upper = top + (room - panel_height) // 2
                found[side, view.plane] = Rect(
                    left, upper, left + panel_width, upper + panel_height
                )
            top += room + _ROW_GAP
        return found

    def _slide_range(self, axis: int) -> tuple[float, float]:
        """The first and the last place along an index axis where a slice begins, mm."""
        slides = np.concatenate([side.slides[axis] for side in self._sides.values()])
        low, high = float(slides.min()), float(slides.max())
        is_straight = high - low < _STRAIGHT * self._geometry.pixel_spacing[axis - 1]
        return (low, low) if is_straight else (low, high)

    def _own_length_mm(self, axis: int) -> float:
        """Length of the slices (1: their columns, 2: their rows)."""
        count = (self._geometry.rows, self._geometry.columns)[axis - 1]
        return count * self._geometry.pixel_spacing[axis - 1]

    def _lengths_mm(self, view: View) -> tuple[float, float]:
        """(width, height) of a panel; those across are widened by the slide."""

        def length(axis: int) -> float:
            if axis == 0:
                return self._extent[1] - self._extent[0]
            low, high = self._slides[axis] if view.has_slices else (0.0, 0.0)
            return self._own_length_mm(axis) + high - low

        return length(view.horizontal), length(view.vertical)

    def _size(self) -> tuple[int, int, float]:
        """(width, height) of the picture in pixels, and pixels per mm, the same in all views."""
        lengths = [self._lengths_mm(view) for view in self._views]
        across, down = max(width for width, _ in lengths), sum(height for _, height in lengths)
        fixed = _HEADER + _FOOTER + 3 * _ROW_GAP
        room = MAX_WIDTH - 2 * _MARGIN - _COLUMN_GAP - 2 * _TICKS
        scale = min(room / 2 / across, (MAX_HEIGHT - fixed - 3 * _MIN_PANEL) / down)
        panels = [self._panel_size(view, scale) for view in self._views]
        widest = max(panel[0] for panel in panels)
        width = max(_MIN_WIDTH, 2 * (widest + _TICKS + _MARGIN) + _COLUMN_GAP)
        height = fixed + sum(max(panel[1], _MIN_PANEL) for panel in panels)
        return width, height, scale

    def _panel_size(self, view: View, scale: float) -> tuple[int, int]:
        across, down = self._lengths_mm(view)
        return max(1, round(across * scale)), max(1, round(down * scale))

    def _draw_slice(self, pen: Pen, rect: Rect, view: View, side: Side) -> None:
        shown = side.shown
        if shown is None:
            self._draw_nothing(pen, rect, view)
            return
        pixels = view.turned(shown.pixels, first_axis=1)
        pen.paste(drawing.resized(pixels, rect.height, rect.width), rect)
        label = f"original slice at {shown.position_mm:.2f} mm"
        if shown.kind != drawing.ORIGINAL:
            name = "flagged synthetic" if shown.kind == drawing.FLAGGED else "synthetic"
            label = f"{name} slice at {shown.position_mm:.2f} mm{self._between(shown)}"
            pen.box(rect, shown.kind, width=3, outside=3)
        self._label(pen, rect, view, label, shown.kind)

    def _between(self, shown: Shown) -> str:
        """Where a synthetic slice lies between its neighbours, in words."""
        right = int(np.searchsorted(self._neighbours, shown.position_mm))
        if not 0 < right < len(self._neighbours):
            return ""
        below, above = self._neighbours[right - 1 : right + 1]
        return f", t = {(shown.position_mm - below) / (above - below):.2f}"

    def _draw_stack(self, pen: Pen, rect: Rect, view: View, side: Side) -> None:
        if len(side.positions) == 0:
            self._draw_nothing(pen, rect, view)
            return
        other = view.vertical if view.horizontal == 0 else view.horizontal
        lines = np.stack(side.lines[other])
        height, width = (rect.height, rect.width)
        if view.vertical != 0:
            height, width = width, height
        low, high = self._slides[other]
        if high > low:
            starts, own = side.slides[other] - low, self._own_length_mm(other)
            lines = drawing.displaced(lines, starts, own, own + high - low, width)
        picture = drawing.stacked(lines, side.edges, self._extent, height, width)
        pen.paste(view.turned(picture, first_axis=0), rect)
        bottom, top = self._extent
        for kind, reach in ((drawing.SYNTHETIC, 7), (drawing.FLAGGED, 11), (drawing.ORIGINAL, 15)):
            # The rarer kinds come last and reach farther, so that they show among many.
            for position, own_kind in zip(side.positions, side.kinds, strict=True):
                if own_kind == kind:
                    at = min(int((position - bottom) / (top - bottom) * height), height - 1)
                    self._tick(pen, rect, view, at, reach, kind)
        self._label(pen, rect, view, view.plane, drawing.MUTED)

    @staticmethod
    def _tick(pen: Pen, rect: Rect, view: View, at: int, reach: int, colour: Colour) -> None:
        if view.vertical == 0:
            y = rect.bottom - 1 - at if view.is_upturned else rect.top + at
            pen.draw.line([(rect.right + 5, y), (rect.right + 4 + reach, y)], fill=colour)
        else:
            x = rect.right - 1 - at if view.is_mirrored else rect.left + at
            pen.draw.line([(x, rect.bottom + 5), (x, rect.bottom + 4 + reach)], fill=colour)

    def _draw_nothing(self, pen: Pen, rect: Rect, view: View) -> None:
        x, y = (rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2
        pen.text(x, y, "no original slices", colour=drawing.MUTED, anchor="mm")
        self._label(pen, rect, view, view.plane, drawing.MUTED)

    def _label(self, pen: Pen, rect: Rect, view: View, label: str, colour: Colour) -> None:
        """The caption above a panel, and the orientation letters inside if there is room."""
        if not view.has_slices and label != view.plane:
            label = f"{view.plane}, {label}"
        available = _second_column(pen.image.width) - _COLUMN_GAP
        size = drawing.fitting_size(label, size=17, available=available)
        pen.text(rect.left, rect.top - 17, label, size=size, colour=colour)
        if min(rect.width, rect.height) < 80:
            return
        left, right, top, bottom = view.letters
        x, y = (rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2
        for at_x, at_y, letter in (
            (rect.left + 14, y, left),
            (rect.right - 14, y, right),
            (x, rect.top + 16, top),
            (x, rect.bottom - 15, bottom),
        ):
            pen.text(at_x, at_y, letter, size=19, colour=drawing.TEXT, anchor="mm", halo=True)

    def _draw_header(self, pen: Pen) -> None:
        width = pen.image.width
        sources, kinds = self._sides["before"].positions, self._sides["after"].kinds
        before, is_even = spacing_words(sources)
        gaps = np.diff(self._sides["after"].positions)
        after = _millimetres(float(np.median(gaps))) if len(gaps) else ""
        title = self._caption.title or "Before and after filling the gaps"
        change = f"{before} {ARROW} {after}" if before and after else before or after
        room = width - 2 * _MARGIN - drawing.text_width(change, size=32) - 30
        size = drawing.fitting_size(title, size=32, available=room)
        pen.text(_MARGIN, 42, title, size=size)
        pen.text(width - _MARGIN, 42, change, size=32, colour=drawing.SYNTHETIC, anchor="rm")
        pen.draw.line([(_MARGIN, 72), (width - _MARGIN, 72)], fill=drawing.RULE)
        synthetic = sum(kind != drawing.ORIGINAL for kind in kinds)
        method = f", {self._caption.method}" if self._caption.method else ""
        apart = (f" every {before}" if is_even else f", {before} apart") if before else ""
        captions = (
            ("Before", f"{_count(len(sources))}{apart}"),
            ("After", f"{_count(len(kinds))}, {synthetic} of them synthetic{method}"),
        )
        for number, (name, text) in enumerate(captions):
            x = _MARGIN + number * _second_column(width)
            pen.text(x, 98, name, size=22)
            start = x + drawing.text_width(name, size=22) + 14
            room = _second_column(width) - _COLUMN_GAP - (start - x)
            size = drawing.fitting_size(text, size=17, available=room)
            pen.text(start, 99, text, size=size, colour=drawing.MUTED)

    def _draw_footer(self, pen: Pen, scale: float) -> None:
        width, y = pen.image.width, pen.image.height - _FOOTER + 30
        pen.draw.line([(_MARGIN, y - 28), (width - _MARGIN, y - 28)], fill=drawing.RULE)
        x: float = _MARGIN
        for label, colour in (
            ("original slices", drawing.ORIGINAL),
            ("synthetic slices", drawing.SYNTHETIC),
            ("flagged", drawing.FLAGGED),
        ):
            pen.draw.rectangle((x, y - 2, x + 17, y + 1), fill=colour)
            pen.text(x + 26, y, label)
            x += 26 + math.ceil(drawing.text_width(label)) + 28
        low, high = self._caption.window
        label = f"window {low:g}..{high:g} HU"
        pen.text(width - _MARGIN, y, label, anchor="rm")
        room = width - _MARGIN - drawing.text_width(label) - 28 - x - 90
        pen.scale_bar(int(x), y, scale, available=int(max(20, min(room, 200))))
        pen.text(_MARGIN, y + 42, _FOOTNOTE, size=16, colour=drawing.MUTED)


def spacing_words(positions: Float64Array) -> tuple[str, bool]:
    """The distance between slices, ``4.0 mm`` or ``1.1 to 7.0 mm``, and whether it is even."""
    gaps = np.diff(positions)
    if len(gaps) == 0:
        return "", True
    low, typical, high = float(gaps.min()), float(np.median(gaps)), float(gaps.max())
    # Two slices, each at the end of its tolerance.
    if high - low <= 2 * UNIFORM_TOLERANCE * typical:
        return _millimetres(typical), True
    digits = 1 if low >= 1 and f"{low:.1f}" != f"{high:.1f}" else 2
    return f"{low:.{digits}f} to {high:.{digits}f} mm", False


def _second_column(width: int) -> int:
    """Distance from the left border of the first column to that of the second, pixels."""
    return (width - 2 * _MARGIN - _COLUMN_GAP) // 2 + _COLUMN_GAP


def _millimetres(length: float) -> str:
    text = f"{length:.2f}"
    return f"{text.removesuffix('0')} mm"


def _count(slices: int) -> str:
    return f"{slices} slice" if slices == 1 else f"{slices} slices"

"""One picture of a scan before and after its gaps were filled."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.report import drawing
from hrinet.report.drawing import ARROW, Colour, Pen, Pixels, Rect, View, views_of
from hrinet.types import SliceArray

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
_FOOTNOTE = "Synthetic slices are computed, not measured. Not for diagnosis."


@dataclass(frozen=True, slots=True)
class _Shown:
    """A whole slice kept for display."""

    pixels: Pixels
    position_mm: float
    flagged: bool


class Preview:
    """Collects output slices as they stream by and draws one PNG.

    Of every slice it keeps one row and one column as bytes, and never more than three whole
    slices: an original near the middle of the stack, the synthetic slice nearest the middle of the
    gap after it, and one to fall back on.

    Args:
        geometry: of the output; gives sizes, directions and the middle of the stack. Slices of a
            tilted stack are drawn straight above each other, as plain viewers do.
        source_spacing_mm: median distance between source slices, mm; None to take it from the
            originals that stream by.
        method: the method's name, for the caption.
        centre: (row, column) of the voxels through which the two reformatted views go; the middle
            by default.
        window: lowest and highest value shown, HU.
        title: first line of the picture.
        middle_mm: position near which the slices to show whole are chosen, mm; the middle of
            ``geometry`` by default.

    Raises:
        RequestError: if the centre lies outside the slices or the window is empty.
    """

    def __init__(
        self,
        *,
        geometry: Geometry,
        source_spacing_mm: float | None = None,
        method: str = "",
        centre: tuple[int, int] | None = None,
        window: tuple[float, float] = (-160.0, 240.0),
        title: str = "",
        middle_mm: float | None = None,
    ) -> None:
        rows, columns = geometry.rows, geometry.columns
        self._geometry = geometry
        self._views = views_of(geometry)
        self._spacing = source_spacing_mm
        self._method = method
        self._centre = (rows // 2, columns // 2) if centre is None else centre
        self._window = (float(window[0]), float(window[1]))
        self._title = title
        ends = geometry.positions_mm[[0, -1]]
        self._middle = float(ends.mean()) if middle_mm is None else middle_mm
        if not (0 <= self._centre[0] < rows and 0 <= self._centre[1] < columns):
            raise RequestError(
                f"the preview's centre {self._centre} lies outside slices of {rows} x {columns}"
            )
        if not self._window[0] < self._window[1]:
            raise RequestError(f"the preview's window {window} HU is empty")
        self._positions: list[float] = []
        self._kinds: list[Colour] = []
        # Index axis 1 and 2: a column and a row of every slice.
        self._profiles: dict[int, list[Pixels]] = {1: [], 2: []}
        self._original: _Shown | None = None
        self._synthetic: _Shown | None = None
        self._any_synthetic: _Shown | None = None
        self._previous: float | None = None
        self._in_gap = False

    def add(
        self, values: SliceArray, *, position_mm: float, is_synthetic: bool, flagged: bool = False
    ) -> None:
        """Take the next output slice.

        Args:
            values: shape (row, column), HU; not kept.
            position_mm: along the normal, greater than that of the slice before, mm.
            is_synthetic: whether it was computed.
            flagged: whether it deserves distrust.
        """
        row, column = self._centre
        self._positions.append(position_mm)
        kind = drawing.SYNTHETIC if is_synthetic else drawing.ORIGINAL
        self._kinds.append(drawing.FLAGGED if flagged and is_synthetic else kind)
        self._profiles[1].append(self._grey(values[:, column]))
        self._profiles[2].append(self._grey(values[row]))
        if is_synthetic:
            self._consider(values, position_mm, flagged)
            return
        self._in_gap = self._is_nearer(position_mm, self._original, self._middle)
        if self._in_gap:
            self._original = _Shown(self._grey(values), position_mm, False)
            self._synthetic = None
        if self._spacing is None and self._previous is not None:
            self._spacing = position_mm - self._previous
        self._previous = position_mm

    def save(self, path: Path) -> None:
        """Draw the picture.

        Args:
            path: of the PNG; the same slices always give the same bytes.

        Raises:
            RequestError: if no slice was added.
        """
        width, height, scale = self._size()
        layout = self.layout
        pen = Pen(width, height)
        self._draw_header(pen)
        for (side, plane), rect in layout.items():
            view = next(v for v in self._views if v.plane == plane)
            pen.draw.rectangle((*rect[:2], rect.right - 1, rect.bottom - 1), fill=drawing.PANEL)
            if view.has_slices:
                self._draw_stack(pen, rect, view, side)
            else:
                self._draw_slice(pen, rect, view, side)
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
            for number, side in enumerate(("before", "after")):
                left = _MARGIN + number * _second_column(width)
                upper = top + (room - panel_height) // 2
                found[side, view.plane] = Rect(
                    left, upper, left + panel_width, upper + panel_height
                )
            top += room + _ROW_GAP
        return found

    def _grey(self, values: SliceArray) -> Pixels:
        low, high = self._window
        scaled = (np.asarray(values, np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.asarray(np.nan_to_num(np.clip(np.rint(scaled), 0, 255)), np.uint8)

    def _consider(self, values: SliceArray, position: float, flagged: bool) -> None:
        """Keep a synthetic slice if it is nearer to where one is wanted."""
        nearer_any = self._is_nearer(position, self._any_synthetic, self._middle)
        target = self._middle
        if self._in_gap and self._original is not None:
            target = self._original.position_mm + (self._spacing or 0.0) / 2
        nearer = self._in_gap and self._is_nearer(position, self._synthetic, target)
        if nearer_any or nearer:
            shown = _Shown(self._grey(values), position, flagged)
            self._any_synthetic = shown if nearer_any else self._any_synthetic
            self._synthetic = shown if nearer else self._synthetic

    @staticmethod
    def _is_nearer(position: float, kept: _Shown | None, target: float) -> bool:
        # Grids are symmetric: without a margin, rounding would choose between two equals.
        return kept is None or abs(position - target) < abs(kept.position_mm - target) - 1e-6

    @property
    def _is_original(self) -> NDArray[np.bool_]:
        return np.array([kind == drawing.ORIGINAL for kind in self._kinds])

    def _edges(self, side: str) -> NDArray[np.float64]:
        positions = np.array(self._positions)
        lone = self._geometry.slice_thickness or min(self._geometry.pixel_spacing)
        if side == "before":
            positions = positions[self._is_original]
            lone = self._spacing or lone
        return drawing.cell_edges(positions, lone)

    @property
    def _extent(self) -> tuple[float, float]:
        edges = self._edges("after")
        low, high = float(edges[0]), float(edges[-1])
        if self._is_original.any():
            before = self._edges("before")
            low, high = min(low, float(before[0])), max(high, float(before[-1]))
        return low, high

    def _length_mm(self, index_axis: int) -> float:
        if index_axis == 0:
            return self._extent[1] - self._extent[0]
        count = (self._geometry.rows, self._geometry.columns)[index_axis - 1]
        return count * self._geometry.pixel_spacing[index_axis - 1]

    def _size(self) -> tuple[int, int, float]:
        """(width, height) of the picture in pixels, and pixels per mm, the same in all views."""
        if not self._positions:
            raise RequestError("a preview needs at least one slice")
        across = max(self._length_mm(view.horizontal) for view in self._views)
        down = sum(self._length_mm(view.vertical) for view in self._views)
        fixed = _HEADER + _FOOTER + 3 * _ROW_GAP
        room = MAX_WIDTH - 2 * _MARGIN - _COLUMN_GAP - 2 * _TICKS
        scale = min(room / 2 / across, (MAX_HEIGHT - fixed - 3 * _MIN_PANEL) / down)
        panels = [self._panel_size(view, scale) for view in self._views]
        widest = max(panel[0] for panel in panels)
        width = max(_MIN_WIDTH, 2 * (widest + _TICKS + _MARGIN) + _COLUMN_GAP)
        height = fixed + sum(max(panel[1], _MIN_PANEL) for panel in panels)
        return width, height, scale

    def _panel_size(self, view: View, scale: float) -> tuple[int, int]:
        across, down = (self._length_mm(axis) for axis in (view.horizontal, view.vertical))
        return max(1, round(across * scale)), max(1, round(down * scale))

    def _draw_slice(self, pen: Pen, rect: Rect, view: View, side: str) -> None:
        shown = self._original
        if side == "after":
            shown = self._synthetic or self._any_synthetic or self._original
        if shown is None:
            self._draw_nothing(pen, rect, view)
            return
        pixels = view.turned(shown.pixels, first_axis=1)
        pen.paste(drawing.resized(pixels, rect.height, rect.width), rect)
        label, colour = f"original slice at {shown.position_mm:.2f} mm", drawing.ORIGINAL
        if shown is not self._original:
            colour = drawing.FLAGGED if shown.flagged else drawing.SYNTHETIC
            label = f"{'flagged ' if shown.flagged else ''}synthetic slice{self._at(shown)}"
            pen.box(rect, colour, width=3, outside=3)
        self._label(pen, rect, view, label, colour)

    def _at(self, shown: _Shown) -> str:
        """Where a synthetic slice lies, in words."""
        originals = np.array(self._positions)[self._is_original]
        right = int(np.searchsorted(originals, shown.position_mm))
        where = f" at {shown.position_mm:.2f} mm"
        if 0 < right < len(originals):
            width = originals[right] - originals[right - 1]
            where += f", t = {(shown.position_mm - originals[right - 1]) / width:.2f}"
        return where

    def _draw_stack(self, pen: Pen, rect: Rect, view: View, side: str) -> None:
        kept = self._is_original if side == "before" else np.ones(len(self._kinds), bool)
        if not kept.any():
            self._draw_nothing(pen, rect, view)
            return
        other = view.vertical if view.horizontal == 0 else view.horizontal
        profiles = np.stack(self._profiles[other])[kept]
        is_upright = view.vertical == 0
        size = (rect.height, rect.width) if is_upright else (rect.width, rect.height)
        picture = drawing.stacked(profiles, self._edges(side), self._extent, *size)
        pen.paste(view.turned(picture, first_axis=0), rect)
        low, high = self._extent
        for kind, reach in ((drawing.SYNTHETIC, 7), (drawing.FLAGGED, 11), (drawing.ORIGINAL, 15)):
            # The rarer kinds come last and reach farther, so that they show among many.
            for position, own, wanted in zip(self._positions, self._kinds, kept, strict=True):
                if own == kind and wanted:
                    at = min(int((position - low) / (high - low) * size[0]), size[0] - 1)
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
        originals = int(self._is_original.sum())
        before = _millimetres(self._spacing) if self._spacing else ""
        gaps = np.diff(self._positions)
        after = _millimetres(float(np.median(gaps))) if len(gaps) else ""
        title = self._title or "Before and after filling the gaps"
        change = f"{before} {ARROW} {after}" if before and after else before or after
        room = width - 2 * _MARGIN - drawing.text_width(change, size=32) - 30
        size = drawing.fitting_size(title, size=32, available=room)
        pen.text(_MARGIN, 42, title, size=size)
        pen.text(width - _MARGIN, 42, change, size=32, colour=drawing.SYNTHETIC, anchor="rm")
        pen.draw.line([(_MARGIN, 72), (width - _MARGIN, 72)], fill=drawing.RULE)
        total = len(self._positions)
        method = f", {self._method}" if self._method else ""
        every = f" every {before}" if before else ""
        captions = (
            ("Before", f"{_count(originals)}{every}"),
            ("After", f"{_count(total)}, {total - originals} of them synthetic{method}"),
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
        low, high = self._window
        label = f"window {low:g}..{high:g} HU"
        pen.text(width - _MARGIN, y, label, anchor="rm")
        room = width - _MARGIN - drawing.text_width(label) - 28 - x - 90
        pen.scale_bar(int(x), y, scale, available=int(max(20, min(room, 200))))
        pen.text(_MARGIN, y + 42, _FOOTNOTE, size=16, colour=drawing.MUTED)


def _second_column(width: int) -> int:
    """Distance from the left border of the first column to that of the second, pixels."""
    return (width - 2 * _MARGIN - _COLUMN_GAP) // 2 + _COLUMN_GAP


def _millimetres(length: float) -> str:
    text = f"{length:.2f}"
    return f"{text.removesuffix('0')} mm"


def _count(slices: int) -> str:
    return f"{slices} slice" if slices == 1 else f"{slices} slices"

"""One picture of a scan before and after its gaps were filled."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock

import numpy as np

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.report import drawing
from hrinet.report.drawing import Colour, Pixels, Rect
from hrinet.report.panels import Caption, Panels, Shown, Side
from hrinet.types import Float64Array, SliceArray

Lines = tuple[Pixels, Pixels]
"""The column and the row of one slice that go into the views across the stack."""


class Preview:
    """Collects source and output slices as they stream by and draws one PNG.

    Of every slice it keeps one row and one column as bytes, and a handful of whole slices: the
    source slice (failing that, the original) nearest the middle of the stack, the synthetic slice
    nearest the middle of the gap after it, and one to fall back on.

    In the views across, every slice stands at its true position and, in a tilted stack, is
    displaced by its slide (:attr:`Geometry.shear`), so that what runs along the normal is vertical
    in the picture. They go through the centre voxel of every slice; where a stack slides along the
    third direction, out of the picture, they follow that voxel and are not exactly one plane.

    Args:
        geometry: of the output; gives sizes, directions and the middle of the stack.
        source_geometry: of the source slices, on the same scale of positions; tells the gap whose
            synthetic slice is shown. Without it, the originals that stream by do.
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
        source_geometry: Geometry | None = None,
        method: str = "",
        centre: tuple[int, int] | None = None,
        window: tuple[float, float] = (-160.0, 240.0),
        title: str = "",
        middle_mm: float | None = None,
    ) -> None:
        rows, columns = geometry.rows, geometry.columns
        self._geometry = geometry
        self._source_geometry = source_geometry
        self._centre = (rows // 2, columns // 2) if centre is None else centre
        low, high = float(window[0]), float(window[1])
        self._caption = Caption(title=title, method=method, window=(low, high))
        ends = geometry.positions_mm[[0, -1]]
        self._middle = float(ends.mean()) if middle_mm is None else middle_mm
        if not (0 <= self._centre[0] < rows and 0 <= self._centre[1] < columns):
            raise RequestError(
                f"the preview's centre {self._centre} lies outside slices of {rows} x {columns}"
            )
        if not low < high:
            raise RequestError(f"the preview's window {window} HU is empty")
        self._positions: list[float] = []
        self._kinds: list[Colour] = []
        self._lines: list[Lines] = []
        self._original: Shown | None = None
        self._synthetic: Shown | None = None
        self._any_synthetic: Shown | None = None
        self._source_lock = Lock()
        self._source_lines: dict[float, Lines] = {}
        self._source: Shown | None = None
        # The gap whose synthetic slice is shown; it follows the originals if it is not known.
        self._gap: tuple[float, float] | None = None
        self._previous: float | None = None
        self._spacing = 0.0
        if source_geometry is not None and len(source_geometry) > 1:
            self._gap = self._middle_gap(source_geometry.positions_mm)

    def add_source(self, values: SliceArray, *, position_mm: float) -> None:
        """Take a source slice for the left column.

        May be called from several threads, in any order, and again for a slice already given, which
        changes nothing.

        Args:
            values: shape (row, column), HU; not kept.
            position_mm: along the normal, mm.
        """
        key = round(position_mm, 6)
        with self._source_lock:
            if key in self._source_lines:
                return
            is_nearest = self._is_nearest_source(position_mm)
        lines = self._lines_of(values)
        whole = self._grey(values) if is_nearest else None
        with self._source_lock:
            if key in self._source_lines:
                return
            self._source_lines[key] = lines
            if whole is not None and self._is_nearest_source(position_mm):
                self._source = Shown(whole, position_mm, drawing.ORIGINAL)

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
        kind = drawing.ORIGINAL
        if is_synthetic:
            kind = drawing.FLAGGED if flagged else drawing.SYNTHETIC
        self._positions.append(position_mm)
        self._kinds.append(kind)
        self._lines.append(self._lines_of(values))
        if is_synthetic:
            self._consider(values, position_mm, kind)
            return
        is_nearest = _is_nearer(position_mm, self._original, self._middle)
        if self._previous is not None:
            self._spacing = self._spacing or position_mm - self._previous
        self._previous = position_mm
        if is_nearest:
            self._original = Shown(self._grey(values), position_mm, kind)
        if self._source_geometry is None:
            end = position_mm + self._spacing
            self._gap = (position_mm, end) if is_nearest else None
            self._synthetic = None if is_nearest else self._synthetic

    def save(self, path: Path) -> None:
        """Draw the picture.

        Args:
            path: of the PNG; the same slices always give the same bytes.

        Raises:
            RequestError: if no slice was added.
        """
        self._panels().save(path)

    @property
    def layout(self) -> dict[tuple[str, str], Rect]:
        """The panel of every (``before`` or ``after``, plane) in the picture, pixels."""
        return self._panels().layout

    def _grey(self, values: SliceArray) -> Pixels:
        low, high = self._caption.window
        scaled = (np.asarray(values, np.float32) - np.float32(low)) * np.float32(255 / (high - low))
        return np.asarray(np.nan_to_num(np.clip(np.rint(scaled), 0, 255)), np.uint8)

    def _lines_of(self, values: SliceArray) -> Lines:
        row, column = self._centre
        return self._grey(values[:, column]), self._grey(values[row])

    def _rank(self, position: float) -> tuple[float, float]:
        """Order of source slices by distance from the middle; of two equals the lower is first."""
        return round(abs(position - self._middle), 6), position

    def _is_nearest_source(self, position: float) -> bool:
        kept = self._source
        return kept is None or self._rank(position) < self._rank(kept.position_mm)

    def _middle_gap(self, positions: Float64Array) -> tuple[float, float]:
        """The gap after the source slice nearest the middle, or the last one."""
        nearest = min(range(len(positions)), key=lambda index: self._rank(float(positions[index])))
        left = min(nearest, len(positions) - 2)
        return float(positions[left]), float(positions[left + 1])

    def _consider(self, values: SliceArray, position: float, kind: Colour) -> None:
        """Keep a synthetic slice if it is nearer to where one is wanted."""
        nearer_any = _is_nearer(position, self._any_synthetic, self._middle)
        nearer = False
        if self._gap is not None:
            left, right = self._gap
            # Originals end a gap that is only estimated.
            is_inside = self._source_geometry is None or left < position < right
            nearer = is_inside and _is_nearer(position, self._synthetic, (left + right) / 2)
        if nearer_any or nearer:
            shown = Shown(self._grey(values), position, kind)
            self._any_synthetic = shown if nearer_any else self._any_synthetic
            self._synthetic = shown if nearer else self._synthetic

    def _panels(self) -> Panels:
        if not self._positions:
            raise RequestError("a preview needs at least one slice")
        geometry, source = self._geometry, self._source_geometry or self._geometry
        lone = geometry.slice_thickness or min(geometry.pixel_spacing)
        after = _side(
            self._positions,
            self._kinds,
            self._lines,
            geometry,
            self._synthetic or self._any_synthetic or self._original,
            lone,
        )
        with self._source_lock:
            given = sorted(self._source_lines.items())
            shown = self._source
        if not given:
            shown = self._original
            given = [
                (position, lines)
                for position, lines, kind in zip(
                    self._positions, self._lines, self._kinds, strict=True
                )
                if kind == drawing.ORIGINAL
            ]
        before = _side(
            [position for position, _ in given],
            [drawing.ORIGINAL] * len(given),
            [lines for _, lines in given],
            source,
            shown,
            self._spacing or lone if self._source_geometry is None else source.spacing_mm,
        )
        neighbours = before.positions
        if self._source_geometry is not None:
            neighbours = self._source_geometry.positions_mm
        return Panels(geometry, before, after, neighbours=neighbours, caption=self._caption)


def _side(
    positions: Sequence[float],
    kinds: Sequence[Colour],
    lines: Sequence[Lines],
    geometry: Geometry,
    shown: Shown | None,
    lone_mm: float,
) -> Side:
    def slides(direction: Float64Array) -> Float64Array:
        return np.interp(positions, geometry.positions_mm, geometry.origins @ direction)

    return Side(
        positions=np.array(positions, np.float64),
        kinds=tuple(kinds),
        lines={1: [pair[0] for pair in lines], 2: [pair[1] for pair in lines]},
        slides={1: slides(geometry.column_direction), 2: slides(geometry.row_direction)},
        shown=shown,
        lone_mm=lone_mm,
    )


def _is_nearer(position: float, kept: Shown | None, target: float) -> bool:
    # Grids are symmetric: without a margin, rounding would choose between two equals.
    return kept is None or abs(position - target) < abs(kept.position_mm - target) - 1e-6

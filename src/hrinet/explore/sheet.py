"""A sheet of tiles with labels: the layout that the figures share."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from hrinet.report import drawing
from hrinet.report.drawing import Pen, Pixels, Rect

SHOWN_HU = (-1000.0, 1000.0)
"""Black and white, as in the strips of a training run."""

FOOTNOTE = "Synthetic slices are computed, not measured. Not for diagnosis."

_MARGIN = 32
_TITLE = 104
_COLUMN_LABEL = 30
_FOOTER = 64
_GAP = 6
_LABEL_GAP = 16
_LINE = 21
_LABEL_SIZE = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Sheet:
    """Rows of gray tiles.

    Attributes:
        title: first line.
        subtitle: second line.
        rows: tiles of every row, gray levels of shape (row, column), or None for an empty place;
            shapes may differ.
        row_labels: lines of text to the left of every row.
        column_labels: above every column.
        side: height of a tile, pixels; also its width unless ``width`` is given.
        width: of a tile, pixels.
        framed: (row, column) of tiles to mark as measured.
        synthetic: (row, column) of tiles to mark as synthetic.
        breaks: columns before which a wider gap stands.
        note: last line.
    """

    title: str
    subtitle: str
    rows: Sequence[Sequence[Pixels | None]]
    row_labels: Sequence[Sequence[str]] = ()
    column_labels: Sequence[str] = ()
    side: int = 128
    width: int | None = None
    framed: Collection[tuple[int, int]] = ()
    synthetic: Collection[tuple[int, int]] = ()
    breaks: Collection[int] = ()
    note: str = FOOTNOTE

    def draw(self) -> Image.Image:
        """The picture."""
        texts = [line for label in self.row_labels for line in label]
        labels = max((math.ceil(drawing.text_width(t, size=_LABEL_SIZE)) for t in texts), default=0)
        left = _MARGIN + (labels + _LABEL_GAP if labels else 0)
        top = _TITLE + (_COLUMN_LABEL if self.column_labels else 0)
        columns = max(len(row) for row in self.rows)
        edges = [self._offset(column) for column in range(columns)]
        tile_width = self.width or self.side
        tiles_end = left + edges[-1] + tile_width
        title_size = 26
        words = max(
            drawing.text_width(self.title, size=title_size),
            drawing.text_width(self.subtitle, size=17),
            drawing.text_width(self.note, size=16),
        )
        width = max(tiles_end, _MARGIN + math.ceil(words)) + _MARGIN
        height = top + len(self.rows) * (self.side + _GAP) - _GAP + _FOOTER
        pen = Pen(width, height)
        pen.text(_MARGIN, 38, self.title, size=title_size)
        pen.text(_MARGIN, 74, self.subtitle, size=17, colour=drawing.MUTED)
        for column, text in enumerate(self.column_labels):
            size = drawing.fitting_size(text, size=_LABEL_SIZE, available=tile_width)
            x = left + edges[column] + tile_width / 2
            pen.text(x, top - _COLUMN_LABEL / 2, text, size=size, anchor="mm")
        for row, tiles in enumerate(self.rows):
            upper = top + row * (self.side + _GAP)
            if row < len(self.row_labels):
                self._label(pen, upper, self.row_labels[row])
            for column, tile in enumerate(tiles):
                if tile is None:
                    continue
                start = left + edges[column]
                rect = Rect(start, upper, start + tile_width, upper + self.side)
                pen.paste(fitted(tile, rect.height, rect.width), rect)
                if (row, column) in self.framed:
                    pen.box(rect, drawing.ORIGINAL, width=3)
                if (row, column) in self.synthetic:
                    pen.box(rect, drawing.SYNTHETIC, width=2)
        pen.text(_MARGIN, height - 30, self.note, size=16, colour=drawing.MUTED)
        return pen.image

    def _offset(self, column: int) -> int:
        wide = sum(1 for place in self.breaks if place <= column)
        return column * ((self.width or self.side) + _GAP) + wide * 4 * _GAP

    def _label(self, pen: Pen, upper: int, lines: Sequence[str]) -> None:
        y = upper + self.side / 2 - (len(lines) - 1) * _LINE / 2
        for number, text in enumerate(lines):
            colour = drawing.MUTED if number else drawing.TEXT
            pen.text(_MARGIN, y + number * _LINE, text, size=_LABEL_SIZE, colour=colour)


def fitted(pixels: Pixels, height: int, width: int) -> Pixels:
    """A tile in another size: small maps show their pixels, images stay smooth."""
    rows, columns = pixels.shape
    if rows * 2 <= height and columns * 2 <= width:
        at_row = np.arange(height) * rows // height
        at_column = np.arange(width) * columns // width
        return np.ascontiguousarray(pixels[at_row][:, at_column])
    return drawing.resized(pixels, height, width)


def gray_of_hu(values_hu: ArrayLike) -> Pixels:
    """HU as gray levels, :data:`SHOWN_HU` from black to white; of any shape."""
    low, high = SHOWN_HU
    unit = (np.nan_to_num(np.asarray(values_hu, np.float32)) - low) / (high - low)
    return np.asarray(np.rint(np.clip(unit, 0, 1) * 255), np.uint8)


def normalised(values: ArrayLike) -> Pixels:
    """A map as gray levels from its lowest to its highest value; black if it is constant."""
    array = np.asarray(values, np.float32)
    low, high = float(array.min()), float(array.max())
    if not high > low:
        return np.zeros(array.shape, np.uint8)
    return np.asarray(np.rint((array - low) / (high - low) * 255), np.uint8)

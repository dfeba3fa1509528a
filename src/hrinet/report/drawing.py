"""Text, marks and resampling for pictures, all in Pillow and with its built-in font."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from hrinet.geometry import Geometry

Colour = tuple[int, int, int]
Pixels = NDArray[np.uint8]

BACKGROUND: Colour = (17, 20, 26)
PANEL: Colour = (0, 0, 0)
TEXT: Colour = (236, 239, 244)
MUTED: Colour = (150, 158, 172)
RULE: Colour = (48, 54, 66)
ORIGINAL: Colour = (214, 218, 226)
SYNTHETIC: Colour = (56, 189, 248)
FLAGGED: Colour = (251, 146, 60)

ARROW = "→"
"""Drawn by :meth:`Pen.text` as lines, since the built-in font does not have it."""

_PLANES = ("sagittal", "coronal", "axial")
_HORIZONTAL = {"axial": 0, "coronal": 0, "sagittal": 1}
_VERTICAL = {"axial": 1, "coronal": 2, "sagittal": 2}
_LOW_HIGH = (("R", "L"), ("A", "P"), ("F", "H"))


class Rect(NamedTuple):
    """A rectangle of pixels; right and bottom are one past the last pixel."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top


@lru_cache(maxsize=16)
def _font(size: int) -> Any:
    return ImageFont.load_default(size=size)


@dataclass(frozen=True, slots=True)
class View:
    """How one section through the volume is turned for display.

    Index axes are 0 slice, 1 row, 2 column.

    Attributes:
        plane: ``axial``, ``coronal`` or ``sagittal``.
        horizontal: the index axis from left to right.
        vertical: the index axis from top to bottom.
        is_mirrored: whether indices fall from left to right.
        is_upturned: whether indices fall from top to bottom.
        letters: at the left, right, top and bottom edge.
    """

    plane: str
    horizontal: int
    vertical: int
    is_mirrored: bool
    is_upturned: bool
    letters: tuple[str, str, str, str]

    @property
    def has_slices(self) -> bool:
        """Whether the view cuts across the slices."""
        return 0 in (self.horizontal, self.vertical)

    def turned(self, pixels: Pixels, *, first_axis: int) -> Pixels:
        """Turn an image whose first array axis is index axis ``first_axis``."""
        if first_axis == self.horizontal:
            pixels = pixels.T
        if self.is_mirrored:
            pixels = pixels[:, ::-1]
        if self.is_upturned:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels)


def views_of(geometry: Geometry) -> tuple[View, View, View]:
    """The plane of the slices first, then the two across them, by dominant patient axes."""
    directions = np.stack([geometry.normal, geometry.column_direction, geometry.row_direction])
    size = np.abs(directions)
    axes = max(permutations(range(3)), key=lambda p: sum(size[i, p[i]] for i in range(3)))
    grows = [bool(directions[i, axes[i]] > 0) for i in range(3)]

    def view(missing: int) -> View:
        plane = _PLANES[axes[missing]]
        across, down = _HORIZONTAL[plane], _VERTICAL[plane]
        i, j = axes.index(across), axes.index(down)
        # Radiological convention: the viewer stands at the feet or faces the patient.
        top_is_high = down == 2
        ends = _LOW_HIGH[down][::-1] if top_is_high else _LOW_HIGH[down]
        return View(
            plane=plane,
            horizontal=i,
            vertical=j,
            is_mirrored=not grows[i],
            is_upturned=grows[j] == top_is_high,
            letters=(*_LOW_HIGH[across], *ends),
        )

    across = sorted((view(1), view(2)), key=lambda v: _PLANES[::-1].index(v.plane))
    return view(0), across[0], across[1]


class Pen:
    """Draws on one RGB image.

    Attributes:
        image: the image.
        draw: Pillow's drawing context on it.
    """

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), BACKGROUND)
        self.draw = ImageDraw.Draw(self.image)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: int = 18,
        colour: Colour = TEXT,
        anchor: str = "lm",
        halo: bool = False,
    ) -> None:
        """Write one line.

        Args:
            x: of the anchor, pixels.
            y: of the anchor, pixels.
            text: may hold :data:`ARROW`.
            size: of the font, pixels.
            colour: of the letters.
            anchor: Pillow's two letters: l, m or r, then m (middle).
            halo: whether a dark rim keeps the letters readable on an image.
        """
        width = text_width(text, size=size)
        x -= {"l": 0.0, "m": width / 2, "r": width}[anchor[0]]
        for number, part in enumerate(text.split(ARROW)):
            if number:
                self._arrow(x + 0.1 * size, y, 0.8 * size, colour)
                x += size
            self.draw.text(
                (x, y),
                part,
                font=_font(size),
                fill=colour,
                anchor="lm",
                stroke_width=2 if halo else 0,
                stroke_fill=PANEL,
            )
            x += _font(size).getlength(part)

    def _arrow(self, x: float, y: float, length: float, colour: Colour) -> None:
        width, head = max(1, round(length / 10)), 0.3 * length
        tip = (x + length, y)
        self.draw.line([(x, y), tip], fill=colour, width=width)
        for side in (-1, 1):
            self.draw.line([(x + length - head, y + side * head), tip], fill=colour, width=width)

    def paste(self, pixels: Pixels, rect: Rect) -> None:
        """Put a grey image, shape (rect.height, rect.width), at a rectangle."""
        self.image.paste(Image.fromarray(pixels), (rect.left, rect.top))

    def box(self, rect: Rect, colour: Colour, *, width: int = 1, outside: int = 0) -> None:
        """Frame a rectangle, ``outside`` pixels away from it."""
        self.draw.rectangle(
            (
                rect.left - outside,
                rect.top - outside,
                rect.right - 1 + outside,
                rect.bottom - 1 + outside,
            ),
            outline=colour,
            width=width,
        )

    def scale_bar(self, x: int, y: int, pixels_per_mm: float, *, available: int) -> int:
        """Draw a bar of a round length and its label; return the x just after."""
        length = round_length(0.9 * available / pixels_per_mm)
        end = x + max(1, round(length * pixels_per_mm))
        self.draw.line([(x, y), (end, y)], fill=TEXT, width=2)
        for at in (x, end):
            self.draw.line([(at, y - 5), (at, y + 5)], fill=TEXT, width=2)
        label = f"{length:g} mm"
        self.text(end + 12, y, label, colour=TEXT)
        return end + 12 + math.ceil(text_width(label))


def text_width(text: str, *, size: int = 18) -> float:
    """Width of what :meth:`Pen.text` writes, pixels."""
    parts = text.split(ARROW)
    return sum(float(_font(size).getlength(part)) for part in parts) + size * (len(parts) - 1)


def fitting_size(text: str, *, size: int, available: float, smallest: int = 11) -> int:
    """The largest font size up to ``size`` in which the text is at most ``available`` wide."""
    while size > smallest and text_width(text, size=size) > available:
        size -= 1
    return size


def round_length(at_most: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is not above ``at_most``."""
    power = 10.0 ** math.floor(math.log10(at_most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= at_most * (1 + 1e-9))


def resized(pixels: Pixels, height: int, width: int) -> Pixels:
    """A grey image in another size: averaged where it shrinks, linear where it grows."""
    for axis, wanted in ((0, height), (1, width)):
        have = pixels.shape[axis]
        size = (pixels.shape[1], wanted) if axis == 0 else (wanted, pixels.shape[0])
        method = cv2.INTER_AREA if wanted < have else cv2.INTER_LINEAR
        if wanted != have:
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)
    return pixels


def cell_edges(positions: NDArray[np.float64], lone_width: float) -> NDArray[np.float64]:
    """Borders of the cells around positions: half-way between, and as far beyond at the ends.

    Args:
        positions: strictly increasing, shape (n,), mm.
        lone_width: width of the cell of a single position, mm.

    Returns:
        shape (n + 1,), mm.
    """
    if len(positions) == 1:
        return np.asarray(positions[0] + np.array([-0.5, 0.5]) * lone_width)
    middles = (positions[:-1] + positions[1:]) / 2
    first, last = 2 * positions[0] - middles[0], 2 * positions[-1] - middles[-1]
    return np.asarray(np.concatenate(([first], middles, [last])))


def stacked(
    profiles: Pixels,
    edges: NDArray[np.float64],
    extent: tuple[float, float],
    height: int,
    width: int,
) -> Pixels:
    """Draw slices at their true positions, each filling its cell, as a viewer repeats them.

    Args:
        profiles: one line a slice, shape (slice, pixel).
        edges: see :func:`cell_edges`, mm.
        extent: position of the first and of the last border of the picture, mm.
        height: of the picture along the stack, pixels.
        width: of the picture across, pixels.

    Returns:
        shape (height, width), the first slice on top, black where there is no slice.
    """
    profiles = resized(profiles, len(profiles), width)
    # Slices thinner than a pixel are averaged: sampling one of them would alias.
    fine = max(1, math.ceil(len(profiles) / height))
    fraction = (np.arange(height * fine) + 0.5) / (height * fine)
    at = extent[0] + fraction * (extent[1] - extent[0])
    index = np.searchsorted(edges, at, side="right") - 1
    picture = profiles[np.clip(index, 0, len(profiles) - 1)]
    picture[(index < 0) | (index >= len(profiles))] = 0
    return resized(picture, height, width)


def displaced(
    lines: Pixels, starts: NDArray[np.float64], length: float, total: float, width: int
) -> Pixels:
    """Lay lines of equal length beside each other's places, as slices of a tilted stack lie.

    Args:
        lines: one a slice, shape (slice, pixel).
        starts: where each begins, shape (slice,), mm from the border of the picture.
        length: of a line, mm.
        total: width of the picture, mm.
        width: of the picture, pixels.

    Returns:
        shape (slice, width), linear between pixels and averaged where they shrink, black outside
        the lines.
    """
    count = lines.shape[1]
    fine = 2 * math.ceil(max(1.0, count / length * total / width))
    at = (np.arange(width * fine) + 0.5) / (width * fine) * total
    picture = np.empty((len(lines), width), np.uint8)
    for line, start, row in zip(lines, starts, picture, strict=True):
        fraction = (at - start) / length
        values = np.interp(fraction * count - 0.5, np.arange(count), line)
        values[(fraction < 0) | (fraction > 1)] = 0
        row[:] = np.rint(values.reshape(width, fine).mean(axis=1))
    return picture

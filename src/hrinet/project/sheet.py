"""Pictures of projections: panels in true proportions, letters, scale bar, weight curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hrinet.project.projector import Projection
from hrinet.project.views import direction_letters
from hrinet.project.window import Window
from hrinet.report import drawing
from hrinet.report.drawing import Pen, Rect
from hrinet.types import Float64Array

MAX_WIDTH = 1800
_MIN_WIDTH = 420
_MARGIN = 28
_GAP = 22
_LABEL = 34
_LARGEST = 620  # Height of a panel, pixels.
_CURVE = 96  # Height of the plot of weights.
_CURVE_ROOM = 150
_HEADER = 66
_FOOTER = 84
NOTE = "Computed projections. Synthetic slices are not measured. Not for diagnosis."


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture of a sheet.

    Attributes:
        projection: what to show.
        window: how.
        caption: the line above.
        has_curve: whether weights are plotted below.
    """

    projection: Projection
    window: Window
    caption: str
    has_curve: bool = False


def draw_sheet(
    panels: Sequence[Panel],
    *,
    title: str,
    columns: int | None = None,
    height: int = 1000,
) -> tuple[Image.Image, float]:
    """Draw panels in rows at one scale.

    Args:
        panels: of one size in pixels.
        title: first line of the picture.
        columns: panels in a row; by default as many as make them largest.
        height: of all panels together, pixels, at the most.

    Returns:
        The picture (RGB), and its mm per pixel.
    """
    first = panels[0].projection
    rows_px, columns_px = first.values.shape
    below = _CURVE_ROOM if any(panel.has_curve for panel in panels) else _GAP

    def scale_for(across: int) -> float:
        down = math.ceil(len(panels) / across)
        room = (MAX_WIDTH - 2 * _MARGIN - (across - 1) * _GAP) / across
        room_down = height / down - _LABEL - below
        limits = (room_down / rows_px, room / columns_px, _LARGEST / rows_px, 2.0)
        return float(min(limits))

    def fitness(across: int) -> float:
        cells = across * math.ceil(len(panels) / across)
        return scale_for(across) * math.sqrt(len(panels) / cells)  # Empty corners look poor.

    across = columns or max(range(1, len(panels) + 1), key=fitness)
    down = math.ceil(len(panels) / across)
    scale = max(scale_for(across), 16 / min(rows_px, columns_px))
    panel_width, panel_height = round(columns_px * scale), round(rows_px * scale)
    inner = across * panel_width + (across - 1) * _GAP
    width = max(_MIN_WIDTH, inner + 2 * _MARGIN)
    total = _HEADER + down * (_LABEL + panel_height + below) + _FOOTER
    pen = Pen(width, total)
    size = drawing.fitting_size(title, size=24, available=width - 2 * _MARGIN)
    pen.text(_MARGIN, 32, title, size=size)
    pen.draw.line([(_MARGIN, 56), (width - _MARGIN, 56)], fill=drawing.RULE)
    left_most = (width - inner) // 2
    for number, panel in enumerate(panels):
        row, column = divmod(number, across)
        left = left_most + column * (panel_width + _GAP)
        top = _HEADER + row * (_LABEL + panel_height + below) + _LABEL
        rect = Rect(left, top, left + panel_width, top + panel_height)
        _draw_panel(pen, rect, panel)
        if panel.has_curve:
            _draw_curve(pen, rect, panel.projection)
    pixel_mm = first.pixel_mm * columns_px / panel_width
    _draw_footer(pen, panels, pixel_mm)
    return pen.image, pixel_mm


def draw_frame(panel: Panel, *, height: int = 480) -> Image.Image:
    """One picture of a turntable: the projection, its letters, its angle and a scale bar."""
    rows, columns = panel.projection.values.shape
    scale = min(height / rows, 640 / columns, 2.0)
    # Films of the usual codecs have even sides.
    width, tall = 2 * round(columns * scale / 2), 2 * round(rows * scale / 2)
    pen = Pen(width, tall + 36)
    rect = Rect(0, 0, width, tall)
    _draw_pixels(pen, rect, panel)
    pen.text(10, tall + 18, panel.caption, size=16)
    pixels_per_mm = width / columns / panel.projection.pixel_mm
    bar = max(20, min(90, width // 4))
    length = drawing.round_length(bar / pixels_per_mm)
    needed = round(length * pixels_per_mm) + 12 + drawing.text_width(f"{length:g} mm")
    pen.scale_bar(int(width - 12 - needed), tall + 18, pixels_per_mm, available=round(bar / 0.9))
    return pen.image


def _draw_panel(pen: Pen, rect: Rect, panel: Panel) -> None:
    size = drawing.fitting_size(panel.caption, size=18, available=rect.width)
    pen.text(rect.left, rect.top - 16, panel.caption, size=size)
    _draw_pixels(pen, rect, panel)


def _draw_pixels(pen: Pen, rect: Rect, panel: Panel) -> None:
    grey = panel.window.grey(panel.projection.values).astype(np.uint8)
    pen.paste(drawing.resized(grey, rect.height, rect.width), rect)
    if min(rect.width, rect.height) < 80:
        return
    left, right, top, bottom = panel.projection.view.letters
    x, y = (rect.left + rect.right) / 2, (rect.top + rect.bottom) / 2
    size = 18 if min(rect.width, rect.height) > 160 else 13
    for at_x, at_y, letters, anchor in (
        (rect.left + 6, y, left, "lm"),
        (rect.right - 6, y, right, "rm"),
        (x, rect.top + 14, top, "mm"),
        (x, rect.bottom - 13, bottom, "mm"),
    ):
        pen.text(at_x, at_y, letters, size=size, anchor=anchor, halo=True)


def weight_curve(projection: Projection, points: int) -> Float64Array:
    """Weights at equal distances from the near to the far end of the ray, shape (points,)."""
    along = projection.weight.along(projection.view, projection.frame)
    return np.asarray(along(np.linspace(0.0, 1.0, points)))


def _draw_curve(pen: Pen, rect: Rect, projection: Projection) -> None:
    top, bottom = rect.bottom + 14, rect.bottom + 14 + _CURVE
    pen.draw.line([(rect.left, top), (rect.left, bottom)], fill=drawing.MUTED)
    pen.draw.line([(rect.left, bottom), (rect.right - 1, bottom)], fill=drawing.MUTED)
    values = weight_curve(projection, rect.width)
    line = [
        (rect.left + index, bottom - float(value) * _CURVE) for index, value in enumerate(values)
    ]
    pen.draw.line(line, fill=drawing.SYNTHETIC, width=2)
    ray = projection.view.ray
    near, far = direction_letters(-ray), direction_letters(ray)
    y = bottom + 16
    pen.text(rect.left, y, f"{near} (near) 0", size=13, colour=drawing.MUTED)
    pen.text(rect.right, y, f"k = n, {far} (far)", size=13, colour=drawing.MUTED, anchor="rm")
    pen.text(rect.left + 6, top + 4, "1", size=13, colour=drawing.MUTED)


def _draw_footer(pen: Pen, panels: Sequence[Panel], pixel_mm: float) -> None:
    width, y = pen.image.width, pen.image.height - _FOOTER + 24
    pen.draw.line([(_MARGIN, y - 22), (width - _MARGIN, y - 22)], fill=drawing.RULE)
    end = pen.scale_bar(_MARGIN, y, 1 / pixel_mm, available=min(160, (width - 2 * _MARGIN) // 3))
    windows = {str(panel.window) for panel in panels}
    first = panels[0].projection
    words = f"{first.mode}, {first.unit}"
    words += f", window {windows.pop()}" if len(windows) == 1 else ", each in its own window"
    available = width - _MARGIN - end - 20
    size = drawing.fitting_size(words, size=16, available=available)
    pen.text(width - _MARGIN, y, words, size=size, anchor="rm")
    note = "0° coronal, 90° sagittal (viewer at the patient's left). " + NOTE
    lines = [note] if drawing.text_width(note, size=13) <= width - 2 * _MARGIN else [NOTE]
    size = drawing.fitting_size(lines[0], size=13, available=width - 2 * _MARGIN, smallest=9)
    pen.text(_MARGIN, y + 34, lines[0], size=size, colour=drawing.MUTED)

"""Surfaces from the slices as they are and from the filled volume, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from hrinet.report.drawing import MUTED, PANEL, TEXT, Pen, Pixels, Rect, fitting_size
from hrinet.surface.files import Part
from hrinet.surface.render import Camera, camera_for, render

_MARGIN = 24
_GAP = 12
_TITLE = 44
_CAPTION = 64
_ZOOM = 3.5


@dataclass(frozen=True, eq=False)
class Panel:
    """One column of the picture.

    Attributes:
        title: what the surfaces were made from.
        caption: what was measured on them.
        parts: the surfaces, LPS.
    """

    title: str
    caption: str
    parts: Sequence[Part]


def draw_comparison(
    path: Path,
    panels: Sequence[Panel],
    *,
    azimuth_deg: float = 30.0,
    elevation_deg: float = 15.0,
    size: tuple[int, int] = (560, 480),
) -> None:
    """Draw surfaces beside each other, whole above and enlarged below, from the same cameras.

    Args:
        path: of the PNG.
        panels: one column each.
        azimuth_deg: see :func:`hrinet.surface.render.camera_for`.
        elevation_deg: likewise.
        size: width and height of one view, pixels.

    Raises:
        RequestError: if nothing here can draw without a display.
    """
    width, height = size
    everything = [part for panel in panels for part in panel.parts]
    whole = camera_for(
        everything,
        azimuth_deg=azimuth_deg,
        elevation_deg=elevation_deg,
        aspect=width / height,
    )
    cameras = (whole, replace(whole, height_mm=whole.height_mm / _ZOOM))
    pictures = render([panel.parts for panel in panels], cameras, width=width, height=height)
    pen = Pen(
        2 * _MARGIN + len(panels) * width + (len(panels) - 1) * _GAP,
        _MARGIN + _TITLE + len(cameras) * (height + _GAP) + _CAPTION,
    )
    for column, (panel, views) in enumerate(zip(panels, pictures, strict=True)):
        left = _MARGIN + column * (width + _GAP)
        title_size = fitting_size(panel.title, size=20, available=width)
        pen.text(left, _MARGIN + _TITLE / 3, panel.title, size=title_size)
        top = _MARGIN + _TITLE
        for camera, view in zip(cameras, views, strict=True):
            _place(pen, view, camera, Rect(left, top, left + width, top + height))
            top += height + _GAP
        caption_size = fitting_size(panel.caption, size=16, available=width)
        pen.text(left, top + 18, panel.caption, size=caption_size, colour=MUTED)
    pen.image.save(path, format="PNG", optimize=True)


def _place(pen: Pen, view: Pixels, camera: Camera, rect: Rect) -> None:
    pen.image.paste(Image.fromarray(view), (rect.left, rect.top))
    left, right, top, bottom = camera.letters
    middle, centre = (rect.top + rect.bottom) / 2, (rect.left + rect.right) / 2
    for x, y, letter, anchor in (
        (rect.left + 8, middle, left, "lm"),
        (rect.right - 8, middle, right, "rm"),
        (centre, rect.top + 14, top, "mm"),
        (centre, rect.bottom - 16, bottom, "mm"),
    ):
        pen.text(x, y, letter, colour=TEXT, anchor=anchor, halo=True)
    pen.draw.rectangle(
        (rect.left, rect.bottom - 36, rect.left + rect.width // 3, rect.bottom - 1), fill=PANEL
    )
    pen.scale_bar(
        rect.left + 14,
        rect.bottom - 18,
        rect.height / camera.height_mm,
        available=rect.width // 4,
    )

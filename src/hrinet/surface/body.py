"""The body without table, clothes and holes: the silhouette as one mask."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.surface.components import Mask, find_components
from hrinet.synthesize.engine import default_threads
from hrinet.volume import Volume

_OPENING_MM = 5.0
"""Radius of what is cut away: shells of tables are thinner than twice this, bodies thicker."""

_THICK = 2 / 3
"""A body keeps more than this fraction of its dense voxels when it is opened."""

_SIZE_OF_A_PART = 0.02
"""Parts of this fraction of the largest one belong to the body too, such as arms beside it."""


def body_mask(volume: Volume, *, low: float, threads: int | None = None) -> Mask:
    """The voxels of the body, air inside it included.

    Every slice is thresholded and opened in its plane, so that the shell of a table comes off; of
    what remains the largest connected piece is the body, with pieces of at least 2 % of it that
    are no part of a table. What the opening took off within its radius is given back, and holes
    are filled slice by slice, which closes lungs, bowel, nose and mouth.

    Where opening would take off more than a third of all that is dense, as from an empty skull,
    holes are filled before it, too.

    A slice of a table that touches the body with more than the radius is taken for body; air that
    is open to the border of the image within its slice stays outside.

    Args:
        volume: the scan.
        low: lowest HU of the body.
        threads: by default all cores.

    Returns:
        Shape (slice, row, column); empty if nothing is denser than ``low``.
    """
    spacing = volume.geometry.pixel_spacing
    mask = np.empty(volume.shape, bool)
    disk = _disk(_OPENING_MM, spacing)
    wider = _disk(_OPENING_MM + 1.5 * max(spacing), spacing)

    def dense(index: int) -> NDArray[np.uint8]:
        return np.asarray(volume.array[index] >= low, np.uint8)

    def open_one(index: int) -> tuple[int, int]:
        before = dense(index)
        after = cv2.morphologyEx(before, cv2.MORPH_OPEN, disk).view(bool)
        mask[index] = after
        return int(np.count_nonzero(after)), int(np.count_nonzero(before))

    def open_filled(index: int) -> None:
        solid = filled(dense(index).view(bool)).view(np.uint8)
        mask[index] = cv2.morphologyEx(solid, cv2.MORPH_OPEN, disk).view(bool)

    def close_one(index: int) -> None:
        core = filled(found.kept(index, wanted))
        near = cv2.dilate(core.view(np.uint8), wider).view(bool) & dense(index).view(bool)
        result[index] = filled(core | near)

    with ThreadPoolExecutor(threads or default_threads(), "hrinet-body") as pool:
        thick, whole = np.sum(list(pool.map(open_one, range(len(volume)))), axis=0)
        if thick < _THICK * whole:
            list(pool.map(open_filled, range(len(volume))))
        found = find_components(mask.__getitem__, slice_widths(volume), threads=threads)
        if not len(found.sizes):
            return mask
        wanted = found.sizes >= _SIZE_OF_A_PART * found.sizes[0]
        result = np.empty_like(mask)
        list(pool.map(close_one, range(len(volume))))
    return result


def filled(mask: Mask) -> Mask:
    """One slice without holes.

    Args:
        mask: shape (row, column).
    """
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    canvas = np.zeros(mask.shape, np.uint8)
    cv2.drawContours(canvas, contours, -1, 1, cv2.FILLED)
    whole: Mask = canvas.view(bool)
    return whole


def slice_widths(volume: Volume) -> NDArray[np.float64]:
    """What a voxel of every slice fills, shape (slice,), mm^3, half of each gap beside it."""
    geometry = volume.geometry
    gaps = geometry.gaps_mm
    if not len(gaps):
        widths = np.array([geometry.spacing_mm])
    else:
        widths = (np.append(gaps, gaps[-1]) + np.insert(gaps, 0, gaps[0])) / 2
    return np.asarray(widths * geometry.pixel_spacing[0] * geometry.pixel_spacing[1])


def _disk(radius_mm: float, spacing: tuple[float, float]) -> NDArray[np.uint8]:
    """An ellipse of pixels that is a disk in mm."""
    size = [2 * max(1, round(radius_mm / s)) + 1 for s in (spacing[1], spacing[0])]
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)

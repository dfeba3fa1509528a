"""The lungs: air inside the body that threshold and connectivity can tell from other air."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from hrinet.surface.body import filled, slice_widths
from hrinet.surface.components import Mask, find_components
from hrinet.synthesize.engine import default_threads
from hrinet.volume import Volume

_PURE_AIR_HU = -930.0
"""Trachea and bowel gas lie below (about -1000 HU), lung that holds blood above."""

_VESSEL_MM2 = 500.0
"""Holes of a slice up to this area are vessels and are filled; larger ones are not lung."""


def lung_mask(
    volume: Volume,
    body: Mask,
    *,
    high: float,
    smallest_mm3: float,
    largest: int | None = None,
    threads: int | None = None,
) -> Mask:
    """The voxels of the lungs, vessels inside them included.

    Air inside the body falls into pieces slice by slice; pieces whose inner voxels are as empty as
    pure air are trachea, main bronchi or bowel gas and are left out, and so are connected pieces of
    little volume. Bronchi within a lung stay; so does bowel content that looks like lung; lung that
    is all emphysema in a slice is lost, and so is one that disease has filled.

    Args:
        volume: the scan.
        body: of :func:`hrinet.surface.body.body_mask`.
        high: highest HU of lung.
        smallest_mm3: connected pieces of less volume are left out, mm^3.
        largest: keep only so many pieces.
        threads: by default all cores.

    Returns:
        Shape (slice, row, column).
    """
    mask = np.empty(volume.shape, bool)
    spacing = volume.geometry.pixel_spacing
    vessel_pixels = _VESSEL_MM2 / (spacing[0] * spacing[1])

    def aerated(index: int) -> None:
        air = (volume.array[index] <= high) & body[index]
        mask[index] = _without_pure_air(air, np.asarray(volume.array[index], np.float32))

    def whole(index: int) -> None:
        kept = found.kept(index, wanted)
        holes = filled(kept) & ~kept
        _, labels, stats, _ = cv2.connectedComponentsWithStats(holes.view(np.uint8), connectivity=4)
        small = stats[:, cv2.CC_STAT_AREA] <= vessel_pixels
        small[0] = False
        result[index] = kept | small[labels]

    with ThreadPoolExecutor(threads or default_threads(), "hrinet-lung") as pool:
        list(pool.map(aerated, range(len(volume))))
        found = find_components(mask.__getitem__, slice_widths(volume), threads=threads)
        wanted = found.wanted(smallest=smallest_mm3, largest=largest)
        result = np.empty_like(mask)
        list(pool.map(whole, range(len(volume))))
    return result


def _without_pure_air(air: Mask, values: np.ndarray) -> Mask:
    pixels = air.view(np.uint8)
    count, labels = cv2.connectedComponents(pixels, connectivity=8)
    if count == 1:
        return air
    inner = cv2.erode(pixels, np.ones((3, 3), np.uint8), borderValue=1).view(bool)
    sums = np.bincount(labels[inner], weights=values[inner], minlength=count)
    counts = np.bincount(labels[inner], minlength=count)
    # A piece without inner voxels is a rim or a speck; what it touches above and below decides.
    mean = np.where(counts > 0, sums / np.maximum(counts, 1), 0.0)
    is_lung = mean > _PURE_AIR_HU
    is_lung[0] = False
    kept: Mask = is_lung[labels]
    return kept

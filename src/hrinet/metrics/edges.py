"""How far strong edges of a synthetic slice lie from where the measured one has them."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import as_image, same_shape
from hrinet.types import Float64Array

EDGE_HU_PER_MM = 60.0
"""Steepness from which on an edge of the smoothed truth is strong: bone, skin, lung surface."""

REACH_MM = 6.0
"""Edges are looked for this far to either side."""

LEAST_CORRELATION = 0.8
"""Of two profiles across an edge; below it they show no common edge."""

LEAST_GAIN = 0.25
"""An edge with less of the true contrast is none."""

MOST_EDGES = 2000
"""More edge pixels of a slice are thinned evenly."""

BODY_HU = -400.0
"""Patient and table lie above, air below."""

_TABLE_MM = 5.0
"""What is thinner is detached from the patient: table top, sheets, tubes."""

_SIGMA_MM = 1.0
_HALF_PROFILE_MM = 3.0
_STEP_MM = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class EdgeMatch:
    """Edges of one slice.

    Attributes:
        displacement_mm: mean distance, across the edge, between true and found edge; nan if none.
        bias_mm: mean of the signed distance, positive towards the brighter side; nan if none.
        found: share of the true edges that have a counterpart within reach.
        edges: number of edge pixels looked at.
    """

    displacement_mm: float
    bias_mm: float
    found: float
    edges: int


def edge_displacement_mm(
    image: ArrayLike, truth: ArrayLike, *, pixel_spacing: tuple[float, float]
) -> float:
    """Mean displacement of strong edges, across the edge.

    Args:
        image: a synthetic slice, shape (row, column), HU.
        truth: the measured slice of the same shape, HU.
        pixel_spacing: distance between rows and between columns, mm.

    Returns:
        mm; nan if the truth has no strong edge or none is found again. See :func:`match_edges`.

    Raises:
        ValueError: if the shapes differ or the spacing is not positive.
    """
    return match_edges(image, truth, pixel_spacing=pixel_spacing).displacement_mm


def match_edges(
    image: ArrayLike, truth: ArrayLike, *, pixel_spacing: tuple[float, float]
) -> EdgeMatch:
    """Look for every strong edge of the truth in the image.

    An edge is a ridge of the gradient of the truth, smoothed by a Gaussian of 1 mm, of at least
    60 HU/mm, in or at the patient: edges of the table never move and would only dilute.

    Across each edge, along its gradient, a profile of 6 mm is taken from the truth and moved over
    that of the image, up to 6 mm either way in steps of 0.25 mm. The best correlation, refined by
    a parabola, is the displacement, if it is at least 0.8 and a quarter of the contrast is there.
    Correlation ignores offset and contrast, so that a blurred edge in the right place counts as
    not displaced; steps and parabola leave an error of about 0.01 mm. Edge pixels weigh by the
    length of edge that they stand for.

    Along an edge nothing can be seen to move: a contour shifted by d shows d |cos| of the angle
    between shift and normal, on a circle 2 d / pi on average. A doubled edge (two neighbours
    mixed) is found at the better copy. Edges without counterpart are left out of the mean and tell
    in ``found``.

    Args:
        image: a synthetic slice, shape (row, column), HU.
        truth: the measured slice of the same shape, HU.
        pixel_spacing: distance between rows and between columns, mm.

    Returns:
        Displacement and the share of edges found.

    Raises:
        ValueError: if the shapes differ or the spacing is not positive.
    """
    a, b = same_shape(image, truth)
    if not min(pixel_spacing) > 0:
        raise ValueError(f"pixel_spacing must be positive, got {pixel_spacing}")
    smooth_a, smooth_b = (_smoothed(as_image(x), pixel_spacing) for x in (a, b))
    points, normals = _edges(smooth_b, pixel_spacing)
    if not len(points):
        return EdgeMatch(displacement_mm=math.nan, bias_mm=math.nan, found=math.nan, edges=0)
    half = round(_HALF_PROFILE_MM / _STEP_MM)
    reach = round(REACH_MM / _STEP_MM)
    wide = _profiles(smooth_a, points, normals, half + reach, pixel_spacing)
    narrow = _profiles(smooth_b, points, normals, half, pixel_spacing)
    shifts, correlation, gain = _best_shifts(wide, narrow)
    good = (correlation >= LEAST_CORRELATION) & (gain >= LEAST_GAIN)
    lengths = _lengths(normals, pixel_spacing)
    weights = lengths[good] / max(float(lengths[good].sum()), 1e-12)
    found = shifts[good] * _STEP_MM
    return EdgeMatch(
        displacement_mm=float(np.abs(found) @ weights) if len(found) else math.nan,
        bias_mm=float(found @ weights) if len(found) else math.nan,
        found=float(lengths[good].sum() / lengths.sum()),
        edges=len(points),
    )


def _lengths(normals: NDArray[np.float32], spacing: tuple[float, float]) -> Float64Array:
    """Length of edge a pixel, mm: a thin line has one pixel a row or a column, whichever is more.

    The edge runs across its normal, by |normal right| along rows' direction and |normal down|
    along columns' direction.
    """
    down, right = np.abs(normals.astype(np.float64)).T
    return np.asarray(1 / np.maximum(right / spacing[0], down / spacing[1]), np.float64)


def _smoothed(image: NDArray[np.generic], spacing: tuple[float, float]) -> NDArray[np.float32]:
    sigma_y, sigma_x = _SIGMA_MM / spacing[0], _SIGMA_MM / spacing[1]
    values = np.asarray(image, np.float32)
    blurred = cv2.GaussianBlur(
        values, (0, 0), sigmaX=sigma_x, sigmaY=sigma_y, borderType=cv2.BORDER_REPLICATE
    )
    return np.asarray(blurred, np.float32)


def _edges(
    image: NDArray[np.float32], spacing: tuple[float, float]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Pixels on ridges of the gradient, (row, column), and unit normals in mm, (down, right)."""
    down = np.zeros_like(image)
    right = np.zeros_like(image)
    down[1:-1] = (image[2:] - image[:-2]) / np.float32(2 * spacing[0])
    right[:, 1:-1] = (image[:, 2:] - image[:, :-2]) / np.float32(2 * spacing[1])
    steep = np.hypot(down, right)
    rows, columns = np.nonzero((steep >= EDGE_HU_PER_MM) & _body(image, spacing))
    if not len(rows):
        return np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32)
    if len(rows) > 8 * MOST_EDGES:
        stride = len(rows) // (8 * MOST_EDGES) + 1
        rows, columns = rows[::stride], columns[::stride]
    size = steep[rows, columns]
    directions = np.stack([down[rows, columns] / size, right[rows, columns] / size], axis=1)
    normals = np.asarray(directions, np.float32)
    points = np.stack([rows, columns], axis=1).astype(np.float32)
    # A ridge: one pixel to either side along the gradient it is less steep.
    pixel = np.float32(min(spacing))
    around = _sample(steep, points, normals, np.array([-pixel, pixel], np.float32), spacing)
    ridge = (size > around[:, 0]) & (size >= around[:, 1])
    points, normals = points[ridge], normals[ridge]
    if len(points) > MOST_EDGES:
        chosen = np.linspace(0, len(points) - 1, MOST_EDGES).round().astype(np.int64)
        points, normals = points[chosen], normals[chosen]
    return points, normals


def _body(image: NDArray[np.float32], spacing: tuple[float, float]) -> NDArray[np.bool_]:
    """The patient with what is inside, and a margin of 2.5 mm; no table."""

    def ball(diameter_mm: float) -> NDArray[np.uint8]:
        size = tuple(2 * round(diameter_mm / 2 / mm) + 1 for mm in (spacing[1], spacing[0]))
        return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, size), np.uint8)

    dense = (image > BODY_HU).astype(np.uint8)
    dense = np.asarray(cv2.morphologyEx(dense, cv2.MORPH_OPEN, ball(_TABLE_MM)), np.uint8)
    contours, _ = cv2.findContours(dense, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    areas = [cv2.contourArea(contour) for contour in contours]
    body = np.zeros(image.shape, np.uint8)
    # Arms and legs are pieces of their own.
    large = [c for c, area in zip(contours, areas, strict=True) if area >= 0.05 * max(areas)]
    cv2.drawContours(body, large, -1, 1, thickness=cv2.FILLED)
    return np.asarray(cv2.dilate(body, ball(_TABLE_MM)), bool)


def _profiles(
    image: NDArray[np.float32],
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    half: int,
    spacing: tuple[float, float],
) -> NDArray[np.float32]:
    offsets = np.arange(-half, half + 1, dtype=np.float32) * np.float32(_STEP_MM)
    return _sample(image, points, normals, offsets, spacing)


def _sample(
    image: NDArray[np.float32],
    points: NDArray[np.float32],
    normals: NDArray[np.float32],
    offsets_mm: NDArray[np.float32],
    spacing: tuple[float, float],
) -> NDArray[np.float32]:
    """Values along the normals, shape (point, offset)."""
    y = points[:, :1] + normals[:, :1] * offsets_mm / np.float32(spacing[0])
    x = points[:, 1:] + normals[:, 1:] * offsets_mm / np.float32(spacing[1])
    sampled = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled, np.float32)


def _best_shifts(
    wide: NDArray[np.float32], narrow: NDArray[np.float32]
) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Where each narrow profile fits best into its wide one, steps from the middle; how well; gain.

    Shifts at either end of the reach have no neighbour to refine them and count as not found.
    """
    length = narrow.shape[1]
    count = wide.shape[1] - length + 1
    centred = narrow - narrow.mean(axis=1, keepdims=True)
    windows = np.lib.stride_tricks.sliding_window_view(wide, length, axis=1)
    # The mean of a window drops out of its product with a profile of mean 0.
    product = np.matmul(windows, centred[:, :, None])[:, :, 0].astype(np.float64)
    sums = np.cumsum(np.pad(wide.astype(np.float64), ((0, 0), (1, 0))), axis=1)
    squares = np.cumsum(np.pad(np.square(wide, dtype=np.float64), ((0, 0), (1, 0))), axis=1)
    total = sums[:, length:] - sums[:, :-length]
    power = squares[:, length:] - squares[:, :-length] - total * total / length
    own = np.square(centred, dtype=np.float64).sum(axis=1, keepdims=True)
    scale = np.sqrt(np.maximum(power, 1e-3) * np.maximum(own, 1e-3))
    correlation = product / scale
    best = correlation.argmax(axis=1)
    middle = np.clip(best, 1, count - 2)
    which = np.arange(len(best))
    before, peak, after = (correlation[which, middle + k] for k in (-1, 0, 1))
    curvature = before - 2 * peak + after
    offset = np.where(curvature < 0, 0.5 * (before - after) / np.minimum(curvature, -1e-12), 0.0)
    value = np.where(best == middle, peak, -1.0)
    gain = product[which, middle] / np.maximum(own[:, 0], 1e-3)
    return middle + np.clip(offset, -0.5, 0.5) - (count - 1) / 2, value, gain

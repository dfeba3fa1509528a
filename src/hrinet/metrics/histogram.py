"""Histogram intersection."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hrinet.metrics.pairs import checked_range
from hrinet.types import Float64Array


def histogram(image: ArrayLike, *, bins: int, value_range: tuple[float, float]) -> Float64Array:
    """Share of the values that falls into each of equally wide bins.

    Values beyond the range count in the outermost bins, so that the shares sum to 1.

    Args:
        image: any shape, not empty.
        bins: number of bins.
        value_range: lower end of the first bin, upper end of the last.

    Returns:
        shape (bins,).

    Raises:
        ValueError: if there are no bins, no values, or values that are not finite.
    """
    low, high = checked_range(value_range)
    values: NDArray[Any] = np.asarray(image)
    if bins < 1 or not values.size:
        raise ValueError(f"{bins} bins and {values.size} values make no histogram")
    if values.dtype.kind not in "iub" and not np.isfinite(values).all():
        raise ValueError("values that are not finite have no place in a histogram")
    # float32 could put whole HU on the wrong side of an edge.
    position = (values.ravel().astype(np.float64) - low) * (bins / (high - low))
    counts = np.bincount(np.clip(position, 0, bins - 1).astype(np.int64), minlength=bins)
    return np.asarray(counts / values.size, np.float64)


def histogram_intersection(
    image: ArrayLike, truth: ArrayLike, *, bins: int, value_range: tuple[float, float]
) -> float:
    """Overlap of two normalised histograms.

    Where pixels lie plays no part: a shuffled image scores 1. Fine bins count noise as
    disagreement, coarse bins hide a narrowed histogram; compare at one number of bins only.

    Args:
        image: any shape.
        truth: any shape, not necessarily the same.
        bins: number of equally wide bins.
        value_range: what the bins cover; values beyond count in the outermost bins.

    Returns:
        From 0 (no value in common) to 1 (the same histogram).

    Raises:
        ValueError: if there are no bins, no values, or values that are not finite.

    References:
        M. J. Swain, D. H. Ballard: Color indexing. International Journal of Computer Vision 7
        (1991), 11.
    """
    first = histogram(image, bins=bins, value_range=value_range)
    second = histogram(truth, bins=bins, value_range=value_range)
    return float(np.minimum(first, second).sum())

"""From scores of slices to rows of tables: means, intervals over series, paired differences."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hrinet.types import Float64Array

LEAST_SERIES = 3
"""With fewer, resampling the series says nothing about other patients."""

RESAMPLES = 2000


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % interval; see :func:`bootstrap_interval`."""

    low: float
    high: float


def mean_of(values: Iterable[float | None]) -> float | None:
    """The mean of the finite values; None if there is none."""
    finite = [value for value in values if value is not None and math.isfinite(value)]
    return math.fsum(finite) / len(finite) if finite else None


def bootstrap_interval(
    values: Sequence[float], *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """The 95 % percentile interval of the mean, resampling whole series.

    Slices of one patient resemble each other, so that resampling slices would make the interval
    far too narrow; the series is the unit.

    Args:
        values: one a series.
        seed: of the resampling.
        resamples: number of them.

    Returns:
        The interval, or None with fewer than :data:`LEAST_SERIES` series.

    References:
        B. Efron, R. J. Tibshirani: An Introduction to the Bootstrap. Chapman & Hall, 1993, ch. 13.
    """
    count = len(values)
    if count < LEAST_SERIES:
        return None
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, count, (resamples, count))
    means: Float64Array = np.asarray(values, np.float64)[chosen].mean(axis=1)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(low), float(high))


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """One measure of one method over the series.

    Attributes:
        mean: of the series' means; None if no series has a value.
        interval: over series; None where there are too few.
        series: number of series with a value.
        by_series: each one's mean, by name.
    """

    mean: float | None
    interval: Interval | None
    series: int
    by_series: Mapping[str, float]


def summarize(by_series: Mapping[str, float | None], *, seed: int = 0) -> Summary:
    """Combine the means of the series; each counts the same, however many slices it has."""
    present = {
        name: value
        for name, value in by_series.items()
        if value is not None and math.isfinite(value)
    }
    return Summary(
        mean=mean_of(present.values()),
        interval=bootstrap_interval(list(present.values()), seed=seed),
        series=len(present),
        by_series=present,
    )


def paired(
    by_series: Mapping[str, float | None],
    reference: Mapping[str, float | None],
    *,
    seed: int = 0,
) -> Summary:
    """Differences from a reference method, series by series.

    Args:
        by_series: means of the method.
        reference: means of the reference; series that it lacks take no part.
        seed: of the resampling.
    """
    differences: dict[str, float | None] = {}
    for name, value in by_series.items():
        other = reference.get(name)
        if value is not None and other is not None:
            differences[name] = value - other
    return summarize(differences, seed=seed)


def interval_words(series: int) -> str:
    """Why there is, or is no, interval beside a mean."""
    if series >= LEAST_SERIES:
        return (
            f"In brackets: 95 % bootstrap interval of the mean over {series} series "
            f"({RESAMPLES} resamples of whole series, seed 0)."
        )
    number = "one series" if series == 1 else f"{series} series"
    return (
        f"No interval is given: with {number} it would say nothing about other patients "
        f"({LEAST_SERIES} or more are needed, and {LEAST_SERIES} are few)."
    )

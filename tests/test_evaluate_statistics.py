"""Intervals over series against SciPy, and what is said where there are too few."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hrinet.evaluate.statistics import (
    bootstrap_interval,
    interval_words,
    mean_of,
    paired,
    summarize,
)


def test_the_interval_is_that_of_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(3).normal(30, 2, 12)
    reference = stats.bootstrap(
        (values,), np.mean, method="percentile", n_resamples=20000, rng=np.random.default_rng(1)
    ).confidence_interval
    found = bootstrap_interval(values.tolist(), resamples=20000)
    assert found is not None
    assert found.low == pytest.approx(reference.low, abs=0.05)
    assert found.high == pytest.approx(reference.high, abs=0.05)


def test_the_interval_repeats() -> None:
    values = [k**1.7 for k in range(12)]
    assert bootstrap_interval(values) == bootstrap_interval(values)
    assert bootstrap_interval(values, seed=1) != bootstrap_interval(values)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_one_or_two_series_have_no_interval(count: int) -> None:
    assert bootstrap_interval([1.0, 9.0][:count]) is None
    assert "would say nothing about other patients" in interval_words(count)
    assert "95 %" in interval_words(3)


def test_means_leave_out_what_is_not_finite() -> None:
    assert mean_of([1.0, None, math.inf, math.nan, 3.0]) == 2.0
    assert mean_of([None, math.inf]) is None
    summary = summarize({"a": 1.0, "b": None, "c": 3.0})
    assert (summary.mean, summary.series, dict(summary.by_series)) == (2.0, 2, {"a": 1.0, "c": 3.0})


def test_differences_are_paired_by_series() -> None:
    found = paired({"a": 31.0, "b": 25.0, "c": 9.0}, {"a": 30.0, "b": 26.0, "d": 0.0})
    assert dict(found.by_series) == {"a": 1.0, "b": -1.0}
    assert found.mean == 0.0


def test_each_series_counts_the_same() -> None:
    # Pairing takes the spread between series out of the interval of the difference.
    base = {str(k): 20.0 + 3 * k for k in range(6)}
    better = {name: value + 1.0 for name, value in base.items()}
    found = paired(better, base)
    assert found.interval is not None
    assert found.interval.low == pytest.approx(1.0)
    assert found.interval.high == pytest.approx(1.0)

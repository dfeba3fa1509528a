from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

from test_readme import load_tool

fit_slice_trust = load_tool("fit_slice_trust")


@pytest.mark.parametrize(
    ("slices", "spacing_mm", "factors"),
    [(300, 1.0, [2, 6]), (100, 5.0, [2, 3]), (40, 2.5, [2, 4]), (10, 1.0, []), (100, 8.0, [])],
)
def test_gaps_stay_within_what_was_validated(slices, spacing_mm, factors):
    assert fit_slice_trust.factors_of(slices, spacing_mm) == factors


def test_the_fit_finds_what_made_the_errors():
    sampled = 200
    rng = np.random.default_rng(0)
    weights = np.array([0.4, -0.2, 0.5])
    series = []
    for level in (-1.0, 0.0, 2.0):  # how large the errors of a scan are is not asked
        signs, expected = rng.normal(0, 0.3, (sampled, 3)), rng.normal(3, 0.1, sampled)
        found = expected + signs @ weights + level + rng.normal(0, 0.01, sampled)
        series.append(np.column_stack([signs, expected, found]))
    found = fit_slice_trust.fitted(series)
    np.testing.assert_allclose(found, weights, atol=0.02)
    for rows in series:
        assert fit_slice_trust.rank(rows, found) > 0.98 > fit_slice_trust.rank(rows, np.zeros(3))

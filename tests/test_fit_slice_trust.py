from __future__ import annotations

import sys

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("skimage")

import hrinet
from conftest import make_geometry
from hrinet.synthesize.registry import find_method
from hrinet.weights import packaged_weights
from hrinet.weights.flow import load_flow
from test_readme import ROOT, load_tool

sys.path.append(str(ROOT / "tools"))  # of which one imports another
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
        signs, expected = rng.normal(0, 0.3, (sampled, len(weights))), rng.normal(3, 0.1, sampled)
        found = expected + signs @ weights + level + rng.normal(0, 0.01, sampled)
        series.append(np.column_stack([signs, expected, found]))
    found = fit_slice_trust.fitted(series)
    np.testing.assert_allclose(found, weights, atol=0.02)
    for rows in series:
        assert (
            fit_slice_trust.rank(rows, found)
            > 0.98
            > fit_slice_trust.rank(rows, np.zeros(len(weights)))
        )


@pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)
def test_padding_is_no_error_and_no_noise():
    rows, columns = np.mgrid[:48, :64]
    rng = np.random.default_rng(0)
    positions = 2.5 * np.arange(9)
    geometry = make_geometry(positions, rows=48, columns=64)
    body = [100 * np.sin((rows + p) / 6) + 50 * np.cos((columns - p) / 5) for p in positions]
    noisy = (np.stack(body) + rng.normal(0, 10, geometry.shape)).astype(np.int16)
    graphs = load_flow(packaged_weights("hrinet-flow"))
    found = {}
    for value, padding in ((-2000, -2000.0), (-3000, -3000.0), (-1024, None)):
        array = noisy.copy()
        for index, slice_ in enumerate(array):
            slice_[:, : 8 + index % 2 * (index + 1)] = value
        volume = hrinet.Volume(array=array, geometry=geometry, padding_hu=padding)
        found[value] = fit_slice_trust.slices_of(graphs, volume, 2)
    np.testing.assert_array_equal(found[-2000], found[-3000])
    np.testing.assert_allclose(found[-2000][:, :3], found[-1024][:, :3], rtol=1e-6)  # the signs
    errors = np.exp(found[-2000][:, -1])
    assert ((errors > 5) & (errors < 30)).all()  # of noise that cannot be known, not of edges

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrinet.synthesize.trust import REFERENCE_GAP_MM, Calibration, Correction

VALUES = {
    "log_error": [0.0, 1.0, 3.0],
    "expected_error": [2.0, 4.0, 30.0],
    "half_width": [5.0, 9.0, 61.0],
    "gap_power": 0.5,
    "largest_gap_mm": 10,
}
CALIBRATION = Calibration.of(VALUES)
TABLE = 2e-3
"""Relative error that the table may add where these steep curves lie between two cells."""


def error(at, gap_mm=REFERENCE_GAP_MM):
    return CALIBRATION.estimates(np.asarray(at, np.float32), gap_mm=gap_mm)[0]


def interval(at, gap_mm=REFERENCE_GAP_MM):
    return CALIBRATION.estimates(np.asarray(at, np.float32), gap_mm=gap_mm)[1]


def test_at_the_knots_it_is_what_was_measured():
    at = np.array(VALUES["log_error"], np.float32)
    np.testing.assert_allclose(error(at), VALUES["expected_error"], rtol=TABLE)
    np.testing.assert_allclose(interval(at), VALUES["half_width"], rtol=TABLE)
    assert CALIBRATION.largest_gap_mm == 10.0


def test_between_them_it_is_linear():
    at = np.array([[0.5, 2.0], [2.5, 0.25]], np.float32)
    np.testing.assert_allclose(error(at), [[3.0, 17.0], [23.5, 2.5]], rtol=TABLE)
    np.testing.assert_allclose(interval(at), [[7.0, 35.0], [48.0, 6.0]], rtol=TABLE)
    assert error(at).dtype == np.float32


@pytest.mark.parametrize("beyond", [0.2, 0.4, 0.5, 2.0, 8.0])
def test_beyond_them_it_follows_the_estimate_but_not_up_to_what_none_had(beyond):
    at = np.array([-beyond, 3 + beyond], np.float32)
    expected = [2 * np.exp(-beyond), min(30 * np.exp(beyond), 45.0)]
    np.testing.assert_allclose(error(at), expected, rtol=TABLE)


@pytest.mark.parametrize("gap_mm", [2.5, 10.0, 40.0])
def test_errors_grow_with_a_power_of_the_gap(gap_mm):
    grown = np.sqrt(gap_mm / 10)
    np.testing.assert_allclose(error([0.5, 2.0], gap_mm), grown * error([0.5, 2.0]), rtol=1e-6)
    np.testing.assert_allclose(interval([3.0], gap_mm), 61 * grown, rtol=TABLE)


def test_it_never_overflows():
    at = np.array([-1e9, 1e9, -np.inf, np.inf], np.float32)
    assert np.isfinite(error(at)).all()
    assert np.isfinite(interval(at)).all()


def test_what_is_no_number_is_the_largest_error():
    for curve in (error, interval):
        of_nan, of_most = curve([np.nan, np.inf])
        assert of_nan == of_most > curve([3.0])[0] * 1.49


@given(st.lists(st.floats(-20, 20, width=32), min_size=2, max_size=30))
def test_curves_that_rise_stay_monotone(values):
    at = np.sort(np.array(values, np.float32))
    for curve in (error(at), interval(at)):
        assert np.all(np.diff(curve) >= 0)
        assert np.all(curve >= 0)


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"log_error": [0.0, 1.0]}, ValueError),
        ({"log_error": [0.0, 1.0, 1.0]}, ValueError),
        ({"log_error": [0.0, float("nan"), 2.0]}, ValueError),
        ({"log_error": "low"}, ValueError),
        ({"expected_error": [2.0, -1.0, 5.0]}, ValueError),
        ({"half_width": [1.0, float("inf"), 5.0]}, ValueError),
        ({"half_width": [[1.0], [2.0], [3.0]]}, ValueError),
        ({"half_width": [1.0, [2.0], 3.0]}, ValueError),
        ({"half_width": 4.0}, ValueError),
        ({name: [1.0] for name in ("log_error", "expected_error", "half_width")}, ValueError),
        ({"half_width": None}, (TypeError, ValueError)),
        ({"gap_power": "strong"}, ValueError),
        ({"largest_gap_mm": "wide"}, ValueError),
        ({"largest_gap_mm": None}, TypeError),
        ({"slices": {"noise": 0.1}}, KeyError),
        ({"slices": None}, TypeError),
        ({"gap_power": float("nan")}, ValueError),
        ({"largest_gap_mm": float("inf")}, ValueError),
        ({"log_error": [0.0, 1.0, 1e6]}, ValueError),
        ({"transfer": [0.5, 0.0]}, ValueError),
        ({"transfer": {"error": [0.1, 0.2, 0.3]}}, KeyError),
        ({"transfer": None}, TypeError),
    ],
)
def test_damage_is_noticed(changes, kind):
    with pytest.raises(kind):
        Calibration.of({**VALUES, **changes})


@pytest.mark.parametrize("name", VALUES)
def test_nothing_may_be_missing(name):
    with pytest.raises(KeyError):
        Calibration.of({key: value for key, value in VALUES.items() if key != name})


def test_a_correction_is_what_was_found_over_what_was_expected():
    rng = np.random.default_rng(0)
    found = rng.exponential(6.0, 20_000).astype(np.float32)
    expected, half_width = np.full_like(found, 4.0), np.full_like(found, 10.0)
    correction = Correction.of(found=found, expected=expected, half_width=half_width)
    assert correction.error == pytest.approx(found.mean() / 4, rel=1e-5)
    assert np.mean(found <= correction.half_width * half_width) == pytest.approx(0.9, abs=1e-3)
    assert Correction() == Correction(1.0, 1.0)


@pytest.mark.parametrize(("found", "factor"), [(0.0, 0.25), (1e6, 4.0)])
def test_odd_slices_are_not_wholly_believed(found, factor):
    values = np.full(100, found, np.float32)
    ones = np.ones(100, np.float32)
    correction = Correction.of(found=values, expected=ones, half_width=ones)
    assert correction == Correction(factor, factor)


TRANSFER = {
    "error": [-0.3, -0.5, 0.2],
    "half_width": [-0.1, -0.7, 0.1],
    "error_alone": [-0.4, 0.25],
    "half_width_alone": [-0.2, 0.15],
}


@pytest.mark.parametrize(("gap_mm", "share"), [(1.0, 1.0), (2.5, 1.0), (3.5355, 0.5), (5.0, 0.0)])
@pytest.mark.parametrize("thickness_mm", [1.5, None])
def test_the_transfer_is_of_the_gap_to_be_filled(gap_mm, share, thickness_mm):
    transfer = Calibration.of({**VALUES, "transfer": TRANSFER}).transfer
    correction = Correction(1.5, 2.0, gap_mm=5.0, noise=0.3, level=0.2)
    there = correction.transferred(transfer, gap_mm=gap_mm, thickness_mm=thickness_mm)
    logs = -0.4 + 0.075, -0.2 + 0.045
    if thickness_mm is not None:
        over = max(1.5 / gap_mm - 0.4, 0)
        logs = -0.3 - 0.5 * over + 0.06, -0.1 - 0.7 * over + 0.03
    least = np.log(0.35)
    assert there.error == pytest.approx(1.5 * np.exp(share * max(logs[0], least)), rel=1e-4)
    assert there.half_width == pytest.approx(2 * np.exp(share * max(logs[1], least)), rel=1e-4)
    assert (there.gap_mm, there.noise, there.level) == (5.0, 0.3, 0.2)


def test_without_hidden_slices_nothing_is_transferred():
    transfer = Calibration.of({**VALUES, "transfer": TRANSFER}).transfer
    assert Correction().transferred(transfer, gap_mm=2.0, thickness_mm=1.0) == Correction()


def test_without_a_transfer_a_correction_stays():
    correction = Correction(1.5, 2.0, gap_mm=5.0, noise=0.3, level=0.2)
    assert correction.transferred(CALIBRATION.transfer, gap_mm=2.0) == correction


def test_factors_of_an_unchecked_scan():
    assert Calibration.of(VALUES).unchecked == (1.0, 1.0)
    assert Calibration.of({**VALUES, "unchecked": [1.3, 1.4]}).unchecked == (1.3, 1.4)
    for damaged in ([0.0, 1.0], [1.0], [1.0, float("nan")], ["x", 1.0], None):
        with pytest.raises((TypeError, ValueError)):
            Calibration.of({**VALUES, "unchecked": damaged})

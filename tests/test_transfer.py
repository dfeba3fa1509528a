from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrinet.synthesize.transfer import LEAST, MOST, Transfer, noise_sign

VALUES = {
    "error": [-0.3, -0.5, 0.2],
    "half_width": [-0.1, -0.7, 0.1],
    "error_alone": [-0.4, 0.25],
    "half_width_alone": [-0.2, 0.15],
}
TRANSFER = Transfer.of(VALUES)


def test_known_weights_give_known_factors():
    error, half_width = TRANSFER.factors(thickness=0.5, noise=0.4)
    assert error == pytest.approx(math.exp(-0.3 - 0.05 + 0.08))
    assert half_width == pytest.approx(math.exp(-0.1 - 0.07 + 0.04))


def test_slices_apart_have_nothing_to_do_with_one_another():
    far, near = (TRANSFER.factors(thickness=t, noise=0.4) for t in (0.1, 0.4))
    assert far == near == pytest.approx((math.exp(-0.3 + 0.08), math.exp(-0.1 + 0.04)))


@pytest.mark.parametrize("unknown", [None, 0.0, -1.0, math.nan, math.inf])
def test_where_no_thickness_is_known_the_other_fit_holds(unknown):
    error, half_width = TRANSFER.factors(thickness=unknown, noise=0.4)
    assert error == pytest.approx(math.exp(-0.4 + 0.1))
    assert half_width == pytest.approx(math.exp(-0.2 + 0.06))


def test_overlap_lowers_it_and_noise_raises_it():
    at = [TRANSFER.factors(thickness=t, noise=n) for t, n in ((0.5, 0.0), (0.8, 0.0), (0.5, 0.5))]
    assert at[1] < at[0] < at[2]


@given(st.floats(0.01, 1e6), st.floats(-60, 60))
def test_strange_scans_are_not_believed(thickness, noise):
    for factor in TRANSFER.factors(thickness=thickness, noise=noise):
        assert LEAST * (1 - 1e-9) <= factor <= MOST * (1 + 1e-9)


@pytest.mark.parametrize("thickness", [None, 0.1, 5.0])
def test_two_numbers_of_older_weights_are_constants(thickness):
    transfer = Transfer.of([0.6712, 0.737])
    assert transfer.factors(thickness=thickness, noise=1.0) == pytest.approx((0.6712, 0.737))
    assert Transfer().factors(thickness=thickness, noise=1.0) == (1.0, 1.0)


@pytest.mark.parametrize("scale", [0.01, 1.0, 100.0])
def test_the_noise_sign_is_free_of_units(scale):
    assert noise_sign(roughness=30 * scale, found=20 * scale) == pytest.approx(math.log(1.5))


def test_a_phantom_without_error_is_no_reason_to_fail():
    assert math.isfinite(noise_sign(roughness=0.0, found=0.0))


@pytest.mark.parametrize("name", VALUES)
def test_damage_is_noticed(name):
    damages = [
        ([0.1], ValueError),
        ([0.1] * 4, ValueError),
        (["high"] * len(VALUES[name]), ValueError),
        ([math.nan] * len(VALUES[name]), ValueError),
        ([math.inf] * len(VALUES[name]), ValueError),
        ([None] * len(VALUES[name]), TypeError),
        (0.3, TypeError),
    ]
    for value, kind in damages:
        with pytest.raises(kind):
            Transfer.of({**VALUES, name: value})
    with pytest.raises(KeyError):
        Transfer.of({key: value for key, value in VALUES.items() if key != name})


@pytest.mark.parametrize(
    "two", [[0.5], [0.5, 0.6, 0.7], [0.5, 0.0], [0.5, -1.0], [0.5, math.nan], [math.inf, 1.0]]
)
def test_damaged_constants_are_noticed(two):
    with pytest.raises(ValueError, match=r"not positive|values to unpack"):
        Transfer.of(two)

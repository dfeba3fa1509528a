from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from hrinet.synthesize.slice_trust import LARGEST_FACTOR, SliceSigns, SliceWeights, roughness

VALUES = {"noise": 0.4, "loss": -0.2, "middle": 0.3}
WEIGHTS = SliceWeights(**VALUES)


def factor(signs, level=0.0):
    return WEIGHTS.factor(signs, level=level)


def test_roughness_of_white_noise():
    sd = 12.0
    noise = np.random.default_rng(0).normal(40, sd, (400, 400)).astype(np.float32)
    expected = sd * math.sqrt(20) * math.sqrt(2 / math.pi)  # 4 x - its neighbours: 16 + 4 variances
    assert roughness(noise) == pytest.approx(expected, rel=0.01)


def test_roughness_is_the_laplacian():
    image = np.random.default_rng(1).normal(0, 30, (40, 50)).astype(np.float32)
    ours = roughness(image) * image.size
    scipys = np.abs(ndimage.laplace(image, mode="mirror")).sum()
    assert ours == pytest.approx(scipys, rel=1e-4)


def test_metal_is_not_noise():
    image = np.zeros((64, 64), np.float32)
    image[20:24, 20:24] = 3200.0
    more = image.copy()
    more[20:24, 20:24] = 30_000.0
    assert roughness(more) == roughness(image)


def test_even_slices_are_no_reason_to_fail():
    flat = roughness(np.zeros((16, 16), np.float32))
    assert flat > 0
    signs = SliceSigns.of(measured=flat, own=flat, expected=0.0, t=1e-9)
    assert 1 / LARGEST_FACTOR <= factor(signs) <= LARGEST_FACTOR


def test_the_factor_is_a_product_of_powers():
    signs = SliceSigns.of(measured=30.0, own=15.0, expected=20.0, t=0.25)
    expected = 1.5**0.4 * 0.5**-0.2 * 0.75**0.3
    assert factor(signs, level=0.5) == pytest.approx(expected / math.exp(0.5))
    assert SliceWeights().factor(signs, level=0.0) == 1.0


def test_without_hidden_slices_nothing_is_said():
    signs = SliceSigns.of(measured=30.0, own=15.0, expected=20.0, t=0.2)
    assert factor(signs, level=None) == 1.0


@given(st.lists(st.floats(-0.3, 0.3), min_size=1, max_size=6))
def test_the_mean_over_the_hidden_slices_is_1(noises):
    signs = [SliceSigns(noise=noise, loss=0.3, middle=0.0) for noise in noises]
    level = float(np.mean([WEIGHTS.log(one) for one in signs]))
    logs = [math.log(WEIGHTS.factor(one, level=level)) for one in signs]
    assert np.mean(logs) == pytest.approx(0, abs=1e-9)


HU = st.floats(0.5, 200)


@given(HU, HU, HU, st.floats(0.05, 0.95), st.floats(0.25, 4))
def test_units_and_direction_do_not_matter(measured, own, expected, t, scale):
    sizes = {"measured": measured, "own": own, "expected": expected}
    signs = SliceSigns.of(**sizes, t=t)
    scaled = SliceSigns.of(**{name: scale * hu for name, hu in sizes.items()}, t=1 - t)
    assert factor(scaled) == pytest.approx(factor(signs))
    assert 1 / LARGEST_FACTOR <= factor(signs) <= LARGEST_FACTOR


def test_noisier_neighbours_and_the_middle_err_more():
    quiet = SliceSigns(noise=-0.4, loss=-0.5, middle=0.0)
    assert factor(replace(quiet, noise=quiet.noise + 0.3)) > factor(quiet)
    assert factor(replace(quiet, middle=-1.0)) < factor(quiet)


def test_from_plain_values():
    assert SliceWeights.of({**VALUES, "rank_before": 0.5}) == WEIGHTS


def test_the_offset_of_older_weights_says_nothing():
    assert SliceWeights.of({**VALUES, "offset": -0.2499}) == WEIGHTS


@pytest.mark.parametrize("name", VALUES)
def test_damage_is_noticed(name):
    for value, kind in ((float("nan"), ValueError), ("high", ValueError), (None, TypeError)):
        with pytest.raises(kind):
            SliceWeights.of({**VALUES, name: value})
    with pytest.raises(KeyError):
        SliceWeights.of({key: value for key, value in VALUES.items() if key != name})

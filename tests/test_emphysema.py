from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import binary_erosion

from hrinet.demo.phantom import TorsoPhantom
from hrinet.metrics.emphysema import laa950, laa950_bias, lung_mask, perc15, perc15_bias
from metric_tools import noisy, real_scan


def chest(lung=-870, slices=3):
    """A body in air with two lungs and a bubble in the bowel."""
    stack = np.full((slices, 160, 200), -1000.0)
    stack[:, 20:140, 20:180] = 40
    stack[:, 40:120, 35:90] = lung
    stack[:, 40:120, 110:165] = lung
    stack[:, 125:135, 90:120] = -950
    return stack


def test_mask_is_the_lungs():
    stack = chest()
    mask = lung_mask(stack)
    expected = np.zeros(stack.shape, bool)
    expected[:, 40:120, 35:90] = expected[:, 40:120, 110:165] = True
    assert mask.dtype == bool
    assert not mask[:, :20].any()
    assert not mask[:, 125:135, 90:120].any()
    for found, wanted in zip(mask, expected, strict=True):
        assert found[binary_erosion(wanted, iterations=3)].all()
        assert not found[~wanted].any() or (found & ~wanted).sum() < 0.05 * wanted.sum()
    assert np.array_equal(lung_mask(stack[1]), mask[1])


def test_lungs_that_join_above_are_one_piece():
    stack = chest()
    stack[2, 60:70, 80:120] = -870
    # A lung that is small in this scan is kept where it is joined to the other.
    stack[:, 40:120, 110:165] = 40
    stack[:, 60:85, 110:140] = -870
    mask = lung_mask(stack)
    assert mask[0, 70, 125]
    assert mask[0, 70, 50]


def test_index_and_percentile_in_closed_form():
    stack = chest()
    mask = np.zeros(stack.shape, bool)
    mask[:, 40:120, 35:90] = True
    stack[:, 40:60, 35:90] = -980
    assert laa950(stack, mask=mask) == pytest.approx(25)
    assert perc15(stack, mask=mask) == -980
    assert laa950(np.full((2, 2), -950), mask=np.ones((2, 2), bool)) == 0
    ramp = np.linspace(-1000, -800, 201)[None]
    assert perc15(ramp, mask=np.ones(ramp.shape, bool)) == pytest.approx(-970)


def test_averaging_hides_emphysema():
    truth = noisy(chest(-925), 25, seed=1)
    smoother = (noisy(chest(-925), 25, seed=2) + noisy(chest(-925), 25, seed=3)) / 2
    assert laa950_bias(smoother, truth) < -5
    assert perc15_bias(smoother, truth) > 4
    assert laa950_bias(truth, truth) == 0
    assert perc15_bias(truth, truth) == 0


def test_no_lung_and_bad_mask():
    body = np.full((2, 40, 40), 30.0)
    assert not lung_mask(body).any()
    assert math.isnan(laa950(body))
    assert math.isnan(perc15_bias(body, body))
    with pytest.raises(ValueError, match="shapes differ"):
        laa950(body, mask=np.ones((40, 40), bool))


def test_phantom_and_real_lungs():
    phantom = TorsoPhantom(rows=256, columns=256, pixel_mm=1.5).truth([180.0, 190.0, 200.0])
    volume = real_scan()
    for stack in (phantom, volume.array[90:93]):
        mask = lung_mask(stack)
        assert 0.03 < mask.mean() < 0.4
        assert np.median(stack[mask]) < -700
        assert perc15(stack, mask=mask) < -800

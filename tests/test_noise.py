from __future__ import annotations

import math

import numpy as np
import pytest

from hrinet.metrics.noise import even_soft_tissue, noise_ratio, noise_sd
from metric_tools import noisy, real_scan


def liver(seed=0):
    return noisy(np.full((120, 120), 55.0), 20, seed)


def test_means_of_independent_noise():
    truth = liver(0)
    neighbours = [liver(seed) for seed in (1, 2, 3, 4)]
    assert noise_ratio(neighbours[0], truth) == pytest.approx(1, abs=0.02)
    assert noise_ratio(sum(neighbours[:2]) / 2, truth) == pytest.approx(0.5**0.5, abs=0.02)
    assert noise_ratio(sum(neighbours) / 4, truth) == pytest.approx(0.5, abs=0.02)
    assert noise_ratio(truth, truth) == 1


def test_sd_of_white_noise():
    where = np.ones((120, 120), bool)
    assert noise_sd(liver(), where) == pytest.approx(20 * (24 / 25) ** 0.5, rel=0.02)


def test_anatomy_is_no_noise():
    """A bone, a lung and their edges in the slice change nothing."""
    truth = liver(0)
    image = liver(1)
    truth[:40] += 500
    image[:40] = -850
    where = even_soft_tissue(truth)
    assert not where[:40].any()
    assert where[60:].all()
    assert noise_ratio(image, truth) == pytest.approx(1, abs=0.03)


def test_stack_is_the_mean_of_slices():
    truth = np.stack([liver(0), liver(1), np.full((120, 120), -1000)])
    image = np.stack([liver(2), liver(3) / 2 + 27, truth[2]])
    ratios = [noise_ratio(a, b) for a, b in zip(image[:2], truth[:2], strict=True)]
    assert noise_ratio(image, truth) == pytest.approx(np.mean(ratios))


def test_nothing_to_measure():
    air = np.full((60, 60), -1000.0)
    assert math.isnan(noise_ratio(air, air))
    flat = np.full((60, 60), 40.0)
    assert math.isnan(noise_ratio(flat, flat))


def test_real_neighbours_mixed_are_smoother():
    volume = real_scan()
    middle = slice(100, 106)
    mixed = (volume.array[99:105].astype(np.float32) + volume.array[101:107]) / 2
    ratio = noise_ratio(mixed, volume.array[middle])
    assert 0.6 < ratio < 0.85

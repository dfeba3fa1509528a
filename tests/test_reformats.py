from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import structural_similarity

from hrinet.metrics.reformats import (
    plane_ssim,
    staircase,
    through_plane_gradient,
    through_plane_gradient_ratio,
)
from metric_tools import blurred, noisy

RANGE = (-1000.0, 1000.0)


def volumes():
    rng = np.random.default_rng(0)
    truth = np.stack([blurred(rng.normal(0, 900, (24, 30)), 1.5) for _ in range(20)])
    image = noisy(truth, 60)
    synthetic = np.arange(20) % 2 == 1
    return np.where(synthetic[:, None, None], image, truth), truth, synthetic


@pytest.mark.parametrize("axis", [1, 2])
def test_agrees_with_scikit_image(axis):
    image, truth, synthetic = volumes()
    expected = []
    for index in range(2, truth.shape[axis], 4):
        a, b = (np.clip(np.take(v, index, axis=axis), *RANGE) for v in (image, truth))
        _, full = structural_similarity(
            a.astype(np.float64),
            b.astype(np.float64),
            data_range=2000,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            full=True,
        )
        inner = full[5:-5, 5:-5]
        expected.append(inner[synthetic[5:-5]].mean())
    found = plane_ssim(image, truth, synthetic, axis=axis, value_range=RANGE, step=4)
    assert found == pytest.approx(np.mean(expected), abs=1e-6)


def test_originals_do_not_count():
    image, truth, synthetic = volumes()
    worse = np.where(synthetic[:, None, None], image, 0)
    for _ in range(2):
        score = plane_ssim(image, truth, synthetic, axis=1, value_range=RANGE)
        assert score < 1
        assert plane_ssim(worse, truth, synthetic, axis=1, value_range=RANGE) < score
    assert plane_ssim(truth, truth, synthetic, axis=2, value_range=RANGE) == pytest.approx(1)
    nothing = plane_ssim(image, truth, np.zeros(20, bool), axis=1, value_range=RANGE)
    assert math.isnan(nothing)


def test_gradient_of_a_ramp():
    z = np.array([0.0, 1.0, 3.0, 4.0, 8.0])
    ramp = np.broadcast_to(12 * z[:, None, None], (5, 6, 7))
    flags = [False, True, False, True, False]
    assert through_plane_gradient(ramp, flags, positions_mm=z) == pytest.approx(12)
    assert through_plane_gradient(ramp, flags, positions_mm=-z) == pytest.approx(12)
    assert math.isnan(through_plane_gradient(ramp, [False] * 5, positions_mm=z))


def test_smoothing_and_repeating():
    rng = np.random.default_rng(0)
    z = np.arange(21.0)
    truth = np.cumsum(rng.normal(0, 10, (21, 16, 16)), axis=0) + rng.normal(0, 10, (21, 16, 16))
    synthetic = z % 2 == 1
    linear, repeated = truth.copy(), truth.copy()
    linear[1::2] = (truth[:-1:2] + truth[2::2]) / 2
    repeated[1::2] = truth[:-1:2]
    ratio = through_plane_gradient_ratio(linear, truth, synthetic, positions_mm=z)
    assert 0.3 < ratio < 0.8
    assert through_plane_gradient_ratio(truth, truth, synthetic, positions_mm=z) == 1
    assert staircase(truth, truth, synthetic, positions_mm=z) == 0
    assert staircase(linear, truth, synthetic, positions_mm=z) == pytest.approx(0, abs=0.1)
    assert staircase(repeated, truth, synthetic, positions_mm=z) == pytest.approx(1, abs=0.1)


def test_bad_arguments():
    volume = np.zeros((12, 12, 12))
    flags = np.ones(12, bool)
    with pytest.raises(ValueError, match="one flag"):
        plane_ssim(volume, volume, flags[:-1], axis=1, value_range=RANGE)
    with pytest.raises(ValueError, match="at least 11"):
        plane_ssim(volume[:9], volume[:9], flags[:9], axis=1, value_range=RANGE)
    with pytest.raises(ValueError, match="same position"):
        through_plane_gradient(volume, flags, positions_mm=np.zeros(12))
    with pytest.raises(ValueError, match="positions are needed"):
        through_plane_gradient(volume, flags, positions_mm=np.arange(11))
    with pytest.raises(ValueError, match="two slices"):
        through_plane_gradient(volume[:1], flags[:1], positions_mm=[0])

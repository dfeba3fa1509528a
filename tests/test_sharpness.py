from __future__ import annotations

import numpy as np
import pytest

from hrinet.metrics.sharpness import gradient_energy, spectral_sharpness
from metric_tools import blurred, noisy


def test_a_ramp_has_its_slope_squared():
    down = 3 * np.arange(40.0)[:, None] + 5 * np.arange(30.0)[None]
    assert gradient_energy(down) == pytest.approx(9 + 25)
    assert gradient_energy(down, pixel_spacing=(0.5, 2.0)) == pytest.approx(36 + 6.25)
    assert gradient_energy(np.full((9, 9), 7)) == 0


@pytest.mark.parametrize("shape", [(256, 256), (251, 240), (240, 251)])
def test_white_noise_has_its_power_outside_the_circle(shape):
    noise = np.random.default_rng(0).normal(40, 10, shape)
    assert spectral_sharpness(noise) == pytest.approx(1 - np.pi / 16, abs=0.01)


@pytest.mark.parametrize(("period", "expected"), [(3, 1.0), (8, 0.0)])
def test_a_wave_lies_on_one_side(period, expected):
    wave = np.sin(2 * np.pi * np.arange(192) / period) * np.ones((192, 1))
    for image in (wave, wave.T):
        assert spectral_sharpness(image + 100) == pytest.approx(expected, abs=1e-4)


def test_blur_lowers_and_noise_raises_both():
    image = blurred(np.random.default_rng(0).normal(0, 200, (128, 128)), 1.0)
    for measure in (gradient_energy, spectral_sharpness):
        values = [measure(blurred(image, sigma)) for sigma in (2.0, 1.0, 0.5)]
        values += [measure(image), measure(noisy(image, 20)), measure(noisy(image, 60))]
        assert values == sorted(values)
        assert len(set(values)) == len(values)


def test_a_flat_image_and_bad_arguments():
    assert spectral_sharpness(np.full((16, 16), 30)) == 0
    with pytest.raises(ValueError, match="at least 8 x 8"):
        spectral_sharpness(np.zeros((7, 20)))
    with pytest.raises(ValueError, match="at least 3 x 3"):
        gradient_energy(np.zeros((2, 20)))
    with pytest.raises(ValueError, match="positive"):
        gradient_energy(np.zeros((5, 5)), pixel_spacing=(0, 1))

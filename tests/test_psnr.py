from __future__ import annotations

import math

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

from hrinet.metrics.psnr import mean_squared_error, psnr


def test_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 300, (2, 40, 50))
    expected = peak_signal_noise_ratio(b, a, data_range=2000)
    assert psnr(a, b, data_range=2000) == pytest.approx(expected, abs=1e-9)


def test_closed_forms_without_a_cap():
    a = np.zeros((4, 4))
    assert psnr(a, a + 2.0, data_range=200) == pytest.approx(40)
    assert psnr(a, a + 1e-9, data_range=1) == pytest.approx(180)
    assert psnr(a, a, data_range=1) == math.inf
    assert mean_squared_error(a, a + 3) == 9


def test_int16_does_not_wrap():
    a = np.full((3, 3), -32768, np.int16)
    b = np.full((3, 3), 32767, np.int16)
    assert mean_squared_error(a, b) == pytest.approx(65535.0**2)


@pytest.mark.parametrize("bad", [0, -1, float("nan")])
def test_wrong_range(bad):
    with pytest.raises(ValueError, match="data_range"):
        psnr([1.0], [2.0], data_range=bad)


def test_wrong_shape():
    with pytest.raises(ValueError, match="shapes differ"):
        psnr(np.zeros(3), np.zeros(4), data_range=1)

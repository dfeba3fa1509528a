from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import mean_squared_error

from hrinet.metrics.psnr import psnr
from hrinet.metrics.rmse import rmse, rmse_255


def test_agrees_with_scikit_image():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 300, (2, 40, 50))
    assert rmse(a, b) == pytest.approx(np.sqrt(mean_squared_error(a, b)), abs=1e-9)


def test_closed_forms():
    a = np.zeros((4, 5))
    assert rmse(a, a + 3) == 3
    assert rmse_255(a - 1000, a + 1000, value_range=(-1000, 1000)) == 255
    assert rmse_255(a, a + 20, value_range=(-1000, 1000)) == pytest.approx(2.55)
    # What lies beyond the range does not count.
    assert rmse_255(a + 1000, a + 3000, value_range=(-1000, 1000)) == 0


def test_follows_from_the_peak_signal_to_noise_ratio():
    rng = np.random.default_rng(1)
    a, b = rng.uniform(-900, 900, (2, 30, 30))
    expected = 255 / 10 ** (psnr(a, b, data_range=2000) / 20)
    assert rmse_255(a, b, value_range=(-1000, 1000)) == pytest.approx(expected, rel=1e-12)


def test_bad_arguments():
    with pytest.raises(ValueError, match="shapes differ"):
        rmse(np.zeros(3), np.zeros(4))
    with pytest.raises(ValueError, match="value_range"):
        rmse_255(np.zeros(3), np.zeros(3), value_range=(5, 5))

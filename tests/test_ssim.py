from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from hrinet.metrics.ssim import ssim, ssim_map


@pytest.mark.parametrize("shape", [(64, 80), (11, 11), (12, 200)])
def test_agrees_with_scikit_image(shape):
    rng = np.random.default_rng(0)
    truth = gaussian_filter(rng.normal(0, 900, shape), 2)
    image = truth + rng.normal(0, 30, shape)
    _, full = structural_similarity(
        truth,
        image,
        data_range=2000,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    expected = full[5:-5, 5:-5]
    assert np.abs(ssim_map(image, truth, data_range=2000) - expected).max() < 1e-6


def test_identity_and_symmetry():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 300, (2, 30, 30))
    assert ssim(a, a, data_range=2000) == pytest.approx(1)
    assert ssim(a, b, data_range=2000) == pytest.approx(ssim(b, a, data_range=2000))
    assert ssim(a, b, data_range=2000) < 0.5


@pytest.mark.parametrize("shape", [(10, 50), (50, 10), (50,)])
def test_too_small(shape):
    with pytest.raises(ValueError, match="11 x 11"):
        ssim(np.zeros(shape), np.zeros(shape), data_range=1)

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from hrinet.metrics.ms_ssim import SMALLEST, ms_ssim
from metric_tools import blurred, noisy


def pair(shape, seed=0):
    truth = blurred(np.random.default_rng(seed).normal(0, 3000, shape), 4.0)
    return noisy(blurred(truth, 1.0), 60), truth


def reference(image, truth, data_range):
    """Straight from the paper, with SciPy's filter, over the windows inside the image."""
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    weights = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
    a, b = image.astype(np.float64), truth.astype(np.float64)
    result = 1.0
    for scale, weight in enumerate(weights):

        def mean(values):
            return gaussian_filter(values, 1.5, radius=5)[5:-5, 5:-5]

        va, vb = mean(a * a) - mean(a) ** 2, mean(b * b) - mean(b) ** 2
        similarity = (2 * (mean(a * b) - mean(a) * mean(b)) + c2) / (va + vb + c2)
        if scale == 4:
            similarity *= (2 * mean(a) * mean(b) + c1) / (mean(a) ** 2 + mean(b) ** 2 + c1)
        result *= similarity.mean() ** weight
        a, b = (
            (x[:-1:2, :-1:2] + x[1::2, :-1:2] + x[:-1:2, 1::2] + x[1::2, 1::2]) / 4 for x in (a, b)
        )
    return result


@pytest.mark.parametrize("shape", [(192, 176), (256, 304)])
def test_agrees_with_the_paper(shape):
    image, truth = pair(shape)
    expected = reference(image, truth, 2000)
    assert ms_ssim(image, truth, data_range=2000) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("shape", [(192, 176), (256, 304)])
def test_agrees_with_torchmetrics_but_for_its_border(shape):
    """It takes the mirrored border into the coarsest scale; the paper does not."""
    torch = pytest.importorskip("torch")
    functional = pytest.importorskip("torchmetrics.functional.image")
    image, truth = pair(shape)
    expected = functional.multiscale_structural_similarity_index_measure(
        torch.tensor(image, dtype=torch.float64)[None, None],
        torch.tensor(truth, dtype=torch.float64)[None, None],
        data_range=2000.0,
        kernel_size=11,
        sigma=1.5,
    )
    assert ms_ssim(image, truth, data_range=2000) == pytest.approx(float(expected), abs=1e-4)


def test_order():
    _, truth = pair((180, 200))
    values = [ms_ssim(noisy(truth, sd), truth, data_range=2000) for sd in (0, 30, 100, 300)]
    assert values[0] == pytest.approx(1)
    assert values == sorted(values, reverse=True)
    assert ms_ssim(-truth, truth, data_range=2000) == 0


def test_bad_arguments():
    for shape in ((SMALLEST - 1, 300), (300, SMALLEST - 1)):
        with pytest.raises(ValueError, match="176 x 176"):
            ms_ssim(np.zeros(shape), np.zeros(shape), data_range=1)
    with pytest.raises(ValueError, match="data_range"):
        ms_ssim(np.zeros((200, 200)), np.zeros((200, 200)), data_range=0)

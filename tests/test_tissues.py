from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import uniform_filter

from hrinet.metrics.tissues import TISSUES, hu_bias, interquartile_range, tissue_masks
from metric_tools import noisy, real_scan

LEVELS = {"air": -1000, "lung": -850, "fat": -100, "soft tissue": 50, "bone": 600}


def stripes(height=40):
    """One broad stripe a tissue."""
    return np.concatenate([np.full((height, 60), hu, np.int16) for hu in LEVELS.values()])


def test_masks_agree_with_scipy():
    truth = noisy(stripes(), 30)
    smooth = uniform_filter(truth.astype(np.float64), 5, mode="mirror")
    masks = tissue_masks(truth)
    assert list(masks) == list(TISSUES)
    for name, (low, high) in TISSUES.items():
        expected = (smooth >= low) & (smooth < high)
        assert (masks[name] != expected).mean() < 1e-3
        assert masks[name].sum() > 36 * 60


def test_stack_and_slice_agree():
    truth = noisy(stripes(), 30)
    stack = np.stack([truth, truth[::-1]])
    for name, mask in tissue_masks(stack).items():
        assert mask.shape == stack.shape
        assert np.array_equal(mask[0], tissue_masks(truth)[name])


def test_bias_and_width_in_closed_form():
    truth = noisy(stripes(), 20)
    shifted = hu_bias(truth + 7, truth)
    for name, found in shifted.items():
        assert found.bias_hu == pytest.approx(7, abs=1e-3), name
        assert found.width_ratio == pytest.approx(1, abs=0.05), name
        assert found.voxels == tissue_masks(truth)[name].sum()
    plain = stripes().astype(np.float32)
    squeezed = plain + (truth - plain) / 2
    for name, found in hu_bias(squeezed, truth).items():
        assert found.width_ratio == pytest.approx(0.5, abs=0.05), name


def test_regression_to_the_mean_is_not_hidden():
    """Voxels chosen by a noisy truth: even the noise-free image is biased in bone, low."""
    plain = np.full((200, 200), 190.0)
    truth = noisy(plain, 40)
    assert hu_bias(plain, truth)["bone"].bias_hu < -10


def test_no_voxels_and_no_width():
    found = hu_bias(np.zeros((20, 20)), np.zeros((20, 20)))
    assert np.isnan(found["bone"].bias_hu)
    assert found["bone"].voxels == 0
    assert np.isnan(found["soft tissue"].width_ratio)


@settings(max_examples=30, deadline=None)
@given(st.floats(2, 200), st.floats(-900, 900), st.integers(0, 2**32 - 1))
def test_interquartile_range(sd, middle, seed):
    values = np.random.default_rng(seed).normal(middle, sd, 4000)
    expected = float(np.subtract(*np.percentile(values, [75, 25])))
    assert interquartile_range(values) == pytest.approx(expected, abs=1.0)
    assert interquartile_range(np.rint(values).astype(np.int16)) == pytest.approx(expected, abs=1.0)


def test_shapes_differ():
    with pytest.raises(ValueError, match="shapes differ"):
        hu_bias(np.zeros((3, 3)), np.zeros((4, 4)))


def test_real_scan_has_every_tissue():
    volume = real_scan()
    stack = volume.array[60:62]
    mixed = (volume.array[59:61].astype(np.float32) + volume.array[61:63]) / 2
    for name, found in hu_bias(mixed, stack).items():
        assert found.voxels > 1000, name
        assert abs(found.bias_hu) < 100, name
        assert 0.3 < found.width_ratio < 1.6, name
    # Mixing two neighbours draws the extremes to the middle.
    bias = {name: found.bias_hu for name, found in hu_bias(mixed, stack).items()}
    assert bias["bone"] < 0 < bias["lung"]

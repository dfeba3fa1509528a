from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from hrinet.io.formats import open_scan
from hrinet.selftest.score import looks_like_labels, psnr_of, score
from real_data import ct


@pytest.fixture
def pair():
    rng = np.random.default_rng(5)
    truth = rng.normal(0, 400, (40, 50)).astype(np.int16)
    return (truth + rng.normal(0, 30, truth.shape)).astype(np.int16), truth


def test_against_scikit_image(pair):
    made, truth = pair
    found = score(made, truth, padding=None)
    a, b = (np.clip(values, -1000, 1000).astype(float) for values in pair)
    assert found.mae_hu == pytest.approx(np.abs(made.astype(int) - truth).mean(), rel=1e-6)
    assert found.psnr_db == pytest.approx(peak_signal_noise_ratio(b, a, data_range=2000), abs=1e-6)
    similarity = structural_similarity(
        b, a, data_range=2000, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    assert found.ssim == pytest.approx(similarity, abs=1e-6)


def test_the_body_is_what_the_synthetic_slice_shows_above_air(pair):
    made, truth = pair[0].copy(), pair[1]
    made[:20] = -1000
    found = score(made, truth, padding=None)
    assert found.body_mae_hu == pytest.approx(
        np.abs(made.astype(int) - truth)[made > -900].mean(), rel=1e-6
    )
    air = np.full((12, 12), -1000, np.int16)
    assert score(air, air + np.int16(7), padding=None).body_mae_hu == pytest.approx(7)


def test_equal_slices_are_exact(pair):
    found = score(pair[1], pair[1], padding=None)
    assert (found.mae_hu, found.psnr_db, found.ssim) == (0.0, None, pytest.approx(1.0))
    assert psnr_of(4.0) == pytest.approx(60.0)


def test_padding_is_air_on_both_sides(pair):
    made, truth = pair[0].copy(), pair[1].copy()
    truth[:5] = -2000
    made[:5] = -1024
    expected = np.abs(made[5:].astype(int) - truth[5:]).sum() / made.size
    assert score(made, truth, padding=-2000).mae_hu == pytest.approx(expected, rel=1e-6)


def test_what_is_no_number_counts_as_air():
    truth = np.full((12, 12), 50, np.float32)
    truth[0, 0] = np.nan
    made = np.full((12, 12), 50, np.float32)
    made[0, 0] = np.nan
    assert score(made, truth, padding=None).mae_hu == 0.0


def test_slices_too_small_for_ssim():
    tiny = np.zeros((8, 8), np.int16)
    assert score(tiny, tiny, padding=None).ssim is None


def test_labels_are_told_from_scans():
    labels = np.zeros((60, 60), np.int16)
    labels[10:40, 10:40] = 3
    labels[20:30, 20:30] = 104
    assert looks_like_labels([labels, labels])
    assert looks_like_labels([labels.astype(np.float32)])
    rng = np.random.default_rng(0)
    brain = np.where(labels > 0, rng.integers(0, 80, labels.shape), 0).astype(np.int16)
    assert not looks_like_labels([brain])
    assert not looks_like_labels([labels - np.int16(1000)])
    assert not looks_like_labels([np.zeros((9, 9), np.int16)])
    assert not looks_like_labels([labels + np.float32(0.5)])
    assert not looks_like_labels([np.full((9, 9), np.nan, np.float32)])


def test_real_scans_are_no_labels():
    for name in ("cases/totalseg_example20", "cases/philips_tilt_phantom"):
        scan = open_scan(ct(name))
        assert not looks_like_labels([scan.read_slice(9)])

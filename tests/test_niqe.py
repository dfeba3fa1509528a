from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.ndimage import correlate1d
from scipy.optimize import brentq
from scipy.special import gamma

from hrinet.demo.phantom import TorsoPhantom
from hrinet.errors import InputError
from hrinet.metrics.niqe import features, fit_features, niqe
from hrinet.metrics.niqe_model import (
    NiqeModel,
    load_model,
    packaged_model,
    packaged_model_path,
    save_model,
)
from metric_tools import blocked, blurred, noisy, real_scan

RANGE = (-1000.0, 1000.0)
BLUR = (0.7, 1.2, 2.0, 3.0)
NOISE = (20.0, 40.0, 80.0, 160.0)
BLOCKS = (100.0, 200.0, 400.0, 800.0)


def slow_aggd(values):
    """Moment matching, its equation solved by bisection."""
    left = np.sqrt(np.mean(values[values < 0] ** 2))
    right = np.sqrt(np.mean(values[values > 0] ** 2))
    g = left / right
    wanted = np.mean(np.abs(values)) ** 2 / np.mean(values**2)
    wanted *= (g**3 + 1) * (g + 1) / (g**2 + 1) ** 2

    def ratio(a):
        return gamma(2 / a) ** 2 / (gamma(1 / a) * gamma(3 / a))

    a = brentq(lambda x: ratio(x) - wanted, 0.2, 10, xtol=1e-10)
    scale = np.sqrt(gamma(1 / a) / gamma(3 / a))
    return a, left * scale, right * scale


def slow_half(image):
    """Half the size by the cubic kernel stretched twice, weights computed pixel by pixel."""

    def kernel(x):
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x <= 2 else 0.0

    for _ in range(2):
        rows = len(image)
        padded = np.concatenate([image[:4][::-1], image, image[-4:][::-1]])
        out = []
        for k in range(rows // 2):
            centre = 2 * k + 0.5
            taps = range(int(np.floor(centre - 4)) + 1, int(np.ceil(centre + 4)))
            weights = np.array([kernel((tap - centre) / 2) for tap in taps])
            lines = np.stack([padded[tap + 4] for tap in taps])
            out.append(weights @ lines / weights.sum())
        image = np.stack(out).T
    return image


def slow_features(image):
    """The 36 features straight from the paper and the order of the authors' release."""
    x = np.arange(-3, 4)
    window = np.exp(-(x**2) / (2 * (7 / 6) ** 2))
    window /= window.sum()

    def local(values):
        return correlate1d(
            correlate1d(values, window, 0, mode="nearest"), window, 1, mode="nearest"
        )

    columns = []
    for size in (96, 48):
        mean = local(image)
        deviation = np.sqrt(np.abs(local(image**2) - mean**2))
        normalized = (image - mean) / (deviation + 1)
        rows = []
        for top in range(0, normalized.shape[0] - size + 1, size):
            for start in range(0, normalized.shape[1] - size + 1, size):
                patch = normalized[top : top + size, start : start + size]
                a, left, right = slow_aggd(patch.ravel())
                row = [a, (left + right) / 2]
                for shift in ((0, 1), (1, 0), (1, 1), (1, -1)):
                    product = patch * np.roll(patch, shift, axis=(0, 1))
                    a, left, right = slow_aggd(product.ravel())
                    row += [a, (right - left) * gamma(2 / a) / gamma(1 / a), left, right]
                rows.append(row)
        columns.append(rows)
        image = slow_half(image)
    return np.concatenate(columns, axis=1)


def phantom_slice():
    volume = TorsoPhantom(rows=512, columns=512, pixel_mm=0.75).volume([190.0], thickness_mm=2.0)
    return np.asarray(volume.array[0], np.float32)


def test_features_agree_with_a_slow_reference():
    rng = np.random.default_rng(0)
    image = blurred(rng.laplace(0, 500, (200, 300)), 3.0) + 128 + rng.normal(0, 6, (200, 300))
    found = features(image)
    assert found.shape == (6, 36)
    assert np.abs(found - slow_features(image[:192, :288])).max() < 1e-3


def test_features_of_real_ct_agree_with_a_slow_reference():
    image = (np.clip(real_scan().array[60].astype(np.float64), *RANGE) + 1000) * 255 / 2000
    body = image[96:288, 96:384]
    assert np.abs(features(body) - slow_features(body)).max() < 1e-3


def distances(image, kind, amounts):
    return [niqe(image, value_range=RANGE)] + [
        niqe(kind(image, amount), value_range=RANGE) for amount in amounts
    ]


@pytest.mark.parametrize(("kind", "amounts"), [(blurred, BLUR), (noisy, NOISE), (blocked, BLOCKS)])
@pytest.mark.parametrize("index", [30, 60, 100])
def test_worse_real_slices_score_worse(index, kind, amounts):
    scores = distances(real_scan().array[index].astype(np.float32), kind, amounts)
    assert scores == sorted(scores)
    assert scores[0] < 5
    assert scores[-1] > 3 * scores[0]


@pytest.mark.parametrize(("kind", "amounts"), [(blurred, BLUR), (noisy, NOISE), (blocked, BLOCKS)])
def test_worse_phantom_slices_score_worse(kind, amounts):
    scores = distances(phantom_slice(), kind, amounts)
    assert scores == sorted(scores)
    assert scores[-1] > 3 * scores[0]


def test_air_is_left_out():
    image = np.full((288, 288), -1000.0)
    image[:96, :192] = np.random.default_rng(0).normal(0, 60, (96, 192))
    values, sharpness = fit_features(image, value_range=RANGE)
    assert values.shape == (2, 36)
    assert sharpness.shape == (2,)
    assert np.isnan(niqe(np.full((200, 200), -1000.0), value_range=RANGE))
    assert np.isnan(niqe(np.full((200, 200), 40.0), value_range=RANGE))


def test_packaged_model_says_where_it_comes_from():
    model = packaged_model()
    told = model.provenance
    assert model.value_range == RANGE
    assert told["patients"] == len(told["scans"]) >= 10
    assert told["patches"] == sum(scan["patches"] for scan in told["scans"]) > 1000
    assert all(scan["licence"].startswith("CC BY ") for scan in told["scans"])
    assert np.linalg.eigvalsh(model.covariance).min() > 0


def test_distance_in_closed_form():
    """With the image's own mean shifted by one in one feature, and known covariances."""
    image = np.random.default_rng(0).normal(0, 200, (384, 480))
    values, _ = fit_features(image, value_range=RANGE)
    own = np.cov(values, rowvar=False)
    shift = np.zeros(36)
    shift[5] = 0.3
    identity = NiqeModel(
        mean=values.mean(axis=0) + shift, covariance=2 * np.eye(36) - own, value_range=RANGE
    )
    assert niqe(image, value_range=RANGE, model=identity) == pytest.approx(0.3)


def test_model_survives_a_file(tmp_path):
    rng = np.random.default_rng(0)
    model = NiqeModel.fitted(
        rng.normal(size=(100, 36)), value_range=(-100.0, 300.0), provenance={"patients": 3}
    )
    path = tmp_path / "model.json"
    save_model(model, path)
    again = load_model(path)
    assert np.array_equal(again.mean, model.mean)
    assert np.array_equal(again.covariance, model.covariance)
    assert again.value_range == (-100.0, 300.0)
    assert again.provenance == {"patients": 3}


def test_bad_files(tmp_path):
    path = tmp_path / "model.json"
    with pytest.raises(InputError, match="cannot be read"):
        load_model(path)
    path.write_text("no")
    with pytest.raises(InputError, match="no JSON"):
        load_model(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="no NIQE model"):
        load_model(path)
    values = json.loads(packaged_model_path().read_text("utf-8"))
    values["mean"][0] += 1e-9
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="SHA-256"):
        load_model(path)
    values["mean"] = values["mean"][:-1]
    path.write_text(json.dumps(values))
    with pytest.raises(InputError, match="damaged"):
        load_model(path)


def test_bad_arguments():
    with pytest.raises(ValueError, match="96 x 96"):
        niqe(np.zeros((95, 200)), value_range=RANGE)
    with pytest.raises(ValueError, match="fitted on HU"):
        niqe(np.zeros((200, 200)), value_range=(-160, 240))
    with pytest.raises(ValueError, match="too few"):
        NiqeModel.fitted(np.zeros((36, 36)), value_range=RANGE, provenance={})

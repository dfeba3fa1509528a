from __future__ import annotations

import builtins

import numpy as np
import pytest
from scipy.fft import dctn
from scipy.io import savemat
from scipy.special import gamma

from hrinet.errors import InputError, RequestError
from hrinet.metrics.ma import NOT_AVAILABLE, ma
from hrinet.metrics.ma_features import FEATURE_COUNTS, ma_features
from hrinet.metrics.ma_model import load_ma_model
from hrinet.metrics.steerable import enlarged, steerable_pyramid
from metric_tools import blurred, noisy


def picture(shape=(128, 150), seed=0):
    rng = np.random.default_rng(seed)
    values = blurred(rng.laplace(0, 400, shape), 2.0) + 128 + rng.normal(0, 6, shape)
    return np.clip(np.rint(values), 0, 255).astype(np.float64)


GRID = np.arange(30, 10001) / 1000
RATIOS = gamma(1 / GRID) * gamma(3 / GRID) / gamma(2 / GRID) ** 2


def slow_shape(values):
    """The next lower thousandth at which the moments agree, looked for one after the other."""
    wanted = np.var(values, ddof=1) / (np.mean(np.abs(values - values.mean())) ** 2 + 1e-7)
    found = np.flatnonzero((RATIOS[:-1] >= wanted) & (wanted > RATIOS[1:]))
    return GRID[found[0]] if len(found) else 11.0


def slow_local(image):
    """Six numbers of section 3.1, block by block."""
    rows, columns = image.shape
    canvas = np.zeros((rows + 12, columns + 12))
    canvas[2 : 2 + rows, 2 : 2 + columns] = image
    shapes, variations, orientations = [], [], []
    for top in range(0, rows, 3):
        for left in range(0, columns, 3):
            block = dctn(canvas[top : top + 7, left : left + 7], norm="ortho")
            groups = {0: [], 1: [], 2: []}
            for r in range(7):
                for c in range(7):
                    if r or c:
                        angle = np.degrees(np.arctan2(r, c))
                        groups[0 if angle < 32 else 1 if angle < 58 else 2].append(abs(block[r, c]))
            assert [len(group) for group in groups.values()] == [16, 16, 16]
            shapes.append(slow_shape(block.ravel()[1:]))
            rest = np.abs(block.ravel()[1:])
            variations.append(rest.std(ddof=1) / (rest.mean() + 1e-7))
            spread = [np.std(g, ddof=1) / (np.mean(g) + 1e-8) for g in groups.values()]
            orientations.append(np.var(spread, ddof=1))
    count = len(shapes)
    lowest, highest = int(np.ceil(count * 0.1)), int(count * 0.9) - 1
    return [
        np.mean(sorted(shapes)[:lowest]),
        np.mean(shapes),
        np.mean(sorted(variations)[highest:]),
        np.mean(variations),
        np.mean(sorted(orientations)[highest:]),
        np.mean(orientations),
    ]


def test_local_features_agree_with_a_slow_reference():
    image = picture((128, 128))
    found = ma_features(image).local
    assert found[:6] == pytest.approx(slow_local(image / 255), abs=1e-6)


def test_spatial_features_are_singular_values_of_patches():
    image = picture((128, 133))
    columns = []
    for top in range(0, 128, 5):
        for left in range(0, 133, 5):
            patch = np.zeros((5, 5))
            part = image[top : top + 5, left : left + 5] / 255
            patch[: part.shape[0], : part.shape[1]] = part
            columns.append(patch.T.ravel())
    expected = np.linalg.svd(np.array(columns), compute_uv=False)
    found = ma_features(image).spatial
    assert found.shape == (75,)
    assert found[:25] == pytest.approx(expected, abs=1e-9)


def test_pyramid_keeps_the_energy():
    """Of an image without frequencies below the coarser level's."""
    image = np.random.default_rng(0).normal(size=(128, 160))
    spectrum = np.fft.fft2(image)
    low = np.hypot(np.fft.fftfreq(128)[:, None] * 2, np.fft.fftfreq(160)[None] * 2) < 0.25
    spectrum[low] = 0
    image = np.fft.ifft2(spectrum).real
    pyramid = steerable_pyramid(image)
    energy = np.sum(pyramid.highpass**2)
    energy += sum(np.sum(band**2) for band in pyramid.bands[0])
    energy += sum(np.sum(band**2) for band in pyramid.bands[1]) / 4
    assert [band.shape for band in pyramid.bands[1]] == [(64, 80)] * 6
    assert energy == pytest.approx(np.sum(image**2), rel=1e-3)


@pytest.mark.parametrize("number", range(6))
def test_bands_see_their_direction(number):
    """A wave of half the Nyquist frequency along one direction is strongest in its band."""
    y, x = np.mgrid[:120, :120]
    angle = np.pi * number / 6
    wave = np.cos(np.pi / 2 * (np.cos(angle) * x + np.sin(angle) * y))
    strength = [np.std(band[20:-20, 20:-20]) for band in steerable_pyramid(wave).bands[0]]
    assert int(np.argmax(strength)) == number


def test_enlarging_keeps_a_parabola():
    def surface(y, x):
        return 3 + 2 * y[:, None] - x[None] + 0.1 * y[:, None] ** 2 + 0.2 * x[None] ** 2

    small = surface(np.arange(20.0), np.arange(24.0))
    y, x = (np.arange(2 * n) / 2 - 0.25 for n in small.shape)
    large = enlarged(small, 40, 48)
    assert large[6:-6, 6:-6] == pytest.approx(surface(y, x)[6:-6, 6:-6], abs=1e-9)


def test_features_notice_blur_and_noise():
    image = picture((160, 160))
    plain, soft, rough = (ma_features(v) for v in (image, blurred(image, 2), noisy(image, 30)))
    for features in (plain, soft, rough):
        assert tuple(len(group) for group in features) == FEATURE_COUNTS
        assert all(np.isfinite(group).all() for group in features)
    # Fine detail is what the smaller singular values hold.
    assert soft.spatial[5:25].sum() < plain.spatial[5:25].sum() < rough.spatial[5:25].sum()
    # Coefficients of blurred blocks are the most uneven.
    assert soft.local[3] > plain.local[3] > rough.local[3]


def test_normalized_bands_are_gaussian_though_the_bands_are_not():
    """A Gaussian scale mixture: white noise whose strength varies slowly over the image."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(256, 256))
    strength = np.exp(1.2 * blurred(rng.normal(size=(256, 256)), 12.0) * 20)
    bands = steerable_pyramid(noise * strength).bands[0]
    raw = [slow_shape(band[20:-20, 20:-20].ravel()) for band in bands]
    normalized = ma_features(noise * strength).wavelet[:6]
    assert max(raw) < 1.0
    assert min(normalized) > 1.7


def random_tree(rng, features, nodes):
    """One tree in the layout of randomforest-matlab: children after their parents, 1 to n."""
    left, right, feature = (np.zeros(nodes, np.int32) for _ in range(3))
    limit, value = np.zeros(nodes), rng.uniform(0, 10, nodes)
    free = 1
    for node in range(nodes):
        if free + 2 > nodes or node >= free:
            break
        left[node], right[node] = free + 1, free + 2
        feature[node] = rng.integers(1, features + 1)
        limit[node] = rng.normal(1, 1)
        free += 2
    return left, right, feature, limit, value


def random_forest(features, trees=5, nodes=31, seed=0, coef=()):
    rng = np.random.default_rng(seed)
    grown = [random_tree(rng, features, nodes) for _ in range(trees)]
    arrays = [np.stack(a, axis=1) for a in zip(*grown, strict=True)]
    names = ("lDau", "rDau", "mbest", "upper", "avnode")
    return dict(zip(names, arrays, strict=True)) | {"coef": np.array(coef), "ntree": trees}


def slow_forest(forest, features):
    answers = []
    for tree in range(forest["lDau"].shape[1]):
        node = 0
        while forest["lDau"][node, tree]:
            asked = features[forest["mbest"][node, tree] - 1]
            side = "lDau" if asked <= forest["upper"][node, tree] else "rDau"
            node = forest[side][node, tree] - 1
        answers.append(forest["avnode"][node, tree])
    mean = float(np.mean(answers))
    coef = forest["coef"]
    return coef[0] + coef[1] * mean if coef.any() else mean


def model_file(path, forests, linear=(0.5, 0.2, 0.3, 0.4)):
    cell = np.empty((3, 1), object)
    cell[:, 0] = forests
    savemat(path, {"model": {"rf": cell, "linear": np.array(linear)[:, None]}})
    return path


@pytest.fixture
def forests():
    return [
        random_forest(18),
        random_forest(45, trees=1, seed=1),
        random_forest(75, seed=2, coef=(0.1, 0.9)),
    ]


def test_score_of_a_model_file(tmp_path, forests):
    path = model_file(tmp_path / "model.mat", forests)
    image = picture()
    answers = [slow_forest(f, v) for f, v in zip(forests, ma_features(image), strict=True)]
    expected = 0.5 + np.dot([0.2, 0.3, 0.4], answers)
    assert ma(image, value_range=(0, 255), model=path) == pytest.approx(expected, abs=1e-9)
    hu = image * 2000 / 255 - 1000
    assert ma(hu, value_range=(-1000, 1000), model=path) == pytest.approx(expected, abs=1e-9)
    # Read again after it has changed.
    model_file(path, forests, linear=(1.5, 0.2, 0.3, 0.4))
    assert ma(image, value_range=(0, 255), model=path) == pytest.approx(expected + 1, abs=1e-9)


def test_no_model_no_score():
    assert ma(picture(), value_range=(0, 255), model=None) is None
    assert NOT_AVAILABLE == "not available: no model file"


def test_bad_model_files(tmp_path, forests):
    path = tmp_path / "model.mat"
    with pytest.raises(InputError, match="cannot be read"):
        load_ma_model(path)
    path.write_bytes(b"nothing of the kind" * 20)
    with pytest.raises(InputError, match="no MATLAB file"):
        load_ma_model(path)
    savemat(path, {"other": 1})
    with pytest.raises(InputError, match="not the model of Ma"):
        load_ma_model(path)
    with pytest.raises(InputError, match="2 weights"):
        load_ma_model(model_file(path, forests, linear=(1.0, 2.0)))
    # Forests in the wrong order ask for features that are not there.
    with pytest.raises(InputError, match="beyond 18"):
        load_ma_model(model_file(path, forests[::-1]))
    circle = dict(forests[0], lDau=np.minimum(forests[0]["lDau"], 1))
    with pytest.raises(InputError, match="turns back"):
        load_ma_model(model_file(path, [circle, *forests[1:]]))
    beyond = dict(forests[0], rDau=forests[0]["rDau"] + 100)
    with pytest.raises(InputError, match="beyond its nodes"):
        load_ma_model(model_file(path, [beyond, *forests[1:]]))


def test_scipy_is_asked_for(tmp_path, forests, monkeypatch):
    path = model_file(tmp_path / "other.mat", forests)
    real = builtins.__import__

    def without(name, *arguments, **keywords):
        if name.startswith("scipy"):
            raise ImportError(name)
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RequestError, match=r"hrinet\[ma\]"):
        load_ma_model(path)


def test_too_small():
    with pytest.raises(ValueError, match="128 x 128"):
        ma_features(np.zeros((127, 200)))

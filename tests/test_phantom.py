"""The procedural torso of ``hrinet demo``."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.demo.anatomy import (
    AIR,
    CANCELLOUS,
    CONTRAST,
    DISC,
    FAT,
    LIVER,
    LUNG,
    MUSCLE,
    NODULE,
)
from hrinet.demo.phantom import TorsoPhantom, subplanes
from hrinet.errors import GeometryError


@pytest.fixture(scope="module")
def phantom() -> TorsoPhantom:
    return TorsoPhantom()


@pytest.fixture(scope="module")
def small() -> TorsoPhantom:
    return TorsoPhantom(rows=96, columns=112, pixel_mm=4.0)


def value_at(phantom: TorsoPhantom, x: float, y: float, z: float) -> float:
    row = round(y / phantom.pixel_mm + (phantom.rows - 1) / 2)
    column = round(x / phantom.pixel_mm + (phantom.columns - 1) / 2)
    return float(phantom.truth([z])[0, row, column])


def test_a_thick_slice_is_the_mean_of_thin_planes(small: TorsoPhantom) -> None:
    planes = subplanes(131.0, 5.0)
    assert len(planes) > 1
    assert np.mean(planes) == pytest.approx(131.0)
    assert np.ptp(planes) == pytest.approx(5.0 * (1 - 1 / len(planes)))
    mean = small.truth(planes).mean(axis=0)
    np.testing.assert_allclose(small.thick(131.0, 5.0), mean, atol=1e-3)
    volume = small.volume([131.0], thickness_mm=5.0, noise_hu=0.0)
    np.testing.assert_array_equal(volume.array[0], np.rint(mean.clip(-1024, 3071)))


def test_no_thickness_is_a_thin_slice(small: TorsoPhantom) -> None:
    assert subplanes(7.0, 0.0) == [7.0]
    np.testing.assert_array_equal(small.thick(7.0, 0.0), small.truth([7.0])[0])


def test_a_slice_does_not_depend_on_the_others(small: TorsoPhantom) -> None:
    many = small.truth([220.0, 10.0, 131.0])
    np.testing.assert_array_equal(small.truth([131.0])[0], many[2])
    alone = small.volume([131.0], thickness_mm=3.0)
    among = small.volume([10.0, 131.0, 140.0], thickness_mm=3.0)
    np.testing.assert_array_equal(alone.array[0], among.array[1])


def test_the_seed_decides_everything(small: TorsoPhantom) -> None:
    def make(seed: int) -> bytes:
        phantom = TorsoPhantom(rows=96, columns=112, pixel_mm=4.0, seed=seed)
        return phantom.volume([120.0, 125.0], thickness_mm=5.0).array.tobytes()

    assert make(0) == make(0) == small.volume([120.0, 125.0], thickness_mm=5.0).array.tobytes()
    assert make(0) != make(1)
    assert TorsoPhantom(seed=0).nodules != TorsoPhantom(seed=1).nodules


@pytest.mark.parametrize(
    ("point", "expected", "tolerance"),
    [
        ((0.0, -180.0, 150.0), AIR, 0.5),
        ((1.0, 20.0, 225.0), AIR, 0.5),  # Trachea.
        ((85.0, -20.0, 175.0), LUNG, 60.0),
        ((19.0, 31.0, 180.0), CONTRAST, 1.0),  # Descending aorta.
        ((30.0, 86.0, 100.0), MUSCLE, 15.0),  # Beside the spine.
        ((-70.0, -40.0, 80.0), LIVER + 45, 1.0),
        ((150.0, -20.0, 160.0), FAT, 12.0),
        ((0.0, 52.0, 150.0), DISC, 1.0),
        ((0.0, 52.0, 165.0), CANCELLOUS, 1.0),
    ],
)
def test_tissues_are_where_they_belong(
    phantom: TorsoPhantom, point: tuple[float, float, float], expected: float, tolerance: float
) -> None:
    assert value_at(phantom, *point) == pytest.approx(expected, abs=tolerance)


def test_every_kind_of_bone_is_there(phantom: TorsoPhantom) -> None:
    truth = phantom.truth(np.arange(60.0, 240.0, 9.0).tolist())
    assert truth.max() > 650
    assert 0.005 < np.mean(truth > 200) < 0.08
    assert 0.05 < np.mean((truth < -700) & (truth > -950)) < 0.4


def test_nodules_lie_free_in_the_lung(phantom: TorsoPhantom) -> None:
    assert len(phantom.nodules) == 3
    for nodule in phantom.nodules:
        assert value_at(phantom, nodule.x, nodule.y, nodule.z) == pytest.approx(NODULE, abs=1)
        reach = nodule.radius + 4
        around = [
            value_at(phantom, *(np.array(nodule[:3]) + reach * np.array(way)))
            for way in ((1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1))
        ]
        assert np.median(around) < -700


def test_blood_without_contrast_is_soft_tissue() -> None:
    plain = TorsoPhantom(contrast=False)
    assert value_at(plain, 19.0, 31.0, 180.0) == pytest.approx(45, abs=1)


def test_noise_has_the_wanted_deviation_and_is_correlated(phantom: TorsoPhantom) -> None:
    positions = [100.0, 105.0]
    clean = phantom.volume(positions, thickness_mm=5.0, noise_hu=0.0).array.astype(float)
    noisy = phantom.volume(positions, thickness_mm=5.0, noise_hu=20.0).array.astype(float)
    inside = clean > -200  # Where -1024 does not clip.
    noise = noisy - clean
    assert noise[inside].std() == pytest.approx(20.0, rel=0.1)
    assert abs(noise[inside].mean()) < 0.5
    body = inside[0] & inside[1]
    assert abs(np.corrcoef(noise[0][body], noise[1][body])[0, 1]) < 0.05
    both = inside[0, :, 1:] & inside[0, :, :-1]
    neighbours = np.corrcoef(noise[0, :, 1:][both], noise[0, :, :-1][both])[0, 1]
    assert neighbours > 0.1


def test_the_default_noise_is_12_hu(phantom: TorsoPhantom) -> None:
    noise = phantom.volume([100.0], thickness_mm=5.0).array[0] - phantom.thick(100.0, 5.0)
    assert noise[phantom.thick(100.0, 5.0) > -200].std() == pytest.approx(12.0, rel=0.1)


def test_the_volume_has_a_valid_axial_geometry(small: TorsoPhantom) -> None:
    volume = small.volume([10.0, 15.0, 22.0], thickness_mm=4.0)
    geometry = volume.geometry
    assert volume.shape == (3, 96, 112)
    assert volume.dtype == np.int16
    assert geometry.plane == "axial"
    assert geometry.orientation == "LPS"
    assert geometry.pixel_spacing == (4.0, 4.0)
    assert geometry.slice_thickness == 4.0
    np.testing.assert_allclose(geometry.positions_mm, [10, 15, 22])
    np.testing.assert_allclose(geometry.point(0, 47.5, 55.5), [0, 0, 10], atol=1e-4)
    assert all(not entry.is_synthetic for entry in volume.provenance)


def test_resolution_does_not_change_the_body() -> None:
    coarse = TorsoPhantom(rows=64, columns=64, pixel_mm=6.0)
    fine = TorsoPhantom(rows=192, columns=192, pixel_mm=2.0)
    averaged = fine.truth([140.0])[0].reshape(64, 3, 64, 3).mean(axis=(1, 3))
    assert np.abs(coarse.truth([140.0])[0] - averaged).mean() < 30


def test_a_small_field_of_view_cuts_the_body() -> None:
    inside = TorsoPhantom(rows=20, columns=30, pixel_mm=1.0).truth([140.0])[0]
    assert inside.shape == (20, 30)
    assert inside.min() > -200
    single = TorsoPhantom(rows=1, columns=1).truth([140.0])
    assert single.shape == (1, 1, 1)


def test_bad_arguments_are_refused(small: TorsoPhantom) -> None:
    with pytest.raises(ValueError, match="rows"):
        TorsoPhantom(rows=0)
    with pytest.raises(GeometryError):
        small.volume([5.0, 5.0], thickness_mm=5.0)

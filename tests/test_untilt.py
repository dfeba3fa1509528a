from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from conftest import make_geometry
from hrinet.untilt import Untilted
from hrinet.volume import Volume


def tilted_rod(shear, dtype=np.int16, slices=11):
    """A rod along the normal of a sheared stack: it wanders through the frames."""
    geometry = make_geometry(
        np.arange(slices) * 4.0, rows=60, columns=50, pixel_spacing=(0.8, 0.7), shear=shear
    )
    centre = geometry.origins[0] + np.array([17.0, 22.0, 0.0])
    rows, columns = np.mgrid[:60, :50]
    array = np.empty(geometry.shape)
    for index, origin in enumerate(geometry.origins):
        x = origin[0] + columns * 0.7 - centre[0]
        y = origin[1] + rows * 0.8 - centre[1]
        array[index] = 1000 * np.exp(-(x**2 + y**2) / (2 * 3.0**2)) - 1000
    return Volume(array=np.rint(array).astype(dtype), geometry=geometry), centre


@pytest.mark.parametrize("shear", [(0.0, 0.33), (0.0, -0.33), (0.12, 0.05), (-0.2, 0.3)])
def test_a_rod_along_the_normal_becomes_straight(shear):
    volume, centre = tilted_rod(shear)
    straight = Untilted(volume)
    geometry = straight.geometry
    assert geometry.tilt_deg < 1e-9
    assert geometry.gaps_mm == pytest.approx(volume.geometry.gaps_mm)
    for index in range(len(volume)):
        values = straight.read_slice(index).astype(float) + 1024
        values[values < 200] = 0
        row, column = center_of_mass(values)
        point = geometry.point(index, row, column)
        assert point[:2] == pytest.approx(centre[:2], abs=0.05)


def test_every_voxel_stays_in_the_frame_and_the_range():
    volume, _ = tilted_rod((0.1, 0.4))
    straight = Untilted(volume)
    rows, columns = straight.geometry.rows, straight.geometry.columns
    assert rows >= 60 + 40 * 0.4 / 0.8
    assert columns >= 50 + 40 * 0.1 / 0.7
    for index in (0, 5, 10):
        values = straight.read_slice(index)
        assert values.shape == (rows, columns)
        assert values.dtype == np.int16
        source = volume.array[index]
        assert values.max() <= source.max()
        assert values.min() >= -1024


def test_whole_pixel_slides_are_exact_copies():
    geometry = make_geometry(np.arange(4) * 2.0, shear=(0.0, 0.8 / 2.0 * 1.0))
    array = np.random.default_rng(0).integers(-1000, 1000, geometry.shape).astype(np.int16)
    straight = Untilted(Volume(array=array, geometry=geometry))
    for index in range(4):
        assert np.array_equal(straight.read_slice(index)[index : index + 12, :10], array[index])


def test_labels_keep_their_ids():
    volume, _ = tilted_rod((0.05, 0.31))
    ids = Volume(array=(volume.array > -500).astype(np.int16) * 7, geometry=volume.geometry)
    straight = Untilted(ids, is_label=True)
    assert set(np.unique(straight.read_slice(6))) == {0, 7}
    assert np.count_nonzero(straight.read_slice(6)) == np.count_nonzero(ids.array[6])


def test_float_volumes_stay_float():
    volume, _ = tilted_rod((0.0, 0.2), dtype=np.float32)
    straight = Untilted(volume)
    assert straight.read_slice(3).dtype == np.float32
    assert straight.widened().dtype == np.float32

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import uniform_filter1d

import hrinet
from conftest import make_geometry
from hrinet.errors import RequestError
from hrinet.evaluate.thickened import thickened


def scan(dtype=np.int16):
    geometry = make_geometry([2.0 * k for k in range(9)], shear=(0.1, -0.2), thickness=3.0)
    array = np.random.default_rng(1).normal(0, 300, geometry.shape).astype(dtype)
    return hrinet.Volume(array=array, geometry=geometry, padding_hu=-1024.0)


@pytest.mark.parametrize("count", [2, 3, 5, 9])
def test_slices_are_moving_means_at_their_middles(count):
    volume = scan(np.float32)
    thick = thickened(volume, count)
    means = uniform_filter1d(volume.array.astype(float), count, axis=0, origin=-(count // 2))
    np.testing.assert_allclose(thick.array, means[: 10 - count], atol=1e-3)
    positions = volume.geometry.positions_mm
    middles = [positions[k : k + count].mean() for k in range(10 - count)]
    np.testing.assert_allclose(thick.geometry.positions_mm, middles)
    np.testing.assert_allclose(
        thick.geometry.origins[0], volume.geometry.origins[:count].mean(axis=0)
    )
    # From the lower face of the first slab to the upper face of the last.
    assert thick.geometry.slice_thickness == 3.0 + 2.0 * (count - 1)
    assert thick.padding_hu == -1024.0


def test_whole_numbers_stay_whole():
    thick = thickened(scan(), 2)
    assert thick.array.dtype == np.int16
    exact = thickened(scan(), 2).array - thickened(scan(np.float32), 2).array
    assert np.abs(exact).max() <= 1.5


def test_one_slice_is_itself_and_too_many_are_refused():
    volume = scan()
    assert thickened(volume, 1) is volume
    for count in (0, -1, 10):
        with pytest.raises(RequestError, match="cannot be averaged in a volume of 9"):
            thickened(volume, count)

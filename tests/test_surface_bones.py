"""What counts as bone beside contrast medium that is as dense."""

from __future__ import annotations

import numpy as np
import pytest

from conftest import make_geometry
from hrinet.surface.bones import bone_components
from hrinet.volume import Volume

SPACING = 2.0
SLICES = 30


def volume_with(*parts: tuple[slice, slice, slice, float], noise: float = 0.0) -> Volume:
    """Soft tissue with boxes of given HU, 2 x 2 x 2 mm voxels."""
    geometry = make_geometry(
        SPACING * np.arange(SLICES), rows=40, columns=40, pixel_spacing=(2.0, 2.0)
    )
    array = np.full(geometry.shape, 40.0)
    for slices, rows, columns, hu in parts:
        array[slices, rows, columns] = hu
    array += noise * np.random.default_rng(0).standard_normal(array.shape)
    return Volume(array=array.astype(np.int16), geometry=geometry)


def bone_of(volume: Volume, *, smallest_mm3: float = 500.0) -> np.ndarray:
    body = np.ones(volume.shape, bool)
    found, wanted = bone_components(volume, body, low=250, smallest_mm3=smallest_mm3, threads=1)
    return np.stack([found.kept(index, wanted) for index in range(len(volume))])


ALL = slice(None)
SHAFT = [
    (ALL, slice(5, 15), slice(5, 15), 800.0),
    (ALL, slice(7, 13), slice(7, 13), 300.0),
]


def test_bone_has_a_cortex_and_contrast_medium_has_none():
    bowel = (slice(3, 27), slice(20, 35), slice(20, 35), 320.0)
    bone = bone_of(volume_with(*SHAFT, bowel, noise=50.0))
    assert bone[:, 20:35, 20:35].sum() == 0
    assert bone[:, 5:15, 5:15].mean() > 0.9  # noise takes some of its inside below 250 HU


def test_a_vessel_that_touches_a_bone_is_left_out_beyond_the_reach():
    vessel = (ALL, slice(20, 26), slice(5, 15), 320.0)
    bridge = (slice(10, 12), slice(15, 20), slice(5, 15), 320.0)
    bone = bone_of(volume_with(*SHAFT, vessel, bridge))
    near = bone[:, 20:26, 5:15].any(axis=(1, 2))
    # Slices 10 and 11 touch, and 12 mm are 6 slices to either side.
    assert np.flatnonzero(near).tolist() == list(range(4, 18))
    assert bone[:, 5:15, 5:15].all()


@pytest.mark.parametrize(("length", "kept"), [(6, 6), (9, 6)])
def test_sparse_bone_next_to_a_cortex_stays(length, kept):
    dense = (slice(0, 10), slice(5, 15), slice(5, 15), 800.0)
    sparse = (slice(10, 10 + length), slice(5, 15), slice(5, 15), 300.0)
    bone = bone_of(volume_with(dense, sparse))
    assert bone[:, 10, 10].sum() == 10 + kept


def test_small_pieces_and_the_table_are_left_out():
    speck = (slice(2, 4), slice(2, 4), slice(30, 32), 900.0)  # 64 mm3
    table = (ALL, slice(36, 38), ALL, 700.0)
    volume = volume_with(*SHAFT, speck, table)
    body = np.ones(volume.shape, bool)
    body[:, 30:] = False
    found, wanted = bone_components(volume, body, low=250, smallest_mm3=500.0, threads=1)
    bone = np.stack([found.kept(index, wanted) for index in range(len(volume))])
    assert bone[:, 5:15, 5:15].all()
    assert bone.sum() == SLICES * 100
    assert bone_of(volume, smallest_mm3=0.0)[:, 2:4, 30:32].any()

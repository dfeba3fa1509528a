"""Scans under evaluation: doubled slices, resampling, regions, identity."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from dicom_builder import phantom, write_series
from hrinet.errors import InputError, RequestError
from hrinet.evaluate.protocols import hide
from hrinet.evaluate.subject import (
    REGIONS,
    Subject,
    describe,
    load_subject,
    part_of,
    region_of,
    resized,
    without_padding,
)
from hrinet.volume import Volume
from real_data import ct


def test_a_part_keeps_voxels_and_places() -> None:
    geometry = make_geometry([0.0, 2.0, 5.0, 7.0, 8.0])
    values = np.random.default_rng(0).integers(-1000, 1000, geometry.shape).astype(np.int16)
    part = part_of(Volume(array=values, geometry=geometry), [0, 2, 4])
    np.testing.assert_array_equal(part.array, values[[0, 2, 4]])
    assert part.geometry.positions_mm.tolist() == [0.0, 5.0, 8.0]


@pytest.mark.parametrize("size", [8, 16])
def test_a_smaller_volume_covers_the_same_body(size: int) -> None:
    geometry = make_geometry([0.0, 5.0], rows=32, columns=32)
    ramp = np.linspace(-500, 500, 32, dtype=np.float32)
    values = np.broadcast_to(ramp, geometry.shape)
    small = resized(Volume(array=values.astype(np.float32), geometry=geometry), size)
    assert small.shape == (2, size, size)
    assert small.array.mean() == pytest.approx(values.mean(), abs=1e-3)
    scale = 32 / size
    assert small.geometry.pixel_spacing == pytest.approx([0.8 * scale, 0.7 * scale])
    # The corner of the first pixel stays where it is in the patient.
    before, after = geometry.point(0, -0.5, -0.5), small.geometry.point(0, -0.5, -0.5)
    np.testing.assert_allclose(before, after, atol=1e-9)
    assert resized(small, 64) is small
    assert resized(small, None) is small


def test_padding_is_air_before_it_is_averaged() -> None:
    geometry = make_geometry([0.0, 5.0], rows=4, columns=4)
    values = np.full(geometry.shape, 40, np.int16)
    values[:, :, :2] = -2000
    small = resized(Volume(array=values, geometry=geometry, padding_hu=-2000.0), 2)
    assert small.array.tolist() == [[[-1024, 40]] * 2] * 2
    one = values[0]
    assert without_padding(one, None) is one


def test_regions_follow_the_area_of_lung() -> None:
    values = np.full((200, 200), 40, np.int16)
    values[50:120, 50:150] = -800  # 70 x 100 mm at 1 mm.
    assert region_of(values, (1.0, 1.0)) == REGIONS[0]
    assert region_of(values, (0.5, 0.5)) == REGIONS[1]


def test_a_changed_file_is_another_input(tmp_path: Path) -> None:
    paths = write_series(tmp_path / "scan", phantom((4, 16, 16)))
    subject = Subject(name="a", path=tmp_path / "scan")
    before = subject.identity
    assert Subject(name="b", path=tmp_path / "scan").identity == before
    os.utime(paths[0], (1, 1))
    assert Subject(name="a", path=tmp_path / "scan").identity != before
    with pytest.raises(InputError):
        _ = Subject(name="a", path=tmp_path / "nowhere").identity


def test_two_slices_are_too_few(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", phantom((2, 16, 16)))
    with pytest.raises(RequestError, match="has 2 slices"):
        load_subject(tmp_path / "scan", "")


def test_synthetic_slices_are_no_truth(tmp_path: Path) -> None:
    write_series(tmp_path / "scan", phantom((4, 16, 16)))
    filled = hrinet.interpolate(hrinet.read(tmp_path / "scan"), factor=2, method="linear")
    for name in ("filled.nii", "filled"):
        hrinet.write(filled, tmp_path / name)
        with pytest.raises(RequestError, match=f"{name}: .* would pass for originals; use its sou"):
            load_subject(tmp_path / name, "")
        for sidecar in tmp_path.glob("*.json"):
            sidecar.unlink()


def test_nearly_doubled_slices_are_left_out_and_told(tmp_path: Path) -> None:
    positions = [0.0, 5.0, 5.1, 10.0, 15.0, 20.0]
    stored = phantom((6, 16, 16))
    write_series(tmp_path / "scan", stored, positions=positions)
    info = describe(Subject(name="a", path=tmp_path / "scan"))
    assert (info.slices, info.left_out) == (5, 1)
    assert "1 of the input left out" in info.sentence
    volume, _ = load_subject(tmp_path / "scan", "")
    np.testing.assert_array_equal(np.diff(volume.geometry.positions_mm), 5.0)


@pytest.mark.parametrize(
    "case", ["rider_0109", "ge_variable_tilt_and_spacing", "philips_tilt_phantom"]
)
def test_doubled_uneven_and_tilted_scans_can_be_planned(case: str) -> None:
    volume, _ = load_subject(ct(f"cases/{case}"), "")
    positions = [float(position) for position in volume.geometry.positions_mm]
    plan = hide(positions, 2)
    assert min(target.distance_mm for target in plan.targets) > 0.5
    assert len(plan.truths) == (len(positions) - 1) // 2

"""The scan as a source: notes in good English, thickness, speed, many threads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_builder import (
    phantom,
    save,
    slice_dataset,
    write_series,
)
from hrinet.io.dicom.scan import counted
from hrinet.io.formats import open_scan, read
from hrinet.volume import SliceSource


def test_it_is_a_source(tmp_path: Path) -> None:
    write_series(tmp_path, phantom((3, 6, 6)), SeriesDescription="chest", ConvolutionKernel="B30f")
    scan: SliceSource = open_scan(tmp_path)
    assert scan.info.format == "DICOM"
    assert scan.info.path == str(tmp_path)
    assert (scan.info.description, scan.info.kernel) == ("chest", "B30f")
    assert scan.info.modality == "CT"
    assert not scan.is_sequential
    assert scan.padding_hu is None
    assert scan.widened().read_slice(1).dtype == np.float32
    np.testing.assert_array_equal(scan.widened().read_slice(1), scan.read_slice(1))
    volume = read(tmp_path)
    assert volume.source_ids == tuple(scan.source_ids)


def test_counts() -> None:
    assert (counted(1, "slice"), counted(2, "file")) == ("1 slice", "2 files")


@pytest.mark.parametrize(("count", "start"), [(1, "1 file could"), (5, "5 files could")])
def test_unusable_files_are_noted(tmp_path: Path, count: int, start: str) -> None:
    write_series(tmp_path, phantom((3, 6, 6)))
    for k in range(count):
        save(slice_dataset(phantom((6, 6)), RescaleSlope=0), tmp_path / f"bad{k}.dcm")
    (note,) = open_scan(tmp_path).info.notes
    assert note.startswith(f"{start} not be used: bad0.dcm: RescaleSlope is 0")
    assert note.endswith("; and 2 more") == (count == 5)


def test_one_slice_elsewhere_is_listed_in_the_singular(tmp_path: Path) -> None:
    write_series(tmp_path / "a", phantom((3, 6, 6)))
    write_series(tmp_path / "b", phantom((1, 6, 6)), series="1.7")
    info = open_scan(tmp_path).info
    assert info.notes == (
        "took the volume with the most slices, 1.2.3.4; 1 other can be chosen with --series",
    )
    assert info.alternatives == ("1.7: 1 slice of 6 x 6",)


def test_all_volumes_are_listed(tmp_path: Path) -> None:
    for k in range(12):
        write_series(tmp_path / str(k), phantom((1, 4, 4)), series=f"1.{k}")
    info = open_scan(tmp_path).info
    assert "11 others can be chosen" in info.notes[0]
    assert len(info.alternatives) == 11


def test_thickness(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom((4, 6, 6)), SliceThickness=2.5)
    scan = open_scan(tmp_path)
    assert scan.geometry.slice_thickness == 2.5
    assert scan.info.notes == ()
    other = pydicom.dcmread(paths[0])
    other.SliceThickness = 7.5
    save(other, paths[0])
    assert open_scan(tmp_path).info.notes == ("slice thickness varies from 2.5 to 7.5 mm",)
    other.SliceThickness = 0
    save(other, paths[0])
    assert open_scan(tmp_path).geometry.slice_thickness == 2.5


def test_volumes_that_differ_in_padding_have_none(tmp_path: Path) -> None:
    for k, values in enumerate(phantom((3, 6, 6))):
        dataset = slice_dataset(values, (0, 0, k), number=k)
        dataset.add_new("PixelPaddingValue", "US", 0 if k else 5)
        save(dataset, tmp_path / f"{k}.dcm")
    assert open_scan(tmp_path).padding_hu is None


def test_thickness_is_that_of_most_slices(tmp_path: Path) -> None:
    thicknesses = (5, 5, 1, 5, 5, 5, 5)
    for index, thickness in enumerate(thicknesses):
        dataset = slice_dataset(
            phantom((7, 6, 6))[index],
            (-50.0, -60.0, 5.0 * index),
            number=index + 1,
            SliceThickness=thickness,
        )
        save(dataset, tmp_path / f"{index}.dcm")
    scan = open_scan(tmp_path)
    assert scan.geometry.slice_thickness == 5
    assert "slice thickness varies from 1 to 5 mm" in scan.info.notes


def test_thickness_is_one_that_a_slice_has(tmp_path: Path) -> None:
    for index, thickness in enumerate((1, 1, 5, 5)):
        dataset = slice_dataset(
            phantom((4, 6, 6))[index],
            (-50.0, -60.0, 5.0 * index),
            number=index + 1,
            SliceThickness=thickness,
        )
        save(dataset, tmp_path / f"{index}.dcm")
    assert open_scan(tmp_path).geometry.slice_thickness in (1, 5)

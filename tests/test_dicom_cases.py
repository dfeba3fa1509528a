"""Real series against SimpleITK and against their own tags."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from dicom_builder import stack
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.formats import open_scan
from real_data import ct

SERIES = [
    "cptac_C3L-00189",
    "rider_0109",
    "totalseg_example20",
    "ge_variable_tilt_and_spacing",
    "philips_tilt_phantom",
]


def scan_of(name: str) -> DicomScan:
    source = open_scan(ct(f"cases/{name}"))
    assert isinstance(source, DicomScan)
    return source


def files_of(scan: DicomScan, name: str) -> list[Path]:
    return [ct(f"cases/{name}") / frame.file.name for frame in scan.frames]


@pytest.mark.parametrize("name", SERIES)
def test_every_slice_as_simpleitk_reads_its_file(name: str) -> None:
    scan = scan_of(name)
    geometry = scan.geometry
    for index, path in enumerate(files_of(scan, name)):
        image = sitk.ReadImage(str(path))
        direction = np.array(image.GetDirection()).reshape(3, 3)
        np.testing.assert_allclose(geometry.origins[index], image.GetOrigin(), atol=1e-4)
        np.testing.assert_allclose(geometry.row_direction, direction[:, 0], atol=1e-4)
        np.testing.assert_allclose(geometry.column_direction, direction[:, 1], atol=1e-4)
        # ITK turns a single slice's normal around where Spacing Between Slices is negative.
        assert abs(geometry.normal @ direction[:, 2]) == pytest.approx(1, abs=1e-6)
        np.testing.assert_allclose(geometry.pixel_spacing[::-1], image.GetSpacing()[:2], atol=1e-4)
        np.testing.assert_array_equal(scan.read_slice(index), sitk.GetArrayViewFromImage(image)[0])


@pytest.mark.parametrize("name", SERIES)
def test_positions_by_hand_from_the_tags(name: str) -> None:
    scan = scan_of(name)
    places = {}
    for path in sorted(ct(f"cases/{name}").glob("*.dcm")):
        dataset = pydicom.dcmread(path, stop_before_pixels=True)
        row = np.array(dataset.ImageOrientationPatient[:3], float)
        column = np.array(dataset.ImageOrientationPatient[3:], float)
        point = np.array(dataset.ImagePositionPatient, float)
        places[dataset.SOPInstanceUID] = float(point @ np.cross(row, column))
    kept = sorted((place, uid) for uid, place in places.items() if uid in scan.source_ids)
    assert [uid for _, uid in kept] == list(scan.source_ids)
    np.testing.assert_allclose(
        scan.geometry.gaps_mm, np.diff([place for place, _ in kept]), atol=1e-4
    )
    assert len(places) - len(kept) == len(scan.info.dropped)


@pytest.mark.parametrize("name", ["cptac_C3L-00189", "totalseg_example20"])
def test_uniform_series_as_a_whole(name: str) -> None:
    scan = scan_of(name)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(path) for path in files_of(scan, name)])
    image = reader.Execute()
    affine = np.eye(4)
    spacing = np.array(image.GetSpacing())
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * spacing
    affine[:3, 3] = image.GetOrigin()
    np.testing.assert_allclose(scan.geometry.affine_lps, affine, atol=1e-4)
    np.testing.assert_array_equal(stack(scan), sitk.GetArrayFromImage(image))


def test_uneven_gaps_with_tilt() -> None:
    scan = scan_of("ge_variable_tilt_and_spacing")
    geometry = scan.geometry
    assert geometry.tilt_deg == pytest.approx(18.5, abs=1e-3)
    assert sorted({round(float(gap), 2) for gap in geometry.gaps_mm}) == [1.08, 4.0, 7.0]
    assert not geometry.is_uniform
    assert any("tilted by 18.50 degrees" in note for note in scan.info.notes)
    assert "slice thickness varies from 4 to 7 mm" in scan.info.notes


def test_even_gaps_with_tilt() -> None:
    geometry = scan_of("philips_tilt_phantom").geometry
    assert geometry.tilt_deg == pytest.approx(18.5, abs=1e-3)
    np.testing.assert_allclose(geometry.gaps_mm, 2.5 * np.cos(np.radians(18.5)), atol=1e-4)
    assert geometry.is_uniform


def test_the_doubled_slice_is_left_out() -> None:
    scan = scan_of("rider_0109")
    assert scan.geometry.shape[0] == len(list(ct("cases/rider_0109").glob("*.dcm"))) - 1
    np.testing.assert_allclose(scan.geometry.gaps_mm, 5, atol=0.006)
    assert scan.info.notes == (
        "left out 1 slice: 0017.dcm: lies 0.005 mm from 0016.dcm, a doubled slice",
    )


def test_enhanced_multi_frame() -> None:
    path = ct("cases/enhanced_multiframe_ct.dcm")
    scan = open_scan(path)
    image = sitk.ReadImage(str(path))
    dataset = pydicom.dcmread(path)
    points = np.array(
        [
            item.PlanePositionSequence[0].ImagePositionPatient
            for item in dataset.PerFrameFunctionalGroupsSequence
        ],
        float,
    )
    np.testing.assert_allclose(points[0], image.GetOrigin(), atol=1e-4)
    # Rows run to the right here, so the normal points down: the upper frame comes first.
    order = np.argsort(-points[:, 2])
    assert scan.geometry.normal.tolist() == [0, 0, -1]
    np.testing.assert_allclose(scan.geometry.origins, points[order], atol=1e-4)
    np.testing.assert_array_equal(stack(scan), sitk.GetArrayFromImage(image)[order])
    measures = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    assert scan.geometry.pixel_spacing == tuple(measures.PixelSpacing)

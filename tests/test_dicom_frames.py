"""Enhanced multi-frame CT: functional groups, order, stacks, phases, offset tables."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.encaps import encapsulate

from dicom_builder import (
    AXIAL,
    J2K_LOSSLESS,
    JPEG_LS,
    RLE,
    SHARED,
    compressed_frame,
    encapsulated,
    enhanced,
    groups,
    phantom,
    plane,
    save,
    slice_dataset,
    stack,
)
from hrinet.errors import InputError
from hrinet.io.formats import open_scan

ARRAY = phantom((5, 40, 36))
HU = ARRAY.astype(np.int16) - 1024


def test_frames_in_any_order(tmp_path: Path) -> None:
    order = [3, 0, 4, 1, 2]
    dataset = enhanced(ARRAY[order], [plane(2.5 * k) for k in order], bits_stored=12)
    scan = open_scan(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stack(scan), HU)
    np.testing.assert_allclose(scan.geometry.gaps_mm, 2.5)
    assert scan.geometry.pixel_spacing == (0.7, 0.8)
    assert scan.geometry.slice_thickness == 5
    assert scan.source_ids == tuple(f"1.2.3.5.1#{order.index(k) + 1}" for k in range(5))
    assert scan.info.notes == (
        "slices are 5 mm thick every 2.5 mm: neighbours share 50% of their tissue",
    )


def test_per_frame_overrides_shared(tmp_path: Path) -> None:
    def transform(k: int) -> dict[str, float]:
        return {"RescaleSlope": k + 1, "RescaleIntercept": -10 * k, "RescaleType": "HU"}

    array = ARRAY % 1000
    frames = [
        plane(5.0 * k, PixelValueTransformation=transform(k),
              PixelMeasures={"PixelSpacing": [0.5, 0.6], "SliceThickness": 4.0})
        for k in range(5)
    ]  # fmt: skip
    scan = open_scan(save(enhanced(array, frames), tmp_path / "a.dcm"))
    expected = np.stack([array[k].astype(int) * (k + 1) - 10 * k for k in range(5)])
    np.testing.assert_array_equal(stack(scan), expected)
    assert scan.geometry.pixel_spacing == (0.5, 0.6)
    assert scan.geometry.slice_thickness == 4


def test_everything_per_frame_and_no_shared_groups(tmp_path: Path) -> None:
    frames = [
        plane(5.0 * k, PlaneOrientation={"ImageOrientationPatient": list(AXIAL)},
              PixelMeasures={"PixelSpacing": [0.5, 0.6]},
              PixelValueTransformation={"RescaleSlope": 1, "RescaleIntercept": -1024})
        for k in range(5)
    ]  # fmt: skip
    dataset = enhanced(ARRAY, frames)
    del dataset.SharedFunctionalGroupsSequence
    np.testing.assert_array_equal(stack(open_scan(save(dataset, tmp_path / "a.dcm"))), HU)


def test_several_stacks(tmp_path: Path) -> None:
    places = [(0, "1"), (5, "1"), (100, "2"), (105, "2"), (110, "2")]
    frames = [plane(z, FrameContent={"StackID": name}) for z, name in places]
    path = save(enhanced(ARRAY, frames), tmp_path / "a.dcm")
    scan = open_scan(path)
    np.testing.assert_array_equal(stack(scan), HU[2:])
    np.testing.assert_array_equal(stack(open_scan(path, series="1.2.3.4#2")), HU[:2])
    assert "1.2.3.4#2: 2 slices" in scan.info.alternatives[0]


@pytest.mark.parametrize(
    "keyword", ["TemporalPositionIndex", "FrameAcquisitionNumber", "dimension"]
)
def test_temporal_positions(tmp_path: Path, keyword: str) -> None:
    array = phantom((8, 6, 6))
    frames = []
    for k in range(8):
        z, phase = 5.0 * (k // 2), k % 2 + 1
        content = {"DimensionIndexValues": [1, k // 2 + 1, phase]}
        if keyword != "dimension":
            content = {keyword: phase}
        frames.append(plane(z, FrameContent=content))
    path = save(enhanced(array, frames), tmp_path / "a.dcm")
    for number in (1, 2):
        scan = open_scan(path, series=f"1.2.3.4#{number}")
        np.testing.assert_array_equal(stack(scan), array[number - 1 :: 2].astype(int) - 1024)


@pytest.mark.parametrize("syntax", [JPEG_LS, J2K_LOSSLESS, RLE])
@pytest.mark.parametrize("table", ["basic", "extended", "none"])
def test_compressed_frames(tmp_path: Path, syntax: str, table: str) -> None:
    frames = [compressed_frame(values, syntax, bits_stored=12) for values in ARRAY]
    dataset = enhanced(ARRAY, [plane(5.0 * k) for k in range(5)], bits_stored=12)
    scan = open_scan(save(encapsulated(dataset, frames, syntax, table=table), tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stack(scan), HU)


@pytest.mark.parametrize("has_table", [True, False])
def test_frames_in_several_fragments(tmp_path: Path, has_table: bool) -> None:
    frames = [compressed_frame(values, JPEG_LS, bits_stored=12) for values in ARRAY]
    dataset = enhanced(ARRAY, [plane(5.0 * k) for k in range(5)], bits_stored=12)
    encapsulated(dataset, frames, JPEG_LS)
    dataset.PixelData = encapsulate(frames, fragments_per_frame=3, has_bot=has_table)
    np.testing.assert_array_equal(stack(open_scan(save(dataset, tmp_path / "a.dcm"))), HU)


def test_fragments_that_fit_no_frames(tmp_path: Path) -> None:
    frames = [compressed_frame(values, RLE, bits_stored=12) for values in ARRAY]
    dataset = encapsulated(
        enhanced(ARRAY, [plane(5.0 * k) for k in range(5)], bits_stored=12), frames, RLE
    )
    dataset.PixelData = encapsulate(frames, fragments_per_frame=2, has_bot=False)
    with pytest.raises(InputError, match=r"its 10 compressed fragments cannot be assigned to 5"):
        open_scan(save(dataset, tmp_path / "a.dcm"))
    dataset.PixelData = encapsulate(frames[:4], has_bot=False)
    with pytest.raises(InputError, match="holds 4 compressed fragments for 5 frames"):
        open_scan(save(dataset, tmp_path / "a.dcm"))


def test_a_wrong_offset_table_is_not_needed(tmp_path: Path) -> None:
    frames = [compressed_frame(values, JPEG_LS, bits_stored=12) for values in ARRAY]
    dataset = encapsulated(
        enhanced(ARRAY, [plane(5.0 * k) for k in range(5)], bits_stored=12), frames, JPEG_LS
    )
    data = bytearray(dataset.PixelData)
    data[8:28] = b"\x07\0\0\0" * 5
    dataset.PixelData = bytes(data)
    np.testing.assert_array_equal(stack(open_scan(save(dataset, tmp_path / "a.dcm"))), HU)


def test_groups_and_frames_must_agree(tmp_path: Path) -> None:
    dataset = enhanced(ARRAY, [plane(5.0 * k) for k in range(4)])
    with pytest.raises(InputError, match="has 4 per-frame functional groups for 5 frames"):
        open_scan(save(dataset, tmp_path / "a.dcm"))


def test_frames_without_groups(tmp_path: Path) -> None:
    dataset = enhanced(ARRAY, [])
    del dataset.PerFrameFunctionalGroupsSequence
    with pytest.raises(InputError, match="has 5 frames and no functional groups"):
        open_scan(save(dataset, tmp_path / "a.dcm"))


def test_a_frame_without_position_is_named(tmp_path: Path) -> None:
    frames = [plane(5.0 * k) for k in range(5)]
    frames[3] = groups(FrameContent={"StackID": "1"})
    message = r"a\.dcm frame 4: ImagePositionPatient is missing"
    with pytest.raises(InputError, match=message):
        open_scan(save(enhanced(ARRAY, frames, SHARED), tmp_path / "a.dcm"))


def test_colour_and_unplaced_images_are_no_slices(tmp_path: Path) -> None:
    rgb = slice_dataset(phantom((6, 6), high=255).astype(np.uint8))
    rgb.SamplesPerPixel, rgb.PhotometricInterpretation, rgb.PlanarConfiguration = 3, "RGB", 0
    rgb.PixelData = bytes(108)
    path = save(rgb, tmp_path / "rgb.dcm")
    with pytest.raises(InputError, match="is DICOM without grey images that have a place"):
        open_scan(path)
    capture = slice_dataset(phantom((6, 6)), ImagePositionPatient=None,
                            ImageOrientationPatient=None, SOPClassUID="1.2.3")  # fmt: skip
    path = save(capture, tmp_path / "capture.dcm")
    with pytest.raises(InputError, match="is DICOM without grey images that have a place"):
        open_scan(path)

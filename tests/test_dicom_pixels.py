"""Stored values to HU: every transfer syntax, rescale, padding, bit depths."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from dicom_builder import (
    DEFLATED,
    J2K,
    J2K_LOSSLESS,
    JPEG_8,
    JPEG_12,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_LS_NEAR,
    JPEG_SV1,
    NATIVE,
    RLE,
    compressed_frame,
    encapsulated,
    phantom,
    save,
    slice_dataset,
    stack,
    transcoded,
    write_series,
    write_slice,
)
from hrinet.errors import InputError, RangeExceededError
from hrinet.io.formats import open_scan, read

LOSSLESS = [*NATIVE, DEFLATED, RLE, JPEG_LOSSLESS, JPEG_SV1, JPEG_LS, J2K_LOSSLESS]


def smooth(rows: int = 40, columns: int = 36) -> np.ndarray:
    """Stored values of 12 bits that lossy coders keep within a few units."""
    row, column = np.mgrid[:rows, :columns]
    return (1500 + 700 * np.sin(row / 9) + 600 * np.cos(column / 7)).astype(np.uint16)


def encoded(path: Path, values: np.ndarray, syntax: str, *, bits_stored: int) -> Path:
    options = {"bits_stored": bits_stored}
    if syntax in (*NATIVE, DEFLATED):
        return write_slice(path, values, syntax=syntax, **options)
    if syntax in (JPEG_LOSSLESS, JPEG_SV1, JPEG_8, JPEG_12):
        plain = write_slice(path.with_suffix(".plain"), values, **options)
        is_lossless = syntax in (JPEG_LOSSLESS, JPEG_SV1)
        return transcoded(plain, path, syntax, lossless=is_lossless)
    extra = {JPEG_LS_NEAR: {"jls_error": 3}, J2K: {"j2k_cr": [3]}}.get(syntax, {})
    frame = compressed_frame(values, syntax, bits_stored=bits_stored, **extra)
    return save(encapsulated(slice_dataset(values, **options), [frame], syntax), path)


def by_itk(path: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[0]


@pytest.mark.parametrize("syntax", LOSSLESS)
@pytest.mark.parametrize(("low", "high", "bits"), [(0, 4095, 12), (0, 65535, 16), (-2048, 2047, 12),
                                                   (-32768, 32767, 16)])  # fmt: skip
def test_lossless_syntaxes(tmp_path: Path, syntax: str, low: int, high: int, bits: int) -> None:
    values = phantom((40, 36), low=low, high=high)
    values[0, :2] = low, high
    path = encoded(tmp_path / "a.dcm", values, syntax, bits_stored=bits)
    found = read(path).array[0]
    np.testing.assert_array_equal(found, values.astype(np.int32) - 1024)
    np.testing.assert_array_equal(found, by_itk(path))


@pytest.mark.parametrize(
    ("syntax", "error"), [(JPEG_LS_NEAR, 3), (J2K, 12), (JPEG_12, 16), (JPEG_8, 8)]
)
def test_lossy_syntaxes(tmp_path: Path, syntax: str, error: int) -> None:
    values = smooth()
    bits = 12
    if syntax == JPEG_8:
        values, bits = (values // 16).astype(np.uint8), 8
    path = encoded(tmp_path / "a.dcm", values, syntax, bits_stored=bits)
    found = open_scan(path).read_slice(0)
    difference = np.abs(found - (values.astype(np.int32) - 1024))
    assert 0 < difference.max() <= error
    np.testing.assert_array_equal(found, by_itk(path))


@pytest.mark.parametrize("syntax", [JPEG_LS, RLE])
def test_a_frame_in_several_fragments(tmp_path: Path, syntax: str) -> None:
    values = phantom((40, 36))
    frame = compressed_frame(values, syntax, bits_stored=12)
    from pydicom.encaps import encapsulate

    dataset = encapsulated(slice_dataset(values, bits_stored=12), [frame], syntax)
    dataset.PixelData = encapsulate([frame], fragments_per_frame=3, has_bot=False)
    path = save(dataset, tmp_path / "a.dcm")
    np.testing.assert_array_equal(open_scan(path).read_slice(0), values.astype(int) - 1024)


def test_rescale_differs_by_slice(tmp_path: Path) -> None:
    array = phantom((3, 6, 6), high=1000)
    slopes, intercepts = (1, 2, -3), (-1024, 0, 7)
    for k, values in enumerate(array):
        write_slice(
            tmp_path / f"{k}.dcm", values, (0, 0, k), number=k,
            RescaleSlope=slopes[k], RescaleIntercept=intercepts[k],
        )  # fmt: skip
    scan = open_scan(tmp_path)
    assert scan.dtype == np.int16
    expected = [a.astype(int) * s + i for a, s, i in zip(array, slopes, intercepts, strict=True)]
    np.testing.assert_array_equal(stack(scan), expected)


@pytest.mark.parametrize(("slope", "intercept"), [(0.5, -1024), (1, -1023.5), (1.0049, -3.25)])
def test_fractional_rescale_is_float32(tmp_path: Path, slope: float, intercept: float) -> None:
    values = phantom((6, 6))
    path = write_slice(tmp_path / "a.dcm", values, RescaleSlope=slope, RescaleIntercept=intercept)
    scan = open_scan(path)
    assert scan.dtype == np.float32
    expected = (values * float(slope) + intercept).astype(np.float32)
    np.testing.assert_array_equal(scan.read_slice(0), expected)


def test_values_beyond_int16_widen(tmp_path: Path) -> None:
    array = phantom((3, 6, 6), high=3000)
    array[2, 3, 3] = 60000
    write_series(tmp_path, array)
    scan = open_scan(tmp_path)
    assert scan.read_slice(0).dtype == np.int16
    with pytest.raises(RangeExceededError, match=r"s003\.dcm: values of -?\d+ to 58976 HU"):
        scan.read_slice(2)
    volume = read(tmp_path)
    assert volume.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array.astype(np.float32) - 1024)


def test_int16_just_fits(tmp_path: Path) -> None:
    values = np.array([[0, 65535], [32768, 1]], np.uint16)
    path = write_slice(tmp_path / "a.dcm", values, RescaleIntercept=-32768)
    found = open_scan(path).read_slice(0)
    assert found.dtype == np.int16
    np.testing.assert_array_equal(found, [[-32768, 32767], [0, -32767]])


@pytest.mark.parametrize("allocated", ["u1", "i1", "u4", "i4"])
def test_other_pixel_sizes(tmp_path: Path, allocated: str) -> None:
    values = np.arange(-12 if allocated[0] == "i" else 0, 24).astype(allocated)[:24].reshape(4, 6)
    path = write_slice(tmp_path / "a.dcm", values)
    np.testing.assert_array_equal(open_scan(path).read_slice(0), values.astype(int) - 1024)


@pytest.mark.parametrize("is_signed", [False, True])
def test_overlays_above_bits_stored_are_dropped(tmp_path: Path, is_signed: bool) -> None:
    values = phantom((8, 8), low=-2048 if is_signed else 0, high=2047)
    dirty = (values.astype(np.uint16) & 0x0FFF) | (np.arange(64).reshape(8, 8) % 16 << 12)
    dirty = dirty.astype(values.dtype)
    path = write_slice(tmp_path / "a.dcm", dirty, bits_stored=12)
    assert not np.array_equal(dirty, values)
    np.testing.assert_array_equal(open_scan(path).read_slice(0), values.astype(int) - 1024)


@pytest.mark.parametrize(
    ("pixels", "padding", "vr", "expected"),
    [
        (np.int16, -2000, "SS", -3024),
        (np.int16, 63536, "US", -3024),
        (np.uint16, 63536, "US", 62512),
        (np.uint16, -2000, "SS", 62512),
        (np.uint16, 0, "US", -1024),
    ],
)
@pytest.mark.parametrize("syntax", NATIVE)
def test_padding_whatever_its_vr(
    tmp_path: Path, pixels: type, padding: int, vr: str, expected: int, syntax: str
) -> None:
    dataset = slice_dataset(phantom((6, 6), high=100).astype(pixels), syntax=syntax)
    dataset.add_new("PixelPaddingValue", vr, padding)
    scan = open_scan(save(dataset, tmp_path / "a.dcm"))
    assert scan.padding_hu == expected


def test_padding_beyond_bits_stored_survives_the_mask(tmp_path: Path) -> None:
    values = phantom((6, 6), high=3000).astype(np.uint16)
    values[0] = 63536
    dataset = slice_dataset(values, bits_stored=12)
    dataset.add_new("PixelPaddingValue", "US", 63536)
    volume = read(save(dataset, tmp_path / "a.dcm"))
    np.testing.assert_array_equal(volume.array[0], values.astype(np.float32) - 1024)
    assert volume.padding_hu == 62512


def test_missing_rescale_and_other_units_are_noted(tmp_path: Path) -> None:
    tags = {"RescaleSlope": None, "RescaleIntercept": None}
    plain = open_scan(write_slice(tmp_path / "a.dcm", phantom((4, 4)), **tags))
    assert plain.info.notes == ("no rescale is stated: stored values are taken as HU",)
    other = write_slice(tmp_path / "b.dcm", phantom((4, 4)), RescaleType="ED", Modality="MR")
    assert [note.split(":")[0] for note in open_scan(other).info.notes] == [
        "the modality is MR, not CT",
        "the rescale type is 'ED'",
    ]


@pytest.mark.parametrize("syntax", [NATIVE[1], JPEG_LS, JPEG_SV1, J2K_LOSSLESS, RLE])
def test_eight_threads_read_the_same(tmp_path: Path, syntax: str) -> None:
    array = phantom((8, 40, 36))
    for k, values in enumerate(array):
        path = write_slice(tmp_path / f"{k}.dcm", values, (0, 0, k), number=k, bits_stored=12)
        if syntax == JPEG_SV1:
            transcoded(path, path, syntax)
        elif syntax != NATIVE[1]:
            frame = compressed_frame(values, syntax, bits_stored=12)
            dataset = slice_dataset(values, (0, 0, k), number=k, bits_stored=12)
            save(encapsulated(dataset, [frame], syntax), path)
    scan = open_scan(tmp_path)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(scan.read_slice, [*range(8)] * 5))
    np.testing.assert_array_equal(found, np.tile(array.astype(int) - 1024, (5, 1, 1)))


def test_a_file_that_vanishes_is_named(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom((3, 6, 6)))
    scan = open_scan(tmp_path)
    paths[1].unlink()
    with pytest.raises(InputError, match=r"s002\.dcm: cannot be opened: No such file"):
        scan.read_slice(1)

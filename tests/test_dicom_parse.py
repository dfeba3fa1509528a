"""The element walker against pydicom, in every encoding that files come in."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from dicom_builder import DEFLATED, NATIVE, phantom, relabelled, save, slice_dataset, write_slice
from hrinet.errors import InputError
from hrinet.io.dicom.files import DiskFile
from hrinet.io.dicom.parse import Header, floats, integer, is_dicom, parse_header, text
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS
from real_data import ct


def header_of(path: Path) -> Header:
    file = DiskFile(path, path.name)
    with file.open() as stream:
        return parse_header(file, stream, limits=DEFAULT_LIMITS)


def rich(syntax: str, *, undefined: bool) -> Dataset:
    """A slice with nested, private and empty elements that must be stepped over."""
    dataset = slice_dataset(phantom((6, 6)), (1.5, -2.25, 1e-3), syntax=syntax)
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated = 99, 98, 8
    icon.PixelData = bytes(99 * 98)
    icon["PixelData"].VR = "OB"
    inner = Dataset()
    inner.ImagePositionPatient = [9, 9, 9]
    inner.ReferencedImageSequence = Items([icon, Dataset()])
    dataset.IconImageSequence = Items([icon])
    dataset.ReferencedImageSequence = Items([inner, Dataset()])
    for item in (dataset["IconImageSequence"], dataset["ReferencedImageSequence"]):
        item.is_undefined_length = undefined
    icon.is_undefined_length_sequence_item = undefined
    inner.is_undefined_length_sequence_item = undefined
    dataset.add_new(0x00090010, "LO", "PRIVATE")
    dataset.add_new(0x00091001, "UN", b"\x01\x02\x03\x04")
    dataset.add_new(0x00091002, "UT", "x" * 70000)
    dataset.PatientName = ""
    dataset.SliceThickness = "2.50"
    return dataset


@pytest.mark.parametrize("syntax", [*NATIVE, DEFLATED])
@pytest.mark.parametrize("undefined", [False, True])
def test_values_as_pydicom_reads_them(tmp_path: Path, syntax: str, undefined: bool) -> None:
    path = save(rich(syntax, undefined=undefined), tmp_path / "a.dcm")
    expected, header = pydicom.dcmread(path), header_of(path)
    found = header.dataset
    for keyword in ("Rows", "Columns", "BitsStored", "InstanceNumber"):
        assert integer(found, keyword, subject="a") == expected[keyword].value
    for keyword, count in (("ImagePositionPatient", 3), ("PixelSpacing", 2)):
        assert floats(found, keyword, count, subject="a") == tuple(expected[keyword].value)
    assert floats(found, "SliceThickness", 1, subject="a") == (2.5,)
    assert text(found, "ImageType") == "ORIGINAL\\PRIMARY\\AXIAL"
    assert text(found, "SOPInstanceUID") == expected.SOPInstanceUID
    assert header.pixels is not None
    assert header.pixels.length == 72
    np.testing.assert_array_equal(open_scan(path).read_slice(0), phantom((6, 6)).astype(int) - 1024)


@pytest.mark.parametrize("name", ["cptac_C3L-00189/0003.dcm", "enhanced_multiframe_ct.dcm",
                                  "philips_tilt_phantom/0001.dcm"])  # fmt: skip
def test_real_headers_as_pydicom_reads_them(name: str) -> None:
    path = ct("cases") / name
    expected, header = pydicom.dcmread(path), header_of(path)
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "Modality"):
        assert text(header.dataset, keyword) == str(expected.get(keyword, ""))
    for keyword in ("Rows", "Columns", "BitsAllocated", "BitsStored", "PixelRepresentation"):
        assert integer(header.dataset, keyword, subject="x") == expected[keyword].value
    assert header.transfer_syntax == expected.file_meta.TransferSyntaxUID


@pytest.mark.parametrize(("claimed", "actual"), [(0, 1), (1, 0)])
def test_implicit_and_explicit_mixed_up(tmp_path: Path, claimed: int, actual: int) -> None:
    path = write_slice(tmp_path / "a.dcm", phantom((6, 6)), syntax=NATIVE[actual])
    relabelled(path, NATIVE[actual], NATIVE[claimed])
    assert header_of(path).transfer_syntax == NATIVE[claimed]
    found = open_scan(path).read_slice(0)
    np.testing.assert_array_equal(found, phantom((6, 6)).astype(int) - 1024)


def test_un_of_undefined_length_is_implicit(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "a.dcm", phantom((6, 6)))
    data = path.read_bytes()
    item = b"\x08\x00\x18\x00\x04\x00\x00\x001.2\0"
    sequence = (
        b"\x08\x00\x40\x11UN\0\0\xff\xff\xff\xff"
        b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + item + b"\xfe\xff\x0d\xe0\0\0\0\0"
        b"\xfe\xff\xdd\xe0\0\0\0\0"
    )
    at = data.index(b"\x20\x00\x0d\x00UI")
    path.write_bytes(data[:at] + sequence + data[at:])
    assert open_scan(path).geometry.shape == (1, 6, 6)


def test_odd_texts_are_cleaned(tmp_path: Path) -> None:
    dataset = slice_dataset(phantom((6, 6)))
    path = save(dataset, tmp_path / "a.dcm")
    dataset.SeriesDescription = "A" * 8
    data = save(dataset, path).read_bytes()
    for raw, expected in ((b"\x1b[31mred", "?[31mred"), (b"Sch\xe4del ", "Schädel"),
                          ("Größe".encode() + b" ", "Größe")):  # fmt: skip
        path.write_bytes(data.replace(b"A" * 8, raw.ljust(8)))
        assert open_scan(path).info.description == expected


class Stored:
    """One raw attribute."""

    def __init__(self, vr: bytes, value: bytes) -> None:
        from hrinet.io.dicom.elements import Element

        self.element = Element(vr, value, (), False)

    def get(self, keyword: str) -> Any:
        return self.element


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"nan", "nan"),
        (b"1e400", "inf"),
        (b"-inf", "-inf"),
        (b"ZZ secret", "not readable"),
        (b"1.2.3 ", "not readable"),
        (b"1\\2", r"1\\2"),
        (b"1,5", "not readable"),
        (b"\xff\xfe", "not readable"),
        (b"\\".join([b"1"] * 400), "not readable"),
    ],
)
def test_bad_numbers(value: bytes, shown: str) -> None:
    with pytest.raises(InputError, match=rf"^x: RescaleSlope is {shown}, expected a finite"):
        floats(Stored(b"DS", value), "RescaleSlope", 1, subject="x")


@pytest.mark.parametrize(
    ("vr", "value"),
    [(b"IS", b"1.5"), (b"IS", b"x"), (b"IS", b"1\\2"), (b"US", b"\1"), (b"IS", b"1e30")],
)
def test_bad_integers(vr: bytes, value: bytes) -> None:
    with pytest.raises(InputError, match=r"^x: Rows is .*, expected an integer"):
        integer(Stored(vr, value), "Rows", subject="x")


def test_good_numbers() -> None:
    assert floats(Stored(b"DS", b" 1.5 \\-2e1\\3 "), "ImagePositionPatient", 3, subject="x") == (
        1.5,
        -20.0,
        3.0,
    )
    assert integer(Stored(b"IS", b"12 "), "InstanceNumber", subject="x") == 12
    assert integer(Stored(b"OW", b"\x0c\0"), "Rows", subject="x") == 12


def test_is_dicom() -> None:
    assert is_dicom(io.BytesIO(bytes(128) + b"DICM"))
    assert is_dicom(io.BytesIO(b"\x08\x00\x05\x00" + bytes(9)))
    assert not is_dicom(io.BytesIO(b""))
    assert not is_dicom(io.BytesIO(b"\x08\x00plain text"))


def test_no_warning_reaches_the_user(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    dataset = slice_dataset(phantom((6, 6)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset.SpecificCharacterSet = "NO SUCH SET"
        dataset.PatientName = "ZZSENTINEL" * 9
        dataset.InstanceNumber = "7"
        path = save(dataset, tmp_path / "a.dcm")
    data = path.read_bytes().replace(b"UI\x08\x001.2.3.4\0", b"UI\x08\x001.x.3.4\0")
    path.write_bytes(data)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        open_scan(path).read_slice(0)
    assert capfd.readouterr() == ("", "")

"""Damaged and malicious DICOM: one sentence, no crash, no hang, no memory, no patient data."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicom_builder import (
    DEFLATED,
    J2K_LOSSLESS,
    JPEG_LOSSLESS,
    JPEG_LS,
    JPEG_SV1,
    NATIVE,
    RLE,
    compressed_frame,
    deflated_bomb,
    encapsulated,
    enhanced,
    phantom,
    plane,
    relabelled,
    save,
    slice_dataset,
    stack,
    transcoded,
    write_series,
    write_slice,
)
from hrinet.errors import HrinetError, InputError
from hrinet.io.formats import open_scan

VALUES = phantom((40, 36))
_GUARDED = """
import json, resource, sys, time
from pathlib import Path
from hrinet.errors import HrinetError
from hrinet.io.dicom import open_dicom
from hrinet.io.limits import DEFAULT_LIMITS
import gdcm, jpeg_ls, openjpeg.utils
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 700 * 2**20,) * 2)
results = {}
for name in sys.argv[1:]:
    start = time.perf_counter()
    try:
        scan = open_dicom(Path(name), series=None, limits=DEFAULT_LIMITS)
        for k in range(len(scan.geometry)):
            scan.read_slice(k)
        results[name] = "read"
    except HrinetError as error:
        results[name] = str(error)
    results[name + " seconds"] = time.perf_counter() - start
print(json.dumps(results))
"""


def spliced(path: Path, tag: bytes, insertion: bytes) -> bytes:
    """The file with bytes put before an element."""
    data = path.read_bytes()
    at = data.index(tag)
    return data[:at] + insertion + data[at:]


def declaring(path: Path, syntax: str, size: int = 60000) -> Path:
    """A compressed slice whose stream declares other dimensions than the header."""
    if syntax in (JPEG_SV1, JPEG_LOSSLESS):
        plain = write_slice(path.with_suffix(".plain"), VALUES, bits_stored=12)
        data = transcoded(plain, path, syntax).read_bytes()
        marker = b"\xff\xc3"
    else:
        frame = compressed_frame(VALUES, syntax, bits_stored=12)
        dataset = encapsulated(slice_dataset(VALUES, bits_stored=12), [frame], syntax)
        data = save(dataset, path).read_bytes()
        marker = b"\xff\x51" if syntax == J2K_LOSSLESS else b"\xff\xf7"
    at = data.index(marker)
    if syntax == J2K_LOSSLESS:
        dimensions = size.to_bytes(4, "big") * 2
        changed = data[: at + 6] + dimensions + bytes(8) + dimensions + data[at + 30 :]
    else:
        changed = data[: at + 5] + size.to_bytes(2, "big") * 2 + data[at + 9 :]
    path.write_bytes(changed)
    return path


def make_dangerous(folder: Path) -> dict[str, str]:
    """Files that would take gigabytes, and what must be said of each."""
    expected = {}

    def expect(path: Path, message: str) -> None:
        expected[str(path)] = message

    gigantic = 2 << 30
    expect(
        deflated_bomb(folder / "bomb-header.dcm", VALUES, header=gigantic), "inflates to more than"
    )
    expect(
        deflated_bomb(folder / "bomb-pixels.dcm", VALUES, pixels=gigantic), "more than the limit of"
    )
    expect(deflated_bomb(folder / "bomb-behind.dcm", VALUES, behind=gigantic), "read")
    for name, syntax in (("ls", JPEG_LS), ("j2k", J2K_LOSSLESS), ("sv1", JPEG_SV1)):
        path = declaring(folder / f"{name}.dcm", syntax)
        expect(path, "60000 x 60000 x 1 (columns, rows, samples), expected 36 x 40 x 1")
    plain = write_slice(folder / "plain.dcm", VALUES)
    huge = b"\xfe\xff\xff\xff"
    for name, element in (
        ("skipped", b"\x08\x00\x19\x01UT\0\0"),
        ("kept", b"\x28\x00\x10\x00UT\0\0"),
        ("sequence", b"\x00\x52\x30\x92SQ\0\0"),
    ):
        path = folder / f"long-{name}.dcm"
        path.write_bytes(spliced(plain, b"\x28\x00\x10\x00US", element + huge))
        expect(path, "again")
    item = b"\x00\x52\x29\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    path = folder / "nested.dcm"
    path.write_bytes(spliced(plain, b"\xe0\x7f\x10\x00", item * 200000))
    expect(path, "is damaged DICOM")
    path = folder / "items.dcm"
    empty = b"\xfe\xff\x00\xe0\0\0\0\0" * 1_000_000
    sequence = b"\x00\x52\x30\x92SQ\0\0" + len(empty).to_bytes(4, "little") + empty
    path.write_bytes(spliced(plain, b"\xe0\x7f\x10\x00", sequence))
    expect(path, "copy or export the file again")
    for name, tags in (
        ("rows", {"Rows": 65535, "Columns": 65535}),
        ("frames", {"NumberOfFrames": 2**31 - 1}),
        ("bits", {"BitsAllocated": 32, "BitsStored": 32, "Rows": 16384, "Columns": 16384}),
    ):
        path = write_slice(folder / f"{name}.dcm", VALUES, **tags)
        expect(path, "expected 1073741824 for" if name == "bits" else "more than the limit of")
    return expected


def test_nothing_dangerous_is_allocated(tmp_path: Path) -> None:
    expected = make_dangerous(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", _GUARDED, *expected],
        capture_output=True, text=True, timeout=120, check=False,
        env={"PYTHONPATH": str(Path(__file__).resolve().parents[1] / "src")},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    results = json.loads(done.stdout)
    for name, message in expected.items():
        assert message in results[name], name
        assert results[f"{name} seconds"] < 6, name


BAD_TAGS: list[tuple[str, Any, str]] = [
    ("ImagePositionPatient", None, "ImagePositionPatient is missing"),
    ("ImagePositionPatient", "", "ImagePositionPatient is missing"),
    ("ImagePositionPatient", "1\\2", r"ImagePositionPatient is 1\\2, expected 3 finite numbers"),
    ("ImagePositionPatient", "nan\\0\\0", r"ImagePositionPatient is nan\\0\\0, expected 3 finite"),
    ("ImagePositionPatient", "0\\inf\\0", r"ImagePositionPatient is 0\\inf\\0, expected 3 finite"),
    ("ImagePositionPatient", "a\\b\\c", "ImagePositionPatient is not readable, expected 3 finite"),
    ("ImagePositionPatient", "1e300\\0\\0", "expected 3 finite numbers"),
    ("ImagePositionPatient", "1e9\\0\\0", "farther out than any scanner reaches"),
    ("ImageOrientationPatient", None, "ImageOrientationPatient is missing"),
    ("ImageOrientationPatient", "1\\0\\0", "expected 6 finite numbers"),
    ("ImageOrientationPatient", "1\\0\\0\\1\\0\\0", "expected two unit vectors at right angles"),
    ("ImageOrientationPatient", "0\\0\\0\\0\\0\\0", "expected two unit vectors at right angles"),
    (
        "ImageOrientationPatient",
        "1\\0\\0\\0.1\\0.99\\0",
        "expected two unit vectors at right angles",
    ),
    ("ImageOrientationPatient", "5\\0\\0\\0\\5\\0", "expected two unit vectors at right angles"),
    ("PixelSpacing", None, "PixelSpacing is missing, expected two numbers of mm"),
    ("PixelSpacing", "0\\0", "PixelSpacing is .*, expected two positive numbers of mm"),
    ("PixelSpacing", "-1\\1", "PixelSpacing is .*, expected two positive numbers of mm"),
    ("PixelSpacing", "nan\\1", r"PixelSpacing is nan\\1, expected 2 finite numbers"),
    ("PixelSpacing", "0.7", "PixelSpacing is 0.7, expected 2 finite numbers"),
    ("PixelSpacing", "1e-300\\1", "expected two positive numbers of mm"),
    ("Rows", None, "Rows is missing, expected in every image"),
    ("Rows", 0, "declares 36 x 0 x 1 voxels"),
    ("Rows", 41, "holds 2880 bytes of pixel data, expected 2952 for 36 x 41 x 1 voxels"),
    ("Rows", 7, "holds 2880 bytes of pixel data, expected 504"),
    ("Columns", None, "Columns is missing, expected in every image"),
    ("Columns", 65535, "holds 2880 bytes of pixel data, expected"),
    ("BitsAllocated", None, "BitsAllocated is missing"),
    ("BitsAllocated", 12, "BitsAllocated is 12 and BitsStored 16, expected 8, 16 or 32"),
    ("BitsAllocated", 0, "BitsAllocated is 0 and BitsStored 16, expected 8, 16 or 32"),
    ("BitsStored", None, "BitsStored is missing"),
    ("BitsStored", 17, "BitsAllocated is 16 and BitsStored 17"),
    ("BitsStored", 0, "BitsAllocated is 16 and BitsStored 0"),
    ("PixelRepresentation", 7, "PixelRepresentation is 7, expected 0"),
    ("NumberOfFrames", 2**31 - 1, "declares 36 x 40 x 2147483647 voxels, more than the limit"),
    ("NumberOfFrames", -3, "declares 36 x 40 x -3 voxels"),
    ("NumberOfFrames", 0, "declares 36 x 40 x 0 voxels"),
    ("NumberOfFrames", 2, "has 2 frames and no functional groups"),
    ("RescaleSlope", "0", "RescaleSlope is 0, which makes all voxels equal; expected 1 or so"),
    ("RescaleSlope", "nan", "RescaleSlope is nan, expected a finite number"),
    ("RescaleIntercept", "none", "RescaleIntercept is not readable, expected a finite number"),
    ("InstanceNumber", "1.5", "InstanceNumber is 1.5, expected an integer"),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("keyword", "value", "message"), BAD_TAGS)
def test_bad_tags(tmp_path: Path, keyword: str, value: Any, message: str) -> None:
    dataset = slice_dataset(VALUES)
    if value is None:
        delattr(dataset, keyword)
    elif isinstance(value, str):
        # Past pydicom's validation: as text of the right VR.
        vr = dataset[keyword].VR if keyword in dataset else "DS"
        dataset.add_new(keyword, "UT", value)
        data = save(dataset, tmp_path / "a.dcm").read_bytes()
        tag = dataset[keyword].tag
        head = tag.group.to_bytes(2, "little") + tag.element.to_bytes(2, "little")
        raw = value.encode() + b" " * (len(value) % 2)
        old = head + b"UT\0\0" + len(raw).to_bytes(4, "little")
        assert old in data
        new = head + vr.encode() + len(raw).to_bytes(2, "little")
        (tmp_path / "a.dcm").write_bytes(data.replace(old, new))
    else:
        setattr(dataset, keyword, value)
    if not isinstance(value, str):
        save(dataset, tmp_path / "a.dcm")
    with pytest.raises(InputError, match=rf"^a\.dcm: .*{message}") as caught:
        open_scan(tmp_path / "a.dcm").read_slice(0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("syntax", [NATIVE[1], JPEG_LS, DEFLATED])
def test_cut_off_at_sixty_points(tmp_path: Path, syntax: str) -> None:
    dataset = slice_dataset(VALUES, bits_stored=12, syntax=syntax)
    if syntax == JPEG_LS:
        frame = compressed_frame(VALUES, syntax, bits_stored=12)
        encapsulated(dataset, [frame], syntax)
    data = save(dataset, tmp_path / "a.dcm").read_bytes()
    assert open_scan(tmp_path / "a.dcm").read_slice(0).shape == (40, 36)
    # The last bytes may be missing: a delimiter, or the end of the deflated blocks.
    last = len(data) - {JPEG_LS: 9, DEFLATED: 4}.get(syntax, 1)
    for size in np.linspace(0, last, 60).astype(int):
        (tmp_path / "a.dcm").write_bytes(data[:size])
        with pytest.raises(InputError, match=r"^a\.dcm: "):
            open_scan(tmp_path / "a.dcm").read_slice(0)


@pytest.mark.parametrize(
    ("syntax", "claimed", "message"),
    [
        (NATIVE[1], RLE, "its pixel data is not compressed, although .* RLE Lossless"),
        (NATIVE[1], JPEG_LS, "its pixel data is not compressed, although .* JPEG-LS Lossless"),
        (JPEG_LS, NATIVE[1], "its pixel data is compressed, although .* Explicit VR Little"),
        (J2K_LOSSLESS, JPEG_LS, "is a JPEG 2000 stream, expected JPEG-LS"),
        (JPEG_LS, J2K_LOSSLESS, "is a JPEG-LS stream, expected JPEG 2000"),
        (JPEG_LS, JPEG_SV1, "is a JPEG-LS stream, expected JPEG or JPEG Lossless"),
        (RLE, JPEG_LS, "is no readable image, expected JPEG-LS"),
        (JPEG_LS, RLE, r"compressed pixel data \(RLE Lossless\) is damaged"),
        (JPEG_LS, "1.2.3.4.5", r"the transfer syntax 1\.2\.3\.4\.5 \(unknown\) is not one of CT"),
        (JPEG_LS, "1.2.840.10008.1.2.4.100", "the transfer syntax MPEG2 .* is not one of CT"),
        (JPEG_LS, "1.2.840.10008.1.2.4.94", "the transfer syntax JPIP Referenced is not one of"),
    ],
)
def test_wrong_transfer_syntax(tmp_path: Path, syntax: str, claimed: str, message: str) -> None:
    dataset = slice_dataset(VALUES, bits_stored=12)
    if syntax not in NATIVE:
        frame = compressed_frame(VALUES, syntax, bits_stored=12)
        encapsulated(dataset, [frame], syntax)
    path = relabelled(save(dataset, tmp_path / "a.dcm"), syntax, claimed)
    with pytest.raises(InputError, match=rf"^a\.dcm: .*{message}"):
        open_scan(path).read_slice(0)


IDENTIFYING = (
    "PatientName",
    "PatientID",
    "OtherPatientIDs",
    "OtherPatientNames",
    "PatientAddress",
    "PatientBirthName",
    "PatientComments",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PerformingPhysicianName",
    "OperatorsName",
    "InstitutionName",
    "InstitutionAddress",
    "StudyID",
    "StationName",
    "DeviceSerialNumber",
)


@pytest.mark.filterwarnings("ignore")
def test_patient_data_is_never_repeated(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    texts: list[str] = []
    errors = 0
    base = slice_dataset(VALUES)
    for keyword in IDENTIFYING:
        setattr(base, keyword, "ZZSENTINEL")
    base.PatientBirthDate = base.StudyDate = "ZZSENTINEL"
    data = save(base, tmp_path / "base.dcm").read_bytes()
    assert data.count(b"ZZSENTINEL") >= len(IDENTIFYING)
    rng = np.random.default_rng(0)
    path = tmp_path / "a.dcm"
    capfd.readouterr()
    caplog.clear()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(300):
            changed = bytearray(data)
            for at in rng.integers(0, len(data) - VALUES.nbytes, rng.integers(1, 6)):
                changed[at] = rng.integers(256)
            path.write_bytes(changed)
            try:
                scan = open_scan(path)
                scan.read_slice(0)
                texts += [*scan.info.notes, scan.info.description]
            except HrinetError as error:
                errors += 1
                texts.append(str(error))
    texts += [str(warning.message) for warning in caught]
    texts += [*capfd.readouterr(), caplog.text]
    assert errors > 10
    assert not any("SENTINEL" in text for text in texts)


def seed(folder: Path, name: str) -> bytes:
    """A small valid file to be damaged."""
    path = folder / "seed.dcm"
    row, column = np.mgrid[:40, :36]
    values = (1000 + 30 * row + 20 * column).astype(np.uint16)
    if name in NATIVE or name == DEFLATED:
        return write_slice(path, values, bits_stored=12, syntax=name).read_bytes()
    if name == JPEG_SV1:
        plain = write_slice(folder / "plain.dcm", values, bits_stored=12)
        return transcoded(plain, path, name).read_bytes()
    if name == "enhanced":
        frames = [compressed_frame(values, JPEG_LS, bits_stored=12)] * 2
        dataset = enhanced(np.stack([values] * 2), [plane(0), plane(5)], bits_stored=12)
        return save(encapsulated(dataset, frames, JPEG_LS), path).read_bytes()
    frame = compressed_frame(values, name, bits_stored=12)
    dataset = encapsulated(slice_dataset(values, bits_stored=12), [frame], name)
    return save(dataset, path).read_bytes()


@pytest.mark.parametrize(
    "name", [*NATIVE, DEFLATED, RLE, JPEG_LS, J2K_LOSSLESS, JPEG_SV1, "enhanced"]
)
def test_flipped_bytes(tmp_path: Path, name: str) -> None:
    data = seed(tmp_path, name)
    path = tmp_path / "a.dcm"
    path.write_bytes(data)
    assert stack(open_scan(path)).shape[1:] == (40, 36)
    place = st.integers(128, len(data) - 1)

    @settings(
        max_examples=120,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        database=None,
    )
    @given(st.lists(st.tuples(place, st.integers(0, 255)), min_size=1, max_size=8))
    def check(flips: list[tuple[int, int]]) -> None:
        changed = bytearray(data)
        for at, value in flips:
            changed[at] = value
        path.write_bytes(changed)
        start = time.perf_counter()
        try:
            stack(open_scan(path))
        except HrinetError as error:
            assert "\n" not in str(error)  # noqa: PT017
            assert len(str(error)) < 600  # noqa: PT017
        assert time.perf_counter() - start < 2

    check()


def test_one_bad_file_does_not_spoil_a_folder(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom((5, 8, 8)))
    paths[2].write_bytes(paths[2].read_bytes()[:400])
    scan = open_scan(tmp_path)
    np.testing.assert_allclose(scan.geometry.gaps_mm, [5, 10, 5])
    (note,) = scan.info.notes
    assert note.startswith("1 file could not be used: s003.dcm: is ")


def test_a_cut_off_slice_of_the_chosen_series_is_an_error(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom((5, 8, 8)))
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    with pytest.raises(InputError, match=r"s003\.dcm: holds 118 bytes of pixel data, expected 128"):
        open_scan(tmp_path)

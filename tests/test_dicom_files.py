"""Finding DICOM files: folders, zips, junk beside them, things that must not be opened."""

from __future__ import annotations

import gc
import os
import time
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest

from dicom_builder import (
    DEFLATED,
    JPEG_LS,
    compressed_frame,
    encapsulated,
    enhanced,
    phantom,
    plane,
    save,
    slice_dataset,
    stack,
    write_series,
    write_slice,
)
from hrinet.errors import InputError, LimitError
from hrinet.io.dicom import open_dicom
from hrinet.io.dicom.files import LazyReader, find_files
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS, Limits

ARRAY = phantom((4, 12, 10))
HU = ARRAY.astype(np.int16) - 1024


def zipped(path: Path, folder: Path, **options: int) -> Path:
    with zipfile.ZipFile(path, "w", options.get("compression", zipfile.ZIP_DEFLATED)) as archive:
        for file in sorted(folder.rglob("*")):
            archive.write(file, file.relative_to(folder))
    return path


def junk(folder: Path) -> None:
    (folder / "notes.txt").write_text("not DICOM")
    (folder / "text.dcm").write_text("a text that is called .dcm " * 20)
    (folder / "empty.dcm").write_bytes(b"")
    (folder / "report.pdf").write_bytes(b"%PDF-1.4 " + bytes(500))
    (folder / ".hidden.dcm").write_bytes(bytes(128) + b"DICM" + b"\x08\x00\x05\x00junk")
    (folder / "random.bin").write_bytes(np.random.default_rng(3).bytes(5000))
    directory = slice_dataset(ARRAY[0])
    directory.SOPClassUID = "1.2.840.10008.1.3.10"
    save(directory, folder / "DICOMDIR")


@pytest.mark.parametrize("as_zip", [False, True])
def test_nested_folders_with_junk(tmp_path: Path, as_zip: bool) -> None:
    folder = tmp_path / "in"
    for k, values in enumerate(ARRAY):
        write_slice(folder / "a" / f"b{k % 2}" / f"IM{k}", values, (0, 0, 3.0 * k), number=k)
    junk(folder)
    source = zipped(tmp_path / "in.zip", folder) if as_zip else folder
    scan = open_scan(source)
    np.testing.assert_array_equal(stack(scan), HU)
    assert scan.info.notes == ()


@pytest.mark.parametrize(
    "compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA]
)
def test_zip_compressions(tmp_path: Path, compression: int) -> None:
    write_series(tmp_path / "in", ARRAY)
    path = zipped(tmp_path / "in.zip", tmp_path / "in", compression=compression)
    np.testing.assert_array_equal(stack(open_scan(path)), HU)


@pytest.mark.parametrize("syntax", [JPEG_LS, DEFLATED])
def test_multi_frame_in_a_zip(tmp_path: Path, syntax: str) -> None:
    dataset = enhanced(ARRAY, [plane(5.0 * k) for k in range(4)], bits_stored=12)
    dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == JPEG_LS:
        frames = [compressed_frame(values, JPEG_LS, bits_stored=12) for values in ARRAY]
        encapsulated(dataset, frames, JPEG_LS)
    save(dataset, tmp_path / "in" / "a.dcm")
    np.testing.assert_array_equal(stack(open_scan(tmp_path / "in")), HU)
    path = zipped(tmp_path / "in.zip", tmp_path / "in")
    np.testing.assert_array_equal(stack(open_scan(path)), HU)


def test_without_preamble_or_meta(tmp_path: Path) -> None:
    for k, path in enumerate(write_series(tmp_path, ARRAY)):
        data = path.read_bytes()
        if k % 2:
            path.write_bytes(data[132:])
    implicit = slice_dataset(ARRAY[0] + 1, (-50, -60, 20), uid="1.9", syntax="1.2.840.10008.1.2")
    bare = save(implicit, tmp_path / "bare").read_bytes()
    (tmp_path / "bare").write_bytes(bare[bare.index(b"\x08\x00\x08\x00") :])
    scan = open_scan(tmp_path)
    np.testing.assert_array_equal(stack(scan), [*HU, HU[0] + 1])


def test_links_pipes_and_loops(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ARRAY)
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    (tmp_path / "in" / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "in" / "pipe.dcm")
    np.testing.assert_array_equal(stack(open_scan(tmp_path / "in")), HU)
    with pytest.raises(InputError, match="is neither a file nor a folder"):
        open_scan(tmp_path / "in" / "pipe.dcm")


def test_a_folder_that_cannot_be_listed_is_noted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "in", ARRAY)
    (tmp_path / "in" / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    (note,) = open_scan(tmp_path / "in").info.notes
    assert note.startswith("1 file could not be used: locked: cannot be opened")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.mkdir(), "holds no DICOM images with a place in the patient"),
        (lambda p: p.write_bytes(b""), "is not a CT volume; expected DICOM"),
        (lambda p: p.write_text("hello " * 99), "is not a CT volume; expected DICOM"),
        (lambda p: p.write_bytes(np.random.default_rng(0).bytes(9999)), "is not a CT volume"),
    ],
)
def test_nothing_to_read(tmp_path: Path, make: object, message: str) -> None:
    make(tmp_path / "x.dcm")  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        open_scan(tmp_path / "x.dcm")


def test_folder_of_pdfs(tmp_path: Path) -> None:
    for k in range(3):
        (tmp_path / f"{k}.pdf").write_bytes(b"%PDF-1.4" + bytes(1000))
    with pytest.raises(InputError, match="holds no DICOM images"):
        open_scan(tmp_path)


def test_zip_slip_names_write_nothing(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "in" / "a.dcm", ARRAY[0])
    archive = tmp_path / "zips" / "in.zip"
    archive.parent.mkdir()
    with zipfile.ZipFile(archive, "w") as target:
        for name in ("../../evil.dcm", "/evil.dcm", "C:\\evil.dcm", "a/../../evil2.dcm"):
            target.write(path, name)
    before = sorted(tmp_path.rglob("*"))
    assert len(open_scan(archive).geometry) == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_damaged_and_encrypted_zips(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ARRAY)
    whole = zipped(tmp_path / "in.zip", tmp_path / "in").read_bytes()
    cut = tmp_path / "cut.zip"
    for size in (40, len(whole) // 2, len(whole) - 30):
        cut.write_bytes(whole[:size])
        with pytest.raises(InputError, match="is a zip that is damaged or cut off"):
            open_scan(cut)
    locked = bytearray(whole)
    for start, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        position = locked.find(start)
        while position >= 0:
            locked[position + flags] |= 1
            position = locked.find(start, position + 4)
    cut.write_bytes(locked)
    with pytest.raises(InputError, match="is encrypted; extract the zip with its password first"):
        open_scan(cut)


def test_damage_within_a_zip_entry_is_noticed(tmp_path: Path) -> None:
    array = phantom((4, 64, 64))
    write_series(tmp_path / "in", array)
    path = zipped(tmp_path / "in.zip", tmp_path / "in", compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    at = data.index(array[2].tobytes()) + 5000
    data[at + 20] ^= 0xFF
    path.write_bytes(data)
    scan = open_scan(path)
    scan.read_slice(1)
    with pytest.raises(InputError, match=r"in\.zip/s003\.dcm: is damaged in the zip"):
        scan.read_slice(2)


def test_zip_bombs(tmp_path: Path) -> None:
    path = tmp_path / "bomb.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.dcm", bytes(8 << 20))
    with pytest.raises(LimitError, match=r"would inflate from \d+ to 8388608 bytes"):
        open_scan(path)


def test_reading_headers_of_a_zip_is_bounded(tmp_path: Path) -> None:
    # Each entry is DICOM whose first element is 2 MiB of noise to be skipped.
    noise = np.random.default_rng(0).bytes(1 << 20) * 2
    head = slice_dataset(ARRAY[0])
    head.add_new(0x00080119, "UC", "")
    data = save(head, tmp_path / "a.dcm").read_bytes()
    at = data.index(b"\x08\x00\x19\x01UC") + 8
    data = data[:at] + len(noise).to_bytes(4, "little") + noise + data[at + 4 :]
    path = tmp_path / "many.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for k in range(12):
            archive.writestr(f"{k:02d}.dcm", data)
    assert len(open_scan(path).geometry) == 1
    limits = Limits(max_inflated_bytes=10 << 20)
    with pytest.raises(LimitError, match=r"many\.zip: the headers in it inflate to more than"):
        open_dicom(path, series=None, limits=limits)


def test_junk_in_a_zip_is_not_inflated(tmp_path: Path) -> None:
    path = tmp_path / "junk.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("noise.bin", np.random.default_rng(0).bytes(30 << 20))
        archive.write(write_slice(tmp_path / "a.dcm", ARRAY[0]), "a.dcm")
    files = {file.name: file for file in find_files(path, limits=DEFAULT_LIMITS)}
    noise = files["junk.zip/noise.bin"]
    with noise.open_header() as stream:
        stream.read(132)
    assert noise._archive.inflated <= 1 << 16  # type: ignore[attr-defined]
    assert len(open_scan(path).geometry) == 1


def test_too_many_files(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ARRAY)
    zipped(tmp_path / "in.zip", tmp_path / "in")
    limits = Limits(max_files=3)
    with pytest.raises(LimitError, match="holds more than 3 files"):
        open_dicom(tmp_path / "in", series=None, limits=limits)
    with pytest.raises(LimitError, match="holds 4 files, the limit is 3"):
        open_dicom(tmp_path / "in.zip", series=None, limits=limits)


def test_lazy_reader_seeks_and_stops() -> None:
    produced = []

    def chunks() -> object:
        for value in range(10):
            produced.append(value)
            yield bytes([value]) * 10

    reader = LazyReader(chunks(), subject="x", limit=95)  # type: ignore[arg-type]
    assert reader.read(12) == bytes([0] * 10 + [1] * 2)
    assert produced == [0, 1]
    reader.seek(35)
    assert reader.read(2) == b"\x03\x03"
    reader.seek(0)
    assert reader.read(1) == b"\0"
    assert reader.tell() == 1
    with pytest.raises(LimitError, match="x: inflates to more than 95 bytes"):
        reader.seek(0, os.SEEK_END)


def test_no_file_stays_open(tmp_path: Path) -> None:
    write_series(tmp_path / "in", ARRAY)
    zipped(tmp_path / "in.zip", tmp_path / "in")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
        for source in ("in", "in.zip"):
            stack(open_scan(tmp_path / source))
        gc.collect()
        after = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    assert after <= before
    assert not [warning for warning in caught if warning.category is ResourceWarning]


def test_a_folder_of_2500_files(tmp_path: Path) -> None:
    data = write_slice(tmp_path / "first.dcm", phantom((4, 4)), (0, 0, 100.25)).read_bytes()
    folder = tmp_path / "in"
    folder.mkdir()
    for k in range(2500):
        changed = data.replace(b"100.25", b"%06.1f" % (0.5 * k)).replace(
            b".9.1", b".%03d" % (k % 1000)
        )
        (folder / f"{k}.dcm").write_bytes(changed)
    start = time.perf_counter()
    scan = open_scan(folder)
    seconds = time.perf_counter() - start
    assert scan.geometry.shape == (2500, 4, 4)
    np.testing.assert_allclose(scan.geometry.gaps_mm, 0.5)
    assert seconds < 10, seconds

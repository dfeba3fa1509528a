"""Files of objects: every byte arrives, whatever the sizes; long headers; committing in groups."""

from __future__ import annotations

import os
import threading
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from pydicom import Dataset, dcmread, dcmwrite, uid

from hrinet.errors import InputError
from hrinet.node import committer as committers
from hrinet.node.committer import Committer
from hrinet.node.files import Head, ObjectFile, WriteBuffer
from hrinet.node.header import HeaderError, read_header
from hrinet.node.objects import Incoming, ObjectFolder, RefusedError
from hrinet.node.push import dicom_files, push
from hrinet.node.queue import Queue
from node_tools import CT, FakePeer, Sender, config, encoded, make_object, running, write_series
from test_node_rules import arrival

BUFFER = WriteBuffer()
_MIB = 1 << 20


@pytest.fixture(params=["disk", "memory"])
def place(request, tmp_path):
    """A folder on a disk, and one on a file system without direct access."""
    if request.param == "disk":
        yield tmp_path
        return
    shared = Path("/dev/shm")
    if not shared.is_dir():
        pytest.skip("there is no /dev/shm")
    folder = shared / f"hrinet-test-{os.getpid()}"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


@given(
    sizes=st.lists(
        st.sampled_from([0, 1, 131, 4095, 4096, 4097, _MIB - 1, _MIB, _MIB + 5]), max_size=6
    )
)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_every_byte_arrives(place, sizes):
    path = place / "file"
    path.unlink(missing_ok=True)
    parts = [bytes([number + 1]) * size for number, size in enumerate(sizes)]
    file = ObjectFile(path, BUFFER)
    for part in parts:
        file.append(memoryview(part))
    head = file.head()
    file.sync()
    file.close()
    assert path.read_bytes() == b"".join(parts)
    assert b"".join(parts).startswith(head)
    assert len(head) == min(sum(sizes), 65536)


def test_a_file_that_is_there_is_not_written_over(tmp_path):
    (tmp_path / "file").write_bytes(b"old")
    with pytest.raises(FileExistsError):
        ObjectFile(tmp_path / "file", BUFFER)
    assert (tmp_path / "file").read_bytes() == b"old"


def test_a_header_longer_than_what_is_kept_in_memory_is_read_from_the_file(tmp_path):
    dataset = make_object(1, 1)
    dataset.private_block(0x0009, "LONG", create=True).add_new(1, "OB", b"x" * 300_000)
    with running(config(tmp_path / "store", quiet_s=60)) as node:
        with Sender(node.port) as sender:
            assert sender.send(dataset) == 0
        (series,) = node.store.rows.series()
        assert series.description == "Chest 5.0"
        (path,) = node.store.object_paths(series)
        assert path.read_bytes().endswith(encoded(dataset))


def test_kept_files_are_dicom_files_of_the_same_dataset(tmp_path):
    dataset = make_object(1, 1)
    with running(config(tmp_path / "store", quiet_s=60)) as node:
        with Sender(node.port, calling="CT1") as sender:
            assert sender.send(dataset) == 0
        (path,) = node.store.object_paths(node.store.rows.series()[0])
        kept = dcmread(path)
    assert kept == dataset
    assert kept.file_meta.MediaStorageSOPClassUID == CT
    assert kept.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
    assert kept.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert kept.file_meta.SourceApplicationEntityTitle == "CT1"
    assert kept.file_meta.ImplementationClassUID.is_valid


@pytest.mark.parametrize(
    ("changes", "position", "thickness"),
    [
        ({}, 5.0, 5.0),
        ({"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]}, 0.0, 5.0),
        ({"ImagePositionPatient": None}, None, 5.0),
        ({"SliceThickness": ""}, 5.0, None),
        ({"SliceThickness": -1}, 5.0, None),
    ],
)
def test_headers(changes, position, thickness):
    dataset = encoded(make_object(1, 1, **changes))
    header = read_header(Head(dataset), offset=0, transfer_syntax="1.2.840.10008.1.2.1")
    assert header.position_mm == position
    assert header.thickness_mm == thickness
    assert header.image_type == "ORIGINAL\\PRIMARY\\AXIAL"


@given(st.binary(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_bytes_are_a_header_or_an_error(data):
    for syntax in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"):
        with pytest.raises(HeaderError):
            read_header(Head(data), offset=0, transfer_syntax=syntax)


def test_push_refuses_a_damaged_file_by_name_before_it_sends(tmp_path):
    good, bad, bare = write_series(tmp_path / "in", count=3)
    assert dicom_files([tmp_path / "in"]) == [good, bad, bare]
    bad.write_bytes(b"\0" * 128 + b"DICM" + b"x" * 50)
    with pytest.raises(InputError, match=r"0002\.dcm: is a damaged DICOM file"):
        dicom_files([tmp_path / "in"])
    bad.unlink()
    dataset = dcmread(bare)
    del dataset.file_meta.MediaStorageSOPClassUID
    dataset.save_as(bare)
    with pytest.raises(InputError, match=r"0003\.dcm: .*lacks the SOP class"):
        dicom_files([bare])


def as_kind(dataset, kind):
    """The same object as another file."""
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedImageSequence = [item, item]
    dataset["ReferencedImageSequence"].is_undefined_length = kind == "undefined length"
    if kind in KINDS:
        dataset.file_meta.TransferSyntaxUID = KINDS[kind]
    elif kind == "RLE":
        dataset.compress(uid.RLELossless, generate_instance_uid=False)
    elif kind == "report":
        for name in ("PixelData", "Rows", "Columns"):
            delattr(dataset, name)
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.BasicTextSRStorage
    return dataset


KINDS = {
    "implicit": uid.ImplicitVRLittleEndian,
    "deflated": uid.DeflatedExplicitVRLittleEndian,
}


@pytest.mark.parametrize("kind", ["explicit", "undefined length", *KINDS, "RLE"])
def test_push_takes_no_image_that_is_cut_off(tmp_path, kind):
    path = tmp_path / "a.dcm"
    dcmwrite(path, as_kind(make_object(rows=8), kind), enforce_file_format=True)
    whole = path.read_bytes()
    for zeros in (0, 512):  # Copies from tapes and block devices end in zeros.
        path.write_bytes(whole + bytes(zeros))
        assert dicom_files([path]) == [path]
    lengths = {*range(132, len(whole), 11), *range(len(whole) - 20, len(whole))}
    for length in lengths - {len(whole) - 1 if kind == "deflated" else 0}:  # That may be padding.
        path.write_bytes(whole[:length])
        with pytest.raises(InputError, match=r"a\.dcm: is (damaged|not whole|a damaged)"):
            dicom_files([path])


def test_push_says_what_a_file_lacks(tmp_path):
    image, report, short = tmp_path / "i.dcm", tmp_path / "r.dcm", tmp_path / "s.dcm"
    dcmwrite(image, make_object(rows=16), enforce_file_format=True)
    image.write_bytes(image.read_bytes()[:-300])
    with pytest.raises(InputError, match=r"i\.dcm: .*300 bytes are missing.*copy it again"):
        dicom_files([image])
    dcmwrite(image, make_object(PixelData=None, Rows=None), enforce_file_format=True)
    with pytest.raises(InputError, match=r"i\.dcm: .*pixel data are missing"):
        dicom_files([image])
    dcmwrite(short, make_object(rows=16, Rows=17), enforce_file_format=True)
    with pytest.raises(InputError, match=r"s\.dcm: .*512 of 544 bytes of pixel data"):
        dicom_files([short])
    dcmwrite(report, as_kind(make_object(), "report"), enforce_file_format=True)
    assert dicom_files([report]) == [report]
    report.write_bytes(report.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"r\.dcm: .*1 bytes are missing"):
        dicom_files([report])


def test_push_leaves_to_the_peer_what_the_header_does_not_say(tmp_path):
    path = tmp_path / "a.dcm"
    dcmwrite(path, make_object(Columns=None), enforce_file_format=True)
    assert dicom_files([path]) == [path]
    dataset = make_object()
    dataset.file_meta.TransferSyntaxUID = "1.2.3.4"  # Private.
    dataset.preamble = bytes(128)
    dcmwrite(path, dataset, implicit_vr=False, little_endian=True)
    assert dicom_files([path]) == [path]


def test_push_measures_large_pixel_data_without_reading_them(tmp_path):
    path = tmp_path / "a.dcm"
    dcmwrite(path, make_object(rows=2048), enforce_file_format=True)
    tracemalloc.start()
    try:
        dicom_files([path])
        assert tracemalloc.get_traced_memory()[1] < 2 * _MIB  # Of 8.
    finally:
        tracemalloc.stop()


def test_push_sends_nothing_if_one_file_is_cut_off(tmp_path):
    good, bad = write_series(tmp_path / "in", count=2)
    bad.write_bytes(bad.read_bytes()[:-1])
    peer = FakePeer()
    with pytest.raises(InputError, match=r"0002\.dcm: is not whole"):
        push([tmp_path / "in"], peer)
    assert peer.sends == 0
    assert push([good], peer) == 1


def test_an_object_that_is_refused_leaves_nothing(tmp_path):
    folder = ObjectFolder(tmp_path / "objects", min_free_bytes=1)
    for size in (0, 101):
        incoming = Incoming(
            folder,
            max_bytes=100,
            sop_class=CT,
            sop_instance="1.2",
            transfer_syntax="1.2.840.10008.1.2",
            source_title="CT1",
            buffer=BUFFER,
        )
        incoming.write(memoryview(bytes(size)))
        with pytest.raises(RefusedError):
            incoming.finish()
    assert not list((tmp_path / "objects").rglob("*.dcm"))


def test_objects_that_wait_together_share_a_commit(tmp_path, monkeypatch):
    batches = []
    gate = threading.Event()
    queue = Queue(tmp_path / "q")
    real = queue.add

    def add(arrivals):
        batches.append(len(arrivals))
        gate.wait(10)
        return real(arrivals)

    monkeypatch.setattr(queue, "add", add)
    monkeypatch.setattr(committers, "sync_folder", lambda folder: None)
    committer = Committer(queue, tmp_path)
    outcomes = []
    threads = [
        threading.Thread(target=lambda k=k: outcomes.append(committer.commit(arrival(k))))
        for k in range(9)
    ]
    threads[0].start()
    while not batches:
        gate.wait(0.01)
    for thread in threads[1:]:
        thread.start()
    while committer._waiting.qsize() < 8:
        gate.wait(0.01)
    gate.set()
    for thread in threads:
        thread.join()
    committer.close()
    assert outcomes == ["stored"] * 9
    assert batches == [1, 8]

"""Files of objects: every byte arrives, whatever the sizes; long headers; committing in groups."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from pydicom import dcmread

from hrinet.errors import InputError
from hrinet.node import committer as committers
from hrinet.node.committer import Committer
from hrinet.node.files import Head, ObjectFile, WriteBuffer
from hrinet.node.header import HeaderError, read_header
from hrinet.node.objects import Incoming, ObjectFolder, RefusedError
from hrinet.node.push import dicom_files
from hrinet.node.queue import Queue
from node_tools import CT, Sender, config, encoded, make_object, running, write_series
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

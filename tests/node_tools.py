"""What the tests of the DICOM node share: objects, a sender, fake work, a peer, Orthanc."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hrinet.errors import InputError
from hrinet.node.config import NodeConfig
from hrinet.node.rules import Rule
from hrinet.node.service import Node
from hrinet.node.work import Result, Task

CT = "1.2.840.10008.5.1.4.1.1.2"
SENTINELS = ("Sentinelname", "SENTINEL-ID", "19340521", "SENTINEL-ACC")

EVERYTHING = (Rule(name="all"),)


def make_object(series=1, number=1, *, rows=16, seed=None, spacing=5.0, **attributes):
    """A small CT object that is valid enough for the node, with sentinels for a patient."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = CT
    dataset.SOPInstanceUID = f"1.2.3.{series}.9.{number}"
    dataset.StudyInstanceUID = f"1.2.3.{series}.1"
    dataset.SeriesInstanceUID = f"1.2.3.{series}.2"
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SeriesDescription = "Chest 5.0"
    dataset.PatientName = "Sentinelname^Ada"
    dataset.PatientID = "SENTINEL-ID"
    dataset.PatientBirthDate = "19340521"
    dataset.AccessionNumber = "SENTINEL-ACC"
    dataset.SliceThickness = spacing
    dataset.ImagePositionPatient = [0, 0, spacing * number]
    dataset.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing = [0.7, 0.7]
    dataset.InstanceNumber = number
    dataset.Rows = dataset.Columns = rows
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    values = np.random.default_rng(seed or number).integers(-1000, 1000, (rows, rows))
    dataset.PixelData = values.astype(np.int16).tobytes()
    for key, value in attributes.items():
        if value is None:
            delattr(dataset, key)
        else:
            setattr(dataset, key, value)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return dataset


def encoded(dataset):
    """A dataset as a peer sends it: without meta information, Explicit VR Little Endian."""
    from pynetdicom.dsutils import encode

    return encode(dataset, False, True)


def write_series(folder, series=1, count=3, **attributes):
    """The files of a series."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(1, count + 1):
        dataset = make_object(series, number, **attributes)
        dcmwrite(folder / f"{number:04d}.dcm", dataset, enforce_file_format=True)
    return sorted(folder.iterdir())


def config(store, **changes):
    """A node for tests: quick, on a free port, one rule for everything."""
    settings = {
        "store": store,
        "port": 0,
        "quiet_s": 0.3,
        "rules": EVERYTHING,
        "backoff_s": (0.05, 0.2),
        "drain_s": 2.0,
        "min_free_bytes": 1,
    }
    return NodeConfig(**(settings | changes))


@contextmanager
def running(settings, *, peer=None, run=None):
    """A node in this process."""
    node = Node(settings, peer=peer, run=run or copy_series)
    node.start()
    try:
        yield node
    finally:
        node.stop()


def copy_series(task: Task) -> Result:
    """Fake work: a "derived" series with deterministic UIDs; refuses a series named so."""
    sources = sorted(task.input.iterdir())
    task.output.mkdir()
    for number, path in enumerate(sources):
        dataset = dcmread(path)
        if dataset.get("SeriesDescription") == "bad":
            return Result("refused", "its slices overlap")
        dataset.SeriesInstanceUID = f"{dataset.SeriesInstanceUID}.{len(sources)}"
        dataset.SOPInstanceUID = f"{dataset.SOPInstanceUID}.{len(sources)}"
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dcmwrite(task.output / f"{number:04d}.dcm", dataset, enforce_file_format=True)
    return Result("done")


def child_copy(task: Task) -> None:
    """The same, for a child process."""
    result = copy_series(task)
    if result.outcome == "refused":
        raise InputError(f"{task.input}: {result.reason}")


def child_crash(task: Task) -> None:
    """Work that takes its whole process with it."""
    os.kill(os.getpid(), signal.SIGSEGV)


def child_leaks(task: Task) -> None:
    """Work that raises something with a patient in it."""
    sys.stdout.write(SENTINELS[0])
    sys.stdout.flush()
    raise ValueError(SENTINELS[0])


def child_sleeps(task: Task) -> None:
    """Work that takes long, and says who does it."""
    partial = task.output.with_suffix(".part")
    partial.write_text(str(os.getpid()))
    partial.rename(task.output)
    time.sleep(60)


class FakePeer:
    """Remembers what was sent; may be down or refuse."""

    name = "PEER@fake:1"

    def __init__(self):
        self.sent = {}
        self.sends = 0
        self.error = None

    def send(self, paths):
        self.sends += 1
        if self.error is not None:
            raise self.error
        for path in paths:
            dataset = dcmread(path)
            self.sent.setdefault(str(dataset.SOPInstanceUID), []).append(
                str(dataset.SeriesInstanceUID)
            )


def wait_for(condition, *, timeout=20.0, what="the condition"):
    """Poll until ``condition()`` is true."""
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what} did not come true in {timeout} s")


def wait_for_state(node, **counts):
    """Wait until the series are in these states."""
    wait_for(
        lambda: all(node.store.rows.counts()[state] == n for state, n in counts.items()),
        what=f"{counts}, now {node.store.rows.counts()}",
    )


class Sender:
    """A storage user of pynetdicom; ``send`` gives the status."""

    def __init__(self, port, *, title="HRINET", calling="SENDER", classes=(CT,), tls=None):
        from pynetdicom import AE
        from pynetdicom.presentation import build_context

        from hrinet.node.extra import silence_libraries

        silence_libraries()
        entity = AE(calling)
        contexts = [build_context(uid, ExplicitVRLittleEndian) for uid in classes]
        contexts.append(build_context("1.2.840.10008.1.1"))
        self.association = entity.associate(
            "127.0.0.1",
            port,
            contexts,
            ae_title=title,
            tls_args=(tls, "localhost") if tls else None,
        )

    @property
    def is_open(self):
        return self.association.is_established

    def send(self, dataset):
        return self.association.send_c_store(dataset).get("Status")

    def close(self):
        if self.is_open:
            self.association.release()

    def __enter__(self):
        assert self.is_open
        return self

    def __exit__(self, *error):
        self.close()


def free_port():
    """A TCP port that is free now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def dcmtk(name):
    """A program of DCMTK; pynetdicom installs others of the same names, so not from PATH."""
    path = Path("/usr/bin") / name
    if not path.exists():
        pytest.skip(f"{path} is not installed; it is in Debian's dcmtk")
    return str(path)


class NodeProcess:
    """``hrinet node`` in its own process, to be killed."""

    def __init__(self, store, *, port, peer=None, entry="node_tools:child_copy", quiet_s=0.3):
        code = (
            "import sys, pathlib, dataclasses\n"
            "from node_tools import config\n"
            "from hrinet.node import setup\n"
            "from hrinet.node.peers import parse_peer\n"
            f"setup.serve(config(pathlib.Path({str(store)!r}), port={port}, quiet_s={quiet_s}, "
            f"work_entry={entry!r}, "
            f"peer={'None' if peer is None else f'parse_peer({peer!r})'}))\n"
        )
        self.log = (store.parent / f"{store.name}.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code],
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"},
        )

    def wait_until_up(self, port):
        def is_up():
            assert self.process.poll() is None, "the node ended"
            with socket.socket() as one:
                return one.connect_ex(("127.0.0.1", port)) == 0

        wait_for(is_up, what="the node")

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.log.close()

    def terminate(self):
        self.process.terminate()
        code = self.process.wait(timeout=30)
        self.log.close()
        return code


class Orthanc:
    """A real PACS on free loopback ports."""

    def __init__(self, folder, *, node_port=None, node_title="HRINET"):
        binary = shutil.which("Orthanc") or "/usr/sbin/Orthanc"
        plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
        if not Path(binary).exists() or not plugin.exists():
            pytest.skip("Orthanc is not installed; it is in Debian's orthanc, orthanc-dicomweb")
        folder.mkdir(parents=True, exist_ok=True)
        self.port, self.http = free_port(), free_port()
        self.title = "ORTHANC"
        modalities = {"node": [node_title, "127.0.0.1", node_port]} if node_port else {}
        settings = {
            "Name": "test",
            "StorageDirectory": str(folder / "db"),
            "IndexDirectory": str(folder / "db"),
            "DicomAet": self.title,
            "DicomPort": self.port,
            "HttpPort": self.http,
            "RemoteAccessAllowed": False,
            "DicomAlwaysAllowStore": True,
            "DicomAlwaysAllowFind": True,
            "DicomAlwaysAllowGet": True,
            "DicomAlwaysAllowMove": True,
            "DicomModalities": modalities,
            "Plugins": [str(plugin)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "StableAge": 1,
            "ConcurrentJobs": 1,
        }
        (folder / "orthanc.json").write_text(json.dumps(settings))
        self.log = (folder / "orthanc.log").open("wb")
        self.process = subprocess.Popen(
            [binary, str(folder / "orthanc.json")], stdout=self.log, stderr=subprocess.STDOUT
        )
        wait_for(self._is_up, timeout=60, what="Orthanc")

    @property
    def peer(self):
        return f"{self.title}@127.0.0.1:{self.port}"

    @property
    def web(self):
        return f"http://127.0.0.1:{self.http}/dicom-web"

    def _is_up(self):
        assert self.process.poll() is None, "Orthanc ended"
        try:
            return self.get("/system")
        except OSError:
            return None

    def get(self, path):
        return json.loads(self._call(path))

    def raw(self, path):
        return self._call(path)

    def post(self, path, data):
        body = data if isinstance(data, bytes) else json.dumps(data).encode()
        return json.loads(self._call(path, body) or "null")

    def _call(self, path, body=None):
        url = f"http://127.0.0.1:{self.http}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, body), timeout=60) as answer:
            return answer.read()

    def upload(self, paths):
        """Store files, and return Orthanc's ID of their series."""
        return {self.post("/instances", path.read_bytes())["ParentSeries"] for path in paths}

    def series(self):
        """UID -> Orthanc's ID."""
        return {
            self.get(f"/series/{one}")["MainDicomTags"]["SeriesInstanceUID"]: one
            for one in self.get("/series")
        }

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
        self.log.close()

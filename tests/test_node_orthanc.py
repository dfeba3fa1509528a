"""Against a real PACS: Orthanc with its DICOMweb plugin, started here on free loopback ports."""

from __future__ import annotations

import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from pydicom import dcmread

from hrinet.errors import InputError, RequestError, RunError
from hrinet.node import setup
from hrinet.node.config import NodeConfig
from hrinet.node.names import key_of
from hrinet.node.peers import parse_peer
from hrinet.node.pull import Query, fetch, find
from hrinet.node.rules import Rule
from hrinet.node.service import Node
from node_tools import (
    Orthanc,
    config,
    copy_series,
    free_port,
    running,
    wait_for,
    wait_for_state,
    write_series,
)
from real_data import ct

NODE_PORT = free_port()


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"), node_port=NODE_PORT)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def uploaded(orthanc, tmp_path_factory):
    """A small series in Orthanc."""
    paths = write_series(tmp_path_factory.mktemp("small"), series=5, count=4, rows=32)
    orthanc.upload(paths)
    return paths


def pixels(paths):
    return {dcmread(path).SOPInstanceUID: dcmread(path).pixel_array for path in paths}


def assert_same(folder, originals):
    got, expected = pixels(sorted(folder.rglob("*.dcm"))), pixels(originals)
    assert set(got) == set(expected)
    assert all(np.array_equal(got[uid], expected[uid]) for uid in expected)


@pytest.mark.parametrize("way", ["web", "get", "move"])
def test_pull_brings_every_object_as_it_is(orthanc, uploaded, tmp_path, way):
    source = parse_peer(orthanc.web if way == "web" else orthanc.peer)
    found = find(source, Query(series="1.2.3.5.2", study="1.2.3.5.1"))
    assert [(one.series, one.instances) for one in found] == [("1.2.3.5.2", 4)]
    receiver = NodeConfig(store=tmp_path, port=NODE_PORT, min_free_bytes=1)
    count = fetch(
        source,
        found,
        tmp_path / "out",
        way="move" if way == "move" else "get",
        receiver=receiver,
    )
    assert count == 4
    assert_same(tmp_path / "out", uploaded)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_find_by_patient_and_by_series(orthanc, uploaded, kind):
    source = parse_peer(orthanc.web if kind == "web" else orthanc.peer)
    assert find(source, Query(series="1.2.3.99.2")) == []
    for query in (Query(series="1.2.3.5.2"), Query(patient="SENTINEL-ID")):
        assert "1.2.3.5.2" in [one.series for one in find(source, query)]
    with pytest.raises(RequestError, match="pass --study"):
        find(source, Query())


def test_the_pull_command_lists_and_fetches(orthanc, uploaded, tmp_path):
    keywords = {
        "series": "1.2.3.5.2",
        "study": "",
        "patient": "",
        "accession": "",
        "modality": "CT",
        "fetch_all": False,
        "move_to": None,
        "port": 0,
        "bind": "127.0.0.1",
        "title": "HRINET",
    }
    assert "4 objects  Chest 5.0" in setup.pull(orthanc.web, None, **keywords)
    said = setup.pull(orthanc.web, tmp_path / "out", **keywords)
    assert said.endswith("4 objects of 1 series")
    with pytest.raises(RequestError, match="exists already"):
        setup.pull(orthanc.web, tmp_path / "out", **keywords)
    with pytest.raises(RequestError, match="no series that matches"):
        setup.pull(orthanc.web, None, **(keywords | {"series": "1.2.9"}))


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_push_stores_every_object(orthanc, tmp_path, kind):
    series = 21 if kind == "web" else 22
    paths = write_series(tmp_path / "in", series=series, count=3)
    target = orthanc.web if kind == "web" else orthanc.peer
    for _ in range(2):  # The second time they are there already.
        assert "has 3 objects" in setup.push([tmp_path / "in"], target, title="HRINET")
    one = orthanc.series()[f"1.2.3.{series}.2"]
    stored = [
        orthanc.raw(f"/instances/{i}/file") for i in orthanc.get(f"/series/{one}")["Instances"]
    ]
    (tmp_path / "back").mkdir()
    for number, content in enumerate(stored):
        (tmp_path / "back" / f"{number}.dcm").write_bytes(content)
    assert_same(tmp_path / "back", paths)


def test_a_server_that_is_away_or_wrong_is_told_in_a_sentence(orthanc, tmp_path):
    write_series(tmp_path / "in", count=1)
    with pytest.raises(RunError, match="cannot be reached"):
        setup.push([tmp_path / "in"], f"http://127.0.0.1:{free_port()}/x", title="HRINET")
    with pytest.raises(RunError, match="cannot be reached"):
        setup.push([tmp_path / "in"], f"NOBODY@127.0.0.1:{free_port()}", title="HRINET")
    with pytest.raises(RunError, match="HTTP status 404"):
        setup.push([tmp_path / "in"], f"http://127.0.0.1:{orthanc.http}/wrong", title="HRINET")
    (tmp_path / "in" / "0001.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"x" * 50)
    with pytest.raises(InputError, match=r"0001\.dcm: is a damaged DICOM file"):
        setup.push([tmp_path / "in"], orthanc.peer, title="HRINET")


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_results_come_back_to_the_server_that_sent_the_series(orthanc, uploaded, tmp_path, kind):
    target = parse_peer(orthanc.web if kind == "web" else orthanc.peer)
    settings = config(tmp_path / "store", port=NODE_PORT)
    with running(settings, peer=target, run=copy_series) as node:
        one = orthanc.series()["1.2.3.5.2"]
        orthanc.post("/modalities/node/store", one)
        wait_for_state(node, sent=1)
    assert "1.2.3.5.2.4" in orthanc.series()


def test_a_real_thick_series_goes_round(orthanc, tmp_path, monkeypatch):
    """Orthanc -> node -> Orthanc, with the real work in its child process."""
    source = ct("cases/cptac_C3L-00189")
    (tmp_path / "in").mkdir()
    originals = [shutil.copy(path, tmp_path / "in") for path in sorted(source.glob("*.dcm"))[:5]]
    first = dcmread(originals[0])
    (one,) = orthanc.upload(sorted((tmp_path / "in").iterdir()))
    rules = (
        Rule(name="thick", modality=("CT",), min_spacing_mm=2.0, instances=5, method="linear"),
    )
    settings = config(tmp_path / "store", port=NODE_PORT, rules=rules, quiet_s=60)
    before = set(orthanc.series())
    node = Node(settings, peer=parse_peer(orthanc.web))
    node.start()
    try:
        orthanc.post("/modalities/node/store", one)
        wait_for(
            lambda: any(node.store.rows.counts()[state] for state in ("sent", "dead")),
            timeout=120,
            what="the result",
        )
        reasons = [series.reason for series in node.store.rows.series("dead")]
        assert not reasons
    finally:
        node.stop()
    (made,) = set(orthanc.series()) - before
    found = find(parse_peer(orthanc.web), Query(series=made))
    assert fetch(parse_peer(orthanc.web), found, tmp_path / "back") == found[0].instances
    derived = sorted(
        (dcmread(path) for path in (tmp_path / "back").iterdir()),
        key=lambda dataset: dataset.ImagePositionPatient[2],
    )
    assert len(derived) > 4 * 5
    assert {str(dataset.StudyInstanceUID) for dataset in derived} == {str(first.StudyInstanceUID)}
    assert {dataset.PatientID for dataset in derived} == {first.PatientID}

    # Originals are identical, stored value for stored value, at their positions.
    at = {float(dataset.ImagePositionPatient[2]): dataset for dataset in derived}
    for path in originals:
        original = dcmread(path)
        same = at[float(original.ImagePositionPatient[2])]
        assert np.array_equal(same.pixel_array, original.pixel_array)
        assert same.RescaleIntercept == original.RescaleIntercept

    validator = shutil.which("dciodvfy")
    if validator is None:
        pytest.skip("dciodvfy is not installed; it is in Debian's dicom3tools")
    for path in sorted((tmp_path / "back").iterdir()):
        said = subprocess.run([validator, str(path)], capture_output=True, text=True)
        errors = [line for line in said.stderr.splitlines() if line.startswith("Error")]
        assert not errors, errors
    assert (tmp_path / "store" / "dead" / key_of(str(first.SeriesInstanceUID))).exists() is False

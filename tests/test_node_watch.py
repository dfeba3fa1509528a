"""The node as a client of DICOMweb, against Orthanc."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from io import BytesIO

import numpy as np
import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from pydicom import dcmread

from hrinet.node.names import key_of
from hrinet.node.peers import parse_url
from node_tools import (
    SENTINELS,
    Orthanc,
    Sender,
    config,
    free_port,
    make_object,
    running,
    wait_for,
    wait_for_state,
    write_series,
)


def watching(store, url, **changes):
    """A node that asks ten times a second."""
    peer = parse_url(url)
    return config(store, **({"watch_web": peer, "watch_every_s": 0.1} | changes))


def polls(node):
    return node.metrics.value("web_queries_total", outcome="answered")


def wait_polls(node, count=3):
    """Let the node look again so often."""
    end = polls(node) + count
    wait_for(lambda: polls(node) >= end, what="queries")


def fetched(node):
    return node.metrics.value("web_series_total", outcome="fetched")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory):
    server = Orthanc(tmp_path_factory.mktemp("orthanc"))
    yield server
    server.stop()


def test_only_what_appears_is_fetched_once_and_the_result_goes_back(orthanc, tmp_path):
    orthanc.upload(write_series(tmp_path / "old", series=31))
    settings = watching(tmp_path / "store", orthanc.web)
    target = parse_url(orthanc.web)
    with running(settings, peer=target) as node:
        wait_polls(node)
        originals = write_series(tmp_path / "new", series=32, count=4)
        orthanc.upload(originals)
        wait_for_state(node, sent=1)
        assert "1.2.3.32.2.4" in orthanc.series()
        wait_polls(node, 8)  # The result is there too now.
        assert [one.uid for one in node.store.rows.series()] == ["1.2.3.32.2"]
        assert fetched(node) == 1
        assert node.metrics.value("objects_received_total") == 4
        # What is stored is what was sent, byte for byte in the dataset.
        for uid, file, _ in node.store.rows.files(key_of("1.2.3.32.2")):
            stored = dcmread(node.store.objects.root / file)
            (original,) = (one for one in map(dcmread, originals) if one.SOPInstanceUID == uid)
            assert stored == original
        assert "hrinet_node_web_up 1" in node.render_metrics()
    orthanc.upload(write_series(tmp_path / "meanwhile", series=33))
    with running(settings, peer=target) as node:
        wait_for_state(node, sent=2)
        wait_polls(node, 8)
        assert sorted(one.uid for one in node.store.rows.series()) == ["1.2.3.32.2", "1.2.3.33.2"]
        assert fetched(node) == 1
        # It grows, and is done again as a whole.
        orthanc.upload(write_series(tmp_path / "grown", series=33, count=5)[3:])
        wait_for(lambda: "1.2.3.33.2.5" in orthanc.series(), what="the second result")
        assert fetched(node) == 2


@pytest.mark.parametrize("since", ["all", "20240101"])
def test_what_is_there_is_taken_if_asked_for(orthanc, tmp_path, since):
    first = {"all": 41, "20240101": 51}[since]
    for series, date in ((first, "20230101"), (first + 1, "20240101"), (first + 2, "20250101")):
        orthanc.upload(write_series(tmp_path / str(series), series=series, StudyDate=date))
    with running(watching(tmp_path / "store", orthanc.web)) as node:
        wait_polls(node)
        assert not node.store.rows.series()
    settings = watching(tmp_path / "store", orthanc.web, watch_since=since)
    with running(settings) as node:
        expected = {f"1.2.3.{series}.2" for series in range(first, first + 3)}
        if since != "all":
            expected.remove(f"1.2.3.{first}.2")
        done = lambda: {one.uid for one in node.store.rows.series("sent")}  # noqa: E731
        wait_for(lambda: expected <= done(), what="the series")
        wait_polls(node)
        if since != "all":
            assert f"1.2.3.{first}.2" not in done()


def test_other_modalities_and_results_of_another_hrinet_are_left_alone(orthanc, tmp_path):
    with running(watching(tmp_path / "store", orthanc.web)) as node:
        wait_polls(node)
        orthanc.upload(write_series(tmp_path / "mr", series=61, Modality="MR"))
        described = write_series(tmp_path / "h", series=62, SeriesDescription="HRINet 1 mm: Chest")
        orthanc.upload(described)
        orthanc.upload(write_series(tmp_path / "ct", series=63))
        wait_for_state(node, sent=1)
        wait_polls(node, 6)
        assert [one.uid for one in node.store.rows.series()] == ["1.2.3.63.2"]


def test_a_series_that_came_by_c_store_is_not_fetched_as_well(orthanc, tmp_path):
    with running(watching(tmp_path / "store", orthanc.web)) as node:
        wait_polls(node)
        with Sender(node.port) as sender:
            for number in (1, 2, 3):
                assert sender.send(make_object(71, number)) == 0
        wait_for_state(node, sent=1)
        orthanc.upload(write_series(tmp_path / "ct", series=71))
        wait_polls(node, 8)
        assert fetched(node) == 0
        assert node.metrics.value("objects_received_total") == 3


def test_a_real_series_goes_round_by_the_command(tmp_path):
    """The command as a user starts it, with the real work; a kill -9 changes nothing."""
    server = Orthanc(tmp_path / "orthanc")
    try:
        rules = tmp_path / "rules.toml"
        rules.write_text('[[rule]]\nname = "ct"\nmodality = "CT"\nmethod = "linear"\n')
        command = [
            *(sys.executable, "-m", "hrinet", "node", "--store", str(tmp_path / "store")),
            *("--port", str(free_port()), "--rules", str(rules), "--quiet", "1s"),
            *("--watch-web", server.web, "--watch-every", "1s", "--peer-web", server.web),
        ]
        log = tmp_path / "log"
        with log.open("wb") as stream:
            process = subprocess.Popen(command, stderr=stream)
            wait_for(lambda: b"are there already" in log.read_bytes(), timeout=60, what="a query")
            originals = write_series(tmp_path / "new", series=81, count=3, rows=64)
            server.upload(originals)
            wait_for(lambda: b"is fetched" in log.read_bytes(), timeout=60, what="the fetch")
            process.kill()
            process.wait()
            process = subprocess.Popen(command, stderr=stream)
            wait_for(lambda: len(server.series()) == 2, timeout=90, what="the result")
            wait_for(lambda: b"is sent" in log.read_bytes(), timeout=60, what="the end")
            time.sleep(3)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=30) == 0
            assert time.monotonic() - started < 10
        said = log.read_text()
        assert len(server.series()) == 2
        assert said.count("is fetched") == 1
        assert not [word for word in (*SENTINELS, "1.2.3.81") if word in said]
        (made,) = set(server.series()) - {"1.2.3.81.2"}
        instances = server.get(f"/series/{server.series()[made]}")["Instances"]
        derived = [dcmread(BytesIO(server.raw(f"/instances/{one}/file"))) for one in instances]
        assert len(derived) > 3
        at = {float(one.ImagePositionPatient[2]): one.pixel_array for one in derived}
        for original in map(dcmread, originals):
            place = float(original.ImagePositionPatient[2])
            assert np.array_equal(at[place], original.pixel_array)
    finally:
        server.stop()

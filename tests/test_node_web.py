"""The node as a client of DICOMweb, against a server that misbehaves."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pytest
from pydicom import Dataset

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")


from hrinet.errors import RequestError
from hrinet.node.config import parse_every, parse_since
from hrinet.node.names import key_of
from hrinet.node.peers import PeerDownError, PeerRefusedError, WebPeer, parse_url
from hrinet.node.pull import Query, find
from hrinet.node.rules import Rule
from hrinet.node.seen import Seen
from hrinet.node.web import Found, retrieve, search
from node_tools import (
    SENTINELS,
    config,
    copy_series,
    make_object,
    running,
    wait_for,
    wait_for_state,
)
from node_web_server import Server


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


@pytest.fixture
def server():
    one = Server()
    yield one
    one.close()


def test_server_down_and_back_is_told_once_each(server, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="hrinet.node")
    server.is_down = True
    with running(watching(tmp_path / "store", server.url, watch_since="all")) as node:
        wait_for(lambda: node.metrics.value("web_queries_total", outcome="failed") >= 4)
        assert "hrinet_node_web_up 0" in node.render_metrics()
        assert node.health()[0]
        server.put(1, 3)
        server.is_down = False
        wait_for_state(node, sent=1)
    said = caplog.text
    assert said.count("it is asked again until it answers") == 1
    assert said.count("answers again") == 1
    assert not [word for word in (*SENTINELS, "1.2.3.1.2") if word in said]


def test_a_transfer_that_breaks_holds_the_series_until_all_has_come(server, tmp_path):
    done = []

    def work(task):
        done.append(len(list(task.input.iterdir())))
        return copy_series(task)

    server.put(1, 8, rows=512)
    server.drop_at = 2_600_000
    settings = watching(tmp_path / "store", server.url, watch_since="all", quiet_s=0.1)
    with running(settings, run=work) as node:
        wait_for(lambda: node.metrics.value("web_series_total", outcome="failed") >= 2)
        here = node.store.rows.get(key_of("1.2.3.1.2"))
        assert (here.state, 0 < here.instances < 8) == ("receiving", True)
    with running(settings, run=work) as node:
        time.sleep(0.5)  # Much longer than the quiet period.
        assert node.store.rows.counts()["receiving"] == 1
        server.drop_at = None
        wait_for_state(node, sent=1)
    assert done == [8]


def test_a_whole_series_does_not_wait_for_the_quiet_period(server, tmp_path):
    server.put(1, 3)
    path = tmp_path / "store"
    with running(watching(path, server.url, watch_since="all", quiet_s=1.5)) as node:
        wait_for(lambda: fetched(node) == 1)
        started = time.monotonic()
        wait_for_state(node, sent=1)
        assert time.monotonic() - started < 1.0


def test_a_series_that_still_comes_in_at_the_server_is_let_come(server, tmp_path):
    counts = []

    def work(task):
        counts.append(len(list(task.input.iterdir())))
        return copy_series(task)

    with running(watching(tmp_path / "store", server.url, quiet_s=1.2), run=work) as node:
        wait_polls(node)
        for count in range(1, 6):
            server.put(1, count)
            time.sleep(0.5)  # Seen more than once in between.
        wait_for_state(node, sent=1)
    assert counts == [5]


def test_a_server_that_ignores_the_date_does_not_give_its_archive(server, tmp_path):
    server.put(1, 3, StudyDate="20230101")
    server.put(2, 3, StudyDate="20250101")
    settings = watching(tmp_path / "store", server.url, watch_since="20240101")
    with running(settings) as node:
        wait_for_state(node, sent=1)
        wait_polls(node, 5)
        assert [one.uid for one in node.store.rows.series()] == ["1.2.3.2.2"]


def test_a_full_queue_leaves_series_at_the_server(server, tmp_path, caplog):
    gate = threading.Event()

    def work(task):
        gate.wait(20)
        return copy_series(task)

    for series in range(1, 5):
        server.put(series, 3, rows=64)
    settings = watching(tmp_path / "store", server.url, watch_since="all", max_queue_bytes=30_000)
    with running(settings, run=work) as node:
        wait_for(lambda: "the queue or the disk is full" in caplog.text)
        wait_polls(node, 5)
        assert 1 <= fetched(node) < 4
        gate.set()
        wait_for_state(node, sent=4)
        assert all(one.instances == 3 for one in node.store.rows.series())
    assert caplog.text.count("the queue or the disk is full") <= 4


def test_a_series_larger_than_the_queue_is_given_up(server, tmp_path, caplog):
    server.put(1, 8, rows=64)
    server.put(2, 3)
    settings = watching(tmp_path / "store", server.url, watch_since="all", max_queue_bytes=30_000)
    with running(settings) as node:
        wait_for_state(node, sent=2)
    assert caplog.text.count("fetching is given up: it does not fit into the queue") == 1


def test_an_object_that_is_too_large_does_not_stop_the_others(server, tmp_path, caplog):
    server.put(1, 2)
    server.series["1.2.3.1.2"][1] = make_object(1, 2, rows=256)
    server.put(2, 3)
    path = tmp_path / "store"
    settings = watching(path, server.url, watch_since="all", max_object_bytes=20_000)
    with running(settings) as node:
        wait_for_state(node, sent=2)
        assert node.store.rows.get(key_of("1.2.3.1.2")).instances == 1
    assert "refused 1 objects: larger than the 20000 bytes" in caplog.text


def test_a_series_that_vanishes_is_let_go(server, tmp_path):
    server.put(1, 8, rows=512)
    server.put(2, 3)
    server.drop_at = 2_600_000
    with running(watching(tmp_path / "store", server.url, watch_since="all")) as node:
        wait_for(lambda: node.store.rows.get(key_of("1.2.3.1.2")))
        del server.series["1.2.3.1.2"]
        server.drop_at = None
        wait_for_state(node, sent=2)


def test_rules_see_the_server_as_dicomweb_and_ignored_series_are_removed(server, tmp_path):
    server.put(1, 3)
    server.put(2, 3, SeriesDescription="thin")
    rules = (Rule(name="web", calling=("DICOMWEB",), not_description=("thin",)),)
    settings = watching(
        tmp_path / "store", server.url, watch_since="all", rules=rules, retain_s=0.0
    )
    with running(settings) as node:
        wait_for_state(node, sent=1, ignored=1)
        node._tidy()
        assert node.store.rows.counts()["ignored"] == 0
        wait_polls(node, 4)
        assert fetched(node) == 2


def test_stopping_does_not_wait_for_a_slow_server(server, tmp_path):
    server.put(1, 3)
    waiting = threading.Event()
    inner = server.answer

    def answer(request):
        if "/studies/" in request.path:
            waiting.set()
            request.send_response(200)
            request.send_header("Content-Type", 'multipart/related; boundary="edge"')
            request.send_header("Content-Length", str(1 << 30))
            request.end_headers()
            try:
                while True:
                    request.wfile.write(b"x" * (1 << 20))
                    time.sleep(0.05)
            except OSError:
                return
        inner(request)

    server.answer = answer
    with running(watching(tmp_path / "store", server.url, watch_since="all")):
        assert waiting.wait(20)
        started = time.monotonic()
    assert time.monotonic() - started < 5


# The client alone.


def test_pages_are_joined_and_one_that_repeats_ends_the_search(server):
    for series in range(1, 6):
        server.put(series, 1)
    source = WebPeer(url=server.url)
    assert [len(page) for page in search(source, {"Modality": "CT"})] == [2, 2, 1]
    inner = server.answer

    def no_offset(request):
        request.path = re.sub("offset=[0-9]+", "offset=0", request.path)
        inner(request)

    server.answer = no_offset
    assert [len(page) for page in search(source, {"Modality": "CT"})] == [2]


def test_a_cut_answer_and_one_without_end_are_noticed(server):
    server.put(1, 2, rows=32)
    source = WebPeer(url=server.url)
    one = Found(study="1.2.3.1.1", series="1.2.3.1.2", modality="CT", description="", instances=2)
    assert len(list(retrieve(source, one))) == 2
    server.cut = 4000
    with pytest.raises(PeerDownError, match="cut off"):
        list(retrieve(source, one))
    server.cut = None
    server.series["1.2.3.1.2"] = [make_object(1, 1, rows=2048)]
    with pytest.raises(PeerRefusedError, match="more than the 1000 bytes"):
        list(retrieve(source, one, max_object_bytes=1000))


def test_what_a_peer_says_of_a_series_cannot_act_in_the_terminal(server):
    evil, shown = "Chest\x1b[2J\u2028\x07 5 mm \u00e9", "Chest?[2J?? 5 mm \u00e9"
    server.put(1, 1)
    inner = server.row
    server.row = lambda uid, objects: (
        inner(uid, objects) | {"0008103E": {"vr": "LO", "Value": [evil]}}
    )
    web = WebPeer(url=server.url)

    class Association:
        is_established = False

        def send_c_find(self, identifier, model):
            status, answer = Dataset(), Dataset()
            status.Status = 0xFF00
            answer.SeriesInstanceUID, answer.Modality = "1.2.3.1.2", "CT"
            answer.SeriesDescription = evil
            yield status, answer

    dimse = SimpleNamespace(name="peer", associate=lambda contexts: Association())
    for source in (web, dimse):
        (one,) = find(source, Query(study="1.2.3.1.1"))
        assert one.description == shown


def test_something_else_than_dicom_is_told(server):
    server.put(1, 1)
    source = WebPeer(url=server.url)
    server.row = lambda uid, objects: ["no", "object"]
    with pytest.raises(PeerRefusedError, match="no DICOM JSON"):
        list(search(source, {}))
    one = Found(study="1.2.3.1.1", series="1.2.3.1.2", modality="CT", description="", instances=1)
    server.cut = 0
    assert list(retrieve(source, one)) == []


def test_authorization_comes_from_the_environment(server, monkeypatch):
    monkeypatch.setenv("HRINET_WEB_AUTHORIZATION", "Bearer token")
    seen = []
    inner = server.answer

    def answer(request):
        seen.append(request.headers.get("Authorization"))
        inner(request)

    server.answer = answer
    assert list(search(WebPeer(url=server.url), {})) == []
    assert seen == ["Bearer token"]


def test_what_was_seen_is_of_one_server(tmp_path):
    one = Found(study="1.2", series="1.2.3", modality="CT", description="", instances=3)
    notes = {"settle_s": 5.0, "takes_old": False, "skips": lambda one, is_new: False}
    first, second = Seen(tmp_path / "w", "http://a"), Seen(tmp_path / "w", "http://b")
    first.note([one], now=0.0, is_first=True, **notes)
    first.begin(0.0)
    assert (first.is_begun(), second.is_begun()) == (True, False)
    assert second.note([one], now=10.0, is_first=False, **notes) == 1
    assert second.due(11.0) is None
    second.note([one], now=12.0, is_first=False, **notes)
    assert second.due(13.0) is None
    second.note([one], now=15.0, is_first=False, **notes)
    assert second.due(16.0).found.instances == 3
    assert first.due(16.0) is None
    first.close()
    second.close()


@pytest.mark.parametrize("text", ["", "new ", "2024", "20241301", "2024-1-1"])
def test_a_wrong_date_is_told(text):
    with pytest.raises(RequestError, match="expected new, all or a date"):
        parse_since(text)


def test_options_are_checked(tmp_path):
    assert (parse_since("20240229"), parse_every("2m")) == ("20240229", 120.0)
    with pytest.raises(RequestError, match="less than a second"):
        parse_every("100ms")
    command = [sys.executable, "-m", "hrinet", "node", "--store", str(tmp_path / "s")]
    for options in (["--watch-since", "all"], ["--watch-web", "http://user:secret@h"]):
        result = subprocess.run([*command, *options], capture_output=True, text=True)
        assert result.returncode == 2
        assert "secret" not in result.stderr

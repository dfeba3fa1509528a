"""The node in one process: from the first byte to the peer, with fake work."""

from __future__ import annotations

import json
import socket
import threading
import urllib.error
import urllib.request

import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from hrinet.errors import RequestError
from hrinet.node import setup
from hrinet.node.names import key_of
from hrinet.node.peers import PeerDownError, PeerRefusedError
from hrinet.node.rules import Rule
from hrinet.node.service import Node
from hrinet.node.work import Result
from node_tools import (
    SENTINELS,
    FakePeer,
    Sender,
    config,
    copy_series,
    make_object,
    running,
    wait_for,
    wait_for_state,
)


def send_series(port, series=1, count=3, **attributes):
    with Sender(port) as sender:
        return [
            sender.send(make_object(series, number, **attributes)) for number in range(1, count + 1)
        ]


def test_a_series_is_received_worked_on_and_sent_once(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store"), peer=peer) as node:
        assert send_series(node.port) == [0, 0, 0]
        wait_for_state(node, sent=1)
    assert peer.sent == {f"1.2.3.1.9.{n}.3": ["1.2.3.1.2.3"] for n in (1, 2, 3)}


def test_a_series_is_not_complete_while_objects_come_in(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store", quiet_s=0.6), peer=peer) as node:
        for number in (1, 2, 3):
            with Sender(node.port) as sender:
                sender.send(make_object(1, number))
            assert node.store.rows.counts()["receiving"] == 1
            threading.Event().wait(0.3)
        wait_for_state(node, sent=1)
    assert len(peer.sent) == 3


def test_a_known_number_of_objects_completes_a_series_at_once(tmp_path):
    rules = (Rule(name="three", instances=3),)
    with running(config(tmp_path / "store", quiet_s=1e6, rules=rules)) as node:
        send_series(node.port, count=2)
        assert node.store.rows.counts()["receiving"] == 1
        with Sender(node.port) as sender:
            sender.send(make_object(1, 3))
        wait_for_state(node, sent=1)


def test_duplicates_are_acknowledged_and_change_nothing(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store"), peer=peer) as node:
        assert send_series(node.port) == [0, 0, 0]
        wait_for_state(node, sent=1)
        assert send_series(node.port) == [0, 0, 0]
        assert node.store.rows.counts()["sent"] == 1
        assert node.metrics.value("objects_duplicate_total") == 3
        assert len(node.store.rows.known_files()) == 3
        assert len(list((tmp_path / "store" / "objects").rglob("*.dcm"))) == 3
    assert peer.sends == 1


def test_another_object_under_a_known_uid_is_refused(tmp_path):
    with running(config(tmp_path / "store", quiet_s=60)) as node, Sender(node.port) as sender:
        assert sender.send(make_object(1, 1)) == 0
        assert sender.send(make_object(1, 1, seed=99)) == 0xC000
        assert len(list((tmp_path / "store" / "objects").rglob("*.dcm"))) == 1


def test_a_late_object_reopens_its_series(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store"), peer=peer) as node:
        send_series(node.port, count=3)
        wait_for_state(node, sent=1)
        with Sender(node.port) as sender:
            sender.send(make_object(1, 4))
        wait_for(lambda: len(peer.sent) == 7, what="the second result")
        wait_for_state(node, sent=1)
        assert len(list((tmp_path / "store" / "derived").iterdir())) == 1
    assert {series for made in peer.sent.values() for series in made} == {
        "1.2.3.1.2.3",
        "1.2.3.1.2.4",
    }


def test_an_object_that_arrives_during_the_work_voids_it(tmp_path):
    started, go_on = threading.Event(), threading.Event()

    def slow(task):
        started.set()
        go_on.wait(10)
        return copy_series(task)

    peer = FakePeer()
    with running(config(tmp_path / "store"), peer=peer, run=slow) as node:
        send_series(node.port, count=2)
        assert started.wait(10)
        with Sender(node.port) as sender:
            sender.send(make_object(1, 3))
        go_on.set()
        wait_for_state(node, sent=1)
    assert sorted(peer.sent) == [f"1.2.3.1.9.{n}.3" for n in (1, 2, 3)]


def test_a_bad_series_becomes_a_dead_letter_with_its_reason_and_objects(tmp_path):
    with running(config(tmp_path / "store"), peer=FakePeer()) as node:
        send_series(node.port, SeriesDescription="bad")
        wait_for_state(node, dead=1)
    grave = tmp_path / "store" / "dead" / key_of("1.2.3.1.2")
    reason = json.loads((grave / "reason.json").read_text())
    assert reason["reason"] == "its slices overlap"
    assert reason["step"] == "work"
    assert len(list(grave.glob("*.dcm"))) == 3


def test_dead_letters_can_be_revived(tmp_path):
    fails = [True]

    def run(task):
        return Result("refused", "no") if fails[0] else copy_series(task)

    with running(config(tmp_path / "store"), peer=FakePeer(), run=run) as node:
        send_series(node.port)
        wait_for_state(node, dead=1)
        fails[0] = False
        assert node.store.rows.revive() == 1
        wait_for_state(node, sent=1)
        assert not list((tmp_path / "store" / "dead").iterdir())


def test_work_that_fails_is_repeated_a_few_times(tmp_path):
    calls = []

    def run(task):
        calls.append(task.series)
        return Result("failed", "killed") if len(calls) < 3 else copy_series(task)

    with running(config(tmp_path / "store", work_attempts=3), peer=FakePeer(), run=run) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
    assert len(calls) == 3


def test_work_that_keeps_failing_is_given_up(tmp_path):
    calls = []

    def run(task):
        calls.append(task.series)
        return Result("failed", "killed")

    with running(config(tmp_path / "store", work_attempts=3), peer=FakePeer(), run=run) as node:
        send_series(node.port)
        wait_for_state(node, dead=1)
    assert len(calls) == 3


def test_a_peer_that_is_down_is_waited_for_without_end(tmp_path):
    peer = FakePeer()
    peer.error = PeerDownError("down")
    with running(config(tmp_path / "store", work_attempts=2), peer=peer) as node:
        send_series(node.port, series=1)
        send_series(node.port, series=2)
        wait_for(lambda: peer.sends >= 5, what="five attempts")
        assert node.store.rows.counts()["synthesized"] == 2
        assert node._peer_failures > 0
        peer.error = None
        wait_for_state(node, sent=2)
    assert len(peer.sent) == 6


def test_a_peer_that_refuses_makes_a_dead_letter(tmp_path):
    peer = FakePeer()
    peer.error = PeerRefusedError("refused with status c000")
    with running(config(tmp_path / "store", work_attempts=2), peer=peer) as node:
        send_series(node.port)
        wait_for_state(node, dead=1)
        (series,) = node.store.rows.series("dead")
    assert series.reason == "refused with status c000"
    assert peer.sends == 2


def test_what_no_rule_takes_is_kept_with_the_reason(tmp_path):
    rules = (Rule(name="thick", min_spacing_mm=3.0),)
    with running(config(tmp_path / "store", rules=rules), peer=FakePeer()) as node:
        send_series(node.port, spacing=1.0)
        wait_for_state(node, ignored=1)
        (series,) = node.store.rows.series("ignored")
        assert series.reason == "no rule takes it (thick: slices too near, or no positions)"
        assert len(node.store.object_paths(series)) == 3
        assert all(path.exists() for path in node.store.object_paths(series))


def test_forwarding_sends_the_originals(tmp_path):
    peer = FakePeer()
    rules = (Rule(name="thin", action="forward"),)
    with running(config(tmp_path / "store", rules=rules), peer=peer) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
    assert peer.sent == {f"1.2.3.1.9.{n}": ["1.2.3.1.2"] for n in (1, 2, 3)}


def test_the_nodes_own_results_are_not_worked_on_again(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store"), peer=peer) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
        with Sender(node.port) as sender:
            for number in (1, 2):
                sender.send(make_object(1, number + 50, SeriesInstanceUID="1.2.3.1.2.3"))
        wait_for_state(node, ignored=1)
        (series,) = node.store.rows.series("ignored")
    assert series.reason == "it was made by this node"
    assert peer.sends == 1


def test_without_a_peer_results_stay_in_the_store(tmp_path):
    with running(config(tmp_path / "store", retain_s=0)) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
        node._tidy()
        (series,) = node.store.rows.series("sent")
        assert len(node.store.derived_paths(series)) == 3


def test_sent_series_are_removed_after_their_time_and_may_come_again(tmp_path):
    peer = FakePeer()
    with running(config(tmp_path / "store", retain_s=0), peer=peer) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
        wait_for(lambda: node._tidy() or node.store.rows.counts()["purged"], what="the purge")
        assert not list((tmp_path / "store").rglob("*.dcm"))
        assert send_series(node.port) == [0, 0, 0]
        wait_for_state(node, sent=1)
    assert all(len(times) == 2 for times in peer.sent.values())


def test_a_store_serves_one_node_at_a_time(tmp_path):
    with (
        running(config(tmp_path / "store")),
        pytest.raises(RequestError, match="in use by another node"),
    ):
        Node(config(tmp_path / "store"))


def test_metrics_and_health_answer_to_their_own_name_only(tmp_path):
    with running(config(tmp_path / "store", http=("127.0.0.1", 0))) as node:
        send_series(node.port)
        wait_for_state(node, sent=1)
        base = f"http://127.0.0.1:{node.http_port}"
        text = urllib.request.urlopen(f"{base}/metrics").read().decode()
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if line[0] != "#")
        assert lines["hrinet_node_objects_received_total"] == "3"
        assert lines['hrinet_node_series{state="sent"}'] == "1"
        assert float(lines["hrinet_node_bytes_received_total"]) > 1000
        health = json.loads(urllib.request.urlopen(f"{base}/health").read())
        assert health["status"] == "ok"
        foreign = urllib.request.Request(f"{base}/metrics", headers={"Host": "evil.example"})
        with pytest.raises(urllib.error.HTTPError, match="403"):
            urllib.request.urlopen(foreign)


def test_health_fails_where_the_disk_is_nearly_full(tmp_path):
    settings = config(tmp_path / "store", http=("127.0.0.1", 0), min_free_bytes=1 << 60)
    with running(settings) as node:
        assert send_series(node.port, count=1) == [0xA700]
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://127.0.0.1:{node.http_port}/health")


def test_a_full_queue_refuses_new_series_and_finishes_what_it_has(tmp_path):
    peer = FakePeer()
    peer.error = PeerDownError("down")
    settings = config(tmp_path / "store", max_queue_bytes=4600, quiet_s=1.0)
    with running(settings, peer=peer) as node:
        # Objects have about 1.35 kB; the fourth crosses the limit, yet not by a quarter.
        assert send_series(node.port, series=1, count=4) == [0, 0, 0, 0]
        assert send_series(node.port, series=2, count=1) == [0xA700]
        peer.error = None
        wait_for_state(node, sent=1)
        wait_for(lambda: send_series(node.port, series=2, count=1) == [0], what="room")


def test_no_patient_in_log_metrics_health_or_listing(tmp_path, caplog):
    caplog.set_level("DEBUG")
    peer = FakePeer()
    settings = config(tmp_path / "store", http=("127.0.0.1", 0))
    with running(settings, peer=peer) as node:
        send_series(node.port, series=1)
        send_series(node.port, series=2, SeriesDescription="bad")
        with Sender(node.port, calling="OTHER") as sender:
            sender.send(make_object(3, 1, StudyInstanceUID=None))
            sender.send(make_object(3, 1, StudyInstanceUID=""))
        wait_for_state(node, sent=1, dead=1)
        with socket.create_connection(("127.0.0.1", node.port)) as raw:
            raw.sendall(b"Sentinelname" * 20)
            raw.recv(100)
        base = f"http://127.0.0.1:{node.http_port}"
        shown = [urllib.request.urlopen(f"{base}/{path}").read() for path in ("metrics", "health")]
        listing = setup.list_store(tmp_path / "store")
    assert "is complete" in caplog.text
    output = caplog.text + listing + b"".join(shown).decode()
    for secret in (*SENTINELS, "1.2.3.1", "1.2.3.2"):
        assert secret not in output
    # The comment of a refusal goes to the sender, the log has it too.
    assert "Study Instance UID" in caplog.text

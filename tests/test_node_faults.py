"""Kills, full disks, crashes of the work: nothing that was acknowledged is lost or doubled."""

from __future__ import annotations

import errno
import os
import random
import stat
import subprocess
import sys
import threading
import time

import pytest

pytest.importorskip("pynetdicom", reason="needs the [node] extra")
pytest.importorskip("dicomweb_client", reason="needs the [node] extra")

from hrinet.node import committer, setup
from hrinet.node.peers import parse_peer
from hrinet.node.queue import Queue
from hrinet.node.work import Task, Worker
from node_tools import (
    SENTINELS,
    NodeProcess,
    Sender,
    config,
    free_port,
    make_object,
    running,
    wait_for,
    wait_for_state,
    write_series,
)


def send_until_acknowledged(port, numbers, *, series, deadline):
    """Send every object until it is acknowledged, as a modality does."""
    left = list(numbers)
    while left:
        assert time.monotonic() < deadline, f"{len(left)} objects were never acknowledged"
        sender = Sender(port)
        try:
            while sender.is_open and left:
                if sender.send(make_object(series, left[0])) != 0:
                    break
                left.pop(0)
        except RuntimeError:
            pass  # Killed between two objects.
        finally:
            if sender.is_open:
                sender.close()
        if left:
            time.sleep(0.05)


def test_killed_at_random_moments_it_finishes_the_work_exactly_once(tmp_path):
    """4 kills here; ``benchmarks/node.py faults`` does 50."""
    chance = random.Random(5)
    received = tmp_path / "peer"
    with running(config(received, quiet_s=3600)) as peer:
        port = free_port()
        target = f"HRINET@127.0.0.1:{peer.port}"
        deadline = time.monotonic() + 60
        senders = [
            threading.Thread(
                target=send_until_acknowledged,
                args=(port, range(1, 7)),
                kwargs={"series": series, "deadline": deadline},
            )
            for series in (1, 2, 3)
        ]
        node = NodeProcess(tmp_path / "store", port=port, peer=target)
        for sender in senders:
            sender.start()
        for _ in range(4):
            time.sleep(chance.uniform(0.2, 1.2))
            node.kill()
            node = NodeProcess(tmp_path / "store", port=port, peer=target)
        for sender in senders:
            sender.join()
        rows = Queue(tmp_path / "store" / "queue.sqlite3")
        wait_for(lambda: rows.counts()["sent"] == 3, timeout=40, what="the last result")
        rows.close()
        assert node.terminate() == 0
        got = {
            uid for one in peer.store.rows.series() for uid, _, _ in peer.store.rows.files(one.key)
        }
    # The last result of every series is there, whole; each of its objects once, by UID.
    for series in (1, 2, 3):
        whole = {f"1.2.3.{series}.9.{number}.6" for number in range(1, 7)}
        assert whole <= got
    assert not list((tmp_path / "store" / "work").iterdir())
    assert len(list((tmp_path / "store" / "objects").rglob("*.dcm"))) == 18


def test_what_was_acknowledged_survives_a_kill_right_after(tmp_path):
    port = free_port()
    for number in range(1, 3):
        node = NodeProcess(tmp_path / "store", port=port, quiet_s=3600)
        node.wait_until_up(port)
        with Sender(port) as sender:
            assert sender.send(make_object(1, number)) == 0
            node.kill()
    rows = Queue(tmp_path / "store" / "queue.sqlite3")
    (series,) = rows.series()
    assert series.instances == 2
    rows.close()


def test_sigterm_takes_in_what_is_on_its_way_and_ends_with_0(tmp_path):
    port = free_port()
    node = NodeProcess(tmp_path / "store", port=port, quiet_s=3600)
    node.wait_until_up(port)
    with Sender(port) as sender:
        assert sender.send(make_object(1, 1)) == 0
        started = time.monotonic()
        assert node.terminate() == 0
        assert time.monotonic() - started < 10
    rows = Queue(tmp_path / "store" / "queue.sqlite3")
    assert rows.counts()["receiving"] == 1
    rows.close()
    log = (tmp_path / "store.log").read_text()
    assert "stopped; what is unfinished goes on" in log
    assert not any(secret in log for secret in SENTINELS)


def test_half_written_files_of_a_killed_node_are_removed(tmp_path):
    settings = config(tmp_path / "store", quiet_s=3600)
    with running(settings) as node, Sender(node.port) as sender:
        sender.send(make_object(1, 1))
    (kept,) = (tmp_path / "store" / "objects").rglob("*.dcm")
    (kept.parent / "half.dcm").write_bytes(b"half")
    (tmp_path / "store" / "work" / "left").mkdir()
    (tmp_path / "store" / "derived" / "left").mkdir()
    with running(settings):
        assert list((tmp_path / "store" / "objects").rglob("*.dcm")) == [kept]
        assert not list((tmp_path / "store" / "work").iterdir())
        assert not list((tmp_path / "store" / "derived").iterdir())


@pytest.mark.parametrize("name", ["write", "fsync"])
def test_a_full_disk_is_refused_cleanly(tmp_path, monkeypatch, name):
    with running(config(tmp_path / "store", quiet_s=3600)) as node, Sender(node.port) as sender:
        assert sender.send(make_object(1, 1)) == 0
        real = getattr(os, name)
        main = threading.get_ident()

        def is_file(handle):  # The sender, in threads of this process, writes to pipes and sockets.
            return stat.S_ISREG(os.fstat(handle).st_mode)

        def full(handle, *arguments):
            if threading.get_ident() == main or not is_file(handle):
                return real(handle, *arguments)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, name, full)
        assert sender.send(make_object(1, 2)) == 0xA700
        monkeypatch.setattr(os, name, real)
        assert len(list((tmp_path / "store" / "objects").rglob("*.dcm"))) == 1
        assert sender.send(make_object(1, 2)) == 0
        assert node.metrics.value("objects_refused_total", status="a700") == 1


def test_a_queue_that_cannot_be_written_refuses_and_recovers(tmp_path, monkeypatch):
    def fails(folder):
        raise OSError(errno.EIO, "Input/output error")

    with running(config(tmp_path / "store", quiet_s=3600)) as node, Sender(node.port) as sender:
        assert sender.send(make_object(1, 1)) == 0
        with monkeypatch.context() as patched:
            patched.setattr(committer, "sync_folder", fails)
            assert sender.send(make_object(1, 2)) == 0xA700
        assert sender.send(make_object(1, 2)) == 0
        assert len(list((tmp_path / "store" / "objects").rglob("*.dcm"))) == 2


def task_in(tmp_path):
    write_series(tmp_path / "input")
    return Task(
        input=tmp_path / "input",
        output=tmp_path / "output",
        series="1.2.3.1.2",
        options={"method": "auto", "spacing": "iso", "factor": None},
    )


@pytest.fixture
def child_path(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))


def test_the_child_does_the_work(tmp_path, child_path):
    result = Worker(timeout_s=60, entry="node_tools:child_copy").run(task_in(tmp_path))
    assert result.outcome == "done"
    assert len(list((tmp_path / "output").iterdir())) == 3


def test_a_crash_of_the_child_is_a_failed_attempt(tmp_path, child_path):
    result = Worker(timeout_s=60, entry="node_tools:child_crash").run(task_in(tmp_path))
    assert (result.outcome, result.reason) == ("failed", "the work was killed by SIGSEGV")


def test_what_the_child_prints_or_raises_is_not_passed_on(tmp_path, child_path):
    result = Worker(timeout_s=60, entry="node_tools:child_leaks").run(task_in(tmp_path))
    assert (result.outcome, result.reason) == ("failed", "internal error, ValueError")


def test_a_child_that_hangs_is_ended(tmp_path, child_path):
    result = Worker(timeout_s=0.2, entry="node_tools:child_copy").run(task_in(tmp_path))
    assert (result.outcome, result.reason) == ("failed", "took longer than 0 s")


def test_the_child_dies_with_the_node(tmp_path, child_path):
    entry = "node_tools:child_sleeps"
    code = (
        "import pathlib\nfrom hrinet.node.work import Task, Worker\n"
        f"Worker(timeout_s=60, entry={entry!r}).run(Task(input=pathlib.Path('.'), "
        f"output=pathlib.Path({str(tmp_path / 'alive')!r}), series='1', options={{}}))\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code])
    alive = tmp_path / "alive"
    wait_for(alive.exists, what="the child")
    parent.kill()
    parent.wait()
    child = int(alive.read_text())

    def is_gone():
        try:
            os.kill(child, 0)
        except ProcessLookupError:
            return True
        return False

    wait_for(is_gone, timeout=5, what="the end of the child")


def test_a_crash_of_the_work_leaves_the_node_running(tmp_path, child_path):
    settings = config(tmp_path / "store", work_entry="node_tools:child_crash", work_attempts=2)
    worker = Worker(timeout_s=60, entry=settings.work_entry)
    with running(settings, run=worker.run) as node:
        with Sender(node.port) as sender:
            sender.send(make_object(1, 1))
        wait_for_state(node, dead=1)
        with Sender(node.port) as sender:
            assert sender.send(make_object(2, 1)) == 0


def test_a_peer_that_goes_down_and_comes_back(tmp_path):
    port = free_port()
    target = parse_peer(f"HRINET@127.0.0.1:{port}")
    with running(config(tmp_path / "store"), peer=target) as node:
        with Sender(node.port) as sender:
            for number in (1, 2):
                sender.send(make_object(1, number))
        wait_for(lambda: node.metrics.value("send_total", outcome="down") >= 2, what="attempts")
        with running(config(tmp_path / "peer", port=port, quiet_s=3600)) as peer:
            wait_for_state(node, sent=1)
            assert peer.metrics.value("objects_received_total") == 2


def test_a_load_of_series_by_8_associations_loses_and_doubles_none(tmp_path):
    """40 series here; ``benchmarks/node.py load`` does 200."""

    def send(first):
        with Sender(node.port, calling=f"CT{first}") as sender:
            for series in range(first, 40, 8):
                for number in (1, 2, 3):
                    assert sender.send(make_object(series, number)) == 0

    with running(config(tmp_path / "store", quiet_s=0.5)) as node:
        senders = [threading.Thread(target=send, args=(first,)) for first in range(8)]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        wait_for_state(node, sent=40)
        assert node.metrics.value("objects_received_total") == 120
        assert len(node.store.rows.known_files()) == 120
        assert setup.list_store(tmp_path / "store").endswith("40 sent")

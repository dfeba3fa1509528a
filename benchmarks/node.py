"""The DICOM node under load and under faults.

``rate`` receives the same objects with DCMTK's storescp and with the node, in turns, on the same
disk; ``load`` queues 200 series by 8 associations; ``faults`` kills the node 50 times, breaks
associations and sends 500 damaged objects. Senders are DCMTK's storescu or pynetdicom.
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
from common import ROOT, machine, publish, table

sys.path.insert(0, str(ROOT / "tests"))

from hrinet.node.queue import Queue
from hrinet.node.rules import Rule
from hrinet.node.service import Node
from node_tools import (
    NodeProcess,
    Sender,
    config,
    copy_series,
    encoded,
    free_port,
    make_object,
    running,
    wait_for,
)

logging.getLogger("hrinet.node").addHandler(logging.NullHandler())

STORESCU, STORESCP = "/usr/bin/storescu", "/usr/bin/storescp"
ASSOCIATIONS = 8


def write_load(folder: Path, *, series: int, objects: int, rows: int) -> list[Path]:
    """Folders of CT series, uncompressed, ``rows`` squared."""
    from pydicom import dcmwrite

    folders = []
    for number in range(series):
        one = folder / f"s{number:04d}"
        one.mkdir()
        for instance in range(1, objects + 1):
            dataset = make_object(number + 1, instance, rows=rows, seed=instance)
            dcmwrite(one / f"{instance:04d}.dcm", dataset, enforce_file_format=True)
        folders.append(one)
    return folders


def send_all(port: int, folders: list[Path], *, no_delay: bool) -> float:
    """Seconds that 8 storescu take for their shares."""
    environment = dict(os.environ)
    environment.pop("TCP_NODELAY", None)
    if no_delay:
        environment["TCP_NODELAY"] = "1"
    started = time.perf_counter()
    senders = [
        subprocess.Popen(
            [STORESCU, "-aec", "HRINET", "+sd", "127.0.0.1", str(port), *folders[k::ASSOCIATIONS]],
            stdout=subprocess.DEVNULL,
            env=environment,
        )
        for k in range(ASSOCIATIONS)
    ]
    codes = [sender.wait() for sender in senders]
    seconds = time.perf_counter() - started
    assert not any(codes), f"storescu failed: {codes}"
    return seconds


def with_storescp(
    base: Path, folders: list[Path], *, fork: bool, no_delay: bool
) -> tuple[float, float]:
    """Seconds until all is acknowledged, and until it is on the disk as well."""
    port, place = free_port(), Path(tempfile.mkdtemp(dir=base))
    command = [STORESCP, *(["--fork"] if fork else []), "-pdu", "131072", "-od", str(place)]
    environment = {**os.environ, **({"TCP_NODELAY": "1"} if no_delay else {})}
    server = subprocess.Popen([*command, str(port)], stderr=subprocess.DEVNULL, env=environment)
    try:
        wait_until_up(port)
        seconds = send_all(port, folders, no_delay=no_delay)
        started = time.perf_counter()
        handle = os.open(place, os.O_RDONLY)
        for path in place.iterdir():  # What storescp wrote is in memory so far.
            one = os.open(path, os.O_RDONLY)
            os.fsync(one)
            os.close(one)
        os.fsync(handle)
        os.close(handle)
        sync_seconds = time.perf_counter() - started
        assert len(list(place.iterdir())) == sum(len(list(f.iterdir())) for f in folders)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(place)
    return seconds, seconds + sync_seconds


def with_node(base: Path, folders: list[Path], *, no_delay: bool) -> float:
    """Seconds until all is acknowledged, and so on the disk."""
    port, store = free_port(), Path(tempfile.mkdtemp(dir=base)) / "store"
    node = NodeProcess(store, port=port, quiet_s=3600)
    try:
        node.wait_until_up(port)
        seconds = send_all(port, folders, no_delay=no_delay)
        rows = Queue(store / "queue.sqlite3")
        assert sum(one.instances for one in rows.series()) == sum(
            len(list(f.iterdir())) for f in folders
        )
        rows.close()
    finally:
        node.terminate()
        shutil.rmtree(store.parent)
    return seconds


def wait_until_up(port: int) -> None:
    def is_up() -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", port)) == 0

    wait_for(is_up, what="the server")


def rate(arguments: argparse.Namespace) -> None:
    """Objects a second, node and storescp in turns."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        base = Path(name)
        (base / "in").mkdir()
        folders = write_load(
            base / "in", series=arguments.series, objects=arguments.objects, rows=512
        )
        count = arguments.series * arguments.objects
        size = sum(path.stat().st_size for folder in folders for path in folder.iterdir())
        rows = []
        for no_delay in (False, True):
            seconds: dict[str, list[float]] = {}
            for _ in range(arguments.repeats):
                for fork in (False, True) if no_delay else (True,):
                    label = "storescp --fork" if fork else "storescp"
                    took, with_sync = with_storescp(base, folders, fork=fork, no_delay=no_delay)
                    seconds.setdefault(label, []).append(took)
                    seconds.setdefault(f"{label}, then fsync", []).append(with_sync)
                seconds.setdefault("hrinet node", []).append(
                    with_node(base, folders, no_delay=no_delay)
                )
            ours = statistics.median(seconds["hrinet node"])
            for label, taken in seconds.items():
                middle = statistics.median(taken)
                rows.append(
                    (
                        f"{label}{' (TCP_NODELAY)' if no_delay else ''}",
                        f"{count / middle:.0f}",
                        f"{size / middle / 1e6:.0f}",
                        f"{min(taken):.1f}..{max(taken):.1f}",
                        "" if label == "hrinet node" else f"{100 * middle / ours:.0f} %",
                    )
                )
        head = ("receiver", "objects/s", "MB/s", "seconds", "node reaches")
        publish(
            "node_rate",
            f"{count} CT objects of 512 x 512, {size / 1e6:.0f} MB, by 8 storescu at once; median "
            f"of {arguments.repeats}; load average {os.getloadavg()[0]:.1f}; {machine()}\n\n"
            + table(head, rows),
        )


def load(arguments: argparse.Namespace) -> None:
    """200 series by 8 associations: none lost, none doubled, memory bounded."""
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        base = Path(name)
        (base / "in").mkdir()
        folders = write_load(base / "in", series=200, objects=arguments.objects, rows=256)
        port = free_port()
        server = subprocess.Popen(
            [sys.executable, __file__, "_serve", str(base / "store"), str(port)]
        )
        try:
            wait_until_up(port)
            started = time.perf_counter()
            seconds = send_all(port, folders, no_delay=True)
            rows = Queue(base / "store" / "queue.sqlite3")
            wait_for(lambda: rows.counts()["sent"] == 200, timeout=600, what="200 results")
            whole = time.perf_counter() - started
            status = Path(f"/proc/{server.pid}/status").read_text()
            peak = int(status.split("VmHWM:")[1].split()[0]) / 1024
            count = 200 * arguments.objects
            files = len(list((base / "store" / "objects").rglob("*.dcm")))
            derived = len(list((base / "store" / "derived").rglob("*.dcm")))
            assert sum(one.instances for one in rows.series()) == count == files == derived
            rows.close()
        finally:
            server.terminate()
            server.wait()
        publish(
            "node_load",
            f"200 series of {arguments.objects} objects by 8 associations: received in "
            f"{seconds:.1f} s, all worked on (copied) after {whole:.1f} s; {files} objects kept, "
            f"{derived} made, none lost or doubled; peak memory of the node {peak:.0f} MB; "
            f"{machine()}",
        )


def serve(store: Path, port: int) -> None:
    """A node with fake work inside, until it is terminated."""
    import signal

    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    with running(config(store, port=port, quiet_s=1.0), run=copy_series):
        signal.sigwait([signal.SIGTERM])


def faults(arguments: argparse.Namespace) -> None:
    """Kills, broken associations, damaged objects, a peer that comes and goes."""
    lines = [kills(arguments), mutations(arguments), halves(arguments)]
    publish("node_faults", "\n".join(lines) + f"\n\n{machine()}")


def kills(arguments: argparse.Namespace) -> str:
    """Kill the node, and let its peer come and go, while 8 devices send."""
    chance = random.Random(7)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        base = Path(name)
        port, peer_port = free_port(), free_port()
        target = f"HRINET@127.0.0.1:{peer_port}"
        series, objects = 24, 12
        acknowledged: set[str] = set()

        def device(first: int) -> None:
            for one in range(first, series, 8):
                left = list(range(1, objects + 1))
                while left:
                    sender = Sender(port)
                    try:
                        while sender.is_open and left:
                            if sender.send(make_object(one + 1, left[0])) != 0:
                                break
                            acknowledged.add(f"1.2.3.{one + 1}.9.{left.pop(0)}")
                            time.sleep(chance.uniform(0.0, 0.8))
                    except RuntimeError:
                        pass
                    finally:
                        if sender.is_open:
                            sender.close()
                    time.sleep(0.05)

        node = NodeProcess(base / "store", port=port, peer=target)
        peer = NodeProcess(base / "peer", port=peer_port, quiet_s=36000)
        devices = [threading.Thread(target=device, args=(k,)) for k in range(8)]
        for one in devices:
            one.start()
        downs = 0
        for number in range(arguments.kills):
            if number % 4:
                node.wait_until_up(port)
            time.sleep(chance.uniform(0.0, 1.5))
            node.kill()
            if number % 5 == 4:
                peer.kill()
                downs += 1
            node = NodeProcess(base / "store", port=port, peer=target)
            if number % 5 == 0 and number:
                peer = NodeProcess(base / "peer", port=peer_port, quiet_s=36000)
        if peer.process.poll() is not None:
            peer = NodeProcess(base / "peer", port=peer_port, quiet_s=36000)
        for one in devices:
            one.join()
        rows = Queue(base / "store" / "queue.sqlite3")
        wait_for(lambda: rows.counts()["sent"] == series, timeout=300, what="all results")
        kept = {uid for one in rows.series() for uid, _, _ in rows.files(one.key)}
        rows.close()
        node.terminate()
        got = Queue(base / "peer" / "queue.sqlite3")
        made = {uid for one in got.series() for uid, _, _ in got.files(one.key)}
        got.close()
        peer.terminate()
        lost = acknowledged - kept
        whole = {f"{uid}.{objects}" for uid in acknowledged}
        files = len(list((base / "store" / "objects").rglob("*.dcm")))
        assert not lost
        assert whole <= made
        assert files == len(kept) == series * objects
        return (
            f"- {arguments.kills} kills at random moments, peer down and back {downs} times: "
            f"{len(acknowledged)} objects acknowledged, {len(lost)} lost, {len(kept) - files} "
            f"doubled; {series} series finished, {len(whole & made)} of {len(whole)} objects of "
            "their results at the peer"
        )


def mutations(arguments: argparse.Namespace) -> str:
    """Damaged objects: refused with a reason, or worked on by the real work, never a crash."""
    from test_node_protocol import assert_well, connect, store_raw

    generator = np.random.default_rng(11)
    stored, reasons = 0, Counter()
    rules = (Rule(name="all", method="linear"),)
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        node = Node(config(Path(name) / "store", quiet_s=2.0, rules=rules))
        node.start()
        one = connect(node)
        for number in range(arguments.mutated):
            series, instance = 1 + number // 20, 1 + number % 20
            dataset = bytearray(encoded(make_object(series, instance, rows=64)))
            for place in generator.integers(0, 800, generator.integers(1, 4)):
                dataset[place] = generator.integers(256)
            if generator.random() < 0.1:
                del dataset[generator.integers(1, len(dataset)) :]
            uid = f"1.2.3.{series}.9.{instance}"
            status, comment = store_raw(one, bytes(dataset), instance=uid)
            stored += status == 0
            if status != 0:
                assert comment
                reasons[comment] += 1
        one.close()
        assert_well(node)
        assert len(node.store.rows.known_files()) == stored + 1
        counts = node.store.rows.counts
        wait_for(
            lambda: counts()["receiving"] + counts()["complete"] == 0,
            timeout=400,
            what="the end of the work",
        )
        dead = node.store.rows.series("dead")
        assert all(series.reason for series in dead)
        assert all((node.store.root / "dead" / series.key).is_dir() for series in dead)
        is_well, _ = node.health()
        assert is_well
        ends = {state: count for state, count in counts().items() if count}
        node.stop()
    told = ", ".join(f"{count} {reason!r}" for reason, count in reasons.most_common())
    return (
        f"- {arguments.mutated} damaged objects: {stored} filed, {sum(reasons.values())} refused "
        f"({told}); what became of the filed ones' series, with the real work: {ends}, every dead "
        "letter with a reason"
    )


def halves(arguments: argparse.Namespace) -> str:
    """Associations that break at every place."""
    from test_node_protocol import assert_well, command, connect, data

    whole = data(command(), control=3) + data(encoded(make_object(1, 1)), control=2)
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as name,
        running(config(Path(name) / "store", quiet_s=3600)) as node,
    ):
        cuts = np.linspace(0, len(whole) - 1, 100).astype(int)
        for cut in cuts:
            with connect(node) as one:
                one.sendall(whole[:cut])
        assert_well(node)
    return f"- {len(cuts)} associations broken after 0 to {cuts[-1]} bytes: nothing left behind"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("rate", "load", "faults"))
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to measure")
    parser.add_argument("--series", type=int, default=80)
    parser.add_argument("--objects", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--mutated", type=int, default=500)
    arguments = parser.parse_args()
    {"rate": rate, "load": load, "faults": faults}[arguments.what](arguments)


if __name__ == "__main__":
    if sys.argv[1:2] == ["_serve"]:
        serve(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()

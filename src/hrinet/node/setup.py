"""What the commands ``node``, ``pull`` and ``push`` call: texts in, a running node or words out."""

from __future__ import annotations

import dataclasses
import logging
import signal
import ssl
import threading
from pathlib import Path
from types import FrameType

from hrinet.errors import InputError, RequestError
from hrinet.node.config import (
    NodeConfig,
    parse_bytes,
    parse_every,
    parse_http,
    parse_pdu,
    parse_seconds,
    parse_since,
)
from hrinet.node.extra import require_node_extra
from hrinet.node.http import is_loopback
from hrinet.node.logs import LOG, log_to_stderr
from hrinet.node.peers import DimsePeer, check_title, is_web, parse_peer, parse_url
from hrinet.node.rules import DEFAULT_RULES, load_rules
from hrinet.node.tls import load_certificates


def make_config(
    *,
    store: Path,
    title: str,
    host: str,
    port: int,
    peer: str | None,
    peer_web: str | None,
    rules: Path | None,
    quiet: str,
    allow: str | None,
    max_associations: int,
    max_pdu: int,
    max_object_size: str,
    max_queue: str,
    min_free: str,
    retain: str,
    work_timeout: str,
    tls_cert: Path | None,
    tls_key: Path | None,
    tls_ca: Path | None,
    peer_tls: bool,
    http: str | None,
    watch_web: str | None = None,
    watch_every: str = "30s",
    watch_since: str = "new",
) -> NodeConfig:
    """The configuration of what was given on the command line.

    Raises:
        RequestError: if an option is wrong, or the extra is not installed.
        InputError: if the rules are.
    """
    require_node_extra()
    title = check_title(title)
    if peer is not None and peer_web is not None:
        raise RequestError("--peer and --peer-web exclude each other; results go to one place")
    if peer is not None and is_web(peer):
        raise RequestError(f"--peer {parse_url(peer).name} is a URL; pass it as --peer-web")
    if watch_web is None and watch_since != "new":
        raise RequestError("--watch-since needs --watch-web")
    target = parse_peer(peer, our_title=title) if peer is not None else None
    config = NodeConfig(
        store=store,
        title=title,
        host=host,
        port=port,
        peer=parse_url(peer_web) if peer_web is not None else target,
        rules=load_rules(rules) if rules is not None else DEFAULT_RULES,
        quiet_s=parse_seconds(quiet, option="--quiet"),
        allowed=frozenset(check_title(one) for one in allow.split(",")) if allow else frozenset(),
        max_associations=max_associations,
        max_pdu=parse_pdu(max_pdu),
        max_object_bytes=parse_bytes(max_object_size, option="--max-object-size"),
        max_queue_bytes=parse_bytes(max_queue, option="--max-queue"),
        min_free_bytes=parse_bytes(min_free, option="--min-free"),
        retain_s=parse_seconds(retain, option="--retain"),
        work_timeout_s=parse_seconds(work_timeout, option="--work-timeout"),
        tls_cert=tls_cert,
        tls_key=tls_key,
        tls_ca=tls_ca,
        http=parse_http(http, is_loopback=is_loopback) if http is not None else None,
        watch_web=parse_url(watch_web) if watch_web is not None else None,
        watch_every_s=parse_every(watch_every),
        watch_since=parse_since(watch_since),
    )
    if peer_tls:
        config = _with_peer_tls(config)
    return config


def _with_peer_tls(config: NodeConfig) -> NodeConfig:
    if not isinstance(config.peer, DimsePeer):
        raise RequestError("--peer-tls is for --peer; a URL says https by itself")
    context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_certificates(context, config)
    return dataclasses.replace(config, peer=dataclasses.replace(config.peer, tls=context))


def serve(config: NodeConfig, *, retry_dead: bool = False) -> None:
    """Run a node until SIGTERM or SIGINT, and then end it in order.

    Raises:
        RequestError: if the store is in use or an address cannot be bound.
        InputError: if the queue is damaged.
    """
    from hrinet.node.extra import silence_libraries
    from hrinet.node.service import Node

    log_to_stderr()
    silence_libraries()
    # Warnings of pydicom quote values, and do not belong on the standard error stream.
    logging.captureWarnings(True)
    node = Node(config)
    wanted = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        wanted.set()

    earlier = [signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        if retry_dead:
            LOG.info("%d dead letters are tried once more", node.store.rows.revive())
        node.start()
        LOG.info(
            "%s listens on %s:%d%s; results go to %s",
            config.title,
            config.host,
            node.port,
            " with TLS" if config.tls_cert else "",
            config.peer.name if config.peer else "the store only",
        )
        if not is_loopback(config.host):
            LOG.warning(
                "this address can be reached from other machines%s%s",
                "" if config.allowed else "; every AE title may call, see --allow",
                "" if config.tls_cert else "; nothing is encrypted, see --tls-cert",
            )
        if node.http_port is not None and config.http is not None:
            LOG.info("metrics at http://%s:%d/metrics", config.http[0], node.http_port)
        if config.watch_web is not None:
            LOG.info("watching %s every %.0f s", config.watch_web.name, config.watch_every_s)
        wanted.wait()
        LOG.info("stopping")
    finally:
        node.stop()
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), earlier, strict=True):
            signal.signal(number, handler)
    LOG.info("stopped; what is unfinished goes on with the next start")


def list_store(path: Path) -> str:
    """The series in a store as a table: key, state, objects, rule or reason.

    It may be asked while the node runs. UIDs are not shown; the key of a series is the one in
    the log.

    Raises:
        InputError: if there is no store.
    """
    from hrinet.node.queue import Queue

    file = path / "queue.sqlite3"
    if not file.is_file():
        raise InputError(f"{path}: is no store of a node (it has no queue.sqlite3)")
    queue = Queue(file)
    try:
        rows = queue.series()
        lines = [f"{'SERIES':24} {'STATE':12} {'OBJECTS':>7}  RULE OR REASON"]
        lines += [
            f"{one.key} {one.state:12} {one.instances:7}  {one.reason or one.rule}".rstrip()
            for one in rows
        ]
        counts = ", ".join(f"{count} {state}" for state, count in queue.counts().items() if count)
        return "\n".join([*lines, counts or "empty"])
    finally:
        queue.close()


def pull(
    source: str,
    output: Path | None,
    *,
    study: str,
    series: str,
    patient: str,
    accession: str,
    modality: str,
    fetch_all: bool,
    move_to: str | None,
    port: int,
    bind: str,
    title: str,
) -> str:
    """Fetch or list series; returns what to print.

    Raises:
        RequestError: if nothing or too much matches, or an argument is wrong.
        RunError: if the source is away or refuses.
    """
    require_node_extra()
    from hrinet.node.extra import silence_libraries
    from hrinet.node.pull import Query, fetch, find

    silence_libraries()
    peer = parse_peer(source, our_title=check_title(title))
    if move_to is not None and not isinstance(peer, DimsePeer):
        raise RequestError("--move-to is for a source AET@HOST:PORT; a URL uses WADO-RS")
    query = Query(
        study=study, series=series, patient=patient, accession=accession, modality=modality
    )
    found = find(peer, query)
    if not found:
        raise RequestError(f"{peer.name}: has no series that matches")
    if output is None:
        return "\n".join(
            f"{one.series}  {one.modality:4} {one.instances or '?':>5} objects  {one.description}"
            for one in found
        )
    if len(found) > 1 and not fetch_all:
        raise RequestError(
            f"{peer.name}: {len(found)} series match; leave out the folder to see them, choose "
            "one with --series, or pass --all"
        )
    receiver = None
    if move_to is not None:
        receiver = NodeConfig(store=output, title=check_title(move_to), host=bind, port=port)
    count = fetch(
        peer, found, output, way="move" if move_to is not None else "get", receiver=receiver
    )
    return f"{output}: {count} objects of {len(found)} series"


def push(paths: list[Path], to: str, *, title: str) -> str:
    """Send files; returns what to print.

    Raises:
        InputError: if there is no DICOM file.
        RunError: if the peer is away or refuses.
    """
    require_node_extra()
    from hrinet.node.extra import silence_libraries
    from hrinet.node.push import push as send

    silence_libraries()
    peer = parse_peer(to, our_title=check_title(title))
    return f"{peer.name}: has {send(paths, peer)} objects"

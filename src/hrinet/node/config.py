"""How a node is set up."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from hrinet.errors import RequestError
from hrinet.node.rules import DEFAULT_RULES, Rule
from hrinet.node.work import ENTRY

if TYPE_CHECKING:
    from hrinet.node.peers import DimsePeer, WebPeer

_BYTES = re.compile(r"(\d{1,15}(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_SECONDS = re.compile(r"(\d{1,9}(?:\.\d+)?)\s*(ms|s|min|m|h|d)?")
_BYTE_UNITS = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_SECOND_UNITS = {"ms": 1e-3, None: 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_MIN_PDU, _MAX_PDU = 4096, 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """Everything a node can be told.

    Attributes:
        store: folder of queue, objects, results, dead letters.
        title: AE title.
        host: address to listen on.
        port: TCP; 0 takes a free one.
        peer: where results go, or None to keep them in the store.
        rules: which series are worked on.
        quiet_s: how long no object may come before a series is complete.
        allowed: AE titles that may call, or empty for all.
        max_associations: at the same time.
        max_pdu: bytes.
        max_object_bytes: of a dataset.
        max_queue_bytes: of unfinished series, before new ones are refused.
        min_free_bytes: of the disk, below which objects are refused.
        work_timeout_s: for one series.
        work_attempts: after which a series is a dead letter, where repeating may help.
        retain_s: how long objects and results of finished series are kept.
        backoff_s: first and longest wait between attempts.
        drain_s: for objects that are on their way when the node stops.
        acse_timeout_s: for a request for an association.
        network_timeout_s: without a byte from a peer.
        tls_cert: certificate chain, PEM; TLS is on if given.
        tls_key: private key, PEM.
        tls_ca: certificates that peers must have, PEM; mutual TLS if given.
        http: (address, port) of metrics and health, or None.
        work_entry: what the child process calls.
        watch_web: DICOMweb server whose new CT series are fetched, or None.
        watch_every_s: between two queries.
        watch_since: ``new`` for series that appear or grow after the watch began, ``all``, or a
            date YYYYMMDD, the earliest Study Date.
    """

    store: Path
    title: str = "HRINET"
    host: str = "127.0.0.1"
    port: int = 11112
    peer: DimsePeer | WebPeer | None = None
    rules: tuple[Rule, ...] = DEFAULT_RULES
    quiet_s: float = 10.0
    allowed: frozenset[str] = field(default_factory=frozenset)
    max_associations: int = 16
    max_pdu: int = 131072
    max_object_bytes: int = 512 << 20
    max_queue_bytes: int = 64 << 30
    min_free_bytes: int = 1 << 30
    work_timeout_s: float = 3600.0
    work_attempts: int = 3
    retain_s: float = 7 * 86400.0
    backoff_s: tuple[float, float] = (1.0, 300.0)
    drain_s: float = 10.0
    acse_timeout_s: float = 30.0
    network_timeout_s: float = 60.0
    tls_cert: Path | None = None
    tls_key: Path | None = None
    tls_ca: Path | None = None
    http: tuple[str, int] | None = None
    work_entry: str = ENTRY
    watch_web: WebPeer | None = None
    watch_every_s: float = 30.0
    watch_since: str = "new"

    def backoff(self, attempts: int) -> float:
        """Seconds to wait after so many failed attempts."""
        first, longest = self.backoff_s
        return min(longest, first * 2.0 ** min(attempts, 30))


def parse_bytes(text: str, *, option: str) -> int:
    """A size such as ``512M`` or ``64GiB``; units are powers of 1024.

    Raises:
        RequestError: if it is none, or zero.
    """
    found = _BYTES.fullmatch(text.strip())
    value = int(float(found[1]) * _BYTE_UNITS[found[2].lower()]) if found else 0
    if value < 1:
        raise RequestError(f"{option} {text!r} is no size; expected a number such as 512M or 64G")
    return value


def parse_seconds(text: str, *, option: str) -> float:
    """A time such as ``10s``, ``5m`` or ``7d``; a bare number is seconds.

    Raises:
        RequestError: if it is none.
    """
    found = _SECONDS.fullmatch(text.strip())
    if found is None:
        raise RequestError(f"{option} {text!r} is no time; expected one such as 10s, 5m or 7d")
    return float(found[1]) * _SECOND_UNITS[found[2]]


def parse_every(text: str) -> float:
    """The time between two queries, s.

    Raises:
        RequestError: if it is none, or so short that the server would do nothing else.
    """
    value = parse_seconds(text, option="--watch-every")
    if value < 1:
        raise RequestError(f"--watch-every {text!r} is less than a second")
    return value


def parse_since(text: str) -> str:
    """``new``, ``all`` or a date YYYYMMDD.

    Raises:
        RequestError: if it is none of them.
    """
    if text in ("new", "all"):
        return text
    try:
        if len(text) == 8 and text.isascii() and text.isdigit():
            datetime.strptime(text, "%Y%m%d")
            return text
    except ValueError:
        pass
    raise RequestError(f"--watch-since {text!r} is wrong; expected new, all or a date YYYYMMDD")


def parse_pdu(value: int) -> int:
    """A PDU length that peers can live with.

    Raises:
        RequestError: if it is too small or large.
    """
    if not _MIN_PDU <= value <= _MAX_PDU:
        raise RequestError(f"--max-pdu {value} is not between {_MIN_PDU} and {_MAX_PDU} bytes")
    return value


def parse_http(text: str, *, is_loopback: Callable[[str], bool]) -> tuple[str, int]:
    """``ADDRESS:PORT`` on the loopback interface.

    Raises:
        RequestError: if it is none.
    """
    host, _, port = text.rpartition(":")
    is_port = port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536
    if not is_port or not is_loopback(host):
        raise RequestError(
            f"--http {text!r} is no loopback address with a port; expected one such as "
            "127.0.0.1:9112 (put a proxy in front to have it elsewhere)"
        )
    return host.strip("[]"), int(port)

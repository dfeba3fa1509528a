"""Counters of the node in the Prometheus text format."""

from __future__ import annotations

import threading
from collections.abc import Mapping

_HELP = {
    "associations_total": ("counter", "Associations by outcome."),
    "objects_received_total": ("counter", "Objects that were acknowledged, duplicates included."),
    "objects_duplicate_total": ("counter", "Objects that were here already."),
    "objects_refused_total": ("counter", "Objects that were refused, by DIMSE status."),
    "bytes_received_total": ("counter", "Bytes of acknowledged objects."),
    "receive_seconds_total": ("counter", "From the command to the acknowledgement."),
    "work_total": ("counter", "Attempts to fill the gaps of a series, by outcome."),
    "work_seconds_total": ("counter", "Spent on filling gaps."),
    "send_total": ("counter", "Attempts to send a series, by outcome."),
    "send_seconds_total": ("counter", "Spent on sending."),
    "objects_sent_total": ("counter", "Objects that the peer acknowledged."),
    "web_queries_total": ("counter", "Queries to the watched DICOMweb server, by outcome."),
    "web_series_total": ("counter", "Series of the watched server, by what became of them."),
    "web_fetch_seconds_total": ("counter", "Spent on fetching series from the watched server."),
    "associations_open": ("gauge", "Associations open now."),
    "series": ("gauge", "Series in the store, by state."),
    "queue_bytes": ("gauge", "Bytes of series that are not finished."),
    "disk_free_bytes": ("gauge", "Free space of the store's disk."),
    "peer_up": ("gauge", "1 unless the last attempt to reach the peer failed."),
    "web_up": ("gauge", "1 unless the last query to the watched server failed."),
    "start_time_seconds": ("gauge", "When the node started, Unix time."),
}
_PREFIX = "hrinet_node_"

Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters that any thread may raise."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, dict[Labels, float]] = {}

    def add(self, name: str, amount: float = 1.0, **labels: str) -> None:
        """Raise a counter (or gauge) by ``amount``."""
        key = tuple(sorted(labels.items()))
        with self._lock:
            values = self._values.setdefault(name, {})
            values[key] = values.get(key, 0.0) + amount

    def value(self, name: str, **labels: str) -> float:
        """The value of one counter, 0 if it was never raised."""
        with self._lock:
            return self._values.get(name, {}).get(tuple(sorted(labels.items())), 0.0)

    def render(self, gauges: Mapping[str, Mapping[Labels, float]]) -> str:
        """All counters, and ``gauges`` that are measured now, as Prometheus text (0.0.4)."""
        with self._lock:
            values = {name: dict(found) for name, found in self._values.items()}
        values.update({name: dict(found) for name, found in gauges.items()})
        lines = []
        for name, (kind, text) in _HELP.items():
            lines += [f"# HELP {_PREFIX}{name} {text}", f"# TYPE {_PREFIX}{name} {kind}"]
            found = values.get(name, {})
            if not found and kind == "counter":
                found = {(): 0.0}
            for labels, value in sorted(found.items()):
                inside = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels)
                lines.append(f"{_PREFIX}{name}{'{' + inside + '}' if inside else ''} {value:.10g}")
        return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

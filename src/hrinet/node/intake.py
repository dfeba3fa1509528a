"""What happens to one object between its last byte and its acknowledgement."""

from __future__ import annotations

import sqlite3
import threading
import time
from dataclasses import dataclass

from hrinet.node import dimse
from hrinet.node.committer import Committer
from hrinet.node.files import Head, WriteBuffer
from hrinet.node.header import Header, HeaderError, read_header
from hrinet.node.metrics import Metrics
from hrinet.node.names import is_uid, key_of
from hrinet.node.objects import Incoming, ObjectFolder, RefusedError, Written
from hrinet.node.queue import Arrival, Outcome, Queue

_HARD_LIMIT = 1.25
"""Of the queue's bytes: a series that has begun may go this far beyond the limit."""

_RECOUNT_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeLimits:
    """Bounds on what comes in.

    Attributes:
        max_object_bytes: of a dataset.
        max_queue_bytes: of series that are not finished.
    """

    max_object_bytes: int
    max_queue_bytes: int


class Intake:
    """Takes objects into the store; shared by all associations.

    Args:
        folder: of the files.
        rows: the queue.
        committer: makes them durable.
        metrics: counted in.
        limits: bounds.
    """

    def __init__(
        self,
        *,
        folder: ObjectFolder,
        rows: Queue,
        committer: Committer,
        metrics: Metrics,
        limits: IntakeLimits,
    ) -> None:
        self._folder = folder
        self._rows = rows
        self._committer = committer
        self._metrics = metrics
        self._limits = limits
        self._lock = threading.Lock()
        self._queued = rows.unfinished_bytes()
        self._counted = time.monotonic()

    def begin(
        self,
        *,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        title: str,
        buffer: WriteBuffer,
    ) -> Incoming:
        """Start an object; what is wrong with it comes out at :meth:`finish`.

        Args:
            sop_class: of the command.
            sop_instance: of the command.
            transfer_syntax: of the dataset.
            title: AE title that sends it.
            buffer: that no other object uses meanwhile.
        """
        incoming = Incoming(
            self._folder,
            max_bytes=self._limits.max_object_bytes,
            sop_class=sop_class,
            sop_instance=sop_instance if is_uid(sop_instance) else "",
            transfer_syntax=transfer_syntax,
            source_title=title,
            buffer=buffer,
        )
        if not is_uid(sop_instance):
            incoming.refuse(RefusedError(dimse.CANNOT_UNDERSTAND, "the SOP Instance UID is no UID"))
        return incoming

    def finish(
        self,
        incoming: Incoming,
        *,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        title: str,
    ) -> Outcome:
        """Make an object durable; it may be acknowledged when this returns.

        Raises:
            RefusedError: if it is not taken; nothing of it is left.
        """
        try:
            written = incoming.finish()
            try:
                header = _header(incoming, written, transfer_syntax)
            except HeaderError as error:
                raise RefusedError(dimse.CANNOT_UNDERSTAND, str(error)) from error
            if header.sop_instance != sop_instance or header.sop_class != sop_class:
                raise RefusedError(
                    dimse.MISMATCH, "the dataset's SOP UIDs are not those of the command"
                )
            self._check_room(key_of(header.series))
            incoming.sync()
            outcome = self._committer.commit(
                Arrival(
                    header=header,
                    file=self._folder.relative(written.path),
                    size=written.size,
                    digest=written.digest,
                    transfer_syntax=transfer_syntax,
                    calling=title,
                )
            )
            if outcome == "conflict":
                raise RefusedError(
                    dimse.CANNOT_UNDERSTAND, "another object with this SOP Instance UID is here"
                )
        except RefusedError:
            incoming.discard()
            raise
        except (OSError, sqlite3.Error) as error:
            incoming.discard()
            raise RefusedError(dimse.OUT_OF_RESOURCES, "the store cannot be written") from error
        if outcome == "duplicate":
            incoming.discard()
            self._metrics.add("objects_duplicate_total")
        else:
            with self._lock:
                self._queued += written.size
        self._metrics.add("objects_received_total")
        self._metrics.add("bytes_received_total", written.size)
        return outcome

    @property
    def is_full(self) -> bool:
        """Whether new associations should wait."""
        return self._queued_bytes() > _HARD_LIMIT * self._limits.max_queue_bytes

    @property
    def has_room(self) -> bool:
        """Whether new series may begin."""
        return self._queued_bytes() <= self._limits.max_queue_bytes

    def _queued_bytes(self) -> int:
        with self._lock:
            if time.monotonic() - self._counted > _RECOUNT_S:
                self._queued = self._rows.unfinished_bytes()
                self._counted = time.monotonic()
            return self._queued

    def _check_room(self, series: str) -> None:
        """New series wait at the limit; one that has begun is rather finished than cut in two."""
        queued, limit = self._queued_bytes(), self._limits.max_queue_bytes
        if queued <= limit:
            return
        if queued > _HARD_LIMIT * limit or not self._rows.is_receiving(series):
            raise RefusedError(dimse.OUT_OF_RESOURCES, "the queue is full; send it again later")


def _header(incoming: Incoming, written: Written, transfer_syntax: str) -> Header:
    """The header, from memory unless it is unusually long."""
    head = Head(written.head)
    is_whole = len(written.head) == written.size
    try:
        header = read_header(head, offset=written.offset, transfer_syntax=transfer_syntax)
        if is_whole or not head.is_exceeded:
            return header
    except HeaderError:
        if is_whole or not head.is_exceeded:
            raise
    incoming.sync()
    with written.path.open("rb") as file:
        return read_header(file, offset=written.offset, transfer_syntax=transfer_syntax)

"""The node as a client of a DICOMweb server: it asks for new CT series, and fetches them."""

from __future__ import annotations

import threading
import time
from collections import Counter

from hrinet.errors import RunError
from hrinet.io.dicom.derive.classic import DESCRIPTION_PREFIX
from hrinet.node import dimse
from hrinet.node.config import NodeConfig
from hrinet.node.files import WriteBuffer
from hrinet.node.intake import Intake
from hrinet.node.logs import LOG
from hrinet.node.metrics import Metrics
from hrinet.node.names import is_uid, key_of
from hrinet.node.negotiation import CT_CLASSES, TRANSFER_SYNTAXES
from hrinet.node.objects import RefusedError
from hrinet.node.peers import PeerDownError, PeerRefusedError, WebPeer
from hrinet.node.queue import UNFINISHED, Series
from hrinet.node.seen import Seen, Wanted
from hrinet.node.store import Store
from hrinet.node.web import Found, Part, retrieve, search

CALLING = "DICOMWEB"
"""Stands for the sender's AE title, in rules too."""

_FULL_PAUSE_S = 1.0


class _StoppedError(Exception):
    """The node stops."""


class _NoRoomError(Exception):
    """An object does not fit in now."""


class WebWatch:
    """Brings series of a DICOMweb server in, one at a time.

    Args:
        config: of the node; ``watch_web`` is given.
        server: to watch.
        store: of the node.
        intake: takes the objects, the same that associations use.
        metrics: counted in.
        stopping: set when the node stops.

    Raises:
        InputError: if the file of what was seen is damaged.
    """

    def __init__(
        self,
        *,
        config: NodeConfig,
        server: WebPeer,
        store: Store,
        intake: Intake,
        metrics: Metrics,
        stopping: threading.Event,
    ) -> None:
        self._config = config
        self._server = server
        self._store = store
        self._intake = intake
        self._metrics = metrics
        self._stopping = stopping
        self._seen = Seen(store.root / "watch.sqlite3", server.url)
        self._buffer = WriteBuffer()
        self._failures = 0
        self._is_waiting = False
        self._next_query = 0.0
        self._next_fetch = 0.0

    @property
    def is_up(self) -> bool:
        """Whether the last query was answered."""
        return not self._failures

    def close(self) -> None:
        """Close the file of what was seen."""
        self._seen.close()

    def expected(self, series: Series) -> tuple[bool, int | None]:
        """Whether a series is being fetched, and how many objects it should have, if known."""
        return self._seen.expected(series.uid)

    def purge_ignored(self, *, seconds: float) -> int:
        """Remove the files of series that no rule took so long ago; their server has them still.

        Returns:
            How many series there were.
        """
        limit = time.time() - seconds
        old = [
            series
            for series in self._store.rows.series("ignored")
            if series.changed < limit and self.expected(series)[1] is not None
        ]
        return sum(self._store.purge(series) for series in old)

    def step(self) -> bool:
        """Ask if it is time, and fetch one series; True if there may be more."""
        try:
            if time.monotonic() >= self._next_query:
                self._query()
            if self._failures or time.monotonic() < self._next_fetch:
                return False
            return self._fetch_next()
        except _StoppedError:
            return False

    def _check_stop(self) -> None:
        if self._stopping.is_set():
            raise _StoppedError

    def _query(self) -> None:
        try:
            self._compare()
        except RunError as error:
            wait = self._config.backoff(self._failures)
            if not self._failures:
                LOG.warning("watch: %s; it is asked again until it answers", error)
            self._failures += 1
            self._next_query = time.monotonic() + wait
            self._metrics.add("web_queries_total", outcome="failed")
            return
        if self._failures:
            LOG.info("watch: %s: answers again", self._server.name)
        self._failures = 0
        self._next_query = time.monotonic() + self._config.watch_every_s
        self._metrics.add("web_queries_total", outcome="answered")

    def _compare(self) -> None:
        since = self._config.watch_since
        takes_old = since != "new"
        is_first = not takes_old and not self._seen.is_begun()
        keys = {"Modality": "CT", "StudyDate": f"{since}-" if since.isdigit() else ""}
        missing = self._seen.open_uids()
        count = total = 0
        for page in search(self._server, keys):
            self._check_stop()
            # Servers may ignore keys that they do not support.
            wanted = [
                one
                for one in page
                if one.modality.strip().upper() in ("", "CT")
                and is_uid(one.series)
                and is_uid(one.study)
                and not (since.isdigit() and "" < one.study_date < since)
            ]
            count += self._seen.note(
                wanted,
                now=time.time(),
                settle_s=self._config.quiet_s,
                is_first=is_first,
                takes_old=takes_old,
                skips=self._skips,
            )
            missing -= {one.series for one in wanted}
            total += len(wanted)
        if count:
            self._metrics.add("web_series_total", count, outcome="found")
        if is_first:
            self._seen.begin(time.time())
            LOG.info("watch: %d series are there already and are left alone", total)
        for uid in missing:
            self._seen.set(uid, "gone")
            LOG.info("series %s: the watched server has it no longer", key_of(uid))

    def _skips(self, one: Found, is_new: bool) -> bool:
        """Whether HRINet made a series, or all of it is here."""
        if self._store.rows.is_derived(one.series):
            return True
        if one.description.startswith(DESCRIPTION_PREFIX):
            return True
        here = self._store.rows.get(key_of(one.series))
        if here is None:
            return False
        if here.state == "purged":
            return is_new
        return one.instances is None or here.instances >= one.instances

    def _fetch_next(self) -> bool:
        wanted = self._seen.due(time.time())
        if wanted is None:
            return False
        if not self._has_room(wanted):
            return False
        found = wanted.found
        key = key_of(found.series)
        if not wanted.is_begun and self._skips(found, True):
            # It came by C-STORE meanwhile.
            self._seen.set(found.series, "skipped")
            return True
        self._seen.set(found.series, "fetching")
        started = time.perf_counter()
        try:
            count = self._fetch(found)
        except _NoRoomError:
            self._wait_for_room(wanted)
            return False
        except RunError as error:
            self._fail(wanted, error)
            return True
        self._seen.set(found.series, "fetched", instances=count)
        self._metrics.add("web_series_total", outcome="fetched")
        LOG.info("series %s is fetched: %d objects", key, count)
        self._metrics.add("web_fetch_seconds_total", time.perf_counter() - started)
        return True

    def _has_room(self, wanted: Wanted) -> bool:
        is_full = self._intake.is_full if wanted.is_begun else not self._intake.has_room
        if is_full or not self._store.objects.has_room():
            self._wait_for_room(wanted)
            return False
        if self._is_waiting:
            self._is_waiting = False
            LOG.info("watch: there is room again")
        return True

    def _wait_for_room(self, wanted: Wanted) -> None:
        rows = self._store.rows
        is_alone = [s.uid for s in rows.series(*UNFINISHED)] == [wanted.found.series]
        # Counted anew: the intake's count may be of a moment ago, when others were in the queue.
        if is_alone and rows.unfinished_bytes() > self._config.max_queue_bytes:
            # It waits for itself. What is here of it goes its way, as with C-STORE.
            self._give_up(wanted, "it does not fit into the queue, see --max-queue")
            return
        if not self._is_waiting:
            LOG.warning("watch: the queue or the disk is full; series stay at the server")
        self._is_waiting = True
        self._next_fetch = time.monotonic() + _FULL_PAUSE_S

    def _fail(self, wanted: Wanted, error: RunError) -> None:
        key, uid = key_of(wanted.found.series), wanted.found.series
        is_final = wanted.attempts + 1 >= self._config.work_attempts
        if isinstance(error, PeerRefusedError) and is_final:
            self._give_up(wanted, str(error))
            return
        wait = self._config.backoff(wanted.attempts)
        self._seen.postpone(uid, until=time.time() + wait)
        self._metrics.add("web_series_total", outcome="failed")
        if isinstance(error, PeerDownError):
            # The next query shows whether it is the server, and says so once.
            self._next_query = time.monotonic()
        LOG.warning("series %s: fetching failed (%s); again in %.0f s", key, error, wait)

    def _give_up(self, wanted: Wanted, reason: str) -> None:
        self._seen.set(wanted.found.series, "refused")
        self._metrics.add("web_series_total", outcome="refused")
        LOG.error("series %s: fetching is given up: %s", key_of(wanted.found.series), reason)

    def _fetch(self, found: Found) -> int:
        refused: Counter[str] = Counter()
        count = 0
        for part in retrieve(
            self._server,
            found,
            max_object_bytes=self._config.max_object_bytes,
            on_chunk=self._check_stop,
        ):
            self._check_stop()
            count += 1
            try:
                self._take(part)
            except RefusedError as refusal:
                if refusal.status == dimse.OUT_OF_RESOURCES:
                    raise _NoRoomError from refusal
                refused[refusal.reason] += 1
                self._metrics.add("objects_refused_total", status=f"{refusal.status:04x}")
        for reason, number in refused.items():
            key = key_of(found.series)
            LOG.warning("series %s: refused %d objects: %s", key, number, reason)
        if count < (found.instances or 1):
            raise PeerRefusedError(
                f"{self._server.name}: has sent {count} of {found.instances or 'its'} objects"
            )
        return count

    def _take(self, part: Part) -> None:
        """Through the same intake as C-STORE; durable when this returns.

        Raises:
            RefusedError: if it is not taken.
        """
        if part.sop_class not in CT_CLASSES:
            raise RefusedError(dimse.NO_SUCH_CLASS, "not an object of a CT class")
        if part.transfer_syntax not in TRANSFER_SYNTAXES:
            raise RefusedError(dimse.CANNOT_UNDERSTAND, "a transfer syntax that is not taken")
        if len(part.content) - part.offset > self._config.max_object_bytes:
            raise RefusedError(
                dimse.CANNOT_UNDERSTAND,
                f"larger than the {self._config.max_object_bytes} bytes that are allowed",
            )
        incoming = self._intake.begin(
            sop_class=part.sop_class,
            sop_instance=part.sop_instance,
            transfer_syntax=part.transfer_syntax,
            title=CALLING,
            buffer=self._buffer,
        )
        incoming.write(memoryview(part.content)[part.offset :])
        self._intake.finish(
            incoming,
            sop_class=part.sop_class,
            sop_instance=part.sop_instance,
            transfer_syntax=part.transfer_syntax,
            title=CALLING,
        )

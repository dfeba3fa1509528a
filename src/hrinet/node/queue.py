"""The durable queue: which objects are here, and what has become of their series.

One SQLite file in WAL mode with ``synchronous=FULL``: a commit is on disk when it returns. A
series goes ``receiving -> complete -> synthesized -> sent``; ``ignored``, ``forwarding`` and
``dead`` are the other ways. A step is committed after its effect, and each effect can be
repeated, so that a node killed anywhere goes on where it was.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from hrinet.errors import InputError
from hrinet.node.header import Header
from hrinet.node.names import key_of

State = Literal[
    "receiving", "complete", "synthesized", "forwarding", "sent", "ignored", "dead", "purged"
]
STATES: tuple[State, ...] = get_args(State)
UNFINISHED: tuple[State, ...] = ("receiving", "complete", "synthesized", "forwarding")

Outcome = Literal["stored", "duplicate", "conflict"]

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE series (
    key TEXT PRIMARY KEY, uid TEXT NOT NULL, study TEXT NOT NULL, state TEXT NOT NULL,
    generation INTEGER NOT NULL, calling TEXT NOT NULL, modality TEXT NOT NULL,
    description TEXT NOT NULL, image_type TEXT NOT NULL, instances INTEGER NOT NULL,
    bytes INTEGER NOT NULL, first_received REAL NOT NULL, last_received REAL NOT NULL,
    changed REAL NOT NULL, rule TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT '',
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    derived TEXT NOT NULL DEFAULT '', derived_uid TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX series_state ON series (state, changed);
CREATE TABLE instances (
    key TEXT PRIMARY KEY, uid TEXT NOT NULL, series TEXT NOT NULL, file TEXT NOT NULL,
    bytes INTEGER NOT NULL, digest TEXT NOT NULL, transfer_syntax TEXT NOT NULL,
    position_mm REAL, thickness_mm REAL
) WITHOUT ROWID;
CREATE INDEX instances_series ON instances (series);
CREATE TABLE made (uid TEXT PRIMARY KEY) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """An object that is on disk and wants a row.

    Attributes:
        header: of the object.
        file: its name in the object folder.
        size: bytes.
        digest: SHA-256 of the dataset.
        transfer_syntax: of the dataset.
        calling: AE title that sent it.
    """

    header: Header
    file: str
    size: int
    digest: str
    transfer_syntax: str
    calling: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """A row of a series; see the module for the states.

    Attributes:
        key: the name in logs and paths.
        uid: Series Instance UID.
        study: Study Instance UID.
        state: where it is.
        generation: raised whenever an object arrives.
        calling: AE title that sent the first object.
        modality: of the first object.
        description: of the first object.
        image_type: of the first object.
        instances: how many objects.
        bytes: of the objects.
        first_received: Unix time.
        last_received: Unix time.
        changed: Unix time of the last change of state.
        rule: the rule that took it.
        reason: why it is ignored, dead, or waiting.
        attempts: failed ones of the step at hand.
        not_before: Unix time of the next attempt.
        derived: folder of the result, below the store.
        derived_uid: Series Instance UID of the result.
    """

    key: str
    uid: str
    study: str
    state: State
    generation: int
    calling: str
    modality: str
    description: str
    image_type: str
    instances: int
    bytes: int
    first_received: float
    last_received: float
    changed: float
    rule: str
    reason: str
    attempts: int
    not_before: float
    derived: str
    derived_uid: str


_COLUMNS = ", ".join(Series.__dataclass_fields__)


class Queue:
    """The queue in its file; every method may be called from any thread.

    Args:
        path: of the SQLite file; made if absent.

    Raises:
        InputError: if the file is of a newer version, or no queue.
    """

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(
                path, timeout=30.0, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version=1; COMMIT;")
            elif version != _SCHEMA_VERSION:
                raise InputError(
                    f"{path}: is a queue of version {version}, expected {_SCHEMA_VERSION}; "
                    "use the HRINet that made it, or another --store"
                )
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{path}: cannot be opened as a queue ({error}); move it away, or use another "
                "--store"
            ) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            try:
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def add(self, arrivals: Sequence[Arrival]) -> list[Outcome]:
        """Take objects in, in one commit; they may be acknowledged when this returns.

        An object that is here already is a duplicate if its dataset is the same or comes in
        another transfer syntax, and a conflict if not. A stored one reopens its series.
        """
        now = time.time()
        with self._transaction() as db:
            return [self._add_one(db, arrival, now) for arrival in arrivals]

    def _add_one(self, db: sqlite3.Connection, arrival: Arrival, now: float) -> Outcome:
        header = arrival.header
        key, series = key_of(header.sop_instance), key_of(header.series)
        known = db.execute(
            "SELECT digest, transfer_syntax, series FROM instances WHERE key = ?", (key,)
        ).fetchone()
        if known is not None:
            digest, syntax, of_series = known
            is_same = of_series == series and (
                digest == arrival.digest or syntax != arrival.transfer_syntax
            )
            if is_same:
                # The peer is still at it: the series is not quiet yet.
                db.execute(
                    "UPDATE series SET last_received = ? WHERE key = ? AND state = 'receiving'",
                    (now, series),
                )
            return "duplicate" if is_same else "conflict"
        db.execute(
            "INSERT INTO instances VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                key,
                header.sop_instance,
                series,
                arrival.file,
                arrival.size,
                arrival.digest,
                arrival.transfer_syntax,
                header.position_mm,
                header.thickness_mm,
            ),
        )
        db.execute(
            "INSERT INTO series (key, uid, study, state, generation, calling, modality, "
            "description, image_type, instances, bytes, first_received, last_received, changed) "
            "VALUES (?, ?, ?, 'receiving', 1, ?, ?, ?, ?, 1, ?, ?, ?, ?) "
            "ON CONFLICT (key) DO UPDATE SET generation = generation + 1, state = 'receiving', "
            "instances = instances + 1, bytes = bytes + excluded.bytes, "
            "last_received = excluded.last_received, attempts = 0, not_before = 0, reason = '', "
            "changed = CASE state WHEN 'receiving' THEN changed ELSE excluded.changed END",
            (
                series,
                header.series,
                header.study,
                arrival.calling,
                header.modality,
                header.description,
                header.image_type,
                arrival.size,
                now,
                now,
                now,
            ),
        )
        return "stored"

    def advance(
        self,
        series: Series,
        state: State,
        *,
        rule: str | None = None,
        reason: str = "",
        derived: str | None = None,
        derived_uid: str | None = None,
    ) -> bool:
        """Commit the next state, unless the series changed meanwhile.

        Returns:
            False if an object arrived since ``series`` was read; the step is void then.
        """
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE series SET state = ?, rule = COALESCE(?, rule), reason = ?, "
                "derived = COALESCE(?, derived), derived_uid = COALESCE(?, derived_uid), "
                "attempts = 0, not_before = 0, changed = ? "
                "WHERE key = ? AND state = ? AND generation = ?",
                (
                    state,
                    rule,
                    reason,
                    derived,
                    derived_uid,
                    time.time(),
                    series.key,
                    series.state,
                    series.generation,
                ),
            )
            if derived_uid and changed.rowcount == 1:
                db.execute("INSERT OR IGNORE INTO made VALUES (?)", (derived_uid,))
            return changed.rowcount == 1

    def postpone(self, series: Series, *, seconds: float, reason: str) -> None:
        """Count a failed attempt, and try again later."""
        with self._transaction() as db:
            db.execute(
                "UPDATE series SET attempts = attempts + 1, not_before = ?, reason = ? "
                "WHERE key = ? AND state = ? AND generation = ?",
                (time.time() + seconds, reason, series.key, series.state, series.generation),
            )

    def series(self, *states: State) -> list[Series]:
        """The series in these states (or all), the one that waits longest first."""
        marks = ", ".join("?" * len(states))
        where = f"WHERE state IN ({marks}) " if states else ""
        with self._lock:
            rows = self._db.execute(
                f"SELECT {_COLUMNS} FROM series {where}ORDER BY changed, key", states
            ).fetchall()
        return [Series(**dict(zip(Series.__dataclass_fields__, row, strict=True))) for row in rows]

    def get(self, key: str) -> Series | None:
        """One series by its key."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM series WHERE key = ?", (key,)
            ).fetchone()
        return row and Series(**dict(zip(Series.__dataclass_fields__, row, strict=True)))

    def due(self, state: State) -> Series | None:
        """The next series to work on in a state."""
        with self._lock:
            row = self._db.execute(
                f"SELECT {_COLUMNS} FROM series WHERE state = ? AND not_before <= ? "
                "ORDER BY changed, key LIMIT 1",
                (state, time.time()),
            ).fetchone()
        return row and Series(**dict(zip(Series.__dataclass_fields__, row, strict=True)))

    def files(self, key: str) -> list[tuple[str, str, str]]:
        """(SOP Instance UID, file, transfer syntax) of a series' objects, in a fixed order."""
        with self._lock:
            return self._db.execute(
                "SELECT uid, file, transfer_syntax FROM instances WHERE series = ? "
                "ORDER BY position_mm, key",
                (key,),
            ).fetchall()

    def geometry(self, key: str) -> tuple[list[float], list[float]]:
        """Slice positions and thicknesses of a series, mm, where objects state them."""
        with self._lock:
            rows = self._db.execute(
                "SELECT position_mm, thickness_mm FROM instances WHERE series = ?", (key,)
            ).fetchall()
        return [p for p, _ in rows if p is not None], [t for _, t in rows if t is not None]

    def known_files(self) -> set[str]:
        """Every file that has a row."""
        with self._lock:
            return {row[0] for row in self._db.execute("SELECT file FROM instances")}

    def is_receiving(self, series_key: str) -> bool:
        """Whether a series is arriving."""
        with self._lock:
            row = self._db.execute(
                "SELECT 1 FROM series WHERE key = ? AND state = 'receiving'", (series_key,)
            ).fetchone()
        return row is not None

    def is_derived(self, series_uid: str) -> bool:
        """Whether a series is one that this node made."""
        with self._lock:
            row = self._db.execute("SELECT 1 FROM made WHERE uid = ?", (series_uid,)).fetchone()
        return row is not None

    def counts(self) -> dict[State, int]:
        """How many series there are in every state."""
        with self._lock:
            rows = self._db.execute("SELECT state, COUNT(*) FROM series GROUP BY state").fetchall()
        return {**dict.fromkeys(STATES, 0), **dict(rows)}

    def unfinished_bytes(self) -> int:
        """Bytes of the objects whose series is not finished."""
        marks = ", ".join("?" * len(UNFINISHED))
        with self._lock:
            row = self._db.execute(
                f"SELECT COALESCE(SUM(bytes), 0) FROM series WHERE state IN ({marks})", UNFINISHED
            ).fetchone()
        return int(row[0])

    def restart_clocks(self) -> None:
        """Give peers that were cut off by a restart time to go on before a series is complete."""
        now = time.time()
        with self._transaction() as db:
            db.execute("UPDATE series SET last_received = ? WHERE state = 'receiving'", (now,))
            db.execute("UPDATE series SET not_before = 0 WHERE not_before > 0")

    def revive(self) -> int:
        """Put every dead series back to where it is worked on; returns how many."""
        with self._transaction() as db:
            return db.execute(
                "UPDATE series SET state = 'complete', attempts = 0, not_before = 0, reason = '', "
                "changed = ? WHERE state = 'dead'",
                (time.time(),),
            ).rowcount

    def forget(self, series: Series) -> bool:
        """Drop the objects of a finished series, so that its files can be removed.

        The row stays, for the record; an object that is sent again starts it anew.
        """
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE series SET state = 'purged', instances = 0, bytes = 0, changed = ? "
                "WHERE key = ? AND state = ? AND generation = ?",
                (time.time(), series.key, series.state, series.generation),
            )
            if changed.rowcount == 1:
                db.execute("DELETE FROM instances WHERE series = ?", (series.key,))
            return changed.rowcount == 1

"""What the watch has seen at a DICOMweb server, on disk, so that a restart goes on with it.

A series that appears is ``settling`` until its number of objects stays the same, ``wanted``,
``fetching``, and ``fetched``; one that grows begins anew. ``before`` are those that the server had
when the watch began, ``skipped`` those that are here already or were made by HRINet, ``refused``
those that cannot be fetched, ``gone`` those that the server has no longer.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hrinet.errors import InputError
from hrinet.node.web import Found

State = Literal["before", "settling", "wanted", "fetching", "fetched", "skipped", "refused", "gone"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE servers (url TEXT PRIMARY KEY, begun REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE series (
    server TEXT NOT NULL, uid TEXT NOT NULL, study TEXT NOT NULL, description TEXT NOT NULL,
    state TEXT NOT NULL, instances INTEGER NOT NULL, changed REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, not_before REAL NOT NULL DEFAULT 0,
    PRIMARY KEY (server, uid)
) WITHOUT ROWID;
CREATE INDEX series_open ON series (server, attempts, changed)
    WHERE state IN ('settling', 'wanted', 'fetching');
"""
_OPEN = "state IN ('settling', 'wanted', 'fetching')"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A series to fetch.

    Attributes:
        found: as the server told of it.
        is_begun: whether some of it may be here already.
        attempts: failed ones.
    """

    found: Found
    is_begun: bool
    attempts: int


class Seen:
    """The series of one server; every method may be called from any thread.

    Args:
        path: of the SQLite file; made if absent.
        server: URL.

    Raises:
        InputError: if the file is of a newer version, or something else.
    """

    def __init__(self, path: Path, server: str) -> None:
        self._server = server
        self._lock = threading.RLock()
        try:
            self._db = sqlite3.connect(
                path, timeout=30.0, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version == 0:
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
            elif version != _VERSION:
                raise InputError(
                    f"{path}: is of version {version}, expected {_VERSION}; use the HRINet that "
                    "made it, or another --store"
                )
        except sqlite3.DatabaseError as error:
            raise InputError(
                f"{path}: cannot be opened ({error}); move it away, and the watch begins anew"
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
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def is_begun(self) -> bool:
        """Whether everything that the server had at first was noted."""
        with self._lock:
            row = self._db.execute(
                "SELECT 1 FROM servers WHERE url = ?", (self._server,)
            ).fetchone()
        return row is not None

    def begin(self, now: float) -> None:
        """Note that the watch has begun."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO servers VALUES (?, ?)", (self._server, now))

    def note(
        self,
        page: Sequence[Found],
        *,
        now: float,
        settle_s: float,
        is_first: bool,
        takes_old: bool,
        skips: Callable[[Found, bool], bool],
    ) -> int:
        """Compare what the server has with what is known of it.

        Args:
            page: of an answer of the server.
            now: Unix time.
            settle_s: how long a number of objects must stay the same.
            is_first: whether unknown series were there before the watch.
            takes_old: whether such series are wanted still.
            skips: whether a series is not to be fetched; told whether it is unknown so far.

        Returns:
            How many series appeared or grew.
        """
        count = 0
        with self._transaction() as db:
            for one in page:
                row = db.execute(
                    "SELECT state, instances, changed FROM series WHERE server = ? AND uid = ?",
                    (self._server, one.series),
                ).fetchone()
                instances = one.instances or 0
                changed = now
                state: State
                if row is None:
                    state = "before" if is_first else "settling"
                    if skips(one, True):
                        state = "skipped"
                else:
                    state, known, since = row
                    is_old = state == "before"
                    is_wanted = instances > known or state == "gone" or (is_old and takes_old)
                    if state == "fetching":
                        # What is here of it waits until all has come, however much it is.
                        if instances == known:
                            continue
                    elif is_wanted:
                        state = "skipped" if skips(one, is_old) else "settling"
                    elif state == "settling" and now - since >= settle_s:
                        state = "wanted"
                    elif instances == known:
                        continue
                    else:
                        changed = since
                count += state == "settling" and changed == now
                db.execute(
                    "INSERT INTO series (server, uid, study, description, state, instances, "
                    "changed) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (server, uid) DO UPDATE "
                    "SET study = excluded.study, description = excluded.description, "
                    "state = excluded.state, instances = excluded.instances, "
                    "changed = excluded.changed, attempts = 0, not_before = 0",
                    (
                        self._server,
                        one.series,
                        one.study,
                        one.description,
                        state,
                        instances,
                        changed,
                    ),
                )
        return count

    def open_uids(self) -> set[str]:
        """The series that are settling or to be fetched."""
        with self._lock:
            rows = self._db.execute(
                f"SELECT uid FROM series WHERE server = ? AND {_OPEN}", (self._server,)
            ).fetchall()
        return {row[0] for row in rows}

    def due(self, now: float) -> Wanted | None:
        """The next series to fetch; those that failed come last."""
        with self._lock:
            row = self._db.execute(
                "SELECT study, uid, description, instances, state, attempts FROM series "
                f"WHERE server = ? AND {_OPEN} AND state != 'settling' AND not_before <= ? "
                "ORDER BY attempts, changed LIMIT 1",
                (self._server, now),
            ).fetchone()
        if row is None:
            return None
        study, uid, description, instances, state, attempts = row
        found = Found(
            study=study,
            series=uid,
            modality="CT",
            description=description,
            instances=instances or None,
        )
        return Wanted(found=found, is_begun=state == "fetching", attempts=attempts)

    def set(self, uid: str, state: State, *, instances: int = 0) -> None:
        """Commit the next state; the number of objects only grows."""
        with self._transaction() as db:
            db.execute(
                "UPDATE series SET state = ?, instances = MAX(instances, ?) "
                "WHERE server = ? AND uid = ?",
                (state, instances, self._server, uid),
            )

    def postpone(self, uid: str, *, until: float) -> None:
        """Count a failed attempt, and try again later."""
        with self._transaction() as db:
            db.execute(
                "UPDATE series SET attempts = attempts + 1, not_before = ? "
                "WHERE server = ? AND uid = ?",
                (until, self._server, uid),
            )

    def expected(self, uid: str) -> tuple[bool, int | None]:
        """Whether a series is being fetched, and the number of objects that it should have.

        Where the fetch failed, it counts as going on until it is done or given up.
        """
        with self._lock:
            row = self._db.execute(
                "SELECT state, instances FROM series WHERE server = ? AND uid = ? "
                "AND state IN ('fetching', 'fetched')",
                (self._server, uid),
            ).fetchone()
        return (row[0] == "fetching", row[1] or None) if row else (False, None)

"""Group commit: objects that arrive at the same time share one wait for the disk."""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from pathlib import Path

from hrinet.node.objects import sync_folder
from hrinet.node.queue import Arrival, Outcome, Queue

_MAX_BATCH = 64


class Committer:
    """A thread that makes arrivals durable, as many at once as wait.

    Folders are synced before the rows are committed, so that no row names a file that could be
    gone after a crash.

    Args:
        rows: the queue.
        root: of the objects.
    """

    def __init__(self, rows: Queue, root: Path) -> None:
        self._rows = rows
        self._root = root
        self._waiting: queue.SimpleQueue[tuple[Arrival, Future[Outcome]] | None] = (
            queue.SimpleQueue()
        )
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._thread.start()

    def commit(self, arrival: Arrival) -> Outcome:
        """Wait until an object is durable.

        Raises:
            OSError: if the disk fails.
            sqlite3.Error: if the queue cannot be written.
        """
        future: Future[Outcome] = Future()
        self._waiting.put((arrival, future))
        return future.result()

    @property
    def is_alive(self) -> bool:
        """Whether it still works."""
        return self._thread.is_alive()

    def close(self) -> None:
        """Finish what waits, and stop."""
        self._waiting.put(None)
        self._thread.join()

    def _run(self) -> None:
        while True:
            batch = []
            item = self._waiting.get()
            while item is not None:
                batch.append(item)
                if len(batch) == _MAX_BATCH:
                    break
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
            if batch:
                self._commit(batch)
            if item is None:
                return

    def _commit(self, batch: list[tuple[Arrival, Future[Outcome]]]) -> None:
        try:
            for folder in {(self._root / arrival.file).parent for arrival, _ in batch}:
                sync_folder(folder)
            outcomes = self._rows.add([arrival for arrival, _ in batch])
        except Exception as error:
            for _, future in batch:
                future.set_exception(error)
            return
        for (_, future), outcome in zip(batch, outcomes, strict=True):
            future.set_result(outcome)

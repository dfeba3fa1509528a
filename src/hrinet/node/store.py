"""The store's folders, and the effects of the steps on them; every effect can be repeated.

``objects/`` holds what was received, ``work/`` the input and output of the task at hand,
``derived/`` results that wait for the peer, ``dead/`` series that could not be worked on, and
``queue.sqlite3`` what belongs to what. All lie on one disk, so that links and renames work.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from hrinet.errors import RequestError, RunError
from hrinet.node.objects import ObjectFolder, sync_folder
from hrinet.node.queue import Queue, Series

_FOLDERS = ("objects", "work", "derived", "dead")


class Store:
    """An open store; one node at a time.

    Args:
        root: the folder; made if absent, readable for its owner only.
        min_free_bytes: see :class:`hrinet.node.objects.ObjectFolder`.

    Raises:
        RequestError: if another node uses it, or it cannot be made.
        InputError: if its queue is damaged.
    """

    def __init__(self, root: Path, *, min_free_bytes: int = 0) -> None:
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            for name in _FOLDERS:
                (root / name).mkdir(exist_ok=True, mode=0o700)
            self._lock = os.open(root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise RequestError(f"{root}: cannot be made a store: {error.strerror}") from error
        try:
            import fcntl

            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass  # Windows has no such lock; two nodes would fail on the port.
        except OSError as error:
            os.close(self._lock)
            raise RequestError(f"{root}: is in use by another node; stop that first") from error
        self.root = root
        self.objects = ObjectFolder(root / "objects", min_free_bytes=min_free_bytes)
        try:
            self.rows = Queue(root / "queue.sqlite3")
        except BaseException:
            os.close(self._lock)
            raise
        sync_folder(root)

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the queue and let another node in."""
        self.rows.close()
        os.close(self._lock)

    def clean(self) -> int:
        """Remove what a killed node left half-done; nothing of it was acknowledged.

        Returns:
            How many received files there were without a row.
        """
        count = self.objects.remove_unknown(self.rows.known_files())
        for path in (self.root / "work").iterdir():
            shutil.rmtree(path)
        kept = {series.derived for series in self.rows.series() if series.derived}
        for path in (self.root / "derived").iterdir():
            if f"derived/{path.name}" not in kept:
                shutil.rmtree(path)
        self.rows.restart_clocks()
        return count

    def object_paths(self, series: Series) -> list[Path]:
        """The received files of a series."""
        return [self.objects.root / file for _, file, _ in self.rows.files(series.key)]

    def derived_paths(self, series: Series) -> list[Path]:
        """The files of a result, in the order of their names."""
        return sorted(path for path in (self.root / series.derived).rglob("*.dcm"))

    def stage(self, series: Series) -> tuple[Path, Path]:
        """Lay out a task: a folder with links to the objects, and a path for the result."""
        folder = self.root / "work" / series.key
        if folder.exists():
            shutil.rmtree(folder)
        source = folder / "input"
        source.mkdir(parents=True)
        for number, path in enumerate(self.object_paths(series)):
            os.link(path, source / f"{number:05d}.dcm")
        return source, folder / "output" / "series"

    def unstage(self, series: Series) -> None:
        """Remove what :meth:`stage` laid out."""
        shutil.rmtree(self.root / "work" / series.key, ignore_errors=True)

    def keep_result(self, series: Series, output: Path) -> tuple[str, str]:
        """Bring a result to the disk and to its place.

        Returns:
            Its folder below the store, and its Series Instance UID.

        Raises:
            RunError: if it holds no DICOM series.
            OSError: if the disk fails.
        """
        from pydicom import dcmread
        from pydicom.errors import InvalidDicomError

        files = sorted(output.rglob("*.dcm")) if output.is_dir() else []
        if not files:
            raise RunError("the work left no derived series")
        try:
            uid = str(dcmread(files[0], specific_tags=["SeriesInstanceUID"]).SeriesInstanceUID)
        except (InvalidDicomError, AttributeError) as error:
            raise RunError("the work left something that is no DICOM series") from error
        for path in files:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
        sync_folder(output)
        place = self.root / "derived" / f"{series.key}-{series.generation}"
        if place.exists():
            shutil.rmtree(place)
        output.rename(place)
        sync_folder(place.parent)
        return f"derived/{place.name}", uid

    def drop_result(self, derived: str) -> None:
        """Remove a result that is of no use any more."""
        if derived:
            shutil.rmtree(self.root / derived, ignore_errors=True)

    def bury(self, series: Series, *, step: str, reason: str) -> None:
        """Make a dead letter: the objects (links, which cost no space) and ``reason.json``."""
        grave = self.root / "dead" / series.key
        grave.mkdir(exist_ok=True)
        for number, path in enumerate(self.object_paths(series)):
            with contextlib.suppress(FileExistsError):
                os.link(path, grave / f"{number:05d}.dcm")
        text = json.dumps(
            {
                "series": series.key,
                "series_instance_uid": series.uid,
                "step": step,
                "reason": reason,
                "attempts": series.attempts + 1,
                "objects": series.instances,
                "calling_ae": series.calling,
                "time": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            indent=2,
        )
        temporary = grave / ".reason.json.tmp"
        with temporary.open("w", encoding="utf-8") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(grave / "reason.json")
        sync_folder(grave)
        sync_folder(grave.parent)

    def exhume(self, series: Series) -> None:
        """Remove the dead letter of a series that came to life again."""
        shutil.rmtree(self.root / "dead" / series.key, ignore_errors=True)

    def purge(self, series: Series) -> bool:
        """Remove objects and result of a finished series; False if it changed meanwhile."""
        paths = self.object_paths(series)
        if not self.rows.forget(series):
            return False
        for path in paths:
            path.unlink(missing_ok=True)
        self.drop_result(series.derived)
        return True

    def purge_older(self, *, seconds: float) -> int:
        """Purge what was sent so long ago; returns how many series."""
        limit = time.time() - seconds
        old = [series for series in self.rows.series("sent") if series.changed < limit]
        return sum(self.purge(series) for series in old)

"""Output files that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from types import TracebackType

from hrinet.errors import RequestError, RunError


class Staging:
    """A set of output files that are written under temporary names and published together.

    Use as a context manager: leaving it normally flushes every file to disk and renames it to its
    final name, in the order in which the paths were asked for; leaving it by any exception,
    Ctrl-C included, removes the temporary files. A killed process leaves at most a hidden
    ``.NAME.XXXXXXXX.tmp``, never a partial file under a final name.

    Args:
        overwrite: whether existing files may be replaced.
    """

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._staged: list[tuple[Path, Path]] = []

    def path(self, final: Path) -> Path:
        """The temporary path to write ``final`` under.

        Raises:
            RequestError: if ``final`` exists and may not be overwritten, is a folder, lies in a
                folder that does not exist or cannot be written, or was asked for before.
        """
        if any(final == other for _, other in self._staged):
            raise RequestError(f"{final}: asked for as two outputs; give them different names")
        if final.is_dir():
            raise RequestError(f"{final}: is a folder, expected a file name")
        if final.exists() and not self._overwrite:
            raise RequestError(f"{final}: exists already; pass --overwrite to replace it")
        if not final.parent.is_dir():
            raise RequestError(f"{final}: its folder {final.parent} does not exist; create it")
        temporary = final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"
        try:
            temporary.touch(exist_ok=False)
        except OSError as error:
            raise RequestError(f"{final}: cannot be written: {error.strerror}") from error
        self._staged.append((temporary, final))
        return temporary

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._publish()
        finally:
            for temporary, _ in self._staged:
                temporary.unlink(missing_ok=True)
            self._staged.clear()

    def _publish(self) -> None:
        try:
            for temporary, _ in self._staged:
                _flush(temporary)
            for temporary, final in self._staged:
                temporary.replace(final)
            for folder in {final.parent for _, final in self._staged}:
                _flush_folder(folder)
        except OSError as error:
            raise RunError(f"the output could not be finished: {error.strerror}") from error


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle for a folder; its renames are journalled.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

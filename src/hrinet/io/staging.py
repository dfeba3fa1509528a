"""Output files and folders that appear complete or not at all."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType

from hrinet.errors import RequestError, RunError

_TO_REPLACE = "pass --overwrite (in Python overwrite=True) to replace it"


class Staging:
    """A set of outputs that are written under temporary names and published together.

    Use as a context manager: leaving it normally flushes every file to disk and renames it to its
    final name, in the order in which the paths were asked for; leaving it by any exception,
    Ctrl-C included, removes the temporary files. A killed process leaves at most a hidden
    ``.NAME.XXXXXXXX.tmp``, never a partial file or folder under a final name.

    Args:
        overwrite: whether existing files may be replaced.
    """

    def __init__(self, *, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._staged: list[tuple[Path, Path]] = []

    def check(self, final: Path) -> None:
        """Refuse what :meth:`path` would refuse of a file, but for one that cannot be created.

        Raises:
            RequestError: if ``final`` exists and may not be overwritten, is a folder, lies in a
                folder that does not exist, or was asked for before, by this path or another that
                leads there.
        """
        self._check_new(final)
        if final.is_dir():
            raise RequestError(f"{final}: is a folder, expected a file name")
        if final.exists() and not self._overwrite:
            raise RequestError(f"{final}: exists already; {_TO_REPLACE}")

    def path(self, final: Path) -> Path:
        """The temporary path to write ``final`` under.

        Raises:
            RequestError: as :meth:`check` does, or if ``final`` cannot be written.
        """
        self.check(final)
        return self._stage(final, lambda temporary: temporary.touch(exist_ok=False))

    def folder(self, final: Path, *, replaces: Callable[[Path], bool]) -> Path:
        """The temporary folder to write the files of ``final`` into.

        Args:
            final: the folder; it may exist if it is empty.
            replaces: whether a file in an existing folder is one that such an output consists of.
                Nothing else is ever deleted, with ``overwrite`` or without.

        Raises:
            RequestError: as :meth:`path` does, or if ``final`` exists and holds anything else.
        """
        self._check_new(final)
        if final.exists() and not final.is_dir():
            raise RequestError(f"{final}: is a file, expected a folder")
        if final.is_symlink():
            raise RequestError(f"{final}: is a link to a folder; give the folder itself")
        inside = sorted(final.iterdir()) if final.is_dir() else []
        foreign = [path for path in inside if not path.is_file() or not replaces(path)]
        if foreign:
            raise RequestError(
                f"{final}: holds {foreign[0].name!r}, which is no part of such an output and would "
                "be lost; choose another folder"
            )
        if inside and not self._overwrite:
            raise RequestError(f"{final}: exists already and is not empty; {_TO_REPLACE}")
        return self._stage(final, Path.mkdir)

    def _check_new(self, final: Path) -> None:
        # Places, not names: a link or '..' leads to the same file.
        place = os.path.realpath(final)
        if any(place == os.path.realpath(other) for _, other in self._staged):
            raise RequestError(f"{final}: asked for as two outputs; give them different names")
        if not final.parent.is_dir():
            raise RequestError(f"{final}: its folder {final.parent} does not exist; create it")

    def _stage(self, final: Path, create: Callable[[Path], None]) -> Path:
        temporary = _hidden(final)
        try:
            create(temporary)
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
                _remove(temporary)
            self._staged.clear()

    def _publish(self) -> None:
        try:
            for temporary, _ in self._staged:
                _flush(temporary)
            for temporary, final in self._staged:
                _replace(temporary, final)
            for folder in {final.parent for _, final in self._staged}:
                _flush_folder(folder)
        except OSError as error:
            raise RunError(f"the output could not be finished: {error.strerror}") from error


def _hidden(final: Path) -> Path:
    return final.parent / f".{final.name}.{secrets.token_hex(4)}.tmp"


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _replace(temporary: Path, final: Path) -> None:
    """Give an output its final name. A folder that is there already steps aside first."""
    if not temporary.is_dir() or not final.is_dir():
        temporary.replace(final)
        return
    old = _hidden(final)
    final.rename(old)
    try:
        temporary.rename(final)
    except OSError:
        old.rename(final)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _flush(path: Path) -> None:
    for file_path in _files(path):
        with file_path.open("rb+") as file:
            os.fsync(file.fileno())
    if path.is_dir():
        _flush_folder(path)


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from path.iterdir()
    else:
        yield path


def _flush_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows has no handle for a folder; its renames are journalled.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

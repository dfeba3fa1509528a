"""Folders for output, made without leaving empty ones behind; needs no torch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from hrinet.errors import RequestError


@contextmanager
def new_folder(folder: Path) -> Iterator[None]:
    """Make a folder, and remove it again if the block fails and leaves nothing in it.

    Args:
        folder: made with its parents; may exist.

    Raises:
        RequestError: if it cannot be made.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        make_folder(folder)
        yield
    except BaseException:
        for path in made:
            with suppress(OSError):  # as it holds something
                path.rmdir()
        raise


def make_folder(folder: Path) -> None:
    """Make a folder with its parents; it may exist.

    Raises:
        RequestError: if it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RequestError(f"{folder}: cannot be made: {error.strerror}") from error


def require_no_file(folder: Path) -> None:
    """Refuse a folder that could not be made, for what is on the way is a file.

    Raises:
        RequestError: naming the file.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise RequestError(f"{folder}: cannot be made: {there} is a file, expected a folder")

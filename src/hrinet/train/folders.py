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
    with _said_of(folder):
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
    with _said_of(folder):
        folder.mkdir(parents=True, exist_ok=True)


def require_no_file(folder: Path) -> None:
    """Refuse a folder that could not be made, for what is on the way is a file.

    Raises:
        RequestError: naming the file, or saying why the folder cannot be looked for.
    """
    with _said_of(folder):
        there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        is_folder = there.is_dir()
    if not is_folder:
        raise RequestError(f"{folder}: cannot be made: {there} is a file, expected a folder")


@contextmanager
def _said_of(folder: Path) -> Iterator[None]:
    """Say in one sentence why a folder cannot be made, or not even be looked for."""
    try:
        yield
    except OSError as error:
        raise RequestError(f"{folder}: cannot be made: {error.strerror}") from error

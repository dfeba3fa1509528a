"""Finding the files of a DICOM input: one file, a folder of any depth, or a zip."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import BinaryIO, Protocol

from hrinet.errors import InputError, LimitError
from hrinet.io.limits import Limits


class DicomFile(Protocol):
    """A readable file on disk or in a zip.

    Attributes:
        name: the path below the input, for messages.
    """

    @property
    def name(self) -> str: ...

    def open(self) -> BinaryIO:
        """Open for reading; reads never ask for more bytes than the file has.

        Raises:
            InputError: if the file cannot be read.
        """
        ...


class _BoundedReader(io.BufferedReader):
    """A file whose ``read(n)`` cannot be made to allocate more than the file holds.

    A damaged element may declare 4 GB; the plain reader would allocate that before noticing.
    """

    def __init__(self, path: Path) -> None:
        raw = io.FileIO(path)
        super().__init__(raw)
        self._size = os.fstat(raw.fileno()).st_size

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > 4096:
            size = max(min(size, self._size - self.tell()), 0)
        return super().read(size)


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file on disk."""

    path: Path
    name: str

    def open(self) -> BinaryIO:
        """See :meth:`DicomFile.open`."""
        try:
            return _BoundedReader(self.path)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened: {error.strerror}") from error


class ZipEntry:
    """A file in a zip; nothing is ever extracted to disk, so its name cannot escape anywhere."""

    def __init__(
        self, archive: zipfile.ZipFile, info: zipfile.ZipInfo, lock: Lock, name: str
    ) -> None:
        self._archive = archive
        self._info = info
        self._lock = lock
        self.name = name

    def open(self) -> BinaryIO:
        """See :meth:`DicomFile.open`."""
        # The central directory may lie about the size: read no more than it declares.
        size = self._info.file_size
        try:
            with self._lock, self._archive.open(self._info) as entry:
                data = entry.read(size)
        except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{self.name}: cannot be read from the zip: {error}") from error
        except Exception as error:  # zlib.error, lzma.LZMAError: damaged compressed data
            raise InputError(f"{self.name}: is damaged in the zip: {error}") from error
        return io.BytesIO(data)


def find_files(path: Path, *, limits: Limits) -> Iterator[DicomFile]:
    """Every regular file of an input, in a stable order.

    Args:
        path: a file, a folder (any nesting; links to folders are not followed) or a zip.
        limits: bounds on the number of files and what zip entries may inflate to.

    Raises:
        InputError: if the zip is damaged or encrypted.
        LimitError: if the input is beyond the limits.
    """
    if path.is_dir():
        yield from _folder_files(path, limits)
    elif zipfile.is_zipfile(path):
        yield from _zip_entries(path, limits)
    else:
        yield DiskFile(path, path.name)


def _folder_files(folder: Path, limits: Limits) -> Iterator[DicomFile]:
    count = 0
    for root, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            if name.startswith("."):
                continue
            path = Path(root, name)
            try:
                if not stat.S_ISREG(path.stat().st_mode):
                    continue  # Opening a pipe or a device could wait for ever.
            except OSError:
                continue
            count += 1
            if count > limits.max_files:
                raise LimitError(f"{folder}: holds more than {limits.max_files} files")
            yield DiskFile(path, str(path.relative_to(folder)))


def _zip_entries(path: Path, limits: Limits) -> Iterator[DicomFile]:
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise InputError(f"{path}: is not a readable zip: {error}") from error
    entries = [entry for entry in archive.infolist() if not entry.is_dir()]
    if len(entries) > limits.max_files:
        raise LimitError(f"{path}: holds {len(entries)} files, the limit is {limits.max_files}")
    lock = Lock()
    for entry in sorted(entries, key=lambda entry: entry.filename):
        name = f"{path.name}/{entry.filename}"
        base = entry.filename.rsplit("/", 1)[-1]
        if base.startswith(".") or entry.filename.startswith("__MACOSX/"):
            continue
        if entry.flag_bits & 1:
            raise InputError(f"{name}: is encrypted; extract the zip with its password first")
        ratio = entry.file_size / max(entry.compress_size, 1)
        if entry.file_size > limits.max_inflated_bytes or (
            entry.file_size > 1 << 20 and ratio > limits.max_inflation_ratio
        ):
            raise LimitError(
                f"{name}: would inflate from {entry.compress_size} to {entry.file_size} bytes; the "
                f"limits are {limits.max_inflated_bytes} bytes and "
                f"{limits.max_inflation_ratio:.0f} times"
            )
        yield ZipEntry(archive, entry, lock, name)

"""Finding the files of a DICOM input: one file, a folder of any depth, or a zip."""

from __future__ import annotations

import io
import os
import stat
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from hrinet.errors import InputError, LimitError
from hrinet.io.limits import MIB, Limits
from hrinet.printable import printable

_CHUNK = 64 * 1024
MAX_INFLATED_HEADER = 256 * MIB
"""What may be inflated to find a file's pixel data; 50 000 frames need 100 MiB."""


class DicomFile(Protocol):
    """A readable file on disk or in a zip.

    Attributes:
        name: the path below the input, for messages.
        size: bytes.
        is_inflated_on_open: whether opening costs as much as reading the whole file.
    """

    @property
    def name(self) -> str:
        """See above."""
        ...

    @property
    def size(self) -> int:
        """See above."""
        ...

    @property
    def is_inflated_on_open(self) -> bool:
        """See above."""
        ...

    def open(self) -> BinaryIO:
        """Open for reading; reads never allocate more bytes than the file has.

        Raises:
            InputError: if the file cannot be read.
        """
        ...

    def open_header(self) -> BinaryIO:
        """Open for reading the first part only; no more than is asked for gets inflated.

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


class LazyReader(io.RawIOBase):
    """Random access to bytes that can only be produced forwards, no further than is asked for."""

    def __init__(self, chunks: Iterator[bytes], *, subject: str, limit: int) -> None:
        super().__init__()
        self._chunks = chunks
        self._subject = subject
        self._limit = limit
        self._data = bytearray()
        self._position = 0

    def _grow(self, size: int) -> None:
        while len(self._data) < size:
            chunk = next(self._chunks, b"")
            if not chunk:
                return
            self._data += chunk
            if len(self._data) > self._limit:
                raise LimitError(
                    f"{self._subject}: inflates to more than {self._limit} bytes, the limit here"
                )

    def read(self, size: int = -1, /) -> bytes:
        """See :meth:`io.RawIOBase.read`."""
        self._grow(self._limit + 1 if size < 0 else self._position + size)
        end = len(self._data) if size < 0 else self._position + size
        data = bytes(self._data[self._position : end])
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        """See :meth:`io.IOBase.seek`; the end is only found by producing everything."""
        if whence == os.SEEK_END:
            self._grow(self._limit + 1)
        self._position = offset + (0, self._position, len(self._data))[whence]
        return self._position

    def tell(self) -> int:
        """See :meth:`io.IOBase.tell`."""
        return self._position

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True


@dataclass(frozen=True, slots=True)
class DiskFile:
    """A file on disk."""

    path: Path
    name: str
    is_inflated_on_open: bool = False

    @property
    def size(self) -> int:
        """See :class:`DicomFile`."""
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened: {error.strerror}") from error

    def open(self) -> BinaryIO:
        """See :meth:`DicomFile.open`."""
        try:
            return _BoundedReader(self.path)
        except OSError as error:
            raise InputError(f"{self.name}: cannot be opened: {error.strerror}") from error

    def open_header(self) -> BinaryIO:
        """See :meth:`DicomFile.open_header`."""
        return self.open()


@dataclass(frozen=True, slots=True)
class MemoryFile:
    """An inflated file, kept because its many frames would each inflate it anew."""

    name: str
    data: bytes
    is_inflated_on_open: bool = False

    @property
    def size(self) -> int:
        """See :class:`DicomFile`."""
        return len(self.data)

    def open(self) -> BinaryIO:
        """See :meth:`DicomFile.open`."""
        return io.BytesIO(self.data)

    def open_header(self) -> BinaryIO:
        """See :meth:`DicomFile.open_header`."""
        return self.open()


class _Archive:
    """An open zip, and how much its entries inflated to while their headers were read."""

    def __init__(self, path: Path) -> None:
        self.zip = zipfile.ZipFile(path)
        self.inflated = 0


class ZipEntry:
    """A file in a zip; nothing is ever extracted to disk, so its name cannot escape anywhere."""

    is_inflated_on_open = True

    def __init__(self, archive: _Archive, info: zipfile.ZipInfo, name: str) -> None:
        self._archive = archive
        self._info = info
        self.name = name

    @property
    def size(self) -> int:
        """See :class:`DicomFile`."""
        return self._info.file_size

    def open(self) -> BinaryIO:
        """See :meth:`DicomFile.open`."""
        # The directory may lie about the size: zipfile reads no more than it declares.
        return io.BytesIO(b"".join(self._chunks()))

    def open_header(self) -> BinaryIO:
        """See :meth:`DicomFile.open_header`."""

        def counted() -> Iterator[bytes]:
            for chunk in self._chunks():
                self._archive.inflated += len(chunk)
                yield chunk

        return cast(BinaryIO, LazyReader(counted(), subject=self.name, limit=MAX_INFLATED_HEADER))

    def _chunks(self) -> Iterator[bytes]:
        size = 4096  # Enough to tell what is no DICOM; then in growing steps.
        try:
            with self._archive.zip.open(self._info) as entry:
                while chunk := entry.read(size):
                    yield chunk
                    size = min(size * 4, 16 * _CHUNK)
        except NotImplementedError as error:
            raise InputError(
                f"{self.name}: is compressed in a way that cannot be read; make the zip anew "
                "with the usual compression (deflate)"
            ) from error
        except Exception as error:  # BadZipFile, zlib.error, LZMAError, EOFError, OSError ...
            raise InputError(
                f"{self.name}: is damaged in the zip; make or copy the zip anew"
            ) from error


def find_files(path: Path, *, limits: Limits) -> Iterator[DicomFile]:
    """Every regular file of an input, in a stable order.

    Args:
        path: a file, a folder (any nesting; links to folders are not followed) or a zip.
        limits: bounds on the number of files and what zip entries may inflate to.

    Raises:
        InputError: if the zip is damaged or encrypted, or the path is a pipe or a device.
        LimitError: if the input is beyond the limits.
    """
    if path.is_dir():
        yield from _folder_files(path, limits)
        return
    if not path.is_file():
        raise InputError(f"{path}: is neither a file nor a folder")  # A pipe could block for ever.
    try:
        with path.open("rb") as stream:
            head = stream.read(132)
    except OSError as error:
        raise InputError(f"{path}: cannot be opened: {error.strerror}") from error
    if head[:2] == b"PK" and head[128:] != b"DICM":
        yield from _zip_entries(path, limits)
    else:
        yield DiskFile(path, path.name)


def _folder_files(folder: Path, limits: Limits) -> Iterator[DicomFile]:
    count = 0
    unreadable: list[OSError] = []
    for root, folders, names in os.walk(folder, onerror=unreadable.append, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
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
    for error in unreadable:
        # Opening it fails with the reason, so that slices behind it are not missed in silence.
        path = Path(error.filename or folder)
        yield DiskFile(path, str(path.relative_to(folder)))


def _zip_entries(path: Path, limits: Limits) -> Iterator[DicomFile]:
    try:
        archive = _Archive(path)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise InputError(
            f"{path}: is a zip that is damaged or cut off; copy or download it again"
        ) from error
    entries = [entry for entry in archive.zip.infolist() if not entry.is_dir()]
    if len(entries) > limits.max_files:
        raise LimitError(f"{path}: holds {len(entries)} files, the limit is {limits.max_files}")
    for entry in sorted(entries, key=lambda entry: entry.filename):
        name = f"{path.name}/{printable(entry.filename)}"
        parts = entry.filename.split("/")
        if any(part.startswith(".") and part not in (".", "..") for part in parts):
            continue
        if parts[0] == "__MACOSX":
            continue
        if entry.flag_bits & 1:
            raise InputError(f"{name}: is encrypted; extract the zip with its password first")
        ratio = entry.file_size / max(entry.compress_size, 1)
        if entry.file_size > limits.max_inflated_bytes or (
            entry.file_size > MIB and ratio > limits.max_inflation_ratio
        ):
            raise LimitError(
                f"{name}: would inflate from {entry.compress_size} to {entry.file_size} bytes; the "
                f"limits are {limits.max_inflated_bytes} bytes and "
                f"{limits.max_inflation_ratio:.0f} times"
            )
        if archive.inflated > limits.max_inflated_bytes:
            raise LimitError(
                f"{path}: the headers in it inflate to more than {limits.max_inflated_bytes} bytes"
            )
        yield ZipEntry(archive, entry, name)

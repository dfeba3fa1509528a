"""Compressed bytes read forwards in bounded memory, and gzip written by several threads."""

from __future__ import annotations

import bz2
import io
import os
from pathlib import Path
from typing import Any, BinaryIO, Literal, cast

from isal import igzip, igzip_threaded, isal_zlib

from hrinet.errors import InputError

Encoding = Literal["raw", "gzip", "zlib", "bzip2"]
"""How the bytes of the voxels are packed."""

GZIP_MAGIC = b"\x1f\x8b"

MAX_DEFLATE_RATIO = 1032
"""Deflate (RFC 1951) packs at most 258 bytes into 2 bits, so nothing expands further than this."""

_CHUNK = 1 << 16
_BLOCK = 1 << 20
_LEVEL = 2
_THREADS = max(2, min(4, os.cpu_count() or 1))
_untyped_igzip: Any = igzip
_untyped_igzip_threaded: Any = igzip_threaded
_DAMAGE: tuple[type[Exception], ...] = (
    OSError,
    EOFError,
    ValueError,
    cast("type[Exception]", isal_zlib.error),
)


class InflateStream:
    """A forward-only reader of a compressed part of a file.

    It inflates only what is asked for, so memory does not depend on what the file claims.

    Args:
        path: the file.
        offset: where the compressed bytes begin.
        encoding: ``gzip`` (several members are read as one), ``zlib`` or ``bzip2``.
        subject: what to call the file in messages.

    Raises:
        InputError: if the file cannot be opened.
    """

    def __init__(self, path: Path, *, offset: int, encoding: Encoding, subject: str) -> None:
        self._subject = subject
        self._encoding = encoding
        try:
            self._file = path.open("rb")
            self._file.seek(offset)
        except OSError as error:
            raise InputError(f"{subject}: cannot be read: {error.strerror}") from error
        self._reader = _inflater(self._file, encoding)

    def read(self, count: int) -> bytes:
        """At most ``count`` bytes, fewer only at the end of the data.

        Raises:
            InputError: if the compressed data are damaged or truncated.
        """
        parts: list[bytes] = []
        while count > 0:
            try:
                part = self._reader.read(min(count, _BLOCK))
            except _DAMAGE as error:
                raise self._damaged(str(error)) from error
            if not part:
                break
            parts.append(part)
            count -= len(part)
        return b"".join(parts)

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer of bytes whole.

        Raises:
            InputError: if the compressed data are damaged, or end before the buffer is full.
        """
        done = 0
        while done < len(buffer):
            try:
                count = self._reader.readinto(buffer[done : done + _BLOCK])
            except _DAMAGE as error:
                raise self._damaged(str(error)) from error
            if not count:
                raise self._damaged("the data end too early")
            done += count

    def skip(self, count: int) -> None:
        """Inflate ``count`` bytes and drop them.

        Raises:
            InputError: as :meth:`fill`.
        """
        scratch = memoryview(bytearray(min(count, _BLOCK)))
        while count > 0:
            size = min(count, _BLOCK)
            self.fill(scratch[:size])
            count -= size

    def finish(self) -> None:
        """Check what follows the last byte of the voxels: the checksum, where they end the data.

        Raises:
            InputError: if the checksum is wrong or missing.
        """
        self.read(1)

    def close(self) -> None:
        """Release the file; harmless when repeated."""
        self._reader.close()
        self._file.close()

    def _damaged(self, reason: str) -> InputError:
        return InputError(
            f"{self._subject}: its {self._encoding} data are damaged or truncated "
            f"({reason.rstrip('.')}); copy or export the file again"
        )


class _ZlibReader(io.RawIOBase):
    """A zlib stream (RFC 1950) as a readable file, which Python has for gzip only."""

    def __init__(self, file: BinaryIO) -> None:
        super().__init__()
        self._file = file
        self._inflate = isal_zlib.decompressobj()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self._inflate.eof and len(buffer):
            packed = self._inflate.unconsumed_tail or self._file.read(_CHUNK)
            data = self._inflate.decompress(packed, len(buffer))
            if data:
                buffer[: len(data)] = data
                return len(data)
            if not packed:
                raise EOFError("the stream ends before its end marker")
        return 0


def _inflater(file: BinaryIO, encoding: Encoding) -> io.BufferedIOBase:
    if encoding == "gzip":
        return cast("io.BufferedIOBase", _untyped_igzip.IGzipFile(fileobj=file, mode="rb"))
    if encoding == "bzip2":
        return cast("io.BufferedIOBase", bz2.BZ2File(file, "rb"))
    return io.BufferedReader(_ZlibReader(file), _CHUNK)


def open_gzip_writer(path: Path) -> io.BufferedWriter:
    """Create a gzip file that is compressed by a few threads while the caller goes on.

    The file is one gzip member (RFC 1952) without time stamp or name, so equal data give equal
    files, whatever the number of threads.

    Raises:
        OSError: if the file cannot be created.
    """
    return cast(
        "io.BufferedWriter",
        _untyped_igzip_threaded.open(
            path, "wb", compresslevel=_LEVEL, threads=_THREADS, block_size=_BLOCK
        ),
    )

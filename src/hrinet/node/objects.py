"""Received objects as files: written as they arrive, on disk before they are acknowledged."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import shutil
import struct
import threading
from dataclasses import dataclass
from pathlib import Path

from hrinet.node.files import ObjectFile, WriteBuffer
from hrinet.node.names import safe_title

IMPLEMENTATION_UID = "2.25.147767785636434420998675129482070678289"
"""Of the node, as a UID made from a random number (PS3.5 annex B.2)."""

IMPLEMENTATION_NAME = "HRINET_NODE"

_FILES_A_FOLDER = 4096
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class RefusedError(Exception):
    """An object that is not taken.

    Attributes:
        status: of the C-STORE response.
        reason: one sentence without identifiers.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """An object that has come in whole.

    Attributes:
        path: of the file.
        offset: where the dataset begins, bytes.
        size: of the file, bytes.
        digest: SHA-256 of the dataset, hexadecimal.
        head: the first bytes of the file.
    """

    path: Path
    offset: int
    size: int
    digest: str
    head: bytes


class ObjectFolder:
    """The files of received objects; names are random, the queue knows which is which.

    No name is made of anything that a peer sent. A file without a row in the queue was never
    acknowledged and is removed when the node starts.

    Args:
        root: where they lie; made if absent.
        min_free_bytes: what must stay free on the disk.
    """

    def __init__(self, root: Path, *, min_free_bytes: int) -> None:
        self.root = root
        self._min_free = min_free_bytes
        self._lock = threading.Lock()
        self._folder: Path | None = None
        self._count = 0
        root.mkdir(parents=True, exist_ok=True)

    def free_bytes(self) -> int:
        """Free space of the disk."""
        return shutil.disk_usage(self.root).free

    def has_room(self) -> bool:
        """Whether objects may come in."""
        return self.free_bytes() >= self._min_free

    def new_path(self) -> Path:
        """A path for an object; its folder exists and is on disk."""
        with self._lock:
            if self._folder is None or self._count >= _FILES_A_FOLDER:
                folder = self.root / secrets.token_hex(6)
                folder.mkdir()
                sync_folder(self.root)
                self._folder, self._count = folder, 0
            self._count += 1
            return self._folder / f"{secrets.token_hex(12)}.dcm"

    def relative(self, path: Path) -> str:
        """The name under which the queue keeps a path."""
        return path.relative_to(self.root).as_posix()

    def remove_unknown(self, known: set[str]) -> int:
        """Remove files that the queue does not know, and empty folders.

        Returns:
            How many files there were.
        """
        count = 0
        for folder in list(self.root.iterdir()):
            if not folder.is_dir():
                continue
            for path in list(folder.iterdir()):
                if self.relative(path) not in known:
                    path.unlink()
                    count += 1
            with contextlib.suppress(OSError):
                folder.rmdir()  # Fails where files are left.
        return count


class Incoming:
    """An object while it arrives; trouble is kept until its last byte, as DIMSE wants.

    Args:
        folder: where to write.
        max_bytes: of the dataset.
        buffer: of the association.
    """

    def __init__(
        self,
        folder: ObjectFolder,
        *,
        max_bytes: int,
        sop_class: str,
        sop_instance: str,
        transfer_syntax: str,
        source_title: str,
        buffer: WriteBuffer,
    ) -> None:
        self._max_bytes = max_bytes
        self._digest = hashlib.sha256()
        self._size = 0
        self._file: ObjectFile | None = None
        self._refusal: RefusedError | None = None
        head = _file_head(sop_class, sop_instance, transfer_syntax, source_title)
        self._offset = len(head)
        self.path: Path | None = None
        try:
            if not folder.has_room():
                raise RefusedError(0xA700, "the disk is nearly full")
            self.path = folder.new_path()
            self._file = ObjectFile(self.path, buffer)
            self._file.append(head)
        except RefusedError as refusal:
            self.refuse(refusal)
        except OSError as error:
            self.refuse(_refusal_of(error))

    @property
    def is_runaway(self) -> bool:
        """Whether the peer goes on sending far beyond what is allowed."""
        return self._size > 2 * self._max_bytes

    def refuse(self, refusal: RefusedError) -> None:
        """Take no more of it; the first reason stays."""
        if self._refusal is None:
            self._refusal = refusal
        self.discard()

    def write(self, data: memoryview) -> None:
        """Append a fragment."""
        self._size += len(data)
        if self._refusal is not None or self._file is None:
            return
        if self._size > self._max_bytes:
            self.refuse(
                RefusedError(0xA700, f"larger than the {self._max_bytes} bytes that are allowed")
            )
            return
        self._digest.update(data)
        try:
            self._file.append(data)
        except OSError as error:
            self.refuse(_refusal_of(error))

    def finish(self) -> Written:
        """End of the dataset; it is not on disk yet, see :meth:`sync`.

        Raises:
            RefusedError: for the first thing that went wrong; nothing is left behind.
        """
        if self._refusal is None and self._size == 0:
            self.refuse(RefusedError(0xC000, "the dataset is empty"))
        if self._refusal is not None or self.path is None or self._file is None:
            raise self._refusal or RefusedError(0xA700, "not written")
        return Written(
            path=self.path,
            offset=self._offset,
            size=self._offset + self._size,
            digest=self._digest.hexdigest(),
            head=self._file.head(),
        )

    def sync(self) -> None:
        """Bring the file to the disk and close it.

        Raises:
            RefusedError: if that fails; nothing is left behind.
        """
        if self._file is None:
            return
        try:
            self._file.sync()
        except OSError as error:
            refusal = _refusal_of(error)
            self.refuse(refusal)
            raise refusal from error
        self._file.close()
        self._file = None

    def discard(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self.path is not None:
            self.path.unlink(missing_ok=True)
            self.path = None


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    if os.name == "nt":  # Windows has no handle for a folder; its renames are journalled.
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal_of(error: OSError) -> RefusedError:
    if error.errno in _FULL:
        return RefusedError(0xA700, "the disk is full")
    return RefusedError(0xA700, f"the store cannot be written: {error.strerror}")


def _file_head(sop_class: str, sop_instance: str, transfer_syntax: str, title: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 7.1)."""
    elements = b"".join(
        (
            _element(0x0001, b"OB", b"\x00\x01"),
            _element(0x0002, b"UI", sop_class.encode()),
            _element(0x0003, b"UI", sop_instance.encode()),
            _element(0x0010, b"UI", transfer_syntax.encode()),
            _element(0x0012, b"UI", IMPLEMENTATION_UID.encode()),
            _element(0x0013, b"SH", IMPLEMENTATION_NAME.encode()),
            _element(0x0016, b"AE", safe_title(title).encode() or b"?"),
        )
    )
    length = _element(0x0000, b"UL", struct.pack("<L", len(elements)))
    return b"\0" * 128 + b"DICM" + length + elements


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr == b"OB":
        return struct.pack("<HH2sHL", 2, tag, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", 2, tag, vr, len(value)) + value

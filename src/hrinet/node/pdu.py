"""Protocol data units off and onto a socket (PS3.8 9.3), with bounds on what a peer may send."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

ASSOCIATE_RQ = 0x01
P_DATA = 0x04
RELEASE_RQ = 0x05
ABORT = 0x07

RELEASE_RP = b"\x06\x00\x00\x00\x00\x04\x00\x00\x00\x00"
_ABORT = b"\x07\x00\x00\x00\x00\x04\x00\x00"

MAX_ASSOCIATE = 256 * 1024
"""Bytes of an A-ASSOCIATE-RQ; 128 presentation contexts with a dozen syntaxes take 60 kB."""

_MIN_PDU = 4096
_QUICKACK = getattr(socket, "TCP_QUICKACK", None)


class PduError(ValueError):
    """What a peer sent is no PDU, or one larger than was agreed; the association is aborted."""


class ClosedError(Exception):
    """The peer closed the connection.

    Attributes:
        is_clean: whether that was between two PDUs.
    """

    def __init__(self, *, is_clean: bool) -> None:
        super().__init__("connection closed")
        self.is_clean = is_clean


def abort_pdu(*, by_user: bool = False) -> bytes:
    """An A-ABORT: of the service user, or of the provider without a reason."""
    return _ABORT + (b"\x00\x00" if by_user else b"\x02\x00")


def command_pdu(context_id: int, command_set: bytes) -> bytes:
    """A P-DATA-TF with one whole command set; responses fit any PDU length that is allowed."""
    value = struct.pack(">LBB", len(command_set) + 2, context_id, 0x03) + command_set
    return struct.pack(">BBL", P_DATA, 0, len(value)) + value


def fragments(value: memoryview) -> Iterator[tuple[int, bool, bool, memoryview]]:
    """The presentation data values of a P-DATA-TF (PS3.8 9.3.5 and annex E.2).

    Yields:
        (presentation context ID, whether of a command set, whether its last, bytes).

    Raises:
        PduError: if lengths do not fit.
    """
    position = 0
    while position < len(value):
        if position + 6 > len(value):
            raise PduError("a fragment is cut short")
        length, context_id, control = struct.unpack_from(">LBB", value, position)
        end = position + 4 + length
        if length < 2 or end > len(value):
            raise PduError("a fragment does not fit its PDU")
        yield context_id, bool(control & 1), bool(control & 2), value[position + 6 : end]
        position = end


class PduReader:
    """Reads PDUs into one buffer, which bounds what an association can take.

    Args:
        connection: with its timeout set.
        max_pdu: bytes of a P-DATA-TF's value, as announced to the peer.
    """

    def __init__(self, connection: socket.socket, *, max_pdu: int) -> None:
        self._connection = connection
        self._max_pdu = max(max_pdu, _MIN_PDU)
        self._buffer = memoryview(bytearray(max(self._max_pdu, MAX_ASSOCIATE) + 6))
        self._start = 0
        self._end = 0

    def read(self) -> tuple[int, memoryview]:
        """The next PDU: its type, and its value, which is valid until the next call.

        Raises:
            PduError: if it is of unknown type, or longer than allowed.
            ClosedError: if the peer closed the connection.
            TimeoutError: if it did not come in time.
        """
        self._need(6)
        kind, _, length = struct.unpack_from(">BBL", self._buffer, self._start)
        if not 1 <= kind <= 7:
            raise PduError(f"unknown type of PDU {kind}")
        limit = {ASSOCIATE_RQ: MAX_ASSOCIATE, P_DATA: self._max_pdu}.get(kind, _MIN_PDU)
        if length > limit:
            raise PduError(f"a PDU of {length} bytes, {limit} are allowed")
        self._need(6 + length)
        value = self._buffer[self._start + 6 : self._start + 6 + length]
        self._start += 6 + length
        return kind, value

    def _need(self, size: int) -> None:
        """Have ``size`` bytes in the buffer from its start on."""
        if self._start == self._end:
            self._start = self._end = 0
        elif self._start + size > len(self._buffer):
            left = self._end - self._start
            self._buffer[:left] = bytes(self._buffer[self._start : self._end])
            self._start, self._end = 0, left
        while self._end - self._start < size:
            if _QUICKACK is not None:
                # Without it a peer that leaves Nagle's algorithm on, as DCMTK does, waits 40 ms
                # for the delayed acknowledgement of every object; the option does not stick.
                self._connection.setsockopt(socket.IPPROTO_TCP, _QUICKACK, 1)
            count = self._connection.recv_into(self._buffer[self._end :])
            if count == 0:
                raise ClosedError(is_clean=self._start == self._end)
            self._end += count

"""DIMSE command sets as bytes: the few fields that a storage provider reads and writes.

A command set is a short dataset in Implicit VR Little Endian (PS3.7 6.3.1). It is read once for
every object that arrives, so it is taken apart here, in microseconds, instead of by a general
DICOM parser.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

C_STORE_RQ = 0x0001
C_ECHO_RQ = 0x0030
C_CANCEL_RQ = 0x0FFF
RESPONSE = 0x8000
NO_DATASET = 0x0101

SUCCESS = 0x0000
NO_SUCH_CLASS = 0x0122
NOT_AUTHORIZED = 0x0124
UNRECOGNIZED_OPERATION = 0x0211
OUT_OF_RESOURCES = 0xA700
MISMATCH = 0xA900
CANNOT_UNDERSTAND = 0xC000

MAX_COMMAND = 16 * 1024
"""Bytes of a command set; that of a C-STORE has about 200."""

_MAX_COMMENT = 64  # VR LO, PS3.5 6.2.


class DimseError(ValueError):
    """A command set that makes no sense; the association is aborted."""


@dataclass(frozen=True, slots=True)
class Command:
    """A request.

    Attributes:
        field: which operation, (0000,0100).
        message_id: (0000,0110).
        has_dataset: whether a dataset follows.
        sop_class: Affected SOP Class UID, or empty.
        sop_instance: Affected SOP Instance UID, or empty.
    """

    field: int
    message_id: int
    has_dataset: bool
    sop_class: str
    sop_instance: str


def decode_command(encoded: bytes | bytearray) -> Command:
    """Take a command set apart.

    Raises:
        DimseError: if it is cut short, or lacks its type or message ID.
    """
    values: dict[int, bytes] = {}
    position = 0
    while position < len(encoded):
        if position + 8 > len(encoded):
            raise DimseError("a command element is cut short")
        group, element, length = struct.unpack_from("<HHL", encoded, position)
        position += 8
        if group != 0 or length > len(encoded) - position:
            raise DimseError("a command element is damaged")
        values[element] = bytes(encoded[position : position + length])
        position += length
    return Command(
        field=_unsigned(values, 0x0100),
        message_id=_unsigned(values, 0x0110 if 0x0110 in values else 0x0120),
        has_dataset=_unsigned(values, 0x0800) != NO_DATASET,
        sop_class=_uid(values, 0x0002),
        sop_instance=_uid(values, 0x1000),
    )


def encode_response(command: Command, status: int, comment: str = "") -> bytes:
    """The command set of the answer to ``command``.

    Args:
        command: the request.
        status: (0000,0900), PS3.7 annex C and PS3.4 B.2.3.
        comment: Error Comment, cut at 64 characters; for failures.
    """
    elements = []
    if command.sop_class:
        elements.append((0x0002, _padded(command.sop_class)))
    elements += [
        (0x0100, struct.pack("<H", command.field | RESPONSE)),
        (0x0120, struct.pack("<H", command.message_id)),
        (0x0800, struct.pack("<H", NO_DATASET)),
        (0x0900, struct.pack("<H", status)),
    ]
    if comment:
        text = comment.encode("ascii", "replace")[:_MAX_COMMENT]
        elements.append((0x0902, text + b" " * (len(text) % 2)))
    if command.sop_instance:
        elements.append((0x1000, _padded(command.sop_instance)))
    body = b"".join(struct.pack("<HHL", 0, tag, len(v)) + v for tag, v in elements)
    return struct.pack("<HHLL", 0, 0, 4, len(body)) + body


def _padded(uid: str) -> bytes:
    value = uid.encode("ascii", "replace")
    return value + b"\0" * (len(value) % 2)


def _unsigned(values: dict[int, bytes], element: int) -> int:
    value = values.get(element, b"")
    if len(value) != 2:
        raise DimseError(f"the command lacks (0000,{element:04x})")
    return int(struct.unpack("<H", value)[0])


def _uid(values: dict[int, bytes], element: int) -> str:
    return values.get(element, b"").decode("ascii", "replace").strip("\0 ")

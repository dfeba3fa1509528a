"""Walking through DICOM data elements (PS3.5 7), with bounded time and memory.

Only the attributes that this package uses are kept; everything else, patient data included, is
skipped unread. Damage raises :class:`DamagedError` with the position, and nothing is interpreted on
the way, so no value can appear in a message or a warning.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from hrinet.errors import InputError

UNDEFINED_LENGTH = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
LONG_VRS = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR",
                      b"UT", b"UV"))  # fmt: skip
_SHORT_VRS = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FD", b"FL", b"IS", b"LO",
                        b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL",
                        b"US"))  # fmt: skip
_VRS = LONG_VRS | _SHORT_VRS

_MAX_DEPTH = 16
_MAX_VALUE = 1 << 20
_MAX_ELEMENTS = 5_000_000


class DamagedError(InputError):
    """The bytes are no DICOM elements; the message names the position."""


@dataclass(frozen=True, slots=True)
class Element:
    """One attribute, still encoded.

    Attributes:
        vr: value representation as stored, or as the dictionary has it in implicit VR.
        value: encoded value, empty for sequences.
        items: of a sequence.
        is_big: whether binary numbers are big-endian.
    """

    vr: bytes
    value: bytes
    items: tuple[Mapping[int, Element], ...]
    is_big: bool


class Walker:
    """Reads elements from a stream.

    Args:
        stream: positioned anywhere.
        wanted: tags to keep with their VR, at every level; sequences not in it are skipped.
        position: of the stream, bytes from its start.
        stop_at: tags to stop before at the top level.
    """

    def __init__(
        self,
        stream: BinaryIO,
        *,
        wanted: Mapping[int, bytes],
        position: int,
        stop_at: frozenset[int] = frozenset(),
    ) -> None:
        self._stream = stream
        self._wanted = wanted
        self._stop_at = stop_at
        self._count = 0
        self.position = position

    def dataset(
        self, *, is_implicit: bool, is_big: bool, only_group: int = 0
    ) -> dict[int, Element]:
        """Elements at the top level, up to the end, a tag to stop at, or another group.

        Args:
            is_implicit: what the transfer syntax says. The first element decides, since writers
                get this wrong.
            is_big: big-endian.
            only_group: stop before any other group.

        Raises:
            DamagedError: if the bytes make no sense.
        """
        head = self._stream.read(6)
        self._stream.seek(self.position)
        if len(head) == 6:
            is_implicit = head[4:6] not in _VRS
        return self._elements(
            is_implicit=is_implicit, is_big=is_big, end=None, depth=0, only_group=only_group
        )

    def _read(self, size: int, end: int | None = None) -> bytes:
        if end is not None and self.position + size > end:
            raise self._damaged("an element is longer than what holds it")
        data = self._stream.read(size)
        self.position += len(data)
        if len(data) < size:
            raise self._damaged("the file ends within an element")
        return data

    def _skip(self, size: int, end: int | None) -> None:
        if end is not None and self.position + size > end:
            raise self._damaged("an element is longer than what holds it")
        self.position += size
        self._stream.seek(self.position)

    def _damaged(self, what: str) -> DamagedError:
        return DamagedError(f"{what} near byte {self.position}")

    def _elements(
        self, *, is_implicit: bool, is_big: bool, end: int | None, depth: int, only_group: int = 0
    ) -> dict[int, Element]:
        """Elements up to ``end``, an item delimiter, or (at the top) the end of the file."""
        if depth > _MAX_DEPTH:
            raise self._damaged(f"sequences are nested more than {_MAX_DEPTH} deep")
        tag_format = struct.Struct(">HH" if is_big else "<HH")
        long_format = struct.Struct(">I" if is_big else "<I")
        found: dict[int, Element] = {}
        while end is None or self.position < end:
            start = self.position
            if depth == 0:
                head = self._stream.read(8)
                if len(head) < 8:
                    size = self._stream.seek(0, os.SEEK_END)
                    if start > size or any(head):
                        self.position = size
                        raise self._damaged("the file ends within an element")
                    return found
                self.position += 8
            else:
                head = self._read(8, end)
            group, number = tag_format.unpack_from(head)
            tag = group << 16 | number
            if (depth == 0 and tag in self._stop_at) or (only_group and group != only_group):
                self.position = start
                self._stream.seek(start)
                return found
            if tag == ITEM_END and depth > 0 and end is None:
                return found
            if depth == 0 and not any(head):
                return found  # Zeros after the last element.
            if group == 0xFFFE:
                raise self._damaged("a delimiter stands where none belongs")
            self._count += 1
            if self._count > _MAX_ELEMENTS:
                raise self._damaged(f"there are more than {_MAX_ELEMENTS} elements")
            vr = head[4:6]
            if is_implicit or not (vr.isalpha() and vr.isupper()):
                vr, length = self._wanted.get(tag, b"UN"), long_format.unpack_from(head, 4)[0]
            elif vr in _SHORT_VRS:
                length = struct.unpack_from(">H" if is_big else "<H", head, 6)[0]
            else:
                length = long_format.unpack(self._read(4, end))[0]
            element = self._value(tag, vr, length, is_implicit, is_big, end, depth)
            if element is not None:
                found[tag] = element
        return found

    def _value(
        self,
        tag: int,
        vr: bytes,
        length: int,
        is_implicit: bool,
        is_big: bool,
        end: int | None,
        depth: int,
    ) -> Element | None:
        wanted_vr = self._wanted.get(tag)
        if length == UNDEFINED_LENGTH or (wanted_vr == b"SQ" and vr in (b"SQ", b"UN")):
            if vr == b"UN":
                is_implicit = is_implicit or length == UNDEFINED_LENGTH  # PS3.5 6.2.2 note 2
            items_end = None if length == UNDEFINED_LENGTH else self.position + length
            if items_end is not None and end is not None and items_end > end:
                raise self._damaged("a sequence is longer than what holds it")
            is_raw = vr not in (b"SQ", b"UN") or wanted_vr != b"SQ"
            items = self._items(is_implicit, is_big, items_end, depth + 1, skips=is_raw)
            return Element(vr, b"", items, is_big) if wanted_vr == b"SQ" else None
        if wanted_vr is None or wanted_vr == b"SQ":
            self._skip(length, end)
            return None
        if length > _MAX_VALUE:
            raise self._damaged(f"the attribute ({tag >> 16:04x},{tag & 0xFFFF:04x}) is too long")
        return Element(vr if vr != b"UN" else wanted_vr, self._read(length, end), (), is_big)

    def _items(
        self, is_implicit: bool, is_big: bool, end: int | None, depth: int, *, skips: bool
    ) -> tuple[Mapping[int, Element], ...]:
        """Items of a sequence, or none where they are only to be skipped (raw fragments too)."""
        header = struct.Struct(">HHI" if is_big else "<HHI")
        items: list[Mapping[int, Element]] = []
        while end is None or self.position < end:
            group, number, length = header.unpack(self._read(8, end))
            tag = group << 16 | number
            if tag == SEQUENCE_END and end is None:
                break
            if tag != ITEM:
                raise self._damaged("an item of a sequence is expected")
            self._count += 1
            if self._count > _MAX_ELEMENTS:
                raise self._damaged(f"there are more than {_MAX_ELEMENTS} elements")
            if skips and length != UNDEFINED_LENGTH:
                self._skip(length, end)
                continue
            item_end = None if length == UNDEFINED_LENGTH else self.position + length
            if item_end is not None and end is not None and item_end > end:
                raise self._damaged("an item is longer than its sequence")
            item = self._elements(is_implicit=is_implicit, is_big=is_big, end=item_end, depth=depth)
            if not skips:
                items.append(item)
        return tuple(items)

"""Where the frames of compressed pixel data lie (PS3.5 A.4)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from hrinet.errors import InputError
from hrinet.io.dicom.frames import PixelFormat, Span

_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0"
_STREAM_STARTS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51")
_MAX_FRAGMENTS = 1_000_000


def frame_spans(
    stream: BinaryIO, pixels: PixelFormat, *, size: int, subject: str
) -> tuple[tuple[Span, ...], ...]:
    """The fragments of every frame.

    Args:
        stream: of the (inflated) file.
        pixels: encoding; encapsulated.
        size: of the (inflated) file, bytes.
        subject: the file, for messages.

    Raises:
        InputError: if the file is cut off or its fragments cannot be assigned to frames.
    """
    table, fragments = _fragments(stream, pixels.element.offset, size, subject)
    if len(fragments) < pixels.frames:
        raise InputError(
            f"{subject}: holds {len(fragments)} compressed fragments for {pixels.frames} frames; "
            "the file is cut off or its header is wrong"
        )
    # Tables are often wrong; where every frame has one fragment they are not needed.
    if len(fragments) == pixels.frames:
        return tuple((fragment,) for fragment in fragments)
    if pixels.frames == 1:
        return (tuple(fragments),)
    base = fragments[0].offset - 8
    starts = _table_starts(pixels, table)
    if starts is None:
        starts = _codestream_starts(stream, fragments, base)
    offsets = [fragment.offset - 8 - base for fragment in fragments]
    places = {offset: index for index, offset in enumerate(offsets)}
    firsts = [places.get(start, -1) for start in starts]
    if len(firsts) != pixels.frames or firsts[0] != 0 or firsts != sorted(set(firsts)):
        raise InputError(
            f"{subject}: its {len(fragments)} compressed fragments cannot be assigned to "
            f"{pixels.frames} frames (the offset table is missing or wrong); convert the file to "
            "an uncompressed one"
        )
    ends = [*firsts[1:], len(fragments)]
    return tuple(tuple(fragments[a:b]) for a, b in zip(firsts, ends, strict=True))


def _fragments(stream: BinaryIO, start: int, size: int, subject: str) -> tuple[bytes, list[Span]]:
    """The basic offset table and the fragments behind it."""
    table: bytes | None = None
    fragments: list[Span] = []
    position = start
    while True:
        stream.seek(position)
        head = stream.read(8)
        if head[:4] == _SEQUENCE_END:
            break
        if not head.strip(b"\0") and fragments:
            break  # Some writers forget the delimiter.
        if head[:4] != _ITEM or len(head) < 8:
            found = "ends within" if len(head) < 8 else "is damaged in"
            raise InputError(
                f"{subject}: {found} its compressed pixel data near byte {position}; copy or "
                "export the file again"
            )
        length = int.from_bytes(head[4:8], "little")
        position += 8
        if position + length > size:
            raise InputError(
                f"{subject}: ends within its compressed pixel data: {max(size - position, 0)} "
                f"bytes of {length} are there; copy or export the file again"
            )
        if table is None:
            table = stream.read(length)
        else:
            fragments.append(Span(position, length))
        if len(fragments) > _MAX_FRAGMENTS:
            raise InputError(f"{subject}: holds more than {_MAX_FRAGMENTS} compressed fragments")
        position += length
    return table or b"", fragments


def _table_starts(pixels: PixelFormat, table: bytes) -> list[int] | None:
    """Offsets of the frames' first items from the extended or the basic offset table."""
    if pixels.offsets is not None and len(pixels.offsets[0]) == 8 * pixels.frames:
        return list(struct.unpack(f"<{pixels.frames}Q", pixels.offsets[0]))
    if len(table) == 4 * pixels.frames:
        return list(struct.unpack(f"<{pixels.frames}I", table))
    return None


def _codestream_starts(stream: BinaryIO, fragments: list[Span], base: int) -> list[int]:
    """Offsets of the fragments that begin with a JPEG, JPEG-LS or JPEG 2000 stream."""
    starts = []
    for fragment in fragments:
        stream.seek(fragment.offset)
        if stream.read(4).startswith(_STREAM_STARTS):
            starts.append(fragment.offset - 8 - base)
    return starts

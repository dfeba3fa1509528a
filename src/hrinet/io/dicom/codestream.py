"""What a compressed frame says about itself, read before any decoder sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

_FRAMES = {
    0xC0: "JPEG",
    0xC1: "JPEG",
    0xC2: "JPEG",
    0xC3: "JPEG Lossless",
    0xF7: "JPEG-LS",
}
_UNUSED_MARKERS = frozenset((*range(0xC5, 0xC8), *range(0xC9, 0xD0), 0xDC, 0xDE, 0xDF))
"""Hierarchical and arithmetic coding and late line counts, which no CT has."""

_BARE_MARKERS = frozenset((0x00, 0x01, *range(0xD0, 0xDA)))
_START_OF_SCAN = 0xDA
_END = b"\xff\xd9"
_MARKER_IN_SCAN = re.compile(rb"\xff+[^\xff\x00\xd0-\xd7]")


@dataclass(frozen=True, slots=True)
class StreamHeader:
    """What a codestream declares.

    Attributes:
        coding: ``JPEG`` (lossy), ``JPEG Lossless``, ``JPEG-LS`` or ``JPEG 2000``.
        rows: number of rows.
        columns: number of columns.
        components: number of samples a pixel.
        bits: a sample.
        is_signed: whether samples are signed, which only JPEG 2000 can say.
        is_whole: whether the stream has its end, and nothing before it that shows damage. Several
            decoders make up pixels where a stream stops early.
    """

    coding: str
    rows: int
    columns: int
    components: int
    bits: int
    is_signed: bool = False
    is_whole: bool = True


def stream_header(data: bytes) -> StreamHeader | None:
    """What a JPEG, JPEG-LS or JPEG 2000 codestream declares.

    Args:
        data: one frame.

    Returns:
        The declarations, or None if the start of the stream is none of these or contradicts
        itself (ITU-T T.81 B.2.2, T.87 C.2.2 and T.800 A.5.1).
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg_header(data)
    if data[:4] == b"\xff\x4f\xff\x51":
        return _jpeg_2000_header(data)
    if data[4:8] == b"jP  ":  # A JP2 file, which DICOM does not allow and some writers make.
        start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
        return _jpeg_2000_header(data[start:]) if start > 0 else None
    return None


def _jpeg_2000_header(data: bytes) -> StreamHeader | None:
    if len(data) < 43:
        return None
    right, bottom, left, top, tile_columns, tile_rows, tile_left, tile_top = (
        int.from_bytes(data[at : at + 4], "big") for at in range(8, 40, 4)
    )
    if not (tile_left <= left < right and tile_top <= top < bottom and tile_columns and tile_rows):
        return None
    tiles = -(-(right - tile_left) // tile_columns) * -(-(bottom - tile_top) // tile_rows)
    if tiles > 65535:
        return None
    components = int.from_bytes(data[40:42], "big")
    return StreamHeader(
        coding="JPEG 2000",
        rows=bottom - top,
        columns=right - left,
        components=components,
        bits=(data[42] & 0x7F) + 1,
        is_signed=bool(data[42] & 0x80),
        is_whole=data.rstrip(b"\0").endswith(_END),
    )


def _jpeg_header(data: bytes) -> StreamHeader | None:
    """The frame header, provided that every segment before the scan is well formed.

    A second frame header is refused, since decoders disagree on which one counts.
    """
    header: StreamHeader | None = None
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if marker in _BARE_MARKERS:
            return None
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        body = data[position + 4 : end]
        if end > len(data) or end < position + 4:
            return None
        if marker == _START_OF_SCAN:
            return header and _checked_scan(header, data, body, end)
        if marker in _FRAMES:
            if header is not None or len(body) < 6 or len(body) != 6 + 3 * body[5]:
                return None
            header = StreamHeader(
                coding=_FRAMES[marker],
                rows=int.from_bytes(body[1:3], "big"),
                columns=int.from_bytes(body[3:5], "big"),
                components=body[5],
                bits=body[0],
            )
        elif (marker in _CHECKS and not _CHECKS[marker](body)) or marker in _UNUSED_MARKERS:
            return None
        position = end
    return None


def _checked_scan(
    header: StreamHeader, data: bytes, body: bytes, start: int
) -> StreamHeader | None:
    """The header with what its first scan shows: None if damaged, not whole if it stops early."""
    if header.components != 1:
        return header  # Refused by its number of components.
    if len(body) != 6 or body[0] != 1:
        return None
    if header.coding == "JPEG-LS":  # Its zero bits are stuffed differently; CharLS checks them.
        return replace(header, is_whole=data.rstrip(b"\0").endswith(_END))
    is_lossless = header.coding == "JPEG Lossless"
    if is_lossless and not (1 <= body[3] <= 7 and body[4] == 0 and body[5] < header.bits):
        return None
    marker = _MARKER_IN_SCAN.search(data, start)
    return replace(header, is_whole=marker is not None and marker[0].endswith(_END[1:]))


def _are_huffman_tables(body: bytes) -> bool:
    """Whether a segment holds nothing but sound Huffman tables (T.81 B.2.4.2)."""
    while body:
        counts = body[1:17]
        if body[0] & 0xEF > 3 or len(counts) < 16 or not 0 < sum(counts) <= 256:
            return False
        free = 1
        for count in counts:  # No more codes of a length than those before leave free.
            free = 2 * free - count
            if free < 0:
                return False
        values = body[17 : 17 + sum(counts)]
        if len(values) < sum(counts) or (body[0] < 16 and max(values) > 16):
            return False
        body = body[17 + sum(counts) :]
    return True


def _are_quantization_tables(body: bytes) -> bool:
    """Whether a segment holds nothing but quantization tables (T.81 B.2.4.1)."""
    while body:
        size = 128 if body[0] >> 4 else 64
        if body[0] & 0xEC or len(body) < 1 + size:
            return False
        body = body[1 + size :]
    return True


_CHECKS: dict[int, Callable[[bytes], bool]] = {
    0xC4: _are_huffman_tables,
    0xDB: _are_quantization_tables,
    0xDD: lambda body: len(body) == 2,
}

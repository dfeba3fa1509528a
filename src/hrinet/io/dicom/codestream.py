"""What a compressed frame says about itself, read before any decoder sees it."""

from __future__ import annotations

from dataclasses import dataclass

_JPEG_FRAME_MARKERS = frozenset(
    (*range(0xC0, 0xC4), *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0), 0xF7)
)
_BARE_MARKERS = frozenset((0x01, *range(0xD0, 0xD9)))


@dataclass(frozen=True, slots=True)
class StreamSize:
    """Dimensions that a codestream declares.

    Attributes:
        rows: number of rows.
        columns: number of columns.
        components: number of samples a pixel.
    """

    rows: int
    columns: int
    components: int


def stream_size(data: bytes) -> StreamSize | None:
    """Dimensions declared by a JPEG, JPEG-LS or JPEG 2000 codestream.

    Args:
        data: one frame.

    Returns:
        The dimensions, or None if the start of the stream is none of these (ITU-T T.81 B.2.2,
        T.87 C.2.2 and T.800 A.5.1).
    """
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)  # After the boxes of a JP2 file, if it is one.
    if start >= 0 and len(data) >= start + 42:
        field = [int.from_bytes(data[start + at : start + at + 4], "big") for at in (8, 12, 16, 20)]
        components = int.from_bytes(data[start + 40 : start + 42], "big")
        return StreamSize(field[1] - field[3], field[0] - field[2], components)
    return None


def _jpeg_size(data: bytes) -> StreamSize | None:
    position = 2
    while position + 4 <= len(data):
        if data[position] != 0xFF:
            return None
        marker = data[position + 1]
        if marker == 0xFF:  # Fill byte.
            position += 1
            continue
        if marker in _BARE_MARKERS:
            position += 2
            continue
        if marker in _JPEG_FRAME_MARKERS:
            rows = int.from_bytes(data[position + 5 : position + 7], "big")
            columns = int.from_bytes(data[position + 7 : position + 9], "big")
            components = data[position + 9] if position + 9 < len(data) else 0
            return StreamSize(rows, columns, components)
        position += 2 + max(int.from_bytes(data[position + 2 : position + 4], "big"), 2)
    return None

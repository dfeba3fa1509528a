"""Decoding one frame into HU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian

from hrinet.errors import InputError, LimitError, RangeExceededError
from hrinet.io.dicom.decoders import check_decodable, decode_compressed, is_native, syntax_name
from hrinet.io.dicom.encapsulated import frame_spans
from hrinet.io.dicom.files import MemoryFile
from hrinet.io.dicom.frames import Frame, PixelFormat
from hrinet.io.dicom.parse import open_inflated
from hrinet.io.limits import Limits
from hrinet.types import INT16, SliceArray


def locate(frames: Sequence[Frame], *, limits: Limits) -> tuple[Frame, ...]:
    """Find the bytes of every frame, so that damage is noticed before any work is done.

    Args:
        frames: of one volume.
        limits: bounds on what a deflated file may inflate to.

    Returns:
        The same frames with their spans.

    Raises:
        InputError: if a file is cut off or encoded in a way that cannot be read.
        LimitError: if a file would inflate beyond the limits.
    """
    located: dict[int, Frame] = {}
    for frame in frames:
        if id(frame.pixels) not in located:
            located[id(frame.pixels)] = _located(frame, limits)
    return tuple(
        replace(frame, file=found.file, pixels=found.pixels)
        for frame in frames
        for found in (located[id(frame.pixels)],)
    )


def _located(frame: Frame, limits: Limits) -> Frame:
    pixels, file = frame.pixels, frame.file
    check_decodable(pixels.transfer_syntax, subject=file.name)
    is_deflated = pixels.transfer_syntax == DeflatedExplicitVRLittleEndian
    if is_native(pixels.transfer_syntax):
        _check_native(frame, limits, size=None if is_deflated else file.size)
    elif pixels.element.length is not None:
        raise InputError(
            f"{file.name}: its pixel data is not compressed, although the transfer syntax is "
            f"{syntax_name(pixels.transfer_syntax)}; correct the header or export the file again"
        )
    if pixels.frames > 1 and (is_deflated or file.is_inflated_on_open):
        with open_inflated(file, pixels.transfer_syntax, limits=limits) as stream:
            file = MemoryFile(file.name, stream.read())
    if not is_native(pixels.transfer_syntax):
        with file.open() as stream:
            spans = frame_spans(stream, pixels, size=file.size, subject=file.name)
        pixels = replace(pixels, spans=spans)
    return replace(frame, file=file, pixels=pixels)


def _check_native(frame: Frame, limits: Limits, *, size: int | None) -> None:
    """Compare the length of uncompressed pixel data with what the header says."""
    pixels, name = frame.pixels, frame.file.name
    length = pixels.element.length
    if length is None:
        raise InputError(
            f"{name}: its pixel data is compressed, although the transfer syntax is "
            f"{syntax_name(pixels.transfer_syntax)}; correct the header or export the file again"
        )
    expected = _frame_size(pixels) * pixels.frames
    if size is None:
        needed = pixels.element.offset + expected
        bound = min(limits.max_inflated_bytes, frame.file.size * limits.max_inflation_ratio)
        if needed > bound or length > bound:
            raise LimitError(
                f"{name}: would inflate from {frame.file.size} to {max(needed, length)} bytes, "
                f"more than the limit of {bound:.0f}"
            )
        found = length
    else:
        found = min(length, max(size - pixels.element.offset, 0))
    if found < expected or found >= 2 * expected > 2:
        raise InputError(
            f"{name}: holds {found} bytes of pixel data, expected {expected} for "
            f"{pixels.columns} x {pixels.rows} x {pixels.frames} voxels; the file is cut off or "
            "its header is wrong"
        )


def _frame_size(pixels: PixelFormat) -> int:
    return pixels.rows * pixels.columns * (pixels.bits_allocated // 8)


def decode_frame(frame: Frame, *, dtype: np.dtype[Any], limits: Limits) -> SliceArray:
    """Decode a frame and apply its rescale (PS3.3 C.11.1).

    Args:
        frame: which, with its spans (see :func:`locate`).
        dtype: int16 if all values are expected to be whole HU within its range, else float32.
        limits: bounds on what a deflated file may inflate to.

    Returns:
        Shape (row, column), HU.

    Raises:
        InputError: if the frame cannot be decoded.
        RangeExceededError: if dtype is int16 and a value does not fit.
    """
    stored = stored_values(frame, limits=limits)
    if dtype == INT16:
        return _whole_hu(frame, stored)
    values: SliceArray = stored.astype(np.float64)
    values *= frame.slope
    values += frame.intercept
    return values.astype(np.float32)


def _whole_hu(frame: Frame, stored: SliceArray) -> SliceArray:
    slope, intercept = int(frame.slope), int(frame.intercept)
    low, high = sorted(int(v) * slope + intercept for v in (stored.min(), stored.max()))
    if low < -32768 or high > 32767:
        raise RangeExceededError(f"{frame.file.name}: values of {low} to {high} HU exceed int16")
    # Arithmetic modulo 2**16 is exact here, since every result is known to fit.
    values = stored.astype(np.int16)
    if slope != 1:
        values *= _modulo_int16(slope)
    if intercept:
        values += _modulo_int16(intercept)
    return values


def _modulo_int16(value: int) -> np.int16:
    return np.int16((value + 0x8000) % 0x10000 - 0x8000)


def stored_values(frame: Frame, *, limits: Limits) -> SliceArray:
    """Decode a frame without its rescale: what the file stores, in the low Bits Stored bits.

    Args:
        frame: which, with its spans (see :func:`locate`).
        limits: bounds on what a deflated file may inflate to.

    Returns:
        Shape (row, column), an integer type of Bits Allocated bits.

    Raises:
        InputError: if the frame cannot be decoded.
    """
    pixels = frame.pixels
    name = frame.file.name
    subject = name if pixels.frames == 1 else f"{name} frame {frame.index + 1}"
    try:
        with open_inflated(frame.file, pixels.transfer_syntax, limits=limits) as stream:
            if is_native(pixels.transfer_syntax):
                values = _native_frame(stream, pixels, frame.index, subject)
            else:
                data = _joined(stream, pixels, frame.index)
                values = decode_compressed(data, pixels, subject=subject)
    except OSError as error:
        raise InputError(f"{subject}: cannot be read: {error.strerror}") from error
    return _as_stored(values, pixels, frame.padding)


def _native_frame(stream: BinaryIO, pixels: PixelFormat, index: int, subject: str) -> SliceArray:
    size = _frame_size(pixels)
    stream.seek(pixels.element.offset + index * size)
    data = stream.read(size)
    if len(data) < size:
        raise InputError(f"{subject}: ends after {len(data)} of {size} bytes of pixel data")
    order = ">" if pixels.transfer_syntax == ExplicitVRBigEndian else "<"
    kind = "i" if pixels.is_signed else "u"
    values = np.frombuffer(data, f"{order}{kind}{pixels.bits_allocated // 8}")
    native = values.astype(values.dtype.newbyteorder("="), copy=False)
    return native.reshape(pixels.rows, pixels.columns)


def _joined(stream: BinaryIO, pixels: PixelFormat, index: int) -> bytes:
    parts = []
    for span in pixels.spans[index]:
        stream.seek(span.offset)
        parts.append(stream.read(span.length))
    return b"".join(parts)


def _as_stored(values: SliceArray, pixels: PixelFormat, padding: int | None) -> SliceArray:
    """Read the low Bits Stored bits: old files keep overlays above them (PS3.5 8.1.1).

    The padding value may need more bits than Bits Stored and is kept.
    """
    unused = pixels.bits_allocated - pixels.bits_stored
    values = values.view(f"{'i' if pixels.is_signed else 'u'}{pixels.bits_allocated // 8}")
    low = -(1 << (pixels.bits_stored - 1)) if pixels.is_signed else 0
    high = low + (1 << pixels.bits_stored) - 1
    if unused == 0 or (low <= int(values.min()) and int(values.max()) <= high):
        return values
    kept = (values << unused) >> unused
    if padding is not None and not low <= padding <= high:
        kept[values == padding] = padding
    return kept

"""Decoding one frame into HU."""

from __future__ import annotations

from typing import Any, BinaryIO

import numpy as np
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels import get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID, ExplicitVRBigEndian

from hrinet.errors import InputError, RangeExceededError
from hrinet.io.dicom.codestream import stream_size
from hrinet.io.dicom.frames import Frame, PixelFormat
from hrinet.io.dicom.parse import open_inflated
from hrinet.io.limits import Limits
from hrinet.types import INT16, SliceArray

_RLE = "1.2.840.10008.1.2.5"
_PLUGINS = {
    # CharLS reads JPEG-LS a third faster than GDCM; the rest falls to pydicom's own preference.
    "1.2.840.10008.1.2.4.80": "pyjpegls",
    "1.2.840.10008.1.2.4.81": "pyjpegls",
}


def check_decodable(pixels: PixelFormat, *, subject: str) -> None:
    """Refuse an encoding that no decoder here reads, before any work is done.

    Raises:
        InputError: naming the transfer syntax.
    """
    syntax = UID(pixels.transfer_syntax)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise InputError(
            f"{subject}: the transfer syntax {syntax.name} is not one of CT images; convert the "
            "series to an uncompressed one"
        ) from None
    if not decoder.is_available:
        raise InputError(f"{subject}: no decoder for {syntax.name} is installed")


def check_present(frame: Frame, *, file_size: int, limits: Limits) -> None:
    """Refuse a file that is cut off before the end of its pixel data.

    Raises:
        InputError: with the number of bytes found and expected.
    """
    pixels = frame.pixels
    expected = pixels.rows * pixels.columns * (pixels.bits_allocated // 8) * pixels.frames
    length = pixels.element.length
    if length is None:
        found = file_size - pixels.element.offset
        if found <= 8:
            raise InputError(f"{frame.file.name}: ends before its pixel data")
        return
    found = min(length, file_size - pixels.element.offset)
    if found < expected:
        raise InputError(
            f"{frame.file.name}: holds {max(found, 0)} bytes of pixel data, expected {expected} "
            f"for {pixels.columns} x {pixels.rows} x {pixels.frames} voxels; the file is cut off "
            "or its header is wrong"
        )


def decode_frame(frame: Frame, *, dtype: np.dtype[Any], limits: Limits) -> SliceArray:
    """Decode a frame and apply its rescale (PS3.3 C.11.1).

    Args:
        frame: which.
        dtype: int16 if all values are expected to be whole HU within its range, else float32.
        limits: bounds on what a deflated file may inflate to.

    Returns:
        Shape (row, column), HU.

    Raises:
        InputError: if the frame cannot be decoded.
        RangeExceededError: if dtype is int16 and a value does not fit.
    """
    stored = _stored_values(frame, limits)
    if dtype == INT16:
        return _whole_hu(frame, stored)
    values: SliceArray = stored.astype(np.float64)
    values *= frame.slope
    values += frame.intercept
    return values.astype(np.float32)


def _whole_hu(frame: Frame, stored: SliceArray) -> SliceArray:
    slope, intercept = int(frame.slope), int(frame.intercept)
    low, high = int(stored.min()) * slope + intercept, int(stored.max()) * slope + intercept
    if min(low, high) < -32768 or max(low, high) > 32767:
        raise RangeExceededError(
            f"{frame.file.name}: values of {min(low, high)} to {max(low, high)} HU exceed int16"
        )
    # Arithmetic modulo 2**16 is exact here, since every result is known to fit.
    values = stored.astype(np.int16)
    if slope != 1:
        values *= np.int16(slope) if -32768 <= slope <= 32767 else 0
    if intercept:
        values += np.array(intercept & 0xFFFF, np.uint16).astype(np.int16)
    return values


def _stored_values(frame: Frame, limits: Limits) -> SliceArray:
    pixels = frame.pixels
    subject = frame.file.name if pixels.frames == 1 else f"{frame.file.name} frame {frame.index + 1}"
    try:
        with open_inflated(frame.file, pixels.transfer_syntax, limits=limits) as stream:
            decoder = get_decoder(UID(pixels.transfer_syntax))
            if decoder.is_native:
                data = _native_frame(stream, pixels, frame.index)
            else:
                data = _encapsulated_frame(stream, pixels, frame.index, subject)
        return _decode(decoder, data, pixels)
    except InputError:
        raise
    except Exception as error:
        # Decoders raise whatever they like on damaged data.
        reason = " ".join(str(error).split()).replace("Unable to decode as exceptions", "errors")
        raise InputError(
            f"{subject}: its pixel data ({UID(pixels.transfer_syntax).name}) is damaged or not "
            f"what the header says: {reason[:160]}"
        ) from error


def _native_frame(stream: BinaryIO, pixels: PixelFormat, index: int) -> bytes:
    size = pixels.rows * pixels.columns * (pixels.bits_allocated // 8)
    stream.seek(pixels.element.offset + index * size)
    data = stream.read(size)
    if len(data) < size:
        raise ValueError(f"{len(data)} bytes found, {size} expected")
    return data


def _encapsulated_frame(
    stream: BinaryIO, pixels: PixelFormat, index: int, subject: str
) -> bytes:
    stream.seek(pixels.element.offset)
    if pixels.frames == 1:
        data = stream.read()
        codestream = get_frame(data, 0, number_of_frames=1)
    else:
        codestream = get_frame(
            stream,  # type: ignore[arg-type]
            index,
            number_of_frames=pixels.frames,
            extended_offsets=pixels.offsets,
        )
    if pixels.transfer_syntax != _RLE:
        size = stream_size(codestream)
        if size is None or (size.rows, size.columns, size.components) != (
            pixels.rows,
            pixels.columns,
            1,
        ):
            found = (
                "no image"
                if size is None
                else f"{size.columns} x {size.rows} with {size.components} components"
            )
            raise InputError(
                f"{subject}: its compressed image is {found}, the header says "
                f"{pixels.columns} x {pixels.rows} with 1 component"
            )
    return encapsulate([codestream], has_bot=False)


def _decode(decoder: Decoder, data: bytes, pixels: PixelFormat) -> SliceArray:
    options: dict[str, Any] = {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": 1,
        "samples_per_pixel": 1,
        "photometric_interpretation": pixels.photometric,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.is_signed),
        "pixel_keyword": "PixelData",
    }
    if pixels.transfer_syntax == ExplicitVRBigEndian:
        options["pixel_vr"] = "OW" if pixels.bits_allocated > 8 else "OB"
    plugin = _PLUGINS.get(pixels.transfer_syntax, "")
    array, _ = decoder.as_array(data, index=0, raw=True, decoding_plugin=plugin, **options)
    if array.shape != (pixels.rows, pixels.columns):
        raise ValueError(f"decoded to {array.shape}, expected {(pixels.rows, pixels.columns)}")
    return _masked(array, pixels)


def _masked(array: SliceArray, pixels: PixelFormat) -> SliceArray:
    """Drop what lies above Bits Stored: old files keep overlays there (PS3.5 8.1.1)."""
    unused = pixels.bits_allocated - pixels.bits_stored
    if unused == 0:
        return array
    if pixels.is_signed:
        shifted: SliceArray = (array << unused) >> unused
        return shifted
    mask = (1 << pixels.bits_stored) - 1
    if int(array.max()) <= mask:
        return array
    return array & array.dtype.type(mask)

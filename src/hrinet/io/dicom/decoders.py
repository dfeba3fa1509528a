"""Decoding one compressed frame into stored values.

Every decoder here is handed a stream whose declared dimensions and precision were compared with the
file's header first, so that a damaged header cannot make it allocate without bounds.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom.config import IGNORE
from pydicom.uid import UID

from hrinet.errors import InputError
from hrinet.io.dicom.codestream import StreamHeader, stream_header
from hrinet.io.dicom.frames import PixelFormat
from hrinet.types import SliceArray

_NATIVE = frozenset(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
_RLE = "1.2.840.10008.1.2.5"
_JPEG = ("JPEG", "JPEG Lossless")
_CODINGS = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,
    "1.2.840.10008.1.2.4.57": _JPEG,
    "1.2.840.10008.1.2.4.70": _JPEG,
    "1.2.840.10008.1.2.4.80": ("JPEG-LS",),
    "1.2.840.10008.1.2.4.81": ("JPEG-LS",),
    "1.2.840.10008.1.2.4.90": ("JPEG 2000",),
    "1.2.840.10008.1.2.4.91": ("JPEG 2000",),
    "1.2.840.10008.1.2.4.201": ("JPEG 2000",),
    "1.2.840.10008.1.2.4.202": ("JPEG 2000",),
    "1.2.840.10008.1.2.4.203": ("JPEG 2000",),
}


def is_native(transfer_syntax: str) -> bool:
    """Whether pixels are stored uncompressed."""
    return transfer_syntax in _NATIVE


def syntax_name(transfer_syntax: str) -> str:
    """The name of a transfer syntax, or its UID if it has none."""
    # Validation would warn on the terminal about what the caller reports anyway.
    name = str(UID(transfer_syntax, validation_mode=IGNORE).name)
    return name if name != transfer_syntax else f"{transfer_syntax[:64] or 'missing'} (unknown)"


def check_decodable(transfer_syntax: str, *, subject: str) -> None:
    """Refuse an encoding that no decoder here reads, before any work is done.

    Raises:
        InputError: naming the transfer syntax.
    """
    if not is_native(transfer_syntax) and transfer_syntax not in (_RLE, *_CODINGS):
        raise InputError(
            f"{subject}: the transfer syntax {syntax_name(transfer_syntax)} is not one of CT "
            "images; convert the series to an uncompressed one"
        )


def decode_compressed(data: bytes, pixels: PixelFormat, *, subject: str) -> SliceArray:
    """Decode one compressed frame.

    Args:
        data: the frame's fragments, joined.
        pixels: encoding.
        subject: file and frame, for messages.

    Returns:
        Shape (row, column), an integer type of ``pixels.bits_allocated`` bits; signed where the
        stream or the header says so.

    Raises:
        InputError: if the stream contradicts the header or is damaged.
    """
    if pixels.transfer_syntax == _RLE:
        decode: Callable[[bytes], np.ndarray] = lambda data: _decode_rle(data, pixels)  # noqa: E731
        is_signed = pixels.is_signed
    else:
        stream = _checked(data, pixels, subject)
        decode = lambda data: _DECODERS[stream.coding](data, stream)  # noqa: E731
        is_signed = stream.is_signed
    try:
        values = decode(data).reshape(pixels.rows, pixels.columns)
    except Exception as error:
        # Decoders raise whatever they like on damaged data, and their texts explain little.
        raise InputError(
            f"{subject}: its compressed pixel data ({syntax_name(pixels.transfer_syntax)}) is "
            "damaged; copy or export the file again"
        ) from error
    if is_signed and not pixels.is_signed and int(values.min()) < 0:
        raise InputError(
            f"{subject}: its compressed pixel data holds negative values, although "
            "PixelRepresentation is 0 (unsigned)"
        )
    width = pixels.bits_allocated // 8
    return values.astype(f"i{width}" if is_signed else f"u{width}", copy=False)


def _checked(data: bytes, pixels: PixelFormat, subject: str) -> StreamHeader:
    """What the stream declares, after comparing it with the file's header."""
    expected = " or ".join(_CODINGS[pixels.transfer_syntax])
    stream = stream_header(data)
    if stream is None or stream.coding not in _CODINGS[pixels.transfer_syntax]:
        found = "no readable image" if stream is None else f"a {stream.coding} stream"
        raise InputError(
            f"{subject}: its compressed pixel data is {found}, expected {expected} after the "
            f"transfer syntax {syntax_name(pixels.transfer_syntax)}"
        )
    if (stream.rows, stream.columns, stream.components) != (pixels.rows, pixels.columns, 1):
        raise InputError(
            f"{subject}: its compressed image is {stream.columns} x {stream.rows} x "
            f"{stream.components} (columns, rows, samples), expected {pixels.columns} x "
            f"{pixels.rows} x 1 after the header; export the file again"
        )
    if not 2 <= stream.bits <= pixels.bits_allocated:
        raise InputError(
            f"{subject}: its compressed image has {stream.bits} bits a pixel, expected at most "
            f"BitsAllocated, {pixels.bits_allocated}"
        )
    if not stream.is_whole:
        raise InputError(
            f"{subject}: its compressed image ({stream.coding}) is damaged or cut off; copy or "
            "export the file again"
        )
    return stream


def _container(stream: StreamHeader) -> str:
    width = 1 if stream.bits <= 8 else 2 if stream.bits <= 16 else 4
    return f"<{'i' if stream.is_signed else 'u'}{width}"


def _decode_jpeg_ls(data: bytes, stream: StreamHeader) -> np.ndarray:
    import jpeg_ls  # type: ignore[import-untyped]

    buffer, _ = jpeg_ls.decode_pixel_data(data)
    return np.frombuffer(buffer, _container(stream))


def _decode_jpeg_2000(data: bytes, stream: StreamHeader) -> np.ndarray:
    from openjpeg.utils import decode_pixel_data

    return np.frombuffer(decode_pixel_data(data, version=2), _container(stream))


def _decode_jpeg(data: bytes, stream: StreamHeader) -> np.ndarray:
    if stream.bits > 8:
        return _decode_by_gdcm(data, stream)
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)


def _decode_by_gdcm(data: bytes, stream: StreamHeader) -> np.ndarray:
    gdcm = _quiet_gdcm()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((stream.columns, stream.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(
        gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    )
    is_lossless = stream.coding == "JPEG Lossless"
    image.SetTransferSyntax(
        gdcm.TransferSyntax(
            gdcm.TransferSyntax.JPEGLosslessProcess14
            if is_lossless
            else gdcm.TransferSyntax.JPEGExtendedProcess2_4
        )
    )
    allocated = 8 if stream.bits <= 8 else 16
    image.SetPixelFormat(gdcm.PixelFormat(1, allocated, stream.bits, stream.bits - 1, 0))
    # GDCM hands out its buffer as text, with undecodable bytes escaped; this gets the bytes back.
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, _container(stream))


def _quiet_gdcm() -> Any:
    import gdcm

    # It writes to stderr what the caller is told by an exception.
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    gdcm.Trace.DebugOff()
    return gdcm


_DECODERS: dict[str, Callable[[bytes, StreamHeader], np.ndarray]] = {
    "JPEG": _decode_jpeg,
    "JPEG Lossless": _decode_by_gdcm,
    "JPEG-LS": _decode_jpeg_ls,
    "JPEG 2000": _decode_jpeg_2000,
}


def _decode_rle(data: bytes, pixels: PixelFormat) -> np.ndarray:
    """Decode RLE (PS3.5 annex G): one segment for every byte of a pixel, high byte first."""
    width = pixels.bits_allocated // 8
    count = pixels.rows * pixels.columns
    header = np.frombuffer(data[:64], "<u4")
    if header[0] != width:
        raise ValueError("the number of segments is not that of the bytes of a pixel")
    starts = [int(start) for start in header[1 : width + 1]]
    ends = [*starts[1:], len(data)]
    planes = np.empty((count, width), np.uint8)
    for plane, (start, end) in enumerate(zip(starts, ends, strict=True)):
        if not 64 <= start <= end <= len(data):
            raise ValueError("a segment lies outside the frame")
        planes[:, plane] = np.frombuffer(_unpacked(data[start:end], count), np.uint8)
    dtype = np.dtype(f">{'i' if pixels.is_signed else 'u'}{width}")
    return planes.view(dtype).astype(dtype.newbyteorder("="))


def _unpacked(data: bytes, count: int) -> bytes:
    """Undo PackBits up to ``count`` bytes."""
    parts: list[bytes] = []
    missing, position, end = count, 0, len(data)
    while missing > 0 and position + 1 < end:
        code = data[position]
        if code < 128:
            part = data[position + 1 : position + 2 + code]
            position += 2 + code
        elif code > 128:
            part = data[position + 1 : position + 2] * (257 - code)
            position += 2
        else:
            position += 1
            continue
        parts.append(part)
        missing -= len(part)
    unpacked = b"".join(parts)
    if len(unpacked) < count:
        raise ValueError("a segment is too short")
    return unpacked[:count]

"""Decoding one compressed frame into stored values.

Every decoder here is handed a stream whose declared dimensions and precision were compared with the
file's header first, so that a damaged header cannot make it allocate without bounds.
"""

from __future__ import annotations

import numpy as np
from pydicom.config import IGNORE
from pydicom.encaps import encapsulate
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID

from hrinet.errors import InputError
from hrinet.io.dicom.codestream import StreamHeader, stream_header
from hrinet.io.dicom.frames import PixelFormat
from hrinet.types import SliceArray

_NATIVE = frozenset(f"1.2.840.10008.1.2{end}" for end in ("", ".1", ".1.99", ".2"))
_RLE = "1.2.840.10008.1.2.5"
_JPEG = ("JPEG", "JPEG Lossless")
_PLUGINS = {
    "JPEG": "pillow",
    "JPEG Lossless": "gdcm",
    "JPEG-LS": "pyjpegls",  # CharLS, a third faster than GDCM.
    "JPEG 2000": "pylibjpeg",  # OpenJPEG; GDCM changes the sign of some.
    "RLE": "pydicom",  # pylibjpeg's panics on damaged data, which no except clause expects.
}
"""Which of pydicom's decoders for which coding."""

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
    coding, bits, is_signed = "RLE", pixels.bits_stored, pixels.is_signed
    if pixels.transfer_syntax != _RLE:
        stream = _checked(data, pixels, subject)
        # The stream knows best how it is coded; the header's word is applied afterwards.
        coding, bits, is_signed = stream.coding, stream.bits, stream.is_signed
    try:
        if coding == "JPEG" and bits > 8:
            values = _decode_12_bit_jpeg(data, pixels, bits)
        else:
            values = _decode(data, pixels, coding=coding, bits=bits, is_signed=is_signed)
        values = values.reshape(pixels.rows, pixels.columns)
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
    decoded: SliceArray = values.astype(f"i{width}" if is_signed else f"u{width}", copy=False)
    return decoded


def _decode(
    data: bytes, pixels: PixelFormat, *, coding: str, bits: int, is_signed: bool
) -> SliceArray:
    is_rle = coding == "RLE"
    allocated = pixels.bits_allocated if is_rle else 8 if bits <= 8 else 16 if bits <= 16 else 32
    values, _ = get_decoder(UID(pixels.transfer_syntax)).as_array(
        encapsulate([data], has_bot=False),
        index=0,
        raw=True,
        decoding_plugin=_PLUGINS[coding],
        rows=pixels.rows,  # type: ignore[arg-type]
        columns=pixels.columns,  # type: ignore[arg-type]
        number_of_frames=1,  # type: ignore[arg-type]
        samples_per_pixel=1,  # type: ignore[arg-type]
        photometric_interpretation="MONOCHROME2",  # type: ignore[arg-type]
        bits_allocated=allocated,  # type: ignore[arg-type]
        bits_stored=bits,  # type: ignore[arg-type]
        pixel_representation=int(is_signed),  # type: ignore[arg-type]
        pixel_keyword="PixelData",  # type: ignore[arg-type]
    )
    return values


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


def _decode_12_bit_jpeg(data: bytes, pixels: PixelFormat, bits: int) -> SliceArray:
    """Decode lossy JPEG of 9 to 12 bits, which GDCM can do but pydicom does not ask it to."""
    import gdcm

    # It would write to stderr what the caller is told by an exception.
    gdcm.Trace.WarningOff()
    gdcm.Trace.ErrorOff()
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((pixels.columns, pixels.rows, 1))
    image.SetDataElement(element)
    monochrome = gdcm.PhotometricInterpretation.MONOCHROME2
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(monochrome))
    extended = gdcm.TransferSyntax.JPEGExtendedProcess2_4
    image.SetTransferSyntax(gdcm.TransferSyntax(extended))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, bits, bits - 1, 0))
    # GDCM hands out its buffer as text, with undecodable bytes escaped; this gets the bytes back.
    buffer = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(buffer, "<u2")

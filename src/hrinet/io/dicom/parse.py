"""Parsing one DICOM file's header within bounds, and finding its pixel data."""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from hrinet.errors import InputError, LimitError
from hrinet.io.dicom.files import DicomFile
from hrinet.io.limits import Limits

_PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = frozenset((b"OB", b"OW", b"OF", b"OD", b"OL", b"OV", b"UN", b"SQ", b"UT"))

_KEYWORDS = (
    "AcquisitionNumber",
    "AcquisitionTime",
    "BitsAllocated",
    "BitsStored",
    "Columns",
    "ContentTime",
    "ConvolutionKernel",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "HighBit",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "Modality",
    "ModalityLUTSequence",
    "NominalPercentageOfCardiacPhase",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PlanarConfiguration",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "SpacingBetweenSlices",
    "TemporalPositionIdentifier",
    "TriggerTime",
)
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data of a file lies.

    Attributes:
        offset: of the element's value from the start of the (inflated) file, bytes.
        length: of the value, or None where it is encapsulated with undefined length.
    """

    offset: int
    length: int | None


@dataclass(frozen=True, slots=True)
class Header:
    """The parsed part of a file.

    Attributes:
        file: it came from.
        dataset: the elements that this package uses.
        transfer_syntax: UID of the encoding of the pixel data.
        pixels: where the pixel data lies, or None if there is none.
    """

    file: DicomFile
    dataset: Dataset
    transfer_syntax: str
    pixels: PixelElement | None


def is_dicom(stream: BinaryIO) -> bool:
    """Whether a file begins like DICOM: a preamble, or bare elements of group 0002 or 0008."""
    head = stream.read(132)
    stream.seek(0)
    if head[128:132] == b"DICM":
        return True
    return len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] in (b"\x00",)


def parse_header(file: DicomFile, stream: BinaryIO, *, limits: Limits) -> Header:
    """Parse a file up to its pixel data.

    Args:
        file: what the stream belongs to.
        stream: at the start of the file.
        limits: bounds on what a deflated file may inflate to.

    Raises:
        InputError: if the file is damaged.
        LimitError: if it inflates beyond the limits.
    """
    try:
        return _parse(file, stream, limits)
    except InputError:
        raise
    except (Exception, RecursionError) as error:
        # A damaged file can make the parser raise nearly anything; the reason still helps.
        raise InputError(f"{file.name}: is damaged DICOM: {_one_line(error)}") from error


def _parse(file: DicomFile, stream: BinaryIO, limits: Limits) -> Header:
    has_preamble = stream.read(132)[128:] == b"DICM"
    stream.seek(132 if has_preamble else 0)
    meta = read_dataset(
        stream,
        is_implicit_VR=False,
        is_little_endian=True,
        stop_when=lambda tag, vr, length: tag >> 16 != 2,
    )
    syntax = str(meta.get("TransferSyntaxUID", "") or ImplicitVRLittleEndian)
    if str(meta.get("MediaStorageSOPClassUID", "")) == "1.2.840.10008.1.3.10":
        raise InputError(f"{file.name}: is a DICOMDIR, which holds no images")
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = io.BytesIO(_inflate(file, stream, limits))
    dataset = read_dataset(
        stream,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=lambda tag, vr, length: tag in _PIXEL_TAGS,
        specific_tags=_TAGS,
    )
    return Header(file, dataset, syntax, _find_pixels(stream, syntax))


def open_inflated(file: DicomFile, transfer_syntax: str, *, limits: Limits) -> BinaryIO:
    """Open a file so that :attr:`PixelElement.offset` counts from its start."""
    stream = file.open()
    if transfer_syntax != DeflatedExplicitVRLittleEndian:
        return stream
    with stream:
        has_preamble = stream.read(132)[128:] == b"DICM"
        stream.seek(132 if has_preamble else 0)
        read_dataset(
            stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2
        )
        return io.BytesIO(_inflate(file, stream, limits))


def _inflate(file: DicomFile, stream: BinaryIO, limits: Limits) -> bytes:
    """Inflate the rest of a deflated file (PS3.5 A.5), no further than the limits allow."""
    compressed = stream.read()
    bound = int(min(limits.max_inflated_bytes, len(compressed) * limits.max_inflation_ratio))
    inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
    inflated = inflater.decompress(compressed, bound)
    if inflater.unconsumed_tail:
        raise LimitError(
            f"{file.name}: {len(compressed)} deflated bytes would inflate to more than {bound}"
        )
    return inflated


def _find_pixels(stream: BinaryIO, syntax: str) -> PixelElement | None:
    """Read the element header that parsing stopped at (PS3.5 7.1)."""
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    head = stream.read(12)
    if len(head) < 8:
        return None
    tag = int.from_bytes(head[:2], order) << 16 | int.from_bytes(head[2:4], order)  # type: ignore[arg-type]
    if tag != 0x7FE00010:
        return None
    start = stream.tell() - len(head)
    if head[4:6] in _LONG_VRS:
        length, offset = int.from_bytes(head[8:12], order), start + 12  # type: ignore[arg-type]
    else:
        length, offset = int.from_bytes(head[4:8], order), start + 8  # type: ignore[arg-type]
    return PixelElement(offset, None if length == _UNDEFINED_LENGTH else length)


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 160 else text[:157] + "..."


def floats(dataset: Any, keyword: str, count: int, *, subject: str) -> tuple[float, ...] | None:
    """Values of a decimal attribute.

    Args:
        dataset: holds the attribute or not.
        keyword: of the attribute.
        count: number of values expected.
        subject: the file, for the message.

    Returns:
        The values, or None if the attribute is absent or empty.

    Raises:
        InputError: if the number of values is wrong or one is not a finite number.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return None
        values = (value,) if count == 1 else tuple(value)
        numbers = tuple(float(v) for v in values)
    except Exception as error:
        raise InputError(
            f"{subject}: {keyword} is not readable as {count} numbers: {_one_line(error)}"
        ) from error
    if len(numbers) != count or not all(abs(number) < 1e12 for number in numbers):
        raise InputError(f"{subject}: {keyword} is {numbers}, expected {count} finite numbers")
    return numbers


def integer(dataset: Any, keyword: str, *, subject: str, default: int | None = None) -> int | None:
    """Value of an integer attribute, or the default if it is absent or empty.

    Raises:
        InputError: if the value is not one integer.
    """
    try:
        value = dataset.get(keyword)
        return default if value is None or value == "" else int(value)
    except Exception as error:
        raise InputError(
            f"{subject}: {keyword} is not readable as an integer: {_one_line(error)}"
        ) from error


def text(dataset: Any, keyword: str) -> str:
    """Value of a text attribute (several joined by a backslash), empty if absent or unreadable."""
    try:
        value = dataset.get(keyword)
        if value is None:
            return ""
        if isinstance(value, str):
            return value.strip()
        if hasattr(value, "__iter__"):
            return "\\".join(str(v) for v in value)
        return str(value).strip()
    except Exception:
        return ""

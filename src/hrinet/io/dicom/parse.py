"""Parsing one DICOM file's header within bounds, and finding its pixel data."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian

from hrinet.errors import InputError
from hrinet.io.dicom.elements import DamagedError, Element, read_elements
from hrinet.io.dicom.files import (
    MAX_INFLATED_HEADER,
    DicomFile,
    LazyReader,
    MemoryFile,
)
from hrinet.io.limits import Limits
from hrinet.printable import printable

_PIXEL_TAGS = frozenset((0x7FE00008, 0x7FE00009, 0x7FE00010))
_DICOMDIR = "1.2.840.10008.1.3.10"
_MAX_VALUES = 256
_MAX_TEXT = 256
_CHUNK = 64 * 1024
_UNDEFINED_LENGTH = 0xFFFFFFFF
_LONG_VRS = frozenset((b"OB", b"OW", b"UN"))

_KEYWORDS = (
    "AcquisitionNumber",
    "AcquisitionTime",
    "BitsAllocated",
    "BitsStored",
    "CTImageFrameTypeSequence",
    "CTReconstructionSequence",
    "CardiacSynchronizationSequence",
    "Columns",
    "ContentTime",
    "ConvolutionKernel",
    "DimensionIndexValues",
    "ExtendedOffsetTable",
    "ExtendedOffsetTableLengths",
    "FrameAcquisitionNumber",
    "FrameContentSequence",
    "FrameType",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "ImageType",
    "InstanceNumber",
    "MediaStorageSOPClassUID",
    "Modality",
    "ModalityLUTSequence",
    "NominalCardiacTriggerDelayTime",
    "NominalPercentageOfCardiacPhase",
    "NumberOfFrames",
    "PerFrameFunctionalGroupsSequence",
    "PhotometricInterpretation",
    "PixelMeasuresSequence",
    "PixelPaddingValue",
    "PixelRepresentation",
    "PixelSpacing",
    "PixelValueTransformationSequence",
    "PlaneOrientationSequence",
    "PlanePositionSequence",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "Rows",
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SharedFunctionalGroupsSequence",
    "SliceThickness",
    "StackID",
    "TemporalPositionIdentifier",
    "TemporalPositionIndex",
    "TemporalPositionSequence",
    "TemporalPositionTimeOffset",
    "TransferSyntaxUID",
    "TriggerTime",
)


def _tag(keyword: str) -> int:
    tag = tag_for_keyword(keyword)
    assert tag is not None, keyword
    return tag


_TAGS = {keyword: _tag(keyword) for keyword in _KEYWORDS}
_WANTED: dict[int, bytes] = {tag: dictionary_VR(tag)[:2].encode() for tag in _TAGS.values()}
_BINARY = {
    b"US": "H", b"SS": "h", b"UL": "I", b"SL": "i", b"UV": "Q", b"SV": "q", b"FL": "f", b"FD": "d",
}  # fmt: skip
_NUMBER = re.compile(r"\s*([-+0-9.eE]+|[-+]?(nan|inf(inity)?))\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PixelElement:
    """Where the pixel data of a file lies.

    Attributes:
        offset: of the element's value from the start of the (inflated) file, bytes.
        length: of the value, or None where it is encapsulated with undefined length.
    """

    offset: int
    length: int | None


class Attributes(Protocol):
    """Anything that finds an attribute by its keyword."""

    def get(self, keyword: str) -> Element | None:
        """The element if it is there and not empty."""
        ...


@dataclass(frozen=True, slots=True)
class Dataset:
    """The attributes of a dataset or of an item of a sequence that this package uses."""

    elements: Mapping[int, Element]

    def get(self, keyword: str) -> Element | None:
        """The element if it is there and not empty."""
        element = self.elements.get(_TAGS[keyword])
        if element is None or element.items:
            return element
        # Zero bytes are padding of a text, but the number 0 in binary.
        is_binary = element.vr in _BINARY
        has_value = element.value if is_binary else element.value.strip(b" \0")
        return element if has_value else None

    def items(self, keyword: str) -> tuple[Dataset, ...] | None:
        """The items of a sequence, or None if it is absent."""
        element = self.elements.get(_TAGS[keyword])
        return None if element is None else tuple(Dataset(item) for item in element.items)

    def sequences(self) -> Iterator[Dataset]:
        """The first item of every sequence."""
        for element in self.elements.values():
            if element.items:
                yield Dataset(element.items[0])


@dataclass(frozen=True, slots=True)
class Header:
    """The parsed part of a file.

    Attributes:
        file: it came from.
        dataset: the attributes that this package uses.
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
    return len(head) > 8 and head[:2] in (b"\x02\x00", b"\x08\x00") and head[3:4] == b"\x00"


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
    except DamagedError as error:
        raise InputError(
            f"{file.name}: is damaged DICOM: {error}; copy or export the file again"
        ) from error


def _parse(file: DicomFile, stream: BinaryIO, limits: Limits) -> Header:
    meta = _meta(stream)
    syntax = text(meta, "TransferSyntaxUID") or str(ImplicitVRLittleEndian)
    if text(meta, "MediaStorageSOPClassUID") == _DICOMDIR:
        return Header(file, Dataset({}), syntax, None)
    if syntax == DeflatedExplicitVRLittleEndian:
        bound = min(MAX_INFLATED_HEADER, limits.max_inflated_bytes)
        stream = _inflating(file, stream, bound)
    elements = read_elements(
        stream,
        wanted=_WANTED,
        is_implicit=syntax == ImplicitVRLittleEndian,
        is_big=syntax == ExplicitVRBigEndian,
        stop_at=lambda tag: tag in _PIXEL_TAGS,
    )
    pixels = _find_pixels(stream, is_big=syntax == ExplicitVRBigEndian)
    return Header(file, Dataset(elements), syntax, pixels)


def _meta(stream: BinaryIO) -> Dataset:
    """File meta information (PS3.10 7.1); the stream is left at the dataset."""
    start = 132 if stream.read(132)[128:] == b"DICM" else 0
    stream.seek(start)
    elements = read_elements(
        stream,
        wanted=_WANTED,
        is_implicit=False,
        is_big=False,
        stop_at=lambda tag: tag >> 16 != 2,
    )
    return Dataset(elements)


def open_inflated(file: DicomFile, transfer_syntax: str, *, limits: Limits) -> BinaryIO:
    """Open a file so that :attr:`PixelElement.offset` counts from its start.

    Raises:
        InputError: if the file cannot be read.
    """
    stream = file.open()
    if transfer_syntax != DeflatedExplicitVRLittleEndian or isinstance(file, MemoryFile):
        return stream
    with stream:
        _meta(stream)
        bound = int(min(limits.max_inflated_bytes, file.size * limits.max_inflation_ratio))
        return _inflating(file, stream, bound)


def open_dataset(file: DicomFile, transfer_syntax: str, *, limits: Limits) -> BinaryIO:
    """Open a file's header at the first element of its dataset, for a reader of all attributes.

    Args:
        file: which.
        transfer_syntax: that it was found to have.
        limits: bounds on what a deflated file may inflate to.

    Raises:
        InputError: if the file cannot be read.
    """
    stream = file.open_header()
    try:
        _meta(stream)
        if transfer_syntax != DeflatedExplicitVRLittleEndian:
            return stream
        bound = min(MAX_INFLATED_HEADER, limits.max_inflated_bytes)
        return _inflating(file, stream, bound)
    except BaseException:
        stream.close()
        raise


def _inflating(file: DicomFile, stream: BinaryIO, bound: int) -> BinaryIO:
    """The inflated rest of a deflated file (PS3.5 A.5), produced only as far as it is read."""
    compressed = stream.read()

    def chunks() -> Iterator[bytes]:
        inflater = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        waiting = compressed
        while waiting and not inflater.eof:
            try:
                chunk = inflater.decompress(waiting, _CHUNK)
            except zlib.error as error:
                raise InputError(
                    f"{file.name}: is damaged DICOM: its deflated part cannot be inflated; copy "
                    "or export the file again"
                ) from error
            waiting = inflater.unconsumed_tail
            if chunk:
                yield chunk

    return cast(BinaryIO, LazyReader(chunks(), subject=file.name, limit=bound))


def _find_pixels(stream: BinaryIO, *, is_big: bool) -> PixelElement | None:
    """Read the element header that parsing stopped at (PS3.5 7.1)."""
    start = stream.tell()
    head = stream.read(12)
    order = ">" if is_big else "<"
    if len(head) < 8 or struct.unpack_from(f"{order}HH", head) != (0x7FE0, 0x0010):
        return None
    has_long_vr = head[4:6] in _LONG_VRS
    if has_long_vr and len(head) < 12:
        return None
    length: int = struct.unpack_from(f"{order}I", head, 8 if has_long_vr else 4)[0]
    offset = start + (12 if has_long_vr else 8)
    return PixelElement(offset, None if length == _UNDEFINED_LENGTH else length)


def floats(
    dataset: Attributes, keyword: str, count: int, *, subject: str
) -> tuple[float, ...] | None:
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
    element = dataset.get(keyword)
    if element is None:
        return None
    numbers = _numbers(element, keyword)
    if numbers is None or len(numbers) != count or not all(abs(n) < 1e12 for n in numbers):
        found = "not readable" if numbers is None else _listed(numbers)
        expected = "a finite number" if count == 1 else f"{count} finite numbers"
        raise InputError(f"{subject}: {keyword} is {found}, expected {expected}")
    return numbers


def integer(
    dataset: Attributes, keyword: str, *, subject: str, default: int | None = None
) -> int | None:
    """Value of an integer attribute, or the default if it is absent or empty.

    Raises:
        InputError: if the value is not one integer.
    """
    element = dataset.get(keyword)
    if element is None:
        return default
    numbers = _numbers(element, keyword)
    if numbers is None or len(numbers) != 1 or not abs(numbers[0]) < 2**63:
        found = "not readable" if numbers is None else _listed(numbers)
        raise InputError(f"{subject}: {keyword} is {found}, expected an integer")
    if numbers[0] != int(numbers[0]):
        raise InputError(f"{subject}: {keyword} is {numbers[0]:.6g}, expected an integer")
    return int(numbers[0])


def text(dataset: Attributes, keyword: str) -> str:
    """Value of a text attribute (several joined by a backslash), empty if absent.

    Control characters are replaced, since these texts end up on terminals.
    """
    element = dataset.get(keyword)
    if element is None or element.items:
        return ""
    if element.vr in _BINARY:
        numbers = _numbers(element, keyword) or ()
        return "\\".join(f"{number:.12g}" for number in numbers)
    try:
        value = element.value.decode("utf-8")
    except UnicodeDecodeError:
        value = element.value.decode("latin-1")
    return printable(value.strip(" \0\t\r\n")[:_MAX_TEXT])


def _numbers(element: Element, keyword: str) -> tuple[float, ...] | None:
    """All values, or None if they are not numbers."""
    is_opaque = element.vr in (b"OB", b"OW", b"UN")
    code = _BINARY.get(_WANTED[_TAGS[keyword]] if is_opaque else element.vr)
    if code is not None:
        count, rest = divmod(len(element.value), struct.calcsize(f"={code}"))
        if rest or not count or count > _MAX_VALUES:
            return None
        order = ">" if element.is_big else "<"
        return tuple(struct.unpack(f"{order}{count}{code}", element.value))
    parts = element.value.decode("latin-1").strip(" \0").split("\\", _MAX_VALUES)
    if len(parts) > _MAX_VALUES or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        return tuple(float(part) for part in parts)
    except ValueError:  # Such as "1.2.3" or "1-2".
        return None


def _listed(numbers: tuple[float, ...]) -> str:
    shown = "\\".join(f"{number:.12g}" for number in numbers[:8])
    return shown if len(numbers) <= 8 else f"{shown}... ({len(numbers)} numbers)"

"""The few attributes of a received object that decide what happens to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO

from hrinet.errors import InputError
from hrinet.io.dicom.elements import Element, read_elements
from hrinet.node.names import is_uid

IMPLICIT_LITTLE = "1.2.840.10008.1.2"
EXPLICIT_BIG = "1.2.840.10008.1.2.2"

_SOP_CLASS, _SOP_INSTANCE = 0x00080016, 0x00080018
_STUDY, _SERIES = 0x0020000D, 0x0020000E
_IMAGE_TYPE, _MODALITY, _DESCRIPTION = 0x00080008, 0x00080060, 0x0008103E
_THICKNESS, _POSITION, _ORIENTATION = 0x00180050, 0x00200032, 0x00200037
_LAST = _ORIENTATION
_META_GROUP = b"\x02\x00"

_WANTED = {
    _SOP_CLASS: b"UI",
    _SOP_INSTANCE: b"UI",
    _STUDY: b"UI",
    _SERIES: b"UI",
    _IMAGE_TYPE: b"CS",
    _MODALITY: b"CS",
    _DESCRIPTION: b"LO",
    _THICKNESS: b"DS",
    _POSITION: b"DS",
    _ORIENTATION: b"DS",
}


class HeaderError(InputError):
    """An object that cannot be filed; the message holds no value of the object."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What decides about an object.

    Attributes:
        sop_class: SOP Class UID.
        sop_instance: SOP Instance UID.
        study: Study Instance UID.
        series: Series Instance UID.
        modality: (0008,0060), upper case, or empty.
        description: Series Description, or empty.
        image_type: (0008,0008), values joined by backslashes, upper case.
        thickness_mm: Slice Thickness, or None.
        position_mm: of the slice along its normal, or None.
    """

    sop_class: str
    sop_instance: str
    study: str
    series: str
    modality: str = ""
    description: str = ""
    image_type: str = ""
    thickness_mm: float | None = None
    position_mm: float | None = None


def read_header(stream: BinaryIO, *, offset: int, transfer_syntax: str) -> Header:
    """Read the header of an object.

    Args:
        stream: of the file, or of its first bytes.
        offset: where the dataset begins in it, bytes.
        transfer_syntax: of the dataset.

    Raises:
        HeaderError: if it is damaged, or lacks one of its UIDs.
        OSError: if the file cannot be read.
    """
    stream.seek(offset)
    if stream.read(2) == _META_GROUP:
        # PS3.7 9.1.1.1.8: file meta information is no part of what is sent.
        raise HeaderError("the dataset begins with file meta information")
    stream.seek(offset)
    try:
        found = read_elements(
            stream,
            wanted=_WANTED,
            is_implicit=transfer_syntax == IMPLICIT_LITTLE,
            is_big=transfer_syntax == EXPLICIT_BIG,
            stop_at=lambda tag: tag > _LAST,
        )
    except InputError as error:
        raise HeaderError(f"not a dataset: {error}") from error
    return Header(
        sop_class=_uid(found, _SOP_CLASS, "SOP Class UID (0008,0016)"),
        sop_instance=_uid(found, _SOP_INSTANCE, "SOP Instance UID (0008,0018)"),
        study=_uid(found, _STUDY, "Study Instance UID (0020,000d)"),
        series=_uid(found, _SERIES, "Series Instance UID (0020,000e)"),
        modality=_text(found, _MODALITY).upper(),
        description=_text(found, _DESCRIPTION),
        image_type=_text(found, _IMAGE_TYPE).upper(),
        thickness_mm=_thickness(found),
        position_mm=_position(found),
    )


def _text(found: Mapping[int, Element], tag: int) -> str:
    element = found.get(tag)
    if element is None:
        return ""
    # Other character sets than UTF-8 keep their ASCII part, which is what patterns look for.
    return element.value.decode("utf-8", "replace").strip("\0 ")


def _uid(found: Mapping[int, Element], tag: int, name: str) -> str:
    value = _text(found, tag)
    if not value:
        raise HeaderError(f"has no {name}")
    if not is_uid(value):
        raise HeaderError(f"its {name} is no UID")
    return value


def _numbers(found: Mapping[int, Element], tag: int, count: int) -> list[float] | None:
    try:
        values = [float(part) for part in _text(found, tag).split("\\")]
    except ValueError:
        return None
    is_good = len(values) == count and all(math.isfinite(value) for value in values)
    return values if is_good else None


def _thickness(found: Mapping[int, Element]) -> float | None:
    values = _numbers(found, _THICKNESS, 1)
    return values[0] if values and values[0] > 0 else None


def _position(found: Mapping[int, Element]) -> float | None:
    origin = _numbers(found, _POSITION, 3)
    directions = _numbers(found, _ORIENTATION, 6)
    if origin is None or directions is None:
        return None
    a, b, c, d, e, f = directions
    normal = (b * f - c * e, c * d - a * f, a * e - b * d)
    length = math.hypot(*normal)
    along = sum(n * p for n, p in zip(normal, origin, strict=True))
    return along / length if length > 0.5 else None

"""DICOM data elements as pydicom finds them, left encoded.

pydicom walks the file (PS3.5 7); only the attributes that this package uses are kept, and nothing
is decoded on the way, so that no patient data can appear in a message or a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset as PydicomDataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag

from hrinet.errors import InputError

_MAX_VALUE = 1 << 20
_MAX_ITEMS = 250_000
_MAX_READS = 2_000_000
_ITEM = {False: b"\xfe\xff\x00\xe0", True: b"\xff\xfe\xe0\x00"}


class DamagedError(InputError):
    """The bytes are no DICOM elements."""


@dataclass(frozen=True, slots=True)
class Element:
    """One attribute, still encoded.

    Attributes:
        vr: value representation as stored, or as the dictionary has it in implicit VR.
        value: encoded value, empty for sequences.
        items: of a sequence.
        is_big: whether binary numbers are big-endian.
    """

    vr: bytes
    value: bytes
    items: tuple[Mapping[int, Element], ...]
    is_big: bool


class _Metered:
    """A stream that can be read from only so often.

    A few megabytes may hold a million empty items, each of which costs pydicom a kilobyte and
    microseconds; an Enhanced CT of 2000 frames takes a fifth of the reads allowed here.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._left = _MAX_READS
        self._read = stream.read
        self.seek = stream.seek
        self.tell = stream.tell

    def read(self, size: int = -1, /) -> bytes:
        self._left -= 1
        if self._left < 0:
            raise DamagedError("it has millions of data elements")
        return self._read(size)


def read_elements(
    stream: BinaryIO,
    *,
    wanted: Mapping[int, bytes],
    is_implicit: bool,
    is_big: bool,
    stop_at: Callable[[int], bool],
) -> dict[int, Element]:
    """Read a dataset up to its end or a tag to stop at, before which the stream is left.

    Args:
        stream: positioned at the first element.
        wanted: tags to keep, at every level, with their VR.
        is_implicit: what the transfer syntax says; pydicom notices where writers got it wrong.
        is_big: big-endian.
        stop_at: whether to stop before a tag at the top level.

    Raises:
        DamagedError: if the bytes make no sense.
        LimitError: if the stream inflates beyond its limit.
    """
    try:
        with warnings.catch_warnings():
            # What deviates from the standard and matters is reported by the caller's checks.
            warnings.simplefilter("ignore")
            dataset = read_dataset(
                _Metered(stream),  # type: ignore[arg-type]
                is_implicit_VR=is_implicit,
                is_little_endian=not is_big,
                stop_when=lambda tag, vr, length: stop_at(int(tag)),
                specific_tags=[BaseTag(tag) for tag in wanted],
            )
            return _encoded(dataset, wanted, is_big=is_big)
    except InputError:
        raise
    except (Exception, RecursionError) as error:
        # A damaged file can make the parser raise nearly anything.
        raise DamagedError("its data elements cannot be parsed") from error


def _encoded(
    dataset: PydicomDataset, wanted: Mapping[int, bytes], *, is_big: bool
) -> dict[int, Element]:
    found: dict[int, Element] = {}
    for tag in map(int, dataset.keys()):
        wanted_vr = wanted.get(tag)
        if wanted_vr is None:
            continue
        if wanted_vr == b"SQ":
            packed: object = dataset.get_item(tag).value
            if isinstance(packed, bytes) and packed.count(_ITEM[is_big]) > _MAX_ITEMS:
                raise DamagedError("a sequence has hundreds of thousands of items")
            items = dataset[tag].value or ()
            found[tag] = Element(
                b"SQ", b"", tuple(_encoded(item, wanted, is_big=is_big) for item in items), is_big
            )
            continue
        raw: object = dataset.get_item(tag)
        if not isinstance(raw, RawDataElement):
            continue  # Decoded already: a sequence where none belongs.
        value = raw.value or b""
        if len(value) > _MAX_VALUE:
            raise DamagedError(f"the attribute ({tag >> 16:04x},{tag & 0xFFFF:04x}) is too long")
        vr = (raw.VR or "UN").encode()
        found[tag] = Element(vr if vr != b"UN" else wanted_vr, value, (), not raw.is_little_endian)
    return found

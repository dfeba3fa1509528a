"""All attributes of a source image, for what a derived one carries over."""

from __future__ import annotations

import math
import warnings
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy, deepcopy

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from hrinet.errors import InputError
from hrinet.io.dicom.files import MemoryFile
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.parse import open_dataset
from hrinet.io.limits import Limits

_KEPT = 4
"""Two neighbours, and those of the gap before."""

_PIXEL_GROUP = 0x7FE0
_GROUPS = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom from warning about values: its warnings quote them, and they may be names."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


class Headers:
    """Reads the attributes of source frames, and keeps those of the last few.

    Args:
        limits: bounds on what a deflated file may inflate to.
    """

    def __init__(self, *, limits: Limits) -> None:
        self._limits = limits
        self._by_frame: OrderedDict[int, Dataset] = OrderedDict()
        self._multi_frame: tuple[object, Dataset] | None = None

    def of(self, frame: Frame) -> Dataset:
        """The attributes of a frame, without pixels.

        Those in the functional groups of a multi-frame object (PS3.3 C.7.6.16) are laid flat: the
        frame's own over the shared ones over those of the object.

        Raises:
            InputError: if the file cannot be read any more.
        """
        key = id(frame)
        if key not in self._by_frame:
            self._by_frame[key] = self._read(frame)
            while len(self._by_frame) > _KEPT:
                self._by_frame.popitem(last=False)
        self._by_frame.move_to_end(key)
        return self._by_frame[key]

    def _read(self, frame: Frame) -> Dataset:
        if frame.pixels.frames == 1:
            return self._parsed(frame)
        if self._multi_frame is None or self._multi_frame[0] is not frame.pixels:
            self._multi_frame = frame.pixels, self._parsed(frame)
        return _flat(self._multi_frame[1], frame.index)

    def _parsed(self, frame: Frame) -> Dataset:
        syntax = frame.pixels.transfer_syntax
        if isinstance(frame.file, MemoryFile) and syntax == DeflatedExplicitVRLittleEndian:
            with frame.file.open() as stream:
                return _dataset(stream, frame)
        with open_dataset(frame.file, syntax, limits=self._limits) as stream:
            return _dataset(stream, frame)


def _dataset(stream: object, frame: Frame) -> Dataset:
    syntax = frame.pixels.transfer_syntax
    try:
        with quiet():
            return read_dataset(
                stream,  # type: ignore[arg-type]
                is_implicit_VR=syntax == ImplicitVRLittleEndian,
                is_little_endian=syntax != ExplicitVRBigEndian,
                stop_when=lambda tag, vr, length: tag.group >= _PIXEL_GROUP,
            )
    except InputError:
        raise
    except (Exception, RecursionError):
        # Whatever pydicom raises may quote a value; the file was parsed before, so this is rare.
        raise InputError(
            f"{frame.file.name}: its attributes cannot be read; copy or export the file again"
        ) from None


def _flat(whole: Dataset, index: int) -> Dataset:
    flat = Dataset()
    groups: list[Dataset] = []
    for keyword in _GROUPS:
        items = getattr(whole, keyword, None) or []
        if items:
            groups.append(items[0] if keyword.startswith("Shared") else items[index])
    skipped = {tag_for_keyword(keyword) for keyword in _GROUPS}
    for tag in whole.keys() - skipped:
        flat[tag] = whole[tag]
    for group in groups:
        for macro in group:
            if macro.VR == "SQ" and macro.value:
                for element in macro.value[0]:
                    flat[element.tag] = element
    return flat


def copied(source: Dataset, keywords: Iterable[str]) -> Iterator[DataElement]:
    """Those of the attributes that a source has, ready to be set in another dataset.

    What cannot be decoded or is of another type than it should be is left out, and so are private
    attributes within sequences.
    """
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is None or tag not in source:
            continue
        try:
            element = source[tag]
            if not _is_sound(element):
                continue
            # A copy, since setting an attribute of a dataset changes the element that it holds.
            element = deepcopy(element) if element.VR == "SQ" else copy(element)
            if element.VR == "SQ":
                for item in element.value or ():
                    item.remove_private_tags()
        except Exception:
            continue
        yield element


def _is_sound(element: DataElement) -> bool:
    if element.VR not in dictionary_VR(element.tag).split(" or "):
        return False
    if element.VR not in ("DS", "IS") or element.is_empty:
        return True
    values = element.value if element.VM > 1 else [element.value]
    return all(math.isfinite(float(value)) for value in values)


def value_of(source: Dataset, keyword: str) -> object:
    """The value of an attribute, or None if it is absent, empty or cannot be decoded."""
    try:
        value = source.get(keyword)
    except Exception:
        return None
    return None if value is None or value == "" or value == [] else value

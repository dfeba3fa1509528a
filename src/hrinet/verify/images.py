"""What the images of a derived series say about themselves, read back from their files."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

from hrinet.io.dicom.derive.classic import number
from hrinet.io.dicom.derive.headers import Headers, value_of
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.scan import DicomScan

_MARKS = ("SYNTHETIC", "RESAMPLED")
"""Fourth value of Image Type (classic) or Frame Type (enhanced) of a synthetic slice."""


@dataclass(frozen=True, slots=True)
class DerivedImage:
    """One image, or one frame of a multi-frame object.

    Attributes:
        frame: as the reader found it.
        name: file, and frame if it is one of many, for messages.
        number: Instance Number, or place in the stack; 0 if there is none.
        image_type: Image Type, or Frame Type.
        references: SOP Instance UIDs of its source images, with ``#frame`` where a frame is meant.
        derivation_codes: code values of Derivation Code Sequence.
        description: Derivation Description.
        has_private: whether the object holds private attributes.
        header: all attributes, laid flat.
    """

    frame: Frame
    name: str
    number: int
    image_type: tuple[str, ...]
    references: tuple[str, ...]
    derivation_codes: tuple[str, ...]
    description: str
    has_private: bool
    header: Dataset

    @property
    def is_synthetic(self) -> bool:
        """Whether the image says that it was computed."""
        return len(self.image_type) > 3 and self.image_type[3] in _MARKS


def read_images(scan: DicomScan) -> list[DerivedImage]:
    """The images of a derived series in order of position.

    Raises:
        InputError: if a file cannot be read.
    """
    headers = Headers(limits=scan.limits)
    return [_image(frame, headers.of(frame)) for frame in scan.frames]


def _image(frame: Frame, header: Dataset) -> DerivedImage:
    kind = value_of(header, "FrameType") or value_of(header, "ImageType") or ()
    many = frame.pixels.frames > 1
    counted = number(header, "InStackPositionNumber" if many else "InstanceNumber")
    return DerivedImage(
        frame=frame,
        name=f"{frame.file.name} frame {frame.index + 1}" if many else frame.file.name,
        number=int(counted) if counted is not None else 0,
        image_type=(kind,) if isinstance(kind, str) else tuple(map(str, kind)),  # type: ignore[call-overload]
        references=tuple(map(_reference, _items(header, "SourceImageSequence"))),
        derivation_codes=tuple(
            str(value_of(item, "CodeValue")) for item in _items(header, "DerivationCodeSequence")
        ),
        description=str(value_of(header, "DerivationDescription") or ""),
        has_private=_has_private(header),
        header=header,
    )


def _has_private(header: Dataset) -> bool:
    return any(
        element.tag.is_private
        or (element.VR == "SQ" and any(map(_has_private, element.value or ())))
        for element in header
    )


def _items(header: Dataset, keyword: str) -> list[Dataset]:
    found = value_of(header, keyword)
    return list(found) if isinstance(found, Items) else []


def _reference(item: Dataset) -> str:
    uid = str(value_of(item, "ReferencedSOPInstanceUID") or "")
    frame = value_of(item, "ReferencedFrameNumber")
    return uid if frame is None else f"{uid}#{frame}"

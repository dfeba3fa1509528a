"""From parsed headers to frames: one record for every 2D image that a file holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from hrinet.errors import InputError
from hrinet.io.dicom.elements import Element
from hrinet.io.dicom.files import DicomFile
from hrinet.io.dicom.parse import Dataset, Header, PixelElement, floats, integer, text
from hrinet.io.limits import Limits


@dataclass(frozen=True, slots=True)
class Span:
    """A run of bytes in a file.

    Attributes:
        offset: from the start of the file.
        length: bytes.
    """

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class PixelFormat:
    """How the stored values of a file are encoded (PS3.3 C.7.6.3).

    Attributes:
        transfer_syntax: UID.
        rows: number of rows.
        columns: number of columns.
        frames: number of frames in the file.
        bits_allocated: 8, 16 or 32.
        bits_stored: at most ``bits_allocated``.
        is_signed: Pixel Representation.
        element: where the pixel data lies.
        offsets: the extended offset table (offsets, lengths), if the file has one.
        spans: the fragments of every frame of compressed pixel data, once they were looked for.
    """

    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    element: PixelElement
    offsets: tuple[bytes, ...] | None
    spans: tuple[tuple[Span, ...], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One 2D image and where it lies.

    Attributes:
        file: that holds it.
        index: of the frame in the file, from 0.
        source_id: SOP Instance UID, with ``#n`` (from 1) in a multi-frame file.
        series_uid: Series Instance UID.
        position: Image Position (Patient), LPS, mm.
        orientation: Image Orientation (Patient): row direction, then column direction.
        pixel_spacing: between rows, between columns, mm.
        thickness: Slice Thickness, mm, or None.
        slope: Rescale Slope.
        intercept: Rescale Intercept, HU.
        padding: stored value of pixels outside the field of view, or None.
        pixels: encoding.
        order: Instance Number (or the frame's number), for ties only.
        phase: attributes that tell apart frames at the same position, by name.
        is_localizer: whether Image Type says so.
        modality: DICOM Modality.
        description: Series Description.
        kernel: Convolution Kernel.
        stack: Stack ID, which sets parallel stacks of one multi-frame file apart.
        rescale_type: Rescale Type, if stated.
        has_rescale: whether a rescale was stated at all.
        sop_class: SOP Class UID.
    """

    file: DicomFile
    index: int
    source_id: str
    series_uid: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel_spacing: tuple[float, float]
    thickness: float | None
    slope: float
    intercept: float
    padding: int | None
    pixels: PixelFormat
    order: int
    phase: tuple[tuple[str, str], ...]
    is_localizer: bool
    modality: str
    description: str
    kernel: str
    stack: str
    rescale_type: str
    has_rescale: bool
    sop_class: str = ""


_PHASE_KEYWORDS = (
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "AcquisitionNumber",
    "ImageType",
    "AcquisitionTime",
    "ContentTime",
)
_FRAME_PHASE_KEYWORDS = (
    "TemporalPositionIndex",
    "TemporalPositionTimeOffset",
    "NominalCardiacTriggerDelayTime",
    "FrameAcquisitionNumber",
)
_CT_IMAGES = frozenset(
    (
        "1.2.840.10008.5.1.4.1.1.2",  # CT Image Storage
        "1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        "1.2.840.10008.5.1.4.1.1.2.2",  # Legacy Converted Enhanced CT
    )
)
_FARTHEST_MM = 1e6


def frames_of(header: Header, *, limits: Limits) -> list[Frame]:
    """The frames of a file that have a place in the patient.

    Args:
        header: of the file.
        limits: bounds on the dimensions.

    Returns:
        One record a frame; empty if the file holds no positioned images.

    Raises:
        InputError: if an attribute is missing, contradictory or unreadable.
    """
    if header.pixels is None:
        if text(header.dataset, "SOPClassUID") in _CT_IMAGES:
            raise InputError(
                f"{header.file.name}: is a CT image without pixel data; the file is cut off or "
                "was stripped, export it again"
            )
        return []
    pixels = _pixel_format(header, header.pixels, limits)
    if pixels is None:
        return []
    per_frame = header.dataset.items("PerFrameFunctionalGroupsSequence")
    if per_frame is not None:
        return _enhanced_frames(header, pixels, per_frame)
    if pixels.frames > 1:
        raise InputError(
            f"{header.file.name}: has {pixels.frames} frames and no functional groups, so that "
            "their positions are unknown; export it as single slices or as Enhanced CT"
        )
    frame = _frame(header, pixels, [header.dataset], index=0)
    return [] if frame is None else [frame]


def _enhanced_frames(
    header: Header, pixels: PixelFormat, per_frame: Sequence[Dataset]
) -> list[Frame]:
    """Frames of an Enhanced object: per-frame groups override shared ones (PS3.3 C.7.6.16)."""
    name = header.file.name
    if len(per_frame) != pixels.frames:
        raise InputError(
            f"{name}: has {len(per_frame)} per-frame functional groups for {pixels.frames} frames"
        )
    shared = header.dataset.items("SharedFunctionalGroupsSequence")
    shared_groups = list(shared[0].sequences()) if shared else []
    frames = []
    for index, groups in enumerate(per_frame):
        layers = [*groups.sequences(), *shared_groups, header.dataset]
        frame = _frame(header, pixels, layers, index=index)
        if frame is not None:
            frames.append(frame)
    return frames


class _Layers:
    """Looks an attribute up in the first layer that has a value for it."""

    def __init__(self, layers: Sequence[Dataset]) -> None:
        self._layers = layers

    def get(self, keyword: str) -> Element | None:
        for layer in self._layers:
            element = layer.get(keyword)
            if element is not None:
                return element
        return None


def _frame(
    header: Header, pixels: PixelFormat, layers: Sequence[Dataset], *, index: int
) -> Frame | None:
    name = header.file.name if pixels.frames == 1 else f"{header.file.name} frame {index + 1}"
    values = _Layers(layers)
    placed = _placement(values, name)
    if placed is None:
        return None
    position, orientation, spacing = placed
    slope = floats(values, "RescaleSlope", 1, subject=name)
    intercept = floats(values, "RescaleIntercept", 1, subject=name)
    if values.get("ModalityLUTSequence") is not None and intercept is None:
        raise InputError(
            f"{name}: maps its pixels by a Modality LUT, expected RescaleSlope and RescaleIntercept"
        )
    if slope is not None and slope[0] == 0:
        raise InputError(
            f"{name}: RescaleSlope is 0, which makes all voxels equal; expected 1 or so"
        )
    thickness = floats(values, "SliceThickness", 1, subject=name)
    image_type = text(values, "ImageType").upper() or text(values, "FrameType").upper()
    uid = text(values, "SOPInstanceUID")
    phase = [(keyword, text(values, keyword)) for keyword in _PHASE_KEYWORDS]
    if pixels.frames > 1:
        phase += [(keyword, text(values, keyword)) for keyword in _FRAME_PHASE_KEYWORDS]
        dimensions = text(values, "DimensionIndexValues").split("\\")
        phase += [(f"dimension {n + 1}", value) for n, value in enumerate(dimensions) if value]
        order = index + 1
    else:
        order = integer(values, "InstanceNumber", subject=name, default=0) or 0
    return Frame(
        file=header.file,
        index=index,
        source_id=uid if pixels.frames == 1 else f"{uid}#{index + 1}",
        series_uid=text(values, "SeriesInstanceUID"),
        position=position,
        orientation=orientation,
        pixel_spacing=(spacing[0], spacing[1]),
        thickness=thickness[0] if thickness is not None and thickness[0] > 0 else None,
        slope=slope[0] if slope is not None else 1.0,
        intercept=intercept[0] if intercept is not None else 0.0,
        padding=_padding(values, pixels, name),
        pixels=pixels,
        order=order,
        phase=tuple((key, value) for key, value in phase if value),
        is_localizer="LOCALIZER" in image_type,
        modality=text(values, "Modality"),
        description=text(values, "SeriesDescription"),
        kernel=text(values, "ConvolutionKernel"),
        stack=text(values, "StackID"),
        rescale_type=text(values, "RescaleType"),
        has_rescale=intercept is not None,
        sop_class=text(values, "SOPClassUID"),
    )


def _placement(
    values: _Layers, name: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]] | None:
    """Position, orientation and pixel spacing, or None if the image has no place in the patient."""
    position = floats(values, "ImagePositionPatient", 3, subject=name)
    orientation = floats(values, "ImageOrientationPatient", 6, subject=name)
    if position is None or orientation is None:
        missing = [] if position else ["ImagePositionPatient"]
        missing += [] if orientation else ["ImageOrientationPatient"]
        if len(missing) < 2 or text(values, "SOPClassUID") in _CT_IMAGES:
            are = "is" if len(missing) == 1 else "are"
            raise InputError(
                f"{name}: {' and '.join(missing)} {are} missing, without which the slice has no "
                "place; export the series again from the scanner or the PACS"
            )
        return None
    if max(map(abs, position)) > _FARTHEST_MM:
        raise InputError(
            f"{name}: ImagePositionPatient is {position} mm, farther out than any scanner reaches"
        )
    lengths = [math.hypot(*orientation[:3]), math.hypot(*orientation[3:])]
    cosine = sum(a * b for a, b in zip(orientation[:3], orientation[3:], strict=True))
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(cosine) > 1e-3:
        raise InputError(
            f"{name}: ImageOrientationPatient is {orientation}, expected two unit vectors at right "
            "angles"
        )
    spacing = floats(values, "PixelSpacing", 2, subject=name)
    if spacing is None:
        raise InputError(f"{name}: PixelSpacing is missing, expected two numbers of mm")
    if not all(1e-5 <= value <= 1e3 for value in spacing):
        raise InputError(f"{name}: PixelSpacing is {spacing}, expected two positive numbers of mm")
    return position, orientation, spacing


def _padding(values: _Layers, pixels: PixelFormat, name: str) -> int | None:
    """Pixel Padding Value, read by the signedness of the pixels whatever its own VR says."""
    padding = integer(values, "PixelPaddingValue", subject=name)
    if padding is None:
        return None
    mask = (1 << pixels.bits_allocated) - 1
    unsigned = padding & mask
    if pixels.is_signed and unsigned >> (pixels.bits_allocated - 1):
        return unsigned - mask - 1
    return unsigned


def _pixel_format(header: Header, element: PixelElement, limits: Limits) -> PixelFormat | None:
    dataset, name = header.dataset, header.file.name

    def required(keyword: str) -> int:
        value = integer(dataset, keyword, subject=name)
        if value is None:
            raise InputError(f"{name}: {keyword} is missing, expected in every image")
        return value

    samples = integer(dataset, "SamplesPerPixel", subject=name, default=1)
    photometric = text(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None  # Colour: a screenshot or a report, never a slice of HU.
    rows, columns = required("Rows"), required("Columns")
    frames = integer(dataset, "NumberOfFrames", subject=name, default=1)
    limits.check_shape(name, (1 if frames is None else frames, rows, columns))
    allocated, stored = required("BitsAllocated"), required("BitsStored")
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise InputError(
            f"{name}: BitsAllocated is {allocated} and BitsStored {stored}, expected 8, 16 or 32 "
            "and no more than that"
        )
    representation = integer(dataset, "PixelRepresentation", subject=name, default=0)
    if representation not in (0, 1):
        raise InputError(
            f"{name}: PixelRepresentation is {representation}, expected 0 (unsigned) or 1 (signed)"
        )
    tables = [dataset.get(f"ExtendedOffsetTable{part}") for part in ("", "Lengths")]
    return PixelFormat(
        transfer_syntax=header.transfer_syntax,
        rows=rows,
        columns=columns,
        frames=frames or 1,
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=representation == 1,
        element=element,
        offsets=None if None in tables else tuple(t.value for t in tables if t is not None),
    )

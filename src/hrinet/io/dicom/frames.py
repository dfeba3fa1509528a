"""From parsed headers to frames: one record for every 2D image that a file holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydicom.dataset import Dataset

from hrinet.errors import InputError
from hrinet.io.dicom.files import DicomFile
from hrinet.io.dicom.parse import Header, PixelElement, floats, integer, text
from hrinet.io.limits import Limits


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
        photometric: MONOCHROME1 or MONOCHROME2.
        element: where the pixel data lies.
        offsets: the extended offset table (offsets, lengths), if the file has one.
    """

    transfer_syntax: str
    rows: int
    columns: int
    frames: int
    bits_allocated: int
    bits_stored: int
    is_signed: bool
    photometric: str
    element: PixelElement
    offsets: tuple[bytes, bytes] | None


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
        rescale_type: Rescale Type, if stated.
        has_rescale: whether a rescale was stated at all.
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
    rescale_type: str
    has_rescale: bool


_PHASE_KEYWORDS = (
    "TemporalPositionIdentifier",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "AcquisitionNumber",
    "ConvolutionKernel",
    "ImageType",
    "AcquisitionTime",
    "ContentTime",
)


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
    pixels = _pixel_format(header, limits)
    if pixels is None:
        return []
    dataset = header.dataset
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame is not None:
        return _enhanced_frames(header, pixels, per_frame)
    if pixels.frames > 1:
        raise InputError(
            f"{header.file.name}: has {pixels.frames} frames and no functional groups, so that "
            "their positions are unknown; export it as single slices or as Enhanced CT"
        )
    frame = _frame(header, pixels, [dataset], index=0)
    return [] if frame is None else [frame]


def _enhanced_frames(header: Header, pixels: PixelFormat, per_frame: Any) -> list[Frame]:
    """Frames of an Enhanced object: per-frame groups override shared ones (PS3.3 C.7.6.16)."""
    name = header.file.name
    if len(per_frame) != pixels.frames:
        raise InputError(
            f"{name}: has {len(per_frame)} per-frame functional groups for {pixels.frames} frames"
        )
    shared = header.dataset.get("SharedFunctionalGroupsSequence")
    shared_groups = _flattened(shared[0]) if shared else []
    frames = []
    for index, groups in enumerate(per_frame):
        layers = [*_flattened(groups), *shared_groups, header.dataset]
        frame = _frame(header, pixels, layers, index=index)
        if frame is not None:
            frames.append(frame)
    return frames


def _flattened(groups: Dataset) -> list[Dataset]:
    """The single items of the functional group macros of a frame."""
    return [
        element.value[0]
        for element in groups
        if element.VR == "SQ" and element.value and not element.tag.is_private
    ]


class _Layers:
    """Looks an attribute up in the first layer that has it."""

    def __init__(self, layers: list[Dataset]) -> None:
        self._layers = layers

    def get(self, keyword: str) -> Any:
        for layer in self._layers:
            if keyword in layer:
                value = layer.get(keyword)
                if value is not None and value != "":
                    return value
        return None


def _frame(
    header: Header, pixels: PixelFormat, layers: list[Dataset], *, index: int
) -> Frame | None:
    name = header.file.name if pixels.frames == 1 else f"{header.file.name} frame {index + 1}"
    values = _Layers(layers)
    position = floats(values, "ImagePositionPatient", 3, subject=name)
    orientation = floats(values, "ImageOrientationPatient", 6, subject=name)
    if position is None or orientation is None:
        return None
    spacing = floats(values, "PixelSpacing", 2, subject=name)
    if spacing is None or min(spacing) <= 0:
        raise InputError(
            f"{name}: PixelSpacing is {spacing or 'missing'}, expected two positive numbers of mm"
        )
    slope = floats(values, "RescaleSlope", 1, subject=name)
    intercept = floats(values, "RescaleIntercept", 1, subject=name)
    if values.get("ModalityLUTSequence") is not None and intercept is None:
        raise InputError(
            f"{name}: maps its pixels by a Modality LUT, expected RescaleSlope and RescaleIntercept"
        )
    if slope is not None and slope[0] == 0:
        raise InputError(f"{name}: RescaleSlope is 0, which makes all voxels equal")
    thickness = floats(values, "SliceThickness", 1, subject=name)
    image_type = text(values, "ImageType").upper() or text(values, "FrameType").upper()
    uid = text(values, "SOPInstanceUID")
    phase = [(keyword, text(values, keyword)) for keyword in _PHASE_KEYWORDS]
    if pixels.frames > 1:
        phase += [
            (keyword, text(values, keyword)) for keyword in ("StackID", "TemporalPositionIndex")
        ]
        dimensions = text(values, "DimensionIndexValues").split("\\")
        phase += [(f"dimension {n + 1}", value) for n, value in enumerate(dimensions) if value]
    default_order = index + 1
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
        order=default_order
        if pixels.frames > 1
        else integer(values, "InstanceNumber", subject=name, default=0) or 0,
        phase=tuple((key, value) for key, value in phase if value),
        is_localizer="LOCALIZER" in image_type,
        modality=text(values, "Modality"),
        description=text(values, "SeriesDescription"),
        kernel=text(values, "ConvolutionKernel"),
        rescale_type=text(values, "RescaleType"),
        has_rescale=intercept is not None,
    )


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


def _pixel_format(header: Header, limits: Limits) -> PixelFormat | None:
    dataset, name = header.dataset, header.file.name

    def required(keyword: str) -> int:
        value = integer(dataset, keyword, subject=name)
        if value is None:
            raise InputError(f"{name}: {keyword} is missing, expected in every image")
        return value

    if header.pixels is None or "Rows" not in dataset:
        return None
    rows, columns = required("Rows"), required("Columns")
    frames = integer(dataset, "NumberOfFrames", subject=name, default=1) or 1
    limits.check_shape(name, (frames, rows, columns))
    samples = integer(dataset, "SamplesPerPixel", subject=name, default=1)
    photometric = text(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    if samples != 1 or photometric not in ("MONOCHROME1", "MONOCHROME2"):
        return None  # Colour: a screenshot or a report, never a slice of HU.
    allocated, stored = required("BitsAllocated"), required("BitsStored")
    if allocated not in (8, 16, 32) or not 1 <= stored <= allocated:
        raise InputError(
            f"{name}: BitsAllocated is {allocated} and BitsStored {stored}, expected 8, 16 or 32 "
            "and no more than that"
        )
    tables = (dataset.get("ExtendedOffsetTable"), dataset.get("ExtendedOffsetTableLengths"))
    return PixelFormat(
        transfer_syntax=header.transfer_syntax,
        rows=rows,
        columns=columns,
        frames=frames,
        bits_allocated=allocated,
        bits_stored=stored,
        is_signed=integer(dataset, "PixelRepresentation", subject=name, default=0) == 1,
        photometric=photometric,
        element=header.pixels,
        offsets=tables if all(isinstance(table, bytes) for table in tables) else None,  # type: ignore[arg-type]
    )

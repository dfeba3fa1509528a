"""All slices as the frames of one object: Enhanced CT Image Storage (PS3.3 A.38).

Every frame is DERIVED, for which most of what an acquisition has to say is not required; a Legacy
Converted object is for unchanged frames only (PS3.3 A.70), which synthetic ones are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import Any

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items
from pydicom.tag import Tag

from hrinet.errors import RequestError
from hrinet.io.dicom.derive import modules
from hrinet.io.dicom.derive.anatomy import region_code
from hrinet.io.dicom.derive.attributes import (
    RESAMPLING,
    code,
    derivation_description,
    is_resampled,
    sop_class_of,
    source_reference,
)
from hrinet.io.dicom.derive.classic import decimal, slice_attributes
from hrinet.io.dicom.derive.headers import Headers, value_of
from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice
from hrinet.io.dicom.derive.stored import StoredType
from hrinet.io.dicom.derive.uids import derived_uid

ENHANCED_CT_STORAGE = "1.2.840.10008.5.1.4.1.1.2.1"

_STACK = "1"
_NO_DATE, _NO_TIME = "19000101", "000000"
"""Where the source has no date at all; Content Date may not be empty."""

_UNKNOWN = "UNKNOWN"
_COPY = ("COPY", "Unchanged copy")
_PER_FRAME = (
    *modules.TECHNIQUE, *modules.EXPOSURE, *modules.WINDOW, "ImagePositionPatient",
    "ImageOrientationPatient", "PixelSpacing", "SliceThickness", "SliceLocation",
    "SpacingBetweenSlices", "DerivationDescription", "DerivationCodeSequence",
    "SourceImageSequence", "Laterality", "BodyPartExamined", "AnatomicRegionSequence",
    *modules.CONTRAST,
)  # fmt: skip
"""What a classic image says at its top and an Enhanced one in its functional groups, or not."""


def enhanced_dataset(
    series: DerivedSeries,
    common: Dataset,
    headers: Headers,
    kinds: Sequence[StoredType],
) -> Dataset:
    """Everything but the pixels.

    Args:
        series: what to write.
        common: see :func:`hrinet.io.dicom.derive.classic.series_attributes`.
        headers: of the source.
        kinds: how the values of each slice are stored.

    Raises:
        RequestError: if the slices cannot be stored in one object.
    """
    if len({kind.is_signed for kind in kinds}) > 1:
        raise RequestError(
            "the source stores some slices signed and some unsigned, which one Enhanced object "
            "cannot; leave out --enhanced"
        )
    flats = []
    events = []
    for one in series.slices:
        flats.append(slice_attributes(series, one, common, headers))
        events.append(_irradiation_events(series, one, headers))
    first = flats[0]
    dataset = Dataset()
    for element in first:
        dataset[element.tag] = copy(element)
    for keyword in _PER_FRAME:
        dataset.pop(keyword, None)
    _identify(dataset, series, first)
    _dimensions(dataset, series)
    _lossy(dataset, flats)
    evidence = _evidence(series, str(first.StudyInstanceUID))
    if evidence:
        dataset.SourceImageEvidenceSequence = evidence
    bits = max(kind.bits for kind in kinds)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation = int(kinds[0].is_signed)
    dataset.SamplesPerPixel = 1
    dataset.Rows, dataset.Columns = series.geometry.rows, series.geometry.columns
    dataset.NumberOfFrames = len(series.slices)
    paddings = {kind.padding for kind in kinds}
    padding = paddings.pop() if len(paddings) == 1 else None
    if padding is not None:
        dataset.add_new(0x00280120, "SS" if kinds[0].is_signed else "US", padding)
    per_frame = [
        _groups(series, one, flat, kind, common, event)
        for one, flat, kind, event in zip(series.slices, flats, kinds, events, strict=True)
    ]
    shared = _shared(per_frame)
    dataset.SharedFunctionalGroupsSequence = Items([shared])
    dataset.PerFrameFunctionalGroupsSequence = Items(per_frame)
    return dataset


def _identify(dataset: Dataset, series: DerivedSeries, first: Dataset) -> None:
    """SOP Common, Enhanced General Equipment, Enhanced CT Image (PS3.3 C.7.5.2, C.8.15.2)."""
    dataset.SOPClassUID = ENHANCED_CT_STORAGE
    dataset.SOPInstanceUID = series.slices[0].uid
    dataset.InstanceNumber = 1
    dataset.ImageType = ["DERIVED", "PRIMARY", "VOLUME", "RESAMPLED"]
    dataset.PixelPresentation = "MONOCHROME"
    dataset.VolumetricProperties = "VOLUME"
    dataset.VolumeBasedCalculationTechnique = "NONE"
    dataset.ContentQualification = "RESEARCH"
    dataset.PresentationLUTShape = "IDENTITY"
    dataset.PhotometricInterpretation = "MONOCHROME2"
    if series.options.burn_in or value_of(first, "BurnedInAnnotation") == "YES":
        raise RequestError(
            "an Enhanced CT object must not have anything burned in (PS3.3 C.8.15.2); leave out "
            "--enhanced" + (" or --burn-in" if series.options.burn_in else "")
        )
    dataset.BurnedInAnnotation = "NO"
    dataset.AcquisitionContextSequence = Items()
    for keyword in ("ManufacturerModelName", "DeviceSerialNumber", "SoftwareVersions"):
        if value_of(dataset, keyword) is None:
            setattr(dataset, keyword, _UNKNOWN)
    if value_of(dataset, "Manufacturer") is None:
        dataset.Manufacturer = _UNKNOWN
    # The same input gives the same object, so the dates are those of what it was made from.
    date, time = value_of(first, "AcquisitionDate"), value_of(first, "AcquisitionTime")
    if date is None:
        date, time = value_of(first, "StudyDate"), value_of(first, "StudyTime")
    dataset.ContentDate = date or _NO_DATE
    dataset.ContentTime = time or _NO_TIME
    dataset.SeriesDate, dataset.SeriesTime = dataset.ContentDate, dataset.ContentTime


def _evidence(series: DerivedSeries, study_uid: str) -> Items:
    """All source images, by study and series (PS3.3 10.3.3)."""
    by_series: dict[str, dict[str, Dataset]] = {}
    for one in series.slices:
        for frame in one.frames:
            item = Dataset()
            item.ReferencedSOPClassUID = sop_class_of(frame)
            item.ReferencedSOPInstanceUID = frame.source_id.partition("#")[0]
            by_series.setdefault(frame.series_uid, {})[item.ReferencedSOPInstanceUID] = item
    if not by_series:
        return Items()
    study = Dataset()
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = Items()
    for uid, images in by_series.items():
        item = Dataset()
        item.SeriesInstanceUID = uid
        item.ReferencedSOPSequence = Items(images.values())
        study.ReferencedSeriesSequence.append(item)
    return Items([study])


def _dimensions(dataset: Dataset, series: DerivedSeries) -> None:
    """One dimension, the place in the stack (PS3.3 C.7.6.17)."""
    organization = Dataset()
    organization.DimensionOrganizationUID = derived_uid("dimensions", series.uid)
    dataset.DimensionOrganizationSequence = Items([organization])
    dataset.DimensionOrganizationType = "3D"
    index = []
    for keyword in ("StackID", "InStackPositionNumber"):
        item = Dataset()
        item.DimensionOrganizationUID = organization.DimensionOrganizationUID
        item.DimensionIndexPointer = Tag(keyword)
        item.FunctionalGroupPointer = Tag("FrameContentSequence")
        item.DimensionDescriptionLabel = keyword
        index.append(item)
    dataset.DimensionIndexSequence = Items(index)


def _lossy(dataset: Dataset, flats: Sequence[Dataset]) -> None:
    """Lossy if any frame is; it must be stated (PS3.3 C.8.15.2)."""
    for keyword in modules.LOSSY:
        dataset.pop(keyword, None)
    lossy = [flat for flat in flats if value_of(flat, "LossyImageCompression") == "01"]
    dataset.LossyImageCompression = "01" if lossy else "00"
    for keyword in modules.LOSSY[1:]:
        if lossy and keyword in lossy[0]:
            dataset[keyword] = lossy[0][keyword]


def _irradiation_events(series: DerivedSeries, one: DerivedSlice, headers: Headers) -> list[str]:
    """Irradiation Event UIDs of the sources (PS3.3 C.7.6.16.2.26)."""
    found = [value_of(headers.of(frame), "IrradiationEventUID") for frame in one.frames]
    known = list(dict.fromkeys(str(uid) for uid in found if uid is not None))
    # One for all where the source tells none, since every frame has to have one.
    return known or [derived_uid("irradiation event", str(series.template_uid))]


def _groups(
    series: DerivedSeries,
    one: DerivedSlice,
    flat: Dataset,
    kind: StoredType,
    common: Dataset,
    events: list[str],
) -> Dataset:
    """The functional groups of a frame (PS3.3 A.38.1.4), those that are alike included."""
    groups = Dataset()

    def add(macro: str, **values: Any) -> None:
        item = Dataset()
        for keyword, value in values.items():
            if value is not None:
                setattr(item, keyword, value)
        setattr(groups, f"{macro}Sequence", Items([item]))

    frame_type = [
        "DERIVED",
        "PRIMARY",
        "VOLUME",
        "RESAMPLED" if is_resampled(one, series) else "NONE",
    ]
    add(
        "CTImageFrameType",
        FrameType=frame_type,
        PixelPresentation="MONOCHROME",
        VolumetricProperties="VOLUME",
        VolumeBasedCalculationTechnique="NONE",
    )
    add(
        "FrameContent",
        StackID=_STACK,
        InStackPositionNumber=one.number,
        DimensionIndexValues=[1, one.number],
    )
    add("IrradiationEventIdentification", IrradiationEventUID=events)
    add("PlanePosition", ImagePositionPatient=flat.ImagePositionPatient)
    add("PlaneOrientation", ImageOrientationPatient=flat.ImageOrientationPatient)
    add(
        "PixelMeasures",
        PixelSpacing=flat.PixelSpacing,
        SliceThickness=value_of(flat, "SliceThickness") or decimal(series.geometry.spacing_mm),
        SpacingBetweenSlices=value_of(flat, "SpacingBetweenSlices"),
    )
    add(
        "PixelValueTransformation",
        RescaleIntercept=decimal(kind.intercept),
        RescaleSlope=decimal(kind.slope),
        RescaleType="HU",
    )
    center, width = value_of(flat, "WindowCenter"), value_of(flat, "WindowWidth")
    add(
        "FrameVOILUT",
        WindowCenter=40 if center is None or width is None else center,
        WindowWidth=400 if center is None or width is None else width,
        WindowCenterWidthExplanation=value_of(flat, "WindowCenterWidthExplanation"),
    )
    region = value_of(common, "AnatomicRegionSequence") or Items(
        [region_code(str(value_of(common, "BodyPartExamined") or ""))]
    )
    add("FrameAnatomy", AnatomicRegionSequence=region, FrameLaterality="U")
    add(
        "DerivationImage",
        DerivationDescription=derivation_description(one, series),
        DerivationCodeSequence=code(*RESAMPLING)
        if is_resampled(one, series)
        else code(*_COPY, scheme="99HRINET"),
        SourceImageSequence=Items(map(source_reference, one.frames)) if one.frames else None,
    )
    return groups


def _shared(per_frame: Sequence[Dataset]) -> Dataset:
    """Move what is alike in all frames out of them."""
    shared = Dataset()
    for element in list(per_frame[0]):
        if element.keyword in ("FrameContentSequence", "DerivationImageSequence"):
            continue
        if all(groups[element.tag] == element for groups in per_frame):
            shared[element.tag] = element
            for groups in per_frame:
                del groups[element.tag]
    return shared

"""One image of a classic series: CT Image Storage (PS3.3 A.3)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.valuerep import DSfloat, format_number_as_ds

from hrinet.io.dicom.derive import modules
from hrinet.io.dicom.derive.attributes import contributing_equipment, image_type, set_derivation
from hrinet.io.dicom.derive.headers import Headers, copied, value_of
from hrinet.io.dicom.derive.lossy import set_lossy
from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice, derived_series_number
from hrinet.io.dicom.derive.stored import StoredType
from hrinet.io.dicom.derive.uids import derived_uid
from hrinet.io.dicom.derive.uncertainty import TITLES, set_map_window

CT_IMAGE_STORAGE = "1.2.840.10008.5.1.4.1.1.2"

DESCRIPTION_PREFIX = "HRINet"
_MOST_DESCRIPTION = 64


def decimal(value: float) -> DSfloat:
    """A decimal string of at most 16 characters, the nearest there is (PS3.5 6.2)."""
    return DSfloat(format_number_as_ds(float(value)))


def series_attributes(series: DerivedSeries, header: Dataset) -> Dataset:
    """What all images of a derived series have in common.

    Args:
        series: which.
        header: of a source image, or what stands for it.
    """
    common = Dataset()
    for element in copied(header, ("SpecificCharacterSet", *modules.WHOLE_SERIES)):
        common[element.tag] = element
    common.SOPClassUID = CT_IMAGE_STORAGE
    common.Modality = "CT"
    common.SeriesInstanceUID = series.uid
    common.SeriesNumber = derived_series_number(
        value_of(header, "SeriesNumber"), quantity=series.quantity
    )
    common.SeriesDescription = series_description(series, header)
    common.ContributingEquipmentSequence = contributing_equipment(
        value_of(header, "ContributingEquipmentSequence") or (),  # type: ignore[arg-type]
        series,
    )
    for keyword in missing_identity(header):
        # Some exports lack what the standard requires; all series derived from one share it.
        origin = value_of(header, "SeriesInstanceUID") or series.uid
        setattr(common, keyword, derived_uid(keyword, str(origin)))
    _settle_laterality(common)
    spacing = series.spacing_mm
    if spacing is not None:
        common.SpacingBetweenSlices = decimal(round(spacing, 9))
    return common


def missing_identity(header: Dataset) -> tuple[str, ...]:
    """The UIDs that a source lacks although the standard requires them."""
    required = ("StudyInstanceUID", "FrameOfReferenceUID")
    return tuple(keyword for keyword in required if value_of(header, keyword) is None)


def identity_notes(header: Dataset) -> tuple[str, ...]:
    """What the user should know about UIDs that a source lacks."""
    return tuple(
        f"the source has no {keyword}, so one was made from its SeriesInstanceUID"
        for keyword in missing_identity(header)
    )


def _settle_laterality(common: Dataset) -> None:
    """Laterality is there, if need be empty, unless the body part has no side (C.7.3.1)."""
    if value_of(common, "Laterality") is not None:
        return
    part = str(value_of(common, "BodyPartExamined") or "").strip().upper()
    if part in modules.UNPAIRED or value_of(common, "AnatomicRegionSequence") is not None:
        common.pop("Laterality", None)
    else:
        common.Laterality = None


def series_description(series: DerivedSeries, header: Dataset) -> str:
    """The source's Series Description behind a prefix."""
    spacing = series.spacing_mm
    prefix = f"{DESCRIPTION_PREFIX} {TITLES[series.quantity]}".strip()
    if series.quantity == "image" and spacing is not None:
        prefix += f" {spacing:.3g} mm"
    described = value_of(header, "SeriesDescription")
    return f"{prefix}: {described}"[:_MOST_DESCRIPTION] if described else prefix


def slice_attributes(
    series: DerivedSeries, one: DerivedSlice, common: Dataset, headers: Headers
) -> Dataset:
    """The attributes of one image, pixels excepted.

    Args:
        series: that it belongs to.
        one: which.
        common: see :func:`series_attributes`.
        headers: of the source.
    """
    dataset = Dataset()
    dataset.update(common)
    sources = [headers.of(frame) for frame in one.frames]
    near = headers.of(one.nearest) if series.is_copy else template_header(series, headers)
    is_measured = series.is_copy and series.quantity == "image" and not one.provenance.is_synthetic
    if is_measured:
        _take(dataset, copied(near, (*modules.TECHNIQUE, *modules.EXPOSURE)))
    elif series.is_copy:
        _take(dataset, agreed(sources, modules.TECHNIQUE))
    else:
        _take(dataset, copied(near, modules.SCANNING))
    if series.quantity == "image":
        _take(dataset, copied(near, modules.WINDOW))
        set_lossy(dataset, one, sources)
    else:
        dataset.RescaleType = "HU"
        set_map_window(dataset)
        dataset.pop("BurnedInAnnotation", None)
    dataset.SOPInstanceUID = one.uid
    dataset.InstanceNumber = one.number
    dataset.ImageType = image_type(one, series.quantity)
    set_derivation(dataset, one, series)
    if one.provenance.is_synthetic and series.options.burn_in:
        dataset.BurnedInAnnotation = "YES"  # The mark names no patient and shows no face.
    _place(dataset, series, one, sources)
    if series.recipe.is_moved:
        for keyword in ("GantryDetectorTilt", "ReconstructionDiameter"):
            dataset.pop(keyword, None)
    for keyword in modules.EMPTY_ALLOWED:
        tag = tag_for_keyword(keyword)
        if tag is not None and tag not in dataset:
            dataset.add_new(tag, dictionary_VR(tag), None)
    photometric = value_of(near, "PhotometricInterpretation") if series.is_copy else None
    dataset.PhotometricInterpretation = photometric or "MONOCHROME2"
    return dataset


def template_header(series: DerivedSeries, headers: Headers) -> Dataset:
    """The attributes from which a series takes patient, study and scanner."""
    if isinstance(series.template, Dataset):
        return series.template
    return headers.of(series.template)


def _take(dataset: Dataset, elements: Iterable[DataElement]) -> None:
    for element in elements:
        dataset[element.tag] = element


def agreed(sources: list[Dataset], keywords: Iterable[str]) -> Iterable[DataElement]:
    """What all sources have, with the same value."""
    first, *others = sources
    for element in copied(first, keywords):
        if all(element.tag in other and other[element.tag] == element for other in others):
            yield element


def _place(
    dataset: Dataset, series: DerivedSeries, one: DerivedSlice, sources: list[Dataset]
) -> None:
    """Image Plane (PS3.3 C.7.6.2): an original's own values, to the character."""
    geometry = series.geometry
    near = sources[0] if series.is_copy and not series.recipe.is_moved else Dataset()
    dataset.PixelSpacing = decimals(near, "PixelSpacing", geometry.pixel_spacing)
    dataset.ImageOrientationPatient = decimals(
        near, "ImageOrientationPatient", (*geometry.row_direction, *geometry.column_direction)
    )
    place = Dataset() if one.provenance.is_synthetic else near
    dataset.ImagePositionPatient = decimals(place, "ImagePositionPatient", one.origin)
    if not sources:
        if geometry.slice_thickness is not None:
            dataset.SliceThickness = decimal(geometry.slice_thickness)
        return
    t = one.provenance.t if one.provenance.is_synthetic else 0.0
    # A method estimates the slab of its neighbours' thickness at another place, not a thinner one.
    for keyword in ("SliceThickness", "SliceLocation"):
        value = between([number(source, keyword) for source in sources], t)
        if value is not None:
            setattr(dataset, keyword, decimal(round(value, 9)))


def between(values: list[float | None], t: float) -> float | None:
    """The value at ``t`` between those of the neighbours, or None if one of them has none."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None
    return known[0] if known[0] == known[-1] else (1 - t) * known[0] + t * known[-1]


def decimals(header: Dataset, keyword: str, values: Iterable[float]) -> list[DSfloat | str]:
    """The source's decimals as it wrote them, if they are valid and say what they were read as."""
    wanted = [float(value) for value in values]
    found: Any = value_of(header, keyword)
    try:
        written = [getattr(value, "original_string", str(value)) for value in found]
        same = len(written) == len(wanted) and np.allclose(
            [float(text) for text in written], wanted, rtol=0, atol=1e-9
        )
        if same and all(len(text.strip()) <= 16 for text in written):
            return [DSfloat(text.strip()) for text in written]
    except (TypeError, ValueError):
        pass
    return [decimal(value) for value in wanted]


def number(header: Dataset, keyword: str) -> float | None:
    """The value of an attribute that is one finite number, or None."""
    value = value_of(header, keyword)
    try:
        found = float(str(value))
    except ValueError:
        return None
    return found if np.isfinite(found) else None


def set_stored(dataset: Dataset, kind: StoredType, *, has_rescale: bool = True) -> None:
    """Set Bits Stored, rescale and padding of stored values (PS3.3 C.7.6.3, C.8.2.1, C.7.5.1.1)."""
    dataset.BitsStored = kind.bits
    dataset.HighBit = kind.bits - 1
    dataset.RescaleSlope = decimal(kind.slope)
    dataset.RescaleIntercept = decimal(kind.intercept)
    if "RescaleType" not in dataset and has_rescale:
        dataset.RescaleType = "HU"
    if kind.padding is not None:
        vr = "SS" if kind.is_signed else "US"
        dataset.add_new(0x00280120, vr, kind.padding)

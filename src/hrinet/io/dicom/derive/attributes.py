"""What an image says about how it was derived."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence as Items

import hrinet
from hrinet.io.dicom.derive.made import MODEL_NAME
from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice, Quantity
from hrinet.io.dicom.derive.uncertainty import IMAGE_TYPES, MEANINGS
from hrinet.io.dicom.frames import Frame
from hrinet.io.sidecar import NOTICE

SYNTHETIC = "SYNTHETIC"
"""Fourth value of Image Type of a synthetic slice."""

RESAMPLING = ("113085", "Spatial resampling")
"""Derivation Code (PS3.16 CID 7203)."""

_MOST_TEXT = 1024
_CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"


def code(value: str, meaning: str, *, scheme: str = "DCM") -> Items:
    """A code sequence with one item (PS3.3 8)."""
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return Items([item])


def image_type(one: DerivedSlice, quantity: Quantity = "image") -> list[str]:
    """Image Type (PS3.3 C.7.6.1.1.2 and C.8.2.1.1.1)."""
    marks = [SYNTHETIC] if one.provenance.is_synthetic else []
    if quantity != "image":
        marks = [IMAGE_TYPES[quantity]]
    return ["DERIVED", "SECONDARY", "AXIAL", *marks]


def derivation_description(one: DerivedSlice, series: DerivedSeries) -> str:
    """Derivation Description (PS3.3 C.7.6.1.1.3)."""
    made, recipe = one.provenance, series.recipe
    version = f"HRINet {hrinet.__version__}"
    if series.quantity != "image":
        what = "synthetic slice" if made.is_synthetic else "original slice: zero"
        text = f"{MEANINGS[series.quantity]} Of a {what}. By {recipe.sentence}. {NOTICE}"
    elif made.is_synthetic:
        flag = f" Flagged: {made.flag}." if made.flag else ""
        text = (
            f"Synthetic slice, computed by {recipe.sentence}, at t = {made.t:.9g} between its two "
            f"source images.{flag} {NOTICE}"
        )
    elif recipe.is_moved:
        text = (
            f"Copy of its source image, moved in its plane by {version} to straighten a tilted "
            "stack; pixels are resampled."
        )
    elif series.is_copy:
        text = (
            "Unchanged copy of its source image, stored values and all; its neighbours in this "
            f"series are synthetic, by {recipe.sentence}."
        )
    else:
        text = (
            f"Unchanged slice of a volume file, written as DICOM by {version}; its neighbours in "
            f"this series are synthetic, by {recipe.sentence}."
        )
    return text[:_MOST_TEXT]


def is_resampled(one: DerivedSlice, series: DerivedSeries) -> bool:
    """Whether pixels are others than those of a source image."""
    return one.provenance.is_synthetic or series.recipe.is_moved


def set_derivation(dataset: Dataset, one: DerivedSlice, series: DerivedSeries) -> None:
    """Set Derivation Description and Code and Source Image Sequence (PS3.3 C.7.6.1, C.12.4.1).

    The code says that pixels were resampled: an unchanged copy has none.
    """
    dataset.DerivationDescription = derivation_description(one, series)
    if is_resampled(one, series):
        dataset.DerivationCodeSequence = code(*RESAMPLING)
    if one.frames:
        dataset.SourceImageSequence = Items(map(source_reference, one.frames))


def sop_class_of(frame: Frame) -> str:
    """SOP Class UID of the object that holds a frame."""
    return frame.sop_class or _CT_IMAGE


def source_reference(frame: Frame) -> Dataset:
    """An item of Source Image Sequence."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_of(frame)
    item.ReferencedSOPInstanceUID = frame.source_id.partition("#")[0]
    if frame.pixels.frames > 1:
        item.ReferencedFrameNumber = frame.index + 1
    item.PurposeOfReferenceCodeSequence = code(
        "121322", "Source image for image processing operation"
    )
    return item


def contributing_equipment(already: Iterable[Dataset], series: DerivedSeries) -> Items:
    """Contributing Equipment Sequence (PS3.3 C.12.1): what the source has, and this program."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = code("109102", "Processing Equipment")
    item.Manufacturer = "HRINet developers"
    item.ManufacturerModelName = MODEL_NAME
    item.SoftwareVersions = hrinet.__version__
    item.ContributionDescription = (
        f"Computed {series.synthetic_count} of {len(series.slices)} slices: "
        f"{series.recipe.sentence}"
    )[:_MOST_TEXT]
    return Items([*already, item])

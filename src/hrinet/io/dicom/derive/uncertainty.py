"""Maps of the expected error as CT images, so that any viewer shows them.

A Parametric Map holds floats and says what they are, but hardly any archive or viewer takes one,
and it is one object that has to be put together in memory. The unit of these maps is HU, which is
what a CT image holds; Image Type, descriptions and a series of their own tell them apart.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from hrinet.io.dicom.derive.stored import StoredType

MAP_TYPE = StoredType(bits=16, is_signed=False, slope=0.05, intercept=0.0)
"""0 to 3276.75 HU in steps of 0.05."""

TITLES = {
    "image": "",
    "expected_error": "expected error HU",
    "half_width_90": "90% half width HU",
}
"""What Series Description says, by quantity."""

MEANINGS = {
    "expected_error": "Expected absolute error of each voxel, HU; not a CT image.",
    "half_width_90": (
        "Half width of the interval that holds the true value of each voxel in 90 % of all cases, "
        "HU; not a CT image."
    ),
}
"""What Derivation Description says, by quantity."""

IMAGE_TYPES = {"expected_error": "EXPECTED_ERROR", "half_width_90": "HALF_WIDTH_90"}
"""Fourth value of Image Type, by quantity."""

_WIDTH_HU = 100


def set_map_window(dataset: Dataset) -> None:
    """A window of display from 0 to 100 HU."""
    dataset.WindowCenter = _WIDTH_HU // 2
    dataset.WindowWidth = _WIDTH_HU

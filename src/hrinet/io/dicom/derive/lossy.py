"""The lossy history of an image, which no later step undoes (PS3.3 C.7.6.1.1.5)."""

from __future__ import annotations

from pydicom.dataset import Dataset

from hrinet.io.dicom.derive import modules
from hrinet.io.dicom.derive.headers import copied, value_of
from hrinet.io.dicom.derive.series import DerivedSlice
from hrinet.io.dicom.frames import Frame

_LOSSY_SYNTAXES = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}
"""Transfer syntaxes that lose something, or may, with their Lossy Image Compression Method."""

_MAY_BE_LOSSLESS = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")


def set_lossy(dataset: Dataset, one: DerivedSlice, sources: list[Dataset]) -> None:
    """Carry over the history of the first source image that has any.

    A source whose own encoding is lossy and which does not say so is marked all the same.
    """
    for header in sources:
        if str(value_of(header, "LossyImageCompression") or "") == "01":
            for element in copied(header, modules.LOSSY):
                dataset[element.tag] = element
            return
    for frame, header in zip(one.frames, sources, strict=True):
        syntax = frame.pixels.transfer_syntax
        says_lossless = str(value_of(header, "LossyImageCompression") or "") == "00"
        if syntax in _LOSSY_SYNTAXES and not (says_lossless and syntax in _MAY_BE_LOSSLESS):
            dataset.LossyImageCompression = "01"
            dataset.LossyImageCompressionMethod = _LOSSY_SYNTAXES[syntax]
            dataset.LossyImageCompressionRatio = _ratio(frame)
            return
    if any("LossyImageCompression" in header for header in sources):
        dataset.LossyImageCompression = "00"


def _ratio(frame: Frame) -> str:
    pixels = frame.pixels
    size = sum(span.length for span in pixels.spans[frame.index]) if pixels.spans else 0
    whole = pixels.rows * pixels.columns * pixels.bits_allocated / 8
    return f"{whole / size:.2f}" if size else "1.00"

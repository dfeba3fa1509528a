"""The file around an image: meta information, transfer syntax, lossless compression."""

from __future__ import annotations

import io

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.filewriter import dcmwrite
from pydicom.pixels.encoders.base import get_encoder
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

import hrinet
from hrinet.errors import RunError
from hrinet.io.dicom.derive.headers import quiet
from hrinet.io.dicom.derive.stored import StoredArray
from hrinet.io.dicom.derive.uids import IMPLEMENTATION_CLASS_UID
from hrinet.io.dicom_options import Compression

TRANSFER_SYNTAXES = {
    None: ExplicitVRLittleEndian,
    "rle": RLELossless,
    "jpegls": JPEGLSLossless,
    "j2k": JPEG2000Lossless,
}
"""By the name of the compression."""

_PLUGINS = {"rle": "gdcm", "jpegls": "pyjpegls", "j2k": "pylibjpeg"}


def encoded_frame(stored: StoredArray, *, bits: int, compress: Compression) -> bytes:
    """One frame, compressed without loss.

    Args:
        stored: shape (row, column), int16 or uint16.
        bits: Bits Stored.
        compress: how.

    Raises:
        RunError: if the encoder fails.
    """
    options = {
        "rows": stored.shape[0],
        "columns": stored.shape[1],
        "samples_per_pixel": 1,
        "number_of_frames": 1,
        "bits_allocated": 16,
        "bits_stored": bits,
        "pixel_representation": int(stored.dtype.kind == "i"),
        "photometric_interpretation": "MONOCHROME2",
    }
    encoder = get_encoder(TRANSFER_SYNTAXES[compress])
    try:
        return bytes(
            encoder.encode(
                np.ascontiguousarray(stored, stored.dtype.newbyteorder("<")).tobytes(),
                encoding_plugin=_PLUGINS[compress],
                **options,
            )
        )
    except Exception as error:
        raise RunError(
            f"slices of {stored.shape[1]} x {stored.shape[0]} pixels cannot be encoded with "
            f"--compress {compress}; choose another compression or none"
        ) from error


def set_pixels(dataset: Dataset, stored: StoredArray, *, compress: Compression | None) -> None:
    """Set Pixel Data and what describes it (PS3.3 C.7.6.3), but for Photometric Interpretation."""
    dataset.Rows, dataset.Columns = stored.shape
    dataset.SamplesPerPixel = 1
    dataset.BitsAllocated = 16
    dataset.PixelRepresentation = int(stored.dtype.kind == "i")
    if compress is None:
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
        dataset["PixelData"].VR = "OW"
        return
    frame = encoded_frame(stored, bits=dataset.BitsStored, compress=compress)
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


def file_bytes(dataset: Dataset, *, compress: Compression | None) -> bytes:
    """A DICOM file (PS3.10 7): preamble, meta information, dataset.

    Raises:
        RunError: if the dataset cannot be encoded.
    """
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = TRANSFER_SYNTAXES[compress]
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"HRINET_{hrinet.__version__}"[:16]
    dataset.file_meta = meta
    buffer = io.BytesIO()
    try:
        with quiet():
            dcmwrite(buffer, dataset, enforce_file_format=True)
    except Exception as error:
        # The text of the error may quote a value that belongs to a patient.
        raise RunError(
            f"a derived image cannot be encoded ({type(error).__name__}); an attribute of the "
            "source holds a value that DICOM does not allow"
        ) from None
    return buffer.getvalue()

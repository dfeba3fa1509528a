"""Synthetic DICOM: series of single slices and Enhanced multi-frame files, written with pydicom."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.sequence import Sequence as Items
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = "1.2.840.10008.5.1.4.1.1.2.1"
DEFLATED = "1.2.840.10008.1.2.1.99"
RLE = "1.2.840.10008.1.2.5"
JPEG_8, JPEG_12 = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51"
JPEG_LOSSLESS, JPEG_SV1 = "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70"
JPEG_LS, JPEG_LS_NEAR = "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81"
J2K_LOSSLESS, J2K = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91"
AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SERIES = "1.2.3.4"
NATIVE = (str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian), str(ExplicitVRBigEndian))


def phantom(
    shape: tuple[int, ...] = (5, 12, 10), *, low: int = 0, high: int = 4095, seed: int = 0
) -> np.ndarray:
    """Random stored values; every slice differs."""
    rng = np.random.default_rng(seed)
    return rng.integers(low, high, shape, endpoint=True).astype(np.int16 if low < 0 else np.uint16)


def meta(syntax: str, sop_class: str, uid: str) -> FileMetaDataset:
    found = FileMetaDataset()
    found.MediaStorageSOPClassUID = sop_class
    found.MediaStorageSOPInstanceUID = uid
    found.TransferSyntaxUID = syntax
    found.ImplementationClassUID = "1.2.3"
    return found


def new_file(syntax: str, sop_class: str, uid: str) -> FileDataset:
    return FileDataset(
        "", {}, file_meta=meta(syntax, sop_class, uid), preamble=b"\0" * 128,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
    )  # fmt: skip


def describe_pixels(dataset: Dataset, array: np.ndarray, bits_stored: int | None) -> None:
    allocated = array.dtype.itemsize * 8
    dataset.Rows, dataset.Columns = array.shape[-2:]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = allocated
    dataset.BitsStored = bits_stored or allocated
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(array.dtype.kind == "i")


def slice_dataset(
    array: np.ndarray,
    position: Sequence[float] = (-50.0, -60.0, 0.0),
    *,
    number: int = 1,
    uid: str | None = None,
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.7, 0.8),
    series: str = SERIES,
    bits_stored: int | None = None,
    syntax: str = str(ExplicitVRLittleEndian),
    **tags: Any,
) -> FileDataset:
    """One CT slice; ``tags`` are set last, and removed where they are None."""
    uid = uid or f"{series}.9.{number}"
    dataset = new_file(syntax, CT, uid)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3", series
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.InstanceNumber = number
    dataset.ImagePositionPatient = [float(f"{v:.9g}") for v in position]
    dataset.ImageOrientationPatient = [float(f"{v:.9g}") for v in orientation]
    dataset.PixelSpacing = list(spacing)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    describe_pixels(dataset, array, bits_stored)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    dataset.PixelData = array.astype(array.dtype.newbyteorder(order)).tobytes()
    for keyword, value in tags.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset["PixelData"].VR = "OW" if array.dtype.itemsize > 1 else "OB"
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_slice(path: Path, array: np.ndarray, *args: Any, **options: Any) -> Path:
    return save(slice_dataset(array, *args, **options), path)


def write_series(
    folder: Path,
    array: np.ndarray,
    positions: Sequence[float] | np.ndarray | None = None,
    *,
    first: int = 1,
    prefix: str = "s",
    **options: Any,
) -> list[Path]:
    """A folder of slices; positions are z in mm or whole points."""
    if positions is None:
        positions = 5.0 * np.arange(len(array))
    paths = []
    for index, (values, position) in enumerate(zip(array, positions, strict=True)):
        point = (-50.0, -60.0, position) if np.ndim(position) == 0 else position
        path = folder / f"{prefix}{first + index:03d}.dcm"
        paths.append(write_slice(path, values, point, number=first + index, **options))
    return paths


def compressed_frame(values: np.ndarray, syntax: str, *, bits_stored: int, **options: Any) -> bytes:
    """One frame as pydicom's encoders make it."""
    dataset = slice_dataset(values, bits_stored=bits_stored)
    dataset.compress(syntax, generate_instance_uid=False, **options)
    from pydicom.encaps import get_frame

    return bytes(get_frame(dataset.PixelData, 0, number_of_frames=1))


def encapsulated(
    dataset: FileDataset, frames: Sequence[bytes], syntax: str, *, table: str = "basic"
) -> FileDataset:
    """Replace the pixel data by compressed frames; ``table``: basic, extended or none."""
    dataset.file_meta.TransferSyntaxUID = syntax
    if table == "extended":
        dataset.PixelData, offsets, lengths = encapsulate_extended(list(frames))
        dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths = offsets, lengths
    else:
        dataset.PixelData = encapsulate(list(frames), has_bot=table == "basic")
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    return dataset


def transcoded(source: Path, target: Path, syntax: str, *, lossless: bool = True) -> Path:
    """A copy in another transfer syntax made by GDCM, which also encodes JPEG."""
    import gdcm

    reader = gdcm.ImageReader()
    reader.SetFileName(str(source))
    assert reader.Read()
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    change.SetInput(reader.GetImage())
    if not lossless:
        codec = gdcm.JPEGCodec()
        codec.SetLossless(False)
        codec.SetQuality(90)
        change.SetUserCodec(codec)
    assert change.Change()
    writer = gdcm.ImageWriter()
    writer.SetFileName(str(target))
    writer.SetFile(reader.GetFile())
    writer.SetImage(change.GetOutput())
    assert writer.Write()
    return target


def relabelled(path: Path, actual: str, claimed: str) -> Path:
    """Let a file claim another transfer syntax than it has."""

    def element(syntax: str) -> bytes:
        value = syntax.encode() + b"\0" * (len(syntax) % 2)
        return b"\x02\x00\x10\x00UI" + len(value).to_bytes(2, "little") + value

    data = path.read_bytes()
    assert element(actual) in data
    path.write_bytes(data.replace(element(actual), element(claimed)))
    return path


def deflated_zeros(count: int) -> bytes:
    """A deflated run of zeros, put together from blocks that stand alone."""
    packer = zlib.compressobj(9, wbits=-15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    return block * (count >> 20)


def deflated_bomb(
    path: Path, values: np.ndarray, *, header: int = 0, pixels: int = 0, behind: int = 0
) -> Path:
    """A deflated slice with runs of zeros in an element before, in, or behind the pixel data."""
    data = write_slice(path, values).read_bytes()
    start = data.index(b"\x08\x00\x08\x00CS")
    at = data.index(b"\xe0\x7f\x10\x00OW")
    meta = save(slice_dataset(values, syntax=DEFLATED), path).read_bytes()
    chunks = [meta[: 132 + 12 + int.from_bytes(meta[140:144], "little")]]
    packer = zlib.compressobj(9, wbits=-15)

    def add(part: bytes) -> None:
        chunks.append(packer.compress(part) + packer.flush(zlib.Z_FULL_FLUSH))

    add(data[start:at])
    if header:
        add(b"\x60\x00\x00\x30OW\0\0" + header.to_bytes(4, "little"))
        chunks.append(deflated_zeros(header))
    length = pixels or values.nbytes
    add(data[at : at + 8] + length.to_bytes(4, "little"))
    add(b"" if pixels else values.tobytes())
    chunks.append(deflated_zeros(pixels))
    if behind:
        add(b"\xfc\xff\xfc\xffOB\0\0" + behind.to_bytes(4, "little"))
        chunks.append(deflated_zeros(behind))
    chunks.append(packer.flush())
    path.write_bytes(b"".join(chunks))
    return path


def groups(**macros: dict[str, Any]) -> Dataset:
    """One item of functional groups: ``PlanePosition={"ImagePositionPatient": ...}``."""
    item = Dataset()
    for name, values in macros.items():
        inner = Dataset()
        for keyword, value in values.items():
            setattr(inner, keyword, value)
        setattr(item, f"{name}Sequence", Items([inner]))
    return item


def enhanced(
    array: np.ndarray,
    per_frame: Sequence[Dataset],
    shared: Dataset | None = None,
    *,
    syntax: str = str(ExplicitVRLittleEndian),
    bits_stored: int | None = None,
    **tags: Any,
) -> FileDataset:
    """An Enhanced CT object."""
    uid = "1.2.3.5.1"
    dataset = new_file(syntax, ENHANCED_CT, uid)
    dataset.SOPClassUID, dataset.SOPInstanceUID = ENHANCED_CT, uid
    dataset.SeriesInstanceUID, dataset.Modality = SERIES, "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    dataset.NumberOfFrames = len(array)
    describe_pixels(dataset, array, bits_stored)
    dataset.SharedFunctionalGroupsSequence = Items([shared if shared is not None else SHARED])
    dataset.PerFrameFunctionalGroupsSequence = Items(per_frame)
    dataset.PixelData = array.tobytes()
    dataset["PixelData"].VR = "OW"
    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    return dataset


SHARED = groups(
    PlaneOrientation={"ImageOrientationPatient": list(AXIAL)},
    PixelMeasures={"PixelSpacing": [0.7, 0.8], "SliceThickness": 5.0},
    PixelValueTransformation={
        "RescaleSlope": 1, "RescaleIntercept": -1024, "RescaleType": "HU",
    },
)  # fmt: skip


def plane(z: float, **macros: dict[str, Any]) -> Dataset:
    """Per-frame groups with a position."""
    return groups(PlanePosition={"ImagePositionPatient": [-50.0, -60.0, z]}, **macros)


def stack(source: Any) -> np.ndarray:
    """All slices of a source."""
    return np.stack([source.read_slice(k) for k in range(len(source.geometry))])

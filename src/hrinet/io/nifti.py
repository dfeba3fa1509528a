"""NIfTI-1 and NIfTI-2, plain and gzipped, in single files.

Sources: the NIfTI-1 definition (nifti1.h, Cox et al., 2004; its "3D image orientation" section
describes the methods 1 to 3 used here) and the NIfTI-2 definition (nifti2.h, 2011).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any, cast

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from hrinet.errors import GeometryError, InputError
from hrinet.geometry import Geometry
from hrinet.io.file_axes import arrange, file_affine, file_shape
from hrinet.io.gzip_stream import GZIP_MAGIC, InflateStream
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.raw import RawLayout, RawSource, read_bytes
from hrinet.io.raw_sink import RawSink
from hrinet.types import Float64Array
from hrinet.volume import SourceInfo

_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_HEADER_SIZES = {348: 1, 540: 2}
_MAGICS = {1: b"n+1\0", 2: b"n+2\0\r\n\x1a\n"}
_PAIR_MAGICS = (b"ni1\0", b"ni2\0\r\n\x1a\n")
_DTYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8",
    256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_REFUSED = {
    1: "binary", 32: "complex", 128: "RGB", 1536: "float128", 1792: "complex", 2048: "complex",
    2304: "RGBA",
}  # fmt: skip
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_AGREEMENT_MM = 1e-3
_NIFTI1_MAX_DIM = 32767


def open_nifti(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> RawSource:
    """Open a ``.nii`` or ``.nii.gz`` file; only its header is read.

    Whether it is gzipped is seen from its first bytes. Values are slope * stored + intercept
    (scl_slope, scl_inter), where a slope of 0 or NaN means none.

    Args:
        path: the file.
        limits: bounds on what it may declare.

    Returns:
        The source; its slices are counted along the slowest axis or a clearly coarser one.

    Raises:
        InputError: if it is no NIfTI file, is truncated, or holds anything but one 3-D volume of
            real numbers.
        LimitError: if it declares more than the limits allow.
        GeometryError: if its orientation is not usable.
    """
    path = Path(path)
    subject = str(path)
    block = read_bytes(path, 540, subject)
    is_gzip = block.startswith(GZIP_MAGIC)
    if is_gzip:
        stream = InflateStream(path, offset=0, encoding="gzip", subject=subject)
        try:
            block = stream.read(540)
        finally:
            stream.close()
    header, version = _parse_header(block, subject)
    shape = _shape(header, subject)
    data_offset = _data_offset(header, version, subject)
    notes: list[str] = []
    with np.errstate(all="ignore"):
        affine = _affine_ras(header, shape, subject, notes)
    slope, intercept = _scaling(header)
    geometry, axes = arrange(_RAS_TO_LPS @ affine, shape=shape, subject=subject, limits=limits)
    layout = RawLayout(
        subject=subject,
        path=path,
        shape=shape,
        dtype=_dtype(header, subject),
        offset=0 if is_gzip else data_offset,
        encoding="gzip" if is_gzip else "raw",
        skip=data_offset if is_gzip else 0,
        slope=slope,
        intercept=intercept,
    )
    layout.check(limits)
    info = SourceInfo(format="NIfTI", path=subject, notes=tuple(notes), file_axes=axes)
    return RawSource(layout, geometry=geometry, info=info, limits=limits)


class NiftiSink(RawSink):
    """A NIfTI file being written: NIfTI-1, or NIfTI-2 where a dimension exceeds 32767.

    The orientation is the sform (method 3). The qform (method 2) repeats it unless it cannot: it
    has no shear, and its float32 quaternion is off by more than 0.001 mm for some rotations.

    Args:
        temporary: the file to write.
        geometry: of all slices that will be written; uniform.
        dtype: int16 or float32.
        info: of the source, for the order of the axes.
        compress: whether to gzip the file.
        subject: see :class:`RawSink`.

    Raises:
        RunError: if the file cannot be written.
        GeometryError: if the geometry is not uniform.
    """

    def __init__(
        self,
        temporary: Path,
        *,
        geometry: Geometry,
        dtype: np.dtype[Any],
        info: SourceInfo,
        compress: bool,
        subject: str = "",
    ) -> None:
        shape = file_shape(geometry.shape, info.file_axes)
        affine = _RAS_TO_LPS @ file_affine(geometry, info.file_axes)
        super().__init__(
            temporary,
            header=_header_bytes(affine, shape, np.dtype(dtype)),
            geometry=geometry,
            dtype=dtype,
            file_axes=info.file_axes,
            compress=compress,
            subject=subject,
        )


def _header_bytes(affine: Float64Array, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> bytes:
    kind = nib.Nifti2Header if max(shape) > _NIFTI1_MAX_DIM else nib.Nifti1Header
    header: Any = cast("Any", kind)(endianness="<")
    header.set_data_shape(shape[::-1])
    header.set_data_dtype(dtype)
    header.set_zooms(np.linalg.norm(affine[:3, :3], axis=0))
    header.set_sform(affine, code=1)
    trial = header.copy()
    trial.set_qform(affine, code=1, strip_shears=True)
    if _disagreement_mm(trial.get_qform(), affine, shape) <= _AGREEMENT_MM:
        header = trial
    header.set_xyzt_units("mm")
    header["descrip"] = b"HRINet"
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["magic"] = _MAGICS[1 if kind is nib.Nifti1Header else 2]
    block = header.binaryblock
    header["vox_offset"] = len(block) + 4
    return bytes(header.binaryblock) + b"\0\0\0\0"


def _parse_header(block: bytes, subject: str) -> tuple[Any, int]:
    advice = "expected a NIfTI file (.nii or .nii.gz); convert or rename it"
    if len(block) < 348:
        raise InputError(f"{subject}: has {len(block)} bytes, too few for a NIfTI header; {advice}")
    for endianness in "<>":
        version = _HEADER_SIZES.get(struct.unpack(endianness + "i", block[:4])[0])
        if version is not None:
            break
    else:
        raise InputError(f"{subject}: sizeof_hdr is neither 348 nor 540, {advice}")
    size, kind, where = (348, nib.Nifti1Header, 344) if version == 1 else (540, nib.Nifti2Header, 4)
    magic = block[where : where + len(_MAGICS[version])]
    if magic in _PAIR_MAGICS:
        raise InputError(
            f"{subject}: is the header of an .hdr/.img pair, expected a single .nii file; convert "
            "the pair"
        )
    if magic != _MAGICS[version] or len(block) < size:
        raise InputError(f"{subject}: its magic bytes are {magic!r}, {advice}")
    header = cast("Any", kind)(block[:size], endianness=endianness, check=False)
    return header, version


def _shape(header: Any, subject: str) -> tuple[int, int, int]:
    dim = [int(v) for v in header["dim"]]
    if not 3 <= dim[0] <= 7:
        raise InputError(f"{subject}: dim[0] is {dim[0]}, expected 3 dimensions")
    if any(v != 1 for v in dim[4 : dim[0] + 1]):
        raise InputError(
            f"{subject}: is {dim[0]}-D with dimensions {dim[1 : dim[0] + 1]}, expected one 3-D "
            "volume; save one volume of it as a file of its own"
        )
    if min(dim[1:4]) < 1:
        raise InputError(
            f"{subject}: dim[1..3] is {dim[1:4]}, expected positive numbers; the header is damaged"
        )
    return dim[3], dim[2], dim[1]


def _dtype(header: Any, subject: str) -> np.dtype[Any]:
    code = int(header["datatype"])
    if code not in _DTYPES:
        found = f"{code} ({_REFUSED.get(code, 'unknown')})"
        raise InputError(
            f"{subject}: datatype is {found}, expected real numbers of up to 64 bits; convert it "
            "to int16 or float32"
        )
    dtype: np.dtype[Any] = np.dtype(str(header.endianness) + _DTYPES[code])
    bits = int(header["bitpix"])
    if bits not in (0, dtype.itemsize * 8):
        raise InputError(
            f"{subject}: bitpix is {bits}, expected {dtype.itemsize * 8} for {dtype.name}; the "
            "header is damaged"
        )
    return dtype


def _data_offset(header: Any, version: int, subject: str) -> int:
    value, least = float(header["vox_offset"]), {1: 352, 2: 544}[version]
    if not (np.isfinite(value) and value.is_integer() and least <= value < 2**62):
        raise InputError(
            f"{subject}: vox_offset is {value:g}, expected a whole number from {least}; the header "
            "is damaged"
        )
    return int(value)


def _scaling(header: Any) -> tuple[float, float]:
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    return (1.0, 0.0) if slope == 0 or np.isnan(slope) else (slope, intercept)


def _affine_ras(
    header: Any, shape: tuple[int, int, int], subject: str, notes: list[str]
) -> Float64Array:
    """The 4 x 4 affine from (i, j, k) to RAS, mm, by the best method that the header sets."""
    unit = int(header["xyzt_units"]) & 7
    scale = _MM_PER_UNIT.get(unit, 1.0)
    if unit not in _MM_PER_UNIT:
        notes.append(f"The unit of length has the unknown code {unit} and was taken as mm.")
    affines: dict[str, Float64Array] = {}
    try:
        if int(header["sform_code"]) > 0:
            affines["sform"] = np.asarray(header.get_sform(), dtype=np.float64)
        if int(header["qform_code"]) > 0:
            affines["qform"] = np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError, ArithmeticError) as error:
        if "sform" not in affines:
            raise GeometryError(
                f"{subject}: its qform cannot be used ({error}); correct the header"
            ) from error
        notes.append("The qform cannot be used; the sform was used.")
    if len(affines) == 2:
        distance = _disagreement_mm(affines["sform"], affines["qform"], shape) * scale
        if not distance <= _AGREEMENT_MM:
            notes.append(f"The sform and qform differ by {distance:.4g} mm; the sform was used.")
    if affines:
        affine = next(iter(affines.values()))
    else:
        affine = np.diag([*(float(v) for v in header["pixdim"][1:4]), 1.0])
        notes.append(
            "The file has no orientation (sform_code and qform_code are 0); its axes were taken "
            "as right, anterior and superior."
        )
        if not np.all(np.diag(affine) > 0):
            raise GeometryError(
                f"{subject}: pixdim[1..3] is {np.diag(affine)[:3].tolist()}, expected positive "
                "spacings; correct the header"
            )
    affine = affine.copy()
    affine[:3] *= scale
    return affine


def _disagreement_mm(one: Float64Array, two: Float64Array, shape: tuple[int, int, int]) -> float:
    """Largest distance, over all voxels, of the places where two affines put one voxel, mm.

    The distance is convex in the index, so its maximum lies at a corner of the volume.
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape[::-1]], [1])).reshape(4, -1)
    return float(np.linalg.norm(((one - two) @ corners)[:3], axis=0).max())

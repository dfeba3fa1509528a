"""NRRD, with attached or detached header.

Source: "Definition of NRRD File Format" (teem.sourceforge.net/nrrd/format.html), versions 1 to 5.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from nrrd import read_header

from hrinet.errors import GeometryError, InputError, LimitError
from hrinet.geometry import Geometry
from hrinet.io.file_axes import arrange, file_affine, file_shape
from hrinet.io.gzip_stream import Encoding
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.raw import RawLayout, RawSource, beside, file_size, read_bytes
from hrinet.io.raw_sink import RawSink
from hrinet.thickness import plausible_mm
from hrinet.types import INT16, Float64Array
from hrinet.volume import SourceInfo

_ENCODINGS: dict[str, Encoding] = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2",
}  # fmt: skip
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}
_SPACES = {
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
"""Signs that turn a patient space into LPS."""
_ANONYMOUS_SPACES = ("scanner-xyz", "3d-right-handed")
_MM_PER_UNIT = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "µm": 1e-3}
_UNITS = ("units", "space units")
_PATTERN = re.compile(r"%[0-9]*d")


def open_nrrd(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> RawSource:
    """Open a ``.nrrd`` or ``.nhdr`` file; only its header is read.

    Args:
        path: the header; a separate data file must lie in its folder.
        limits: bounds on what it may declare.

    Returns:
        The source; its slices are counted along the slowest axis or a clearly coarser one.

    Raises:
        InputError: if it is no NRRD file, is truncated, or holds anything but one 3-D volume of
            real numbers in raw, gzip or bzip2 encoding.
        LimitError: if it declares more than the limits allow.
        GeometryError: if its orientation is not usable.
    """
    path = Path(path)
    subject = str(path)
    header, header_bytes = _parse_header(path, subject, limits)
    axes_kept = _volume_axes(header, subject)
    sizes = [int(header["sizes"][axis]) for axis in axes_kept]
    shape = (sizes[2], sizes[1], sizes[0])
    notes: list[str] = []
    with np.errstate(all="ignore"):
        affine = _affine_lps(header, axes_kept, subject, notes)
    geometry, axes = arrange(affine, shape=shape, subject=subject, limits=limits)
    if (thickness := _thickness(header, axes_kept[2 - axes[0]])) is not None:
        geometry = replace(geometry, slice_thickness=thickness)
    layout = _layout(path, header, header_bytes, shape=shape, limits=limits)
    info = SourceInfo(format="NRRD", path=subject, notes=tuple(notes), file_axes=axes)
    return RawSource(layout, geometry=geometry, info=info, limits=limits)


class NrrdSink(RawSink):
    """An NRRD file with attached header and raw encoding being written.

    Args:
        temporary: the file to write.
        geometry: of all slices that will be written; uniform, sheared or not.
        dtype: int16 or float32.
        info: of the source, for the order of the axes.
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
        subject: str = "",
    ) -> None:
        affine = file_affine(geometry, info.file_axes)
        columns, rows, slices = reversed(file_shape(geometry.shape, info.file_axes))
        lines = [
            "NRRD0004",
            f"type: {'short' if np.dtype(dtype) == INT16 else 'float'}",
            "dimension: 3",
            "space: left-posterior-superior",
            f"sizes: {columns} {rows} {slices}",
            f"space directions: {' '.join(_vector(affine[:3, axis]) for axis in range(3))}",
            "kinds: domain domain domain",
            "endian: little",
            "encoding: raw",
            'space units: "mm" "mm" "mm"',
            f"space origin: {_vector(affine[:3, 3])}",
        ]
        super().__init__(
            temporary,
            header=("\n".join(lines) + "\n\n").encode("ascii"),
            geometry=geometry,
            dtype=dtype,
            file_axes=info.file_axes,
            subject=subject,
        )


def _vector(values: Float64Array) -> str:
    return "(" + ",".join(repr(float(v) + 0.0) for v in values) + ")"


def _parse_header(path: Path, subject: str, limits: Limits) -> tuple[dict[str, Any], int]:
    """The fields of the header and its length in bytes, blank line included."""
    block = read_bytes(path, limits.max_header_bytes, subject)
    if not block.startswith(b"NRRD000"):
        raise InputError(
            f"{subject}: begins with {block[:8]!r}, expected NRRD000; convert or rename the file"
        )
    blank = re.search(rb"\n\r?\n", block)
    if blank is None and file_size(path, subject) > len(block):
        raise LimitError(
            f"{subject}: its header does not end within {len(block)} bytes, the limit for a text "
            "header; the file is damaged"
        )
    end = len(block) if blank is None else blank.end()
    try:
        lines = block[:end].decode("utf-8").split("\n")
        with np.errstate(all="ignore"):
            header = dict(read_header(lines))
    except UnicodeDecodeError as error:
        raise InputError(
            f"{subject}: its header is not ASCII or UTF-8 text; correct the header"
        ) from error
    except Exception as error:  # The parser raises whatever its number conversions raise.
        raise InputError(
            f"{subject}: its header cannot be parsed ({str(error)[:200]}); correct the header"
        ) from error
    for spaced in ("data file", "line skip", "byte skip"):
        if spaced.replace(" ", "") in header:
            header[spaced] = header.pop(spaced.replace(" ", ""))
    return header, end


def _field(header: dict[str, Any], name: str, subject: str) -> Any:
    if name not in header:
        raise InputError(f"{subject}: its header has no field {name!r}; add it")
    return header[name]


def _volume_axes(header: dict[str, Any], subject: str) -> list[int]:
    """The three axes that span space, fastest first; others may only have a single sample."""
    sizes = _field(header, "sizes", subject)
    dimension = _field(header, "dimension", subject)
    if dimension != len(sizes):
        raise InputError(
            f"{subject}: its dimension is {dimension} but sizes has {len(sizes)} entries; correct "
            "the header"
        )
    if np.any(sizes < 1):
        raise InputError(
            f"{subject}: sizes is {sizes.tolist()[:16]}, expected positive numbers; correct the "
            "header"
        )
    kept = list(range(len(sizes)))
    directions = header.get("space directions")
    if directions is not None and len(directions) == len(sizes):
        kept = [
            axis for axis in kept if not (sizes[axis] == 1 and np.isnan(directions[axis]).all())
        ]
    elif directions is None and len(sizes) == 4 and sizes[3] == 1:
        kept.pop()
    if len(kept) != 3:
        raise InputError(
            f"{subject}: is {len(sizes)}-D with sizes {sizes.tolist()[:16]}, expected one 3-D "
            "volume; save one volume of it as a file of its own"
        )
    return kept


def _affine_lps(
    header: dict[str, Any], axes: list[int], subject: str, notes: list[str]
) -> Float64Array:
    """The 4 x 4 affine from the index, fastest axis first, to LPS, mm."""
    signs = np.array(_space_signs(header, subject, notes))
    affine = np.eye(4)
    directions = header.get("space directions")
    if directions is None:
        spacings = header.get("spacings")
        if spacings is None or len(spacings) < max(axes) + 1:
            raise GeometryError(
                f"{subject}: has neither space directions nor spacings for each axis; add them to "
                "the header"
            )
        affine[:3, :3] = np.diag([spacings[axis] for axis in axes])
        if not np.all(np.diag(affine) > 0):
            raise GeometryError(
                f"{subject}: spacings is {spacings.tolist()[:16]}, expected positive numbers; "
                "correct the header"
            )
        affine[:3] *= _unit_scale(header, "units", axes, notes)[:, None]
        notes.append(
            "The file has no space directions; its axes were taken as left, posterior and superior."
        )
        return affine
    if directions.shape != (int(header["dimension"]), 3):
        raise GeometryError(
            f"{subject}: space directions has the shape {directions.shape}, expected "
            f"({header['dimension']}, 3); correct the header"
        )
    origin = header.get("space origin")
    if origin is None:
        origin = np.zeros(3)
        notes.append("The file has no space origin; its first voxel was put at 0, 0, 0.")
    if origin.shape != (3,):
        raise GeometryError(
            f"{subject}: space origin has {origin.size} entries, expected 3; correct the header"
        )
    affine[:3, :3] = directions[axes].T
    affine[:3, 3] = origin
    affine[:3] *= (signs * _unit_scale(header, "space units", [0, 1, 2], notes))[:, None]
    return affine


def _thickness(header: dict[str, Any], axis: int) -> float | None:
    """Thickness of the slices along an axis of the file, mm; None if it is not stated in mm."""
    thicknesses = header.get("thicknesses", ())
    units = {unit.strip().lower() for name in _UNITS for unit in header.get(name, ())}
    if axis >= len(thicknesses) or not units <= {"", "mm", "millimeter"}:
        return None
    return plausible_mm(float(thicknesses[axis]))


def _space_signs(
    header: dict[str, Any], subject: str, notes: list[str]
) -> tuple[float, float, float]:
    space = str(header.get("space", "")).lower()
    if space in _SPACES:
        return _SPACES[space]
    if space in _ANONYMOUS_SPACES or (space == "" and "space directions" in header):
        notes.append(
            f"The space is {space or 'not named'}, which says nothing about the patient; it was "
            "taken as left-posterior-superior."
        )
    elif space:
        raise GeometryError(
            f"{subject}: its space is {space[:100]!r}, expected left-posterior-superior, "
            "right-anterior-superior or left-anterior-superior; correct the header"
        )
    return 1.0, 1.0, 1.0


def _unit_scale(
    header: dict[str, Any], field: str, axes: list[int], notes: list[str]
) -> Float64Array:
    """Length of the unit of each axis, mm."""
    units = header.get(field, [])
    scale = np.ones(3)
    for place, axis in enumerate(axes):
        unit = units[axis].strip().lower() if axis < len(units) else ""
        scale[place] = _MM_PER_UNIT.get(unit, 1.0)
        note = f"The unit of length {unit[:40]!r} is not known and was taken as mm."
        if unit not in ("", *_MM_PER_UNIT) and note not in notes:
            notes.append(note)
    return scale


def _layout(
    path: Path,
    header: dict[str, Any],
    header_bytes: int,
    *,
    shape: tuple[int, int, int],
    limits: Limits,
) -> RawLayout:
    subject = str(path)
    encoding_name = str(_field(header, "encoding", subject))
    encoding = _ENCODINGS.get(encoding_name.lower())
    if encoding is None:
        raise InputError(
            f"{subject}: its encoding is {encoding_name[:40]!r}, expected raw, gzip or bzip2; save "
            "it in one of these"
        )
    data_path, offset = path, header_bytes
    if "data file" in header:
        name = str(header["data file"])
        if name.split(" ")[0] == "LIST" or _PATTERN.search(name):
            raise InputError(
                f"{subject}: its voxels are spread over several data files ({name[:100]!r}), "
                "expected one; save the volume as a single .nrrd"
            )
        data_path, offset = beside(path, name), 0
    line_skip = int(header.get("line skip", 0))
    byte_skip = int(header.get("byte skip", 0))
    if line_skip:
        offset = _skip_lines(data_path, offset, line_skip, subject, limits)
    dtype = _dtype(header, subject)
    at_end = byte_skip == -1 and encoding == "raw"
    if byte_skip < 0 and not at_end:
        raise InputError(
            f"{subject}: byte skip is {byte_skip}, expected 0 or more, or -1 for raw data; correct "
            "the header"
        )
    layout = RawLayout(
        subject=subject,
        path=data_path,
        shape=shape,
        dtype=dtype,
        offset=offset + (byte_skip if encoding == "raw" and not at_end else 0),
        encoding=encoding,
        skip=0 if encoding == "raw" else byte_skip,
    )
    if at_end:
        layout = layout.at_end()
    layout.check(limits)
    return layout


def _dtype(header: dict[str, Any], subject: str) -> np.dtype[Any]:
    name = str(_field(header, "type", subject))
    if name not in _DTYPES:
        raise InputError(
            f"{subject}: its type is {name[:40]!r}, expected an integer type, float or double; "
            "convert it"
        )
    dtype: np.dtype[Any] = np.dtype(_DTYPES[name])
    if dtype.itemsize == 1:
        return dtype
    endian = str(_field(header, "endian", subject))
    if endian not in ("little", "big"):
        raise InputError(
            f"{subject}: its endian is {endian[:40]!r}, expected little or big; correct the header"
        )
    return dtype.newbyteorder("<" if endian == "little" else ">")


def _skip_lines(path: Path, offset: int, count: int, subject: str, limits: Limits) -> int:
    """Offset behind ``count`` lines, which must lie within the limit for text headers."""
    block = read_bytes(path, offset + limits.max_header_bytes, subject)
    if 0 <= count <= block.count(b"\n", offset):
        for _ in range(count):
            offset = block.index(b"\n", offset) + 1
        return offset
    raise InputError(
        f"{subject}: line skip is {count}, expected so many lines within the first "
        f"{limits.max_header_bytes} bytes; correct the header"
    )

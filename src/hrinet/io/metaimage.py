"""MetaImage: ``.mha`` with its voxels attached, ``.mhd`` with a data file beside it.

Source: the MetaIO documentation (itk.org/Wiki/MetaIO/Documentation). Its coordinates are LPS as in
ITK; AnatomicalOrientation repeats the matrix in letters, often wrongly, and is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hrinet.errors import GeometryError, InputError, LimitError
from hrinet.geometry import Geometry
from hrinet.io.file_axes import arrange, file_affine, file_shape
from hrinet.io.gzip_stream import GZIP_MAGIC, Encoding
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.raw import RawLayout, RawSource, beside, file_size, read_bytes
from hrinet.io.raw_sink import RawSink
from hrinet.types import INT16, Float64Array
from hrinet.volume import SourceInfo

_DTYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_MATRIX = ("TransformMatrix", "Rotation", "Orientation")
_OFFSET = ("Offset", "Origin", "Position")
_MM_PER_UNIT = {"": 1.0, "?": 1.0, "mm": 1.0, "cm": 10.0, "um": 1e-3}
_MAX_SHEAR_DEG = 0.05
_Number = TypeVar("_Number", int, float)


def open_metaimage(path: Path, *, limits: Limits = DEFAULT_LIMITS) -> RawSource:
    """Open a ``.mha`` or ``.mhd`` file; only its header is read.

    Args:
        path: the header; a separate data file must lie in its folder.
        limits: bounds on what it may declare.

    Returns:
        The source; its slices are counted along the slowest axis or a clearly coarser one.

    Raises:
        InputError: if it is no MetaImage, is truncated, or holds anything but one 3-D volume of
            real numbers, plain or deflated.
        LimitError: if it declares more than the limits allow.
        GeometryError: if its orientation is not usable.
    """
    path = Path(path)
    fields = _Fields(path, limits)
    shape = _shape(fields)
    notes: list[str] = []
    with np.errstate(all="ignore"):
        affine = _affine_lps(fields, notes)
    geometry, axes = arrange(affine, shape=shape, subject=fields.subject, limits=limits)
    layout = _layout(fields, shape=shape, limits=limits)
    info = SourceInfo(format="MetaImage", path=fields.subject, notes=tuple(notes), file_axes=axes)
    return RawSource(layout, geometry=geometry, info=info, limits=limits)


class MetaImageSink(RawSink):
    """A ``.mha`` file being written, not compressed.

    Args:
        temporary: the file to write.
        geometry: of all slices that will be written; uniform and not sheared.
        dtype: int16 or float32.
        info: of the source, for the order of the axes.
        subject: see :class:`RawSink`.

    Raises:
        RunError: if the file cannot be written.
        GeometryError: if the geometry is not uniform or is sheared.
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
        if geometry.tilt_deg > _MAX_SHEAR_DEG:
            raise GeometryError(
                f"{subject or temporary}: the slices are sheared by {geometry.tilt_deg:.2f} "
                "degrees, which MetaImage cannot hold; write .nii, .nii.gz or .nrrd"
            )
        affine = file_affine(geometry, info.file_axes)
        spacings = np.linalg.norm(affine[:3, :3], axis=0)
        lines = [
            "ObjectType = Image",
            "NDims = 3",
            "BinaryData = True",
            "BinaryDataByteOrderMSB = False",
            "CompressedData = False",
            f"TransformMatrix = {_numbers((affine[:3, :3] / spacings).T.ravel())}",
            f"Offset = {_numbers(affine[:3, 3])}",
            "CenterOfRotation = 0 0 0",
            f"ElementSpacing = {_numbers(spacings)}",
            f"DimSize = {' '.join(map(str, file_shape(geometry.shape, info.file_axes)[::-1]))}",
            f"ElementType = {'MET_SHORT' if np.dtype(dtype) == INT16 else 'MET_FLOAT'}",
            "ElementDataFile = LOCAL",
        ]
        super().__init__(
            temporary,
            header=("\n".join(lines) + "\n").encode("ascii"),
            geometry=geometry,
            dtype=dtype,
            file_axes=info.file_axes,
            subject=subject,
        )


def _numbers(values: Float64Array) -> str:
    return " ".join(repr(float(v) + 0.0) for v in values)


class _Fields:
    """The ``key = value`` lines of a header, up to ElementDataFile, which is the last.

    Args:
        path: the header.
        limits: bounds its length.

    Raises:
        InputError: if the file is no MetaImage header.
        LimitError: if the header is too long.
    """

    def __init__(self, path: Path, limits: Limits) -> None:
        self.path = path
        self.subject = str(path)
        self._values: dict[str, str] = {}
        block = read_bytes(path, limits.max_header_bytes, self.subject)
        self.header_bytes = 0
        while "ElementDataFile" not in self._values:
            newline = block.find(b"\n", self.header_bytes)
            end = len(block) if newline < 0 else newline + 1
            self._add(block[self.header_bytes : end], is_last=newline < 0, block=block)
            self.header_bytes = end

    def _add(self, line: bytes, *, is_last: bool, block: bytes) -> None:
        if not line and is_last:
            if len(block) < file_size(self.path, self.subject):
                raise LimitError(
                    f"{self.subject}: its header does not end within {len(block)} bytes, the limit "
                    "for a text header; the file is damaged"
                )
            raise InputError(
                f"{self.subject}: has no ElementDataFile, expected a MetaImage header that ends "
                "with it; convert or rename the file"
            )
        if not line.strip():
            return
        try:
            key, equals, value = line.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            key = equals = value = ""
        key = key.strip()
        if not equals or not key or len(key) > 100:
            raise InputError(
                f"{self.subject}: the header line {line[:60]!r} is not of the form 'key = value'; "
                "expected a MetaImage (.mha or .mhd), convert or rename the file"
            )
        if key in self._values:
            raise InputError(f"{self.subject}: {key} appears twice; correct the header")
        self._values[key] = value.strip()

    def text(self, *keys: str, default: str | None = None) -> str:
        """The value of the first key that is there.

        Raises:
            InputError: if none is and there is no default.
        """
        for key in keys:
            if key in self._values:
                return self._values[key]
        if default is None:
            raise InputError(f"{self.subject}: its header has no {keys[0]}; add it")
        return default

    def floats(self, *keys: str) -> list[float] | None:
        """Numbers that belong to the first key that is there, or None.

        Raises:
            InputError: if they are not numbers.
        """
        return self._parse(float, keys)

    def integers(self, *keys: str) -> list[int] | None:
        """Whole numbers that belong to the first key that is there, or None.

        Raises:
            InputError: if they are not whole numbers.
        """
        return self._parse(int, keys)

    def flag(self, *keys: str) -> bool:
        """A truth value, False by default.

        Raises:
            InputError: if it is neither true nor false.
        """
        value = self.text(*keys, default="False")
        if value.lower() not in ("true", "false", "1", "0"):
            raise InputError(
                f"{self.subject}: {keys[0]} is {value[:60]!r}, expected True or False; correct the "
                "header"
            )
        return value.lower() in ("true", "1")

    def _parse(self, kind: type[_Number], keys: Sequence[str]) -> list[_Number] | None:
        value = self.text(*keys, default="")
        try:
            return [kind(word) for word in value.split()] or None
        except ValueError as error:
            raise InputError(
                f"{self.subject}: {keys[0]} is {value[:60]!r}, expected numbers; correct the header"
            ) from error


def _shape(fields: _Fields) -> tuple[int, int, int]:
    dimensions = fields.integers("NDims")
    sizes = fields.integers("DimSize") or []
    if fields.text("ObjectType", default="Image") != "Image" or dimensions is None:
        raise InputError(
            f"{fields.subject}: is no MetaImage with ObjectType Image and NDims; convert it"
        )
    if dimensions[0] != len(sizes):
        raise InputError(
            f"{fields.subject}: NDims is {dimensions[0]} but DimSize has {len(sizes)} entries; "
            "correct the header"
        )
    channels = fields.integers("ElementNumberOfChannels") or [1]
    if len(sizes) < 3 or any(size != 1 for size in sizes[3:]) or channels != [1]:
        raise InputError(
            f"{fields.subject}: is {len(sizes)}-D with DimSize {sizes[:16]} and {channels[0]} "
            "channels, expected one 3-D volume with 1 channel; save one volume of it as a file of "
            "its own"
        )
    if min(sizes) < 1:
        raise InputError(
            f"{fields.subject}: DimSize is {sizes[:16]}, expected positive numbers; correct the "
            "header"
        )
    return sizes[2], sizes[1], sizes[0]


def _affine_lps(fields: _Fields, notes: list[str]) -> Float64Array:
    """The 4 x 4 affine from the index, fastest axis first, to LPS, mm.

    TransformMatrix lists the direction of the fastest axis first, that is the columns of the
    matrix of directions.
    """
    count = len(fields.integers("DimSize") or [])
    spacing = np.array(
        _vector(fields, "ElementSpacing", count) or _vector(fields, "ElementSize", count) or []
    )
    matrix = _vector(fields, _MATRIX, count * count)
    origin = _vector(fields, _OFFSET, count)
    if not len(spacing):
        spacing = np.ones(count)
        notes.append("The file has no ElementSpacing; 1 mm was taken.")
    if not np.all(spacing > 0):
        raise GeometryError(
            f"{fields.subject}: ElementSpacing is {spacing.tolist()[:16]}, expected positive "
            "numbers; correct the header"
        )
    if matrix is None:
        notes.append(
            "The file has no TransformMatrix; its axes were taken as left, posterior and superior."
        )
    unit = fields.text("DistanceUnits", default="")
    if unit not in _MM_PER_UNIT:
        notes.append(f"The unit of length {unit[:40]!r} is not known and was taken as mm.")
    directions = np.eye(count) if matrix is None else np.reshape(matrix, (count, count))
    affine = np.eye(4)
    affine[:3, :3] = directions[:3, :3].T * spacing[:3]
    affine[:3, 3] = 0 if origin is None else origin[:3]
    affine[:3] *= _MM_PER_UNIT.get(unit, 1.0)
    return affine


def _vector(fields: _Fields, names: str | Sequence[str], count: int) -> list[float] | None:
    names = (names,) if isinstance(names, str) else names
    values = fields.floats(*names)
    if values is not None and len(values) != count:
        raise GeometryError(
            f"{fields.subject}: {names[0]} has {len(values)} entries, expected {count}; correct "
            "the header"
        )
    return values


def _layout(fields: _Fields, *, shape: tuple[int, int, int], limits: Limits) -> RawLayout:
    subject = fields.subject
    if not fields.flag("BinaryData"):
        raise InputError(
            f"{subject}: BinaryData is not True, expected binary voxels; save it as binary"
        )
    scaling = [fields.floats(f"ElementToIntensityFunction{name}") for name in ("Slope", "Offset")]
    if scaling[0] not in (None, [1.0]) or scaling[1] not in (None, [0.0]):
        raise InputError(
            f"{subject}: scales its values by ElementToIntensityFunction, which programs read in "
            "different ways; apply the scaling and save the file again"
        )
    name = fields.text("ElementDataFile")
    path, offset = fields.path, fields.header_bytes
    if name.upper() != "LOCAL":
        if name.split(" ")[0] == "LIST" or "%" in name:
            raise InputError(
                f"{subject}: its voxels are spread over several data files ({name[:100]!r}), "
                "expected one; save the volume as a single .mha"
            )
        path, offset = beside(path, name), 0
    skip = (fields.integers("HeaderSize") or [0])[0]
    if skip < -1:
        raise InputError(
            f"{subject}: HeaderSize is {skip}, expected 0 or more, or -1 for voxels at the end of "
            "the data file; correct the header"
        )
    dtype = _dtype(fields)
    offset += max(skip, 0)
    encoding: Encoding = "raw"
    packed: list[int] | None = None
    if fields.flag("CompressedData"):
        start = read_bytes(path, offset + 2, subject)[offset:]
        encoding = "gzip" if start == GZIP_MAGIC else "zlib"
        packed = fields.integers("CompressedDataSize")
    layout = RawLayout(
        subject=subject,
        path=path,
        shape=shape,
        dtype=dtype,
        offset=offset,
        encoding=encoding,
        packed_bytes=packed[0] if packed else None,
    )
    if skip == -1 and encoding == "raw":
        layout = layout.at_end()
    layout.check(limits)
    return layout


def _dtype(fields: _Fields) -> np.dtype[Any]:
    name = fields.text("ElementType")
    if name not in _DTYPES:
        raise InputError(
            f"{fields.subject}: ElementType is {name[:40]!r}, expected an integer type, MET_FLOAT "
            "or MET_DOUBLE; convert it"
        )
    is_big = fields.flag("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    dtype: np.dtype[Any] = np.dtype((">" if is_big else "<") + _DTYPES[name])
    return dtype

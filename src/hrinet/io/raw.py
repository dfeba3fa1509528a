"""Slices read one at a time from plain or compressed bytes in a file."""

from __future__ import annotations

import copy
import threading
import weakref
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import InputError, LimitError, RangeExceededError
from hrinet.geometry import Geometry
from hrinet.io.gzip_stream import MAX_DEFLATE_RATIO, Encoding, InflateStream
from hrinet.io.limits import GIB, Limits
from hrinet.types import FLOAT32, INT16, SliceArray
from hrinet.volume import SourceInfo

_INT32_MAX = 2**31 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RawLayout:
    """Where the voxels lie in a file and what they mean.

    Attributes:
        subject: the file as the user named it, for messages.
        path: the file that holds the voxels.
        shape: number of voxels along the file's axes, slowest axis first.
        dtype: of the stored values, with byte order.
        offset: where the (compressed) bytes begin.
        encoding: how they are packed.
        skip: bytes to drop after inflating.
        packed_bytes: length of the compressed bytes, or None for all up to the end of the file.
        slope: HU per stored unit.
        intercept: HU of a stored zero.
    """

    subject: str
    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    offset: int
    encoding: Encoding = "raw"
    skip: int = 0
    packed_bytes: int | None = None
    slope: float = 1.0
    intercept: float = 0.0

    @property
    def byte_count(self) -> int:
        """Bytes of all voxels, inflated."""
        return self.shape[0] * self.shape[1] * self.shape[2] * self.dtype.itemsize

    @property
    def is_integral(self) -> bool:
        """Whether every value is a whole number of HU (and not absurdly scaled)."""
        return self.dtype.kind in "iu" and all(
            float(v).is_integer() and abs(v) <= _INT32_MAX for v in (self.slope, self.intercept)
        )

    def at_end(self) -> RawLayout:
        """The same voxels, uncompressed, where they are the last bytes of the file.

        Raises:
            InputError: if there is no such file.
        """
        start = file_size(self.path, self.subject) - self.byte_count
        return replace(self, offset=max(start, self.offset))

    def check(self, limits: Limits) -> None:
        """Refuse voxels that the file cannot hold, before anything is inflated or allocated.

        Raises:
            InputError: if the file is too short for what its header declares.
            LimitError: if it inflates to more than ``limits.max_streamed_bytes``.
        """
        if not (np.isfinite(self.slope) and np.isfinite(self.intercept)) or self.slope == 0:
            raise InputError(
                f"{self.subject}: scales its values by {self.slope} and shifts them by "
                f"{self.intercept}, expected finite numbers; correct the header"
            )
        available = file_size(self.path, self.subject) - self.offset
        needed = self.byte_count
        if self.packed_bytes is not None:
            available, needed = min(available, self.packed_bytes), max(self.packed_bytes, 1)
        if self.encoding == "raw" or self.packed_bytes is not None:
            available = max(available, 0)
            if available < needed:
                raise InputError(
                    f"{self.subject}: is truncated: its header declares {needed} bytes of data, "
                    f"{available} are there; copy or export the file again"
                )
        if self.encoding == "raw":
            return
        inflated = self.skip + self.byte_count
        if inflated > limits.max_streamed_bytes:
            raise LimitError(
                f"{self.subject}: inflates to {inflated / GIB:.1f} GiB, the limit for compressed "
                f"data is {limits.max_streamed_bytes / GIB:.1f} GiB; store it uncompressed"
            )
        if self.encoding != "bzip2" and inflated > MAX_DEFLATE_RATIO * max(available, 0):
            raise InputError(
                f"{self.subject}: is truncated: its header declares {inflated} bytes of data, "
                f"which {max(available, 0)} compressed bytes cannot hold; copy or export the file "
                "again"
            )


def file_size(path: Path, subject: str) -> int:
    """Size of a regular file in bytes.

    Raises:
        InputError: if there is no such file, or it is a folder, pipe or device.
    """
    try:
        if not path.is_file():
            raise InputError(f"{subject}: {path.name} is not a file; check the path")
        return path.stat().st_size
    except (OSError, ValueError) as error:
        raise InputError(f"{subject}: {path.name} cannot be read: {error}") from error


def read_bytes(path: Path, count: int, subject: str) -> bytes:
    """The first ``count`` bytes of a regular file, or all if it is shorter.

    Raises:
        InputError: if it cannot be read.
    """
    file_size(path, subject)
    try:
        with path.open("rb") as file:
            return file.read(count)
    except OSError as error:
        raise InputError(f"{subject}: cannot be read: {error.strerror}") from error


def beside(header: Path, name: str) -> Path:
    """The data file that a detached header names, which must lie in the header's folder.

    Args:
        header: path of the header file.
        name: the name in the header.

    Raises:
        InputError: if the name is absolute, climbs up, or leads out through a symbolic link.
    """
    folder = header.parent.resolve()
    relative = Path(name)
    inside = not relative.is_absolute() and ".." not in relative.parts and "\\" not in name
    try:
        path = (folder / relative).resolve() if inside and "\0" not in name else folder
    except (OSError, RuntimeError, ValueError):
        path = folder
    if path == folder or not path.is_relative_to(folder):
        raise InputError(
            f"{header}: names the data file {name[:200]!r}, expected one in the header's own "
            "folder; put both files into one folder and correct the name"
        )
    return path


def _empty_slab(layout: RawLayout) -> tuple[NDArray[Any], memoryview]:
    byte_count = layout.byte_count // layout.shape[0]
    try:
        values = np.empty(layout.shape[1:], layout.dtype)
    except MemoryError as error:
        raise _out_of_memory(layout.subject, byte_count) from error
    return values, values.reshape(-1).view(np.uint8).data


def _out_of_memory(subject: str, byte_count: int) -> LimitError:
    return LimitError(
        f"{subject}: {byte_count / GIB:.1f} GiB of memory are needed and not available; use a "
        "computer with more"
    )


class _Slabs(Protocol):
    """Stored values by index along one axis."""

    @property
    def is_sequential(self) -> bool: ...

    def slab(self, index: int) -> NDArray[Any]: ...


class _PlainSlabs:
    """Slabs of the slowest axis, each read where it lies.

    The file is opened for every slab: that costs microseconds, needs no lock between threads, and
    leaves no handle behind.
    """

    is_sequential = False

    def __init__(self, layout: RawLayout) -> None:
        self._layout = layout

    def slab(self, index: int) -> NDArray[Any]:
        layout = self._layout
        values, view = _empty_slab(layout)
        try:
            with layout.path.open("rb", buffering=0) as file:
                file.seek(layout.offset + index * len(view))
                done = 0
                while done < len(view):
                    count = file.readinto(view[done:])
                    if not count:
                        raise InputError(
                            f"{layout.subject}: ends within slab {index}; it was cut short while "
                            "being read, copy it again"
                        )
                    done += count
        except OSError as error:
            raise InputError(f"{layout.subject}: cannot be read: {error.strerror}") from error
        return values


class _StreamedSlabs:
    """Slabs of the slowest axis of compressed voxels, forwards; going back starts again."""

    is_sequential = True

    def __init__(self, layout: RawLayout) -> None:
        self._layout = layout
        self._lock = threading.Lock()
        self._stream: InflateStream | None = None
        self._release: weakref.finalize[..., Any] | None = None
        self._next = 0
        self._last: NDArray[Any] | None = None

    def slab(self, index: int) -> NDArray[Any]:
        with self._lock:
            if self._last is not None and index == self._next - 1:
                return self._last
            try:
                return self._advance(index)
            except BaseException:
                self._close()
                raise

    def _advance(self, index: int) -> NDArray[Any]:
        if self._stream is None or index < self._next:
            self._close()
            layout = self._layout
            self._stream = InflateStream(
                layout.path, offset=layout.offset, encoding=layout.encoding, subject=layout.subject
            )
            self._release = weakref.finalize(self, self._stream.close)
            self._stream.skip(layout.skip)
            self._next = 0
        values, view = _empty_slab(self._layout)
        self._stream.skip((index - self._next) * len(view))
        self._stream.fill(view)
        if index == self._layout.shape[0] - 1:
            self._stream.finish()
            self._close()
        self._last, self._next = values, index + 1
        return values

    def _close(self) -> None:
        if self._release is not None:
            self._release()
        self._stream, self._last = None, None


class _LoadedSlabs:
    """Slabs of an axis that is not the slowest: the volume is held whole, once one is wanted."""

    is_sequential = False

    def __init__(
        self, inner: _Slabs, *, layout: RawLayout, axes: tuple[int, int, int], limits: Limits
    ) -> None:
        self._inner = inner
        self._layout = layout
        self._axes = axes
        self._limits = limits
        self._lock = threading.Lock()
        self._values: NDArray[Any] | None = None

    def slab(self, index: int) -> NDArray[Any]:
        with self._lock:
            if self._values is None:
                self._values = self._load()
        return np.asarray(self._values[index])

    def _load(self) -> NDArray[Any]:
        layout = self._layout
        self._limits.check_memory(layout.subject, layout.byte_count)
        try:
            values = np.empty([layout.shape[axis] for axis in self._axes], layout.dtype)
        except MemoryError as error:
            raise _out_of_memory(layout.subject, layout.byte_count) from error
        in_file_order = values.transpose(np.argsort(self._axes))
        for index in range(layout.shape[0]):
            in_file_order[index] = self._inner.slab(index)
        return values


class RawSource:
    """A slice source over a :class:`RawLayout`; safe to use from several threads.

    Args:
        layout: where the voxels are; checked by the caller.
        geometry: of the slices.
        info: its ``file_axes`` say which axis of the file the slices are counted along.
        limits: bounds a volume that has to be held whole.
    """

    def __init__(
        self, layout: RawLayout, *, geometry: Geometry, info: SourceInfo, limits: Limits
    ) -> None:
        slabs: _Slabs = _PlainSlabs(layout) if layout.encoding == "raw" else _StreamedSlabs(layout)
        if info.file_axes[0] != 0:
            slabs = _LoadedSlabs(slabs, layout=layout, axes=info.file_axes, limits=limits)
        self._slabs = slabs
        self._layout = layout
        self._dtype: np.dtype[Any] = INT16 if layout.is_integral else FLOAT32
        self.geometry = geometry
        self.info = info
        self.padding_hu: float | None = None
        self.source_ids: tuple[str, ...] = ("",) * len(geometry)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """int16 for whole numbers, else float32."""
        return self._dtype

    @property
    def data_path(self) -> Path:
        """The file that holds the voxels."""
        return self._layout.path

    @property
    def is_sequential(self) -> bool:
        """Whether going back in the file means inflating it again from its beginning."""
        return self._slabs.is_sequential

    def read_slice(self, index: int) -> SliceArray:
        """Slice ``index``, shape (row, column), HU, of :attr:`dtype`, read-only.

        Raises:
            InputError: if the slice is truncated, damaged, or holds NaN or infinite values.
            RangeExceededError: if values of an integer file do not fit int16.
            IndexError: if there is no such slice.
        """
        if not 0 <= index < len(self.geometry):
            raise IndexError(f"slice {index} of {len(self.geometry)}")
        stored = self._slabs.slab(index)
        convert = self._to_int16 if self._dtype == INT16 else self._to_float32
        values = convert(stored, index).view()
        values.setflags(write=False)
        return values

    def widened(self) -> RawSource:
        """The same source with float32 slices."""
        wide = copy.copy(self)
        wide._dtype = FLOAT32
        return wide

    def _to_int16(self, stored: NDArray[Any], index: int) -> SliceArray:
        slope, intercept = int(self._layout.slope), int(self._layout.intercept)
        as_is = slope == 1 and intercept == 0
        if as_is and np.can_cast(stored.dtype, np.int16):
            return stored.astype(np.int16, copy=False)
        ends = sorted(int(v) * slope + intercept for v in (stored.min(), stored.max()))
        if ends[0] < -32768 or ends[1] > 32767:
            raise RangeExceededError(
                f"{self._layout.subject}: slice {index} holds {ends[0]} to {ends[1]} HU, beyond "
                "int16; read the volume as float32"
            )
        # The result fits int16, so arithmetic modulo 2**32 gives it whatever overflows on the way.
        values = stored.astype(np.int32)
        if not as_is:
            values *= np.int32(slope)
            values += np.int32(intercept)
        return values.astype(np.int16)

    def _to_float32(self, stored: NDArray[Any], index: int) -> SliceArray:
        with np.errstate(all="ignore"):
            if self._layout.slope == 1 and self._layout.intercept == 0:
                values = stored.astype(np.float32, copy=False)
            else:
                scaled = stored.astype(np.float64)
                scaled *= self._layout.slope
                scaled += self._layout.intercept
                values = scaled.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            raise InputError(
                f"{self._layout.subject}: slice {index} holds {values.size - int(finite.sum())} "
                "values that are NaN or infinite, expected HU; replace them (air is -1000) and "
                "save the file again"
            )
        return values

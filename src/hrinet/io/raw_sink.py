"""Slices written one at a time behind a header."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RunError
from hrinet.geometry import Geometry
from hrinet.io.file_axes import FileAxes, file_shape
from hrinet.io.gzip_stream import open_gzip_writer
from hrinet.types import SliceArray


class RawSink:
    """A header followed by the voxels of a volume, little endian, slice by slice.

    Where the file's slowest axis is not the slice axis, the volume is held until it is complete.

    Args:
        temporary: the file to write.
        header: bytes before the voxels.
        geometry: of all slices that will be written.
        dtype: int16 or float32.
        file_axes: see :attr:`hrinet.volume.SourceInfo.file_axes`.
        compress: whether to gzip the file.
        subject: what to call the file in messages; by default its temporary path.

    Raises:
        RunError: if the file cannot be written, or there is no memory for a volume to be held.
    """

    def __init__(
        self,
        temporary: Path,
        *,
        header: bytes,
        geometry: Geometry,
        dtype: np.dtype[Any],
        file_axes: FileAxes,
        compress: bool = False,
        subject: str = "",
    ) -> None:
        self._slice_shape = geometry.shape[1:]
        self._count = len(geometry)
        self._written = 0
        self._subject = subject or str(temporary)
        self._dtype = np.dtype(dtype)
        self._stored = self._dtype.newbyteorder("<")
        self._held: NDArray[Any] | None = None
        if file_axes != (0, 1, 2):
            shape = file_shape(geometry.shape, file_axes)
            try:
                self._held = np.empty(shape, self._stored)
            except MemoryError as error:
                raise RunError(f"{self._subject}: no memory to reorder {shape} voxels") from error
            self._slices = self._held.transpose(file_axes)
        try:
            self._file: BinaryIO = open_gzip_writer(temporary) if compress else temporary.open("wb")
        except OSError as error:
            raise self._failed(error) from error
        self._put(header)

    def write(self, values: SliceArray) -> None:
        """Append a slice, shape (row, column), HU.

        Raises:
            RunError: if it has another shape or dtype than announced, there are too many slices,
                or the disk is full.
        """
        if values.shape != self._slice_shape or values.dtype != self._dtype:
            raise RunError(
                f"{self._subject}: got a slice of {values.shape} {values.dtype}, expected "
                f"{self._slice_shape} {self._dtype}"
            )
        if self._written >= self._count:
            raise RunError(f"{self._subject}: got more slices than the announced {self._count}")
        if self._held is not None:
            self._slices[self._written] = values
        else:
            self._put_array(np.ascontiguousarray(values, self._stored))
        self._written += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            RunError: if slices are missing or the disk is full.
        """
        if self._written != self._count:
            raise RunError(f"{self._subject}: got {self._written} slices, expected {self._count}")
        if self._held is not None:
            for slab in self._held:
                self._put_array(slab)
        try:
            self._file.close()
        except OSError as error:
            raise self._failed(error) from error

    def abort(self) -> None:
        """Release the file without finishing it."""
        try:
            self._file.close()
        except OSError:
            return  # The caller removes the file, and has the error that led here.

    def _put_array(self, values: NDArray[Any]) -> None:
        self._put(values.reshape(-1).view(np.uint8).data)

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise self._failed(error) from error

    def _failed(self, error: OSError) -> RunError:
        return RunError(f"{self._subject}: cannot be written: {error.strerror or error}")

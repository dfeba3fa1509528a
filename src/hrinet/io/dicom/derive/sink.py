"""Writing a derived series, slice by slice, into a folder or a zip."""

from __future__ import annotations

import zipfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from hrinet.errors import RunError
from hrinet.io.dicom.derive.classic import (
    identity_notes,
    series_attributes,
    set_stored,
    slice_attributes,
    template_header,
)
from hrinet.io.dicom.derive.encode import file_bytes, set_pixels
from hrinet.io.dicom.derive.headers import Headers
from hrinet.io.dicom.derive.made import ENHANCED_NAME
from hrinet.io.dicom.derive.pixels import Encoder
from hrinet.io.dicom.derive.series import DerivedSeries
from hrinet.io.sink import VolumeSink
from hrinet.printable import printable
from hrinet.types import SliceArray

_EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest date that a zip can hold: the same input gives the same bytes."""


class Container(Protocol):
    """Where finished DICOM files go."""

    def add(self, name: str, data: bytes) -> None:
        """Write a file.

        Raises:
            RunError: if that fails.
        """
        ...

    def open(self, name: str) -> BinaryIO:
        """Start a file that is written piece by piece."""
        ...

    def close(self) -> None:
        """Finish."""
        ...


class FolderContainer:
    """A folder of files.

    Args:
        folder: exists and is empty.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, data: bytes) -> None:
        """See :class:`Container`."""
        try:
            (self._folder / name).write_bytes(data)
        except OSError as error:
            raise RunError(f"{name} cannot be written: {error.strerror}") from error

    def open(self, name: str) -> BinaryIO:
        """See :class:`Container`."""
        return (self._folder / name).open("wb")

    def close(self) -> None:
        """See :class:`Container`."""


class ZipContainer:
    """A zip of files in one folder.

    Args:
        path: of the zip.
        folder: name of the folder in it.
        is_compressed: whether the files are compressed already.
    """

    def __init__(self, path: Path, *, folder: str, is_compressed: bool) -> None:
        self._folder = printable(folder)
        kind = zipfile.ZIP_STORED if is_compressed else zipfile.ZIP_DEFLATED
        self._zip = zipfile.ZipFile(path, "w", kind, compresslevel=None if is_compressed else 1)

    def add(self, name: str, data: bytes) -> None:
        """See :class:`Container`."""
        try:
            self._zip.writestr(self._entry(name), data, compresslevel=self._zip.compresslevel)
        except OSError as error:
            raise RunError(f"{name} cannot be written: {error.strerror}") from error

    def open(self, name: str) -> BinaryIO:
        """See :class:`Container`."""
        return cast(BinaryIO, self._zip.open(self._entry(name), "w", force_zip64=True))

    def _entry(self, name: str) -> zipfile.ZipInfo:
        entry = zipfile.ZipInfo(f"{self._folder}/{name}", _EPOCH)
        entry.compress_type = self._zip.compression
        entry.external_attr = 0o644 << 16
        return entry

    def close(self) -> None:
        """See :class:`Container`."""
        try:
            self._zip.close()
        except OSError as error:
            raise RunError(f"the zip cannot be finished: {error.strerror}") from error


class ClassicSink:
    """A :class:`hrinet.io.sink.VolumeSink` that writes one CT image a slice.

    Args:
        container: where the files go.
        series: what to write.
        checks_originals: whether to compare originals with their source, for slices that come from
            a caller rather than straight from the reader.
    """

    def __init__(
        self, container: Container, series: DerivedSeries, *, checks_originals: bool = False
    ) -> None:
        self._container = container
        self._series = series
        self._headers = Headers(limits=series.limits)
        self._encoder = Encoder(series, checks_originals=checks_originals)
        template = template_header(series, self._headers)
        self._common = series_attributes(series, template)
        self._notes = identity_notes(template)
        self._next = 0

    @property
    def notes(self) -> tuple[str, ...]:
        """What happened on the way that the user should know."""
        return (*self._notes, *self._encoder.notes)

    def write(self, values: SliceArray) -> None:
        """See :class:`hrinet.io.sink.VolumeSink`."""
        if self._next == len(self._series.slices):
            raise RunError(f"more than the announced {self._next} slices were made")
        one = self._series.slices[self._next]
        self._next += 1
        stored, kind = self._encoder.encode(one, values)
        dataset = slice_attributes(self._series, one, self._common, self._headers)
        has_rescale = not (self._series.is_copy and one.frames and not one.frames[0].has_rescale)
        set_stored(dataset, kind, has_rescale=has_rescale)
        compress = self._series.options.compress
        set_pixels(dataset, stored, compress=compress)
        name, _ = self._series.place_of(one)
        self._container.add(name, file_bytes(dataset, compress=compress))

    def close(self) -> None:
        """See :class:`hrinet.io.sink.VolumeSink`."""
        if self._next != len(self._series.slices):
            raise RunError(
                f"{self._next} slices were made, {len(self._series.slices)} were announced"
            )
        self._container.close()

    def abort(self) -> None:
        """See :class:`hrinet.io.sink.VolumeSink`."""
        with suppress(RunError):
            self._container.close()


def open_dicom_sink(
    temporary: Path,
    series: DerivedSeries,
    *,
    is_zip: bool,
    name: str,
    checks_originals: bool = False,
) -> VolumeSink:
    """Start writing a derived series.

    Args:
        temporary: an empty folder, or the file to write a zip to.
        series: what to write.
        is_zip: whether to write a zip.
        name: of the folder in a zip.
        checks_originals: whether to compare originals with their source first.
    """
    is_compressed = series.options.compress is not None
    container: Container
    if is_zip:
        container = ZipContainer(temporary, folder=name, is_compressed=is_compressed)
    else:
        container = FolderContainer(temporary)
    if not series.options.enhanced:
        return ClassicSink(container, series, checks_originals=checks_originals)
    from hrinet.io.dicom.derive.enhanced_sink import EnhancedSink

    stream = container.open(ENHANCED_NAME)
    return EnhancedSink(stream, container, series, checks_originals=checks_originals)

"""Writing an Enhanced CT frame by frame: the header first, which is known, then the pixels."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import BinaryIO

from hrinet.errors import RequestError, RunError
from hrinet.io.dicom.derive.classic import identity_notes, series_attributes, template_header
from hrinet.io.dicom.derive.encode import encoded_frame, file_bytes
from hrinet.io.dicom.derive.enhanced import enhanced_dataset
from hrinet.io.dicom.derive.headers import Headers
from hrinet.io.dicom.derive.pixels import Encoder
from hrinet.io.dicom.derive.series import DerivedSeries
from hrinet.io.dicom.derive.sink import Container
from hrinet.types import SliceArray

_MOST_BYTES = 0xFFFFFFFE
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_ITEM = b"\xfe\xff\x00\xe0"
_SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


class EnhancedSink:
    """A :class:`hrinet.io.sink.VolumeSink` that writes one Enhanced CT object.

    Args:
        stream: where the file goes; closed at the end.
        container: that the stream belongs to; closed after it.
        series: what to write.
        checks_originals: see :class:`hrinet.io.dicom.derive.pixels.Encoder`.

    Raises:
        RequestError: if the slices cannot be stored in one object.
    """

    def __init__(
        self,
        stream: BinaryIO,
        container: Container,
        series: DerivedSeries,
        *,
        checks_originals: bool = False,
    ) -> None:
        self._stream = stream
        self._container = container
        self._series = series
        self._encoder = Encoder(series, checks_originals=checks_originals)
        self._compress = series.options.compress
        self._next = 0
        headers = Headers(limits=series.limits)
        template = template_header(series, headers)
        self._notes = identity_notes(template)
        common = series_attributes(series, template)
        kinds = [self._encoder.kind_of(one) for one in series.slices]
        self._bits = max(kind.bits for kind in kinds)
        dataset = enhanced_dataset(series, common, headers, kinds)
        size = 2 * series.geometry.rows * series.geometry.columns * len(series.slices)
        if self._compress is None and size > _MOST_BYTES:
            raise RequestError(
                f"{size / 1e9:.1f} GB of pixels are more than one uncompressed DICOM object holds "
                "(4 GB); pass --compress, or leave out --enhanced"
            )
        self._write(file_bytes(dataset, compress=self._compress))
        if self._compress is None:
            self._write(_PIXEL_DATA + b"OW\0\0" + struct.pack("<I", size))
        else:
            self._write(_PIXEL_DATA + b"OB\0\0" + b"\xff" * 4 + _ITEM + bytes(4))

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
        stored, _ = self._encoder.encode(one, values)
        if self._compress is None:
            self._write(stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes())
            return
        frame = encoded_frame(stored, bits=self._bits, compress=self._compress)
        frame += bytes(len(frame) % 2)
        self._write(_ITEM + struct.pack("<I", len(frame)) + frame)

    def close(self) -> None:
        """See :class:`hrinet.io.sink.VolumeSink`."""
        if self._next != len(self._series.slices):
            raise RunError(
                f"{self._next} slices were made, {len(self._series.slices)} were announced"
            )
        if self._compress is not None:
            self._write(_SEQUENCE_END)
        try:
            self._stream.close()
        except OSError as error:
            raise RunError(f"the DICOM file cannot be finished: {error.strerror}") from error
        self._container.close()

    def abort(self) -> None:
        """See :class:`hrinet.io.sink.VolumeSink`."""
        with suppress(OSError, RunError):
            self._stream.close()
            self._container.close()

    def _write(self, data: bytes) -> None:
        try:
            self._stream.write(data)
        except OSError as error:
            raise RunError(f"the DICOM file cannot be written: {error.strerror}") from error

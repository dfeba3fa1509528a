"""Where finished slices go, one at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from hrinet.types import SliceArray


class VolumeSink(Protocol):
    """A volume file being written, slice by slice in order.

    A sink writes to the (temporary) path that it was opened with and holds one slice at a time
    where the layout of the file allows that.
    """

    def write(self, values: SliceArray) -> None:
        """Append a slice, shape (row, column), HU, of the dtype that the sink was opened with."""
        ...

    def close(self) -> None:
        """Finish the file. Raises RunError if the number of slices is not the announced one."""
        ...

    def abort(self) -> None:
        """Release the file handle without finishing; the caller removes the file."""
        ...


@contextmanager
def finishing(sink: VolumeSink) -> Iterator[VolumeSink]:
    """Close a sink at the end of the context, or abort it if that ends with an exception."""
    try:
        yield sink
        sink.close()
    except BaseException:
        sink.abort()
        raise

"""Loading a whole source into memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hrinet.errors import RangeExceededError
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.volume import Provenance, SliceSource, Volume

_READERS = 4


def load(source: SliceSource, *, limits: Limits = DEFAULT_LIMITS) -> Volume:
    """Read every slice of a source.

    Args:
        source: where the slices come from.
        limits: bounds on the memory taken.

    Returns:
        The volume; int16 where that holds every value exactly.

    Raises:
        LimitError: if it would not fit ``limits.max_memory_bytes``.
        InputError: if a slice cannot be decoded.
    """
    try:
        array = _stack(source, limits)
    except RangeExceededError:
        source = source.widened()
        array = _stack(source, limits)
    return Volume(
        array=array,
        geometry=source.geometry,
        provenance=tuple(
            Provenance(source=index, source_id=source_id)
            for index, source_id in enumerate(source.source_ids)
        ),
        padding_hu=source.padding_hu,
        info=source.info,
    )


def _stack(source: SliceSource, limits: Limits) -> np.ndarray:
    shape = source.geometry.shape
    limits.check_memory(source.info.path, int(np.prod(shape)) * source.dtype.itemsize)
    array = np.empty(shape, source.dtype)

    def fill(index: int) -> None:
        array[index] = source.read_slice(index)

    if source.is_sequential:
        for index in range(len(array)):
            fill(index)
    else:
        with ThreadPoolExecutor(_READERS, "hrinet-read") as readers:
            for _ in readers.map(fill, range(len(array))):
                pass
    return array

from __future__ import annotations

import numpy as np
import pytest

from hrinet.errors import LimitError, RangeExceededError
from hrinet.io.limits import Limits
from hrinet.io.loading import load


def test_everything_is_loaded(thick):
    loaded = load(thick)
    assert np.array_equal(loaded.array, thick.array)
    assert [p.source for p in loaded.provenance] == list(range(7))


def test_values_beyond_int16_are_loaded_as_float32(thick):
    class Optimistic:
        def __getattr__(self, name):
            return getattr(thick, name)

        def read_slice(self, index):
            raise RangeExceededError("40000 HU")

    assert load(Optimistic()).dtype == np.float32


def test_memory_is_bounded(thick):
    with pytest.raises(LimitError, match="streams instead"):
        load(thick, limits=Limits(max_memory_bytes=100))

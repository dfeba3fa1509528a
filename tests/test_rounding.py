from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hrinet.rounding import store


@given(arrays(np.float32, (5, 7), elements=st.floats(-70000, 70000, width=32)))
def test_rounding_is_numpys_and_saturates(values):
    whole = np.empty(values.shape, np.int16)
    store(values, whole)
    assert np.array_equal(whole, np.clip(np.rint(values), -32768, 32767))


def test_float_and_int16_are_copied():
    values = np.array([[1.25, -3.5]], np.float32)
    kept = np.empty_like(values)
    store(values, kept)
    assert np.array_equal(kept, values)
    whole = np.array([[32767, -32768]], np.int16)
    copied = np.empty_like(whole)
    store(whole, copied)
    assert np.array_equal(copied, whole)

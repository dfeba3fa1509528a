from __future__ import annotations

import numpy as np
import pytest

from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.linear import Linear


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_linear_is_the_blend_at_t(dtype):
    slices = np.random.default_rng(0).integers(-32768, 32767, (2, 31, 17)).astype(dtype)
    ts = [0.1, 0.5, 0.875]
    gap = Gap(tuple(slices), (0.0, 5.0), 0, (1, 1))
    for t, result in zip(ts, Linear().synthesize(gap, ts), strict=True):
        expected = (1 - t) * slices[0].astype(float) + t * slices[1]
        assert result.dtype == dtype
        assert np.abs(result - expected).max() <= (0.5001 if dtype is np.int16 else 0.01)


def test_outer_slices_do_not_matter():
    rng = np.random.default_rng(0)
    inner = rng.integers(-1000, 1000, (2, 5, 5)).astype(np.int16)
    outer = rng.integers(-1000, 1000, (2, 5, 5)).astype(np.int16)
    two = Gap(tuple(inner), (0.0, 5.0), 0, (1, 1))
    four = Gap((outer[0], *inner, outer[1]), (-5.0, 0.0, 5.0, 10.0), 1, (1, 1))
    results = [next(Linear().synthesize(gap, [0.3])) for gap in (two, four)]
    assert np.array_equal(*results)

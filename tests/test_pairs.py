from __future__ import annotations

import numpy as np
import pytest

from hrinet.metrics.pairs import as_image, as_stack, checked_range, same_shape


def test_shapes():
    a, b = same_shape([1, 2], [3.0, 4.0])
    assert a.shape == b.shape == (2,)
    assert as_stack(np.zeros((3, 4))).shape == (1, 3, 4)
    assert as_stack(np.zeros((2, 3, 4))).shape == (2, 3, 4)
    assert as_image(np.zeros((3, 4)), smallest=3).shape == (3, 4)
    assert checked_range((-1, 2)) == (-1.0, 2.0)


def test_bad_shapes():
    with pytest.raises(ValueError, match="shapes differ"):
        same_shape([1, 2], [[1, 2]])
    for bad in (np.zeros(3), np.zeros((1, 2, 3, 4)), np.zeros((0, 4, 4))):
        with pytest.raises(ValueError, match="stack"):
            as_stack(bad)
    with pytest.raises(ValueError, match="at least 5 x 5"):
        as_image(np.zeros((4, 8)), smallest=5)
    for bad_range in ((1.0, 1.0), (2.0, 1.0), (float("nan"), 1.0)):
        with pytest.raises(ValueError, match="value_range"):
            checked_range(bad_range)

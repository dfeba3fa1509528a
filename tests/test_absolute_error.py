from __future__ import annotations

import numpy as np
import pytest

from hrinet.metrics.absolute_error import l1, l2, mean_absolute_error


def test_closed_forms():
    truth = np.array([[0.0, 0.0], [0.0, 0.0]])
    image = np.array([[1.0, -1.0], [3.0, -5.0]])
    assert mean_absolute_error(image, truth) == 2.5
    assert l1(image, truth) == 2.5
    assert l2(image, truth) == (1 + 1 + 9 + 25) / 4


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32])
def test_every_type_of_number(dtype):
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 20, 20))
    expected = np.mean(np.abs(a.astype(float) - b.astype(float)))
    assert mean_absolute_error(a.astype(dtype), b.astype(dtype)) == pytest.approx(expected)


def test_int16_does_not_wrap():
    assert l1(np.full((2, 2), -32768, np.int16), np.full((2, 2), 32767, np.int16)) == 65535


def test_shapes_differ():
    with pytest.raises(ValueError, match="shapes differ"):
        l1(np.zeros(3), np.zeros(4))

from __future__ import annotations

import math

import numpy as np
import pytest

from hrinet.metrics.bone import bone_volume, bone_volume_error


def rod(side, slices=4):
    stack = np.zeros((slices, 40, 40), np.int16)
    stack[:, 10 : 10 + side, 10 : 10 + side] = 800
    return stack


def test_volume_in_mm():
    assert bone_volume(rod(10), spacing=(2.0, 0.5, 0.25)) == pytest.approx(4 * 100 * 0.25)
    # Slices of unequal thickness.
    assert bone_volume(rod(10), spacing=([1, 2, 3, 4], 0.5, 0.5)) == pytest.approx(10 * 25)


def test_error_in_percent():
    assert bone_volume_error(rod(12), rod(10), spacing=(1, 1, 1)) == pytest.approx(44)
    assert bone_volume_error(rod(5), rod(10), spacing=(3, 1, 1)) == pytest.approx(-75)
    assert bone_volume_error(rod(10), rod(10), spacing=(1, 1, 1)) == 0
    image = rod(10)
    image[0] = 0
    assert bone_volume_error(image, rod(10), spacing=([5, 1, 1, 1], 1, 1)) == pytest.approx(-62.5)


def test_threshold_is_included():
    stack = np.full((1, 2, 2), 250)
    assert bone_volume(stack, spacing=(1, 1, 1)) == 4
    assert bone_volume(stack, spacing=(1, 1, 1), threshold_hu=251) == 0


def test_no_bone_and_bad_arguments():
    air = np.full((2, 4, 4), -1000)
    assert math.isnan(bone_volume_error(air, air, spacing=(1, 1, 1)))
    for spacing in ((0, 1, 1), (1, -1, 1), ([1, 0], 1, 1)):
        with pytest.raises(ValueError, match="positive"):
            bone_volume(air, spacing=spacing)
    with pytest.raises(ValueError, match="broadcast"):
        bone_volume(air, spacing=([1, 2, 3], 1, 1))

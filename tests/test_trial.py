from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_geometry
from hrinet.synthesize.trial import TRIALS, trials
from hrinet.volume import Volume


def volume_at(positions, array=None) -> Volume:
    count = len(positions)
    geometry = make_geometry(np.asarray(positions, float), rows=4, columns=5)
    if array is None:
        array = np.arange(count, dtype=np.int16)[:, None, None] * np.ones((1, 4, 5), np.int16)
    return Volume(array=array, geometry=geometry)


def numbers(found) -> list[tuple[list[int], int]]:
    """Of constant slices: which are around, which is hidden."""
    return [([int(s.flat[0]) for s in one.gap.slices], int(one.truth.flat[0])) for one in found]


def test_every_second_slice_around_the_hidden_one():
    (only,) = numbers(trials(volume_at(3.0 * np.arange(7)), padding=None, count=1))
    assert only == ([0, 2, 4, 6], 3)
    ends = numbers(trials(volume_at([0.0, 2.0, 4.0]), padding=None))
    assert ends == [([0, 2], 1)]
    assert numbers(trials(volume_at([0.0, 2.0]), padding=None)) == []


def test_half_of_its_gap_is_one_of_the_scan_s():
    (trial,) = trials(volume_at([0.0, 1, 3, 7, 10, 12, 13]), padding=None, count=1)
    assert numbers([trial]) == [([0, 2, 4, 6], 3)]
    assert [int(values.flat[0]) for values in trial.half.slices] == [0, 2, 3, 4, 6]
    assert trial.half.positions_mm == pytest.approx((0, 3, 7, 10, 13))
    assert trial.half.width_mm == pytest.approx(4)
    at_the_end = next(trials(volume_at([0.0, 2, 5]), padding=None)).half
    assert (at_the_end.left, at_the_end.width_mm) == (0, pytest.approx(2))


@given(st.integers(3, 80))
def test_they_are_spread_over_the_scan(count):
    hidden = [number for _, number in numbers(trials(volume_at(np.arange(count)), padding=None))]
    assert len(hidden) == min(TRIALS, count - 2)
    assert hidden == sorted(set(hidden))
    assert hidden[0] >= 1
    assert hidden[-1] <= count - 2
    if len(hidden) == TRIALS:
        assert max(np.diff([0, *hidden, count - 1])) <= count / TRIALS + 1


def test_positions_are_the_true_ones():
    (one,) = trials(volume_at([0.0, 2.0, 5.0]), padding=None)
    assert (one.gap.width_mm, one.t) == (5.0, pytest.approx(0.4))
    assert one.padding is None


def test_none_straddles_a_hole():
    positions = np.concatenate([5.0 * np.arange(10), 65.0 + 5.0 * np.arange(3)])
    found = list(trials(volume_at(positions), padding=None))
    assert len(found) == TRIALS
    assert {one.gap.width_mm for one in found} == {10.0}


def test_padding_is_air_beside_the_gap_and_the_neighbour_beyond():
    array = np.full((7, 4, 5), 100, np.int16) + np.arange(7, dtype=np.int16)[:, None, None]
    array[:, 0] = -2000  # in all slices
    array[0, 1] = -2000  # in an outer one
    (one,) = trials(volume_at(np.arange(7.0), array), padding=-2000, count=1)
    outer, first, second, last = one.gap.slices
    assert (first[0] == -1024).all()
    assert (outer[0] == -1024).all()
    assert (outer[1] == first[1]).all()
    assert (outer[2:] == 100).all()
    assert (second[1:] == 104).all()
    assert (last[1:] == 106).all()
    assert one.padding[0].all()
    assert not one.padding[1:].any()
    assert (array == -2000).sum() == 7 * 5 + 5  # the scan itself is as it was


def test_padding_beside_the_hidden_slice_is_not_judged_either():
    array = np.full((7, 4, 5), 100, np.int16)
    for index, row in ((1, 0), (2, 1), (3, 2), (4, 3)):
        array[index, row] = -2000
    (one,) = trials(volume_at(np.arange(7.0), array), padding=-2000, count=1)
    assert one.padding.all(axis=1).tolist() == [False, True, True, True]  # hidden is slice 3
    assert not one.padding[0].any()  # of a slice that is not there

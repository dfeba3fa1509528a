from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import make_geometry
from hrinet.errors import RequestError
from hrinet.selftest.growth import WIDEST_MM
from hrinet.selftest.hide import Held, Thinned, choose_trials, hide, spread
from hrinet.volume import Volume


def choose(positions, near=None, wide=None):
    geometry = make_geometry(positions)
    return choose_trials(geometry, most_near=near, most_wide=wide, subject="it")


@given(st.integers(5, 60), st.floats(0.3, 7.0))
def test_of_even_slices_every_second_is_hidden_half_way(count, spacing):
    positions = spacing * np.arange(count)
    trials = choose(positions)
    inner = [index for index in range(1, count, 2) if index + 1 < count]
    assert list(trials.near.hidden) == inner
    assert trials.near.kept == tuple(range(0, count, 2))
    assert trials.near.gap_mm == pytest.approx(2 * spacing)
    assert trials.own_gap_mm == pytest.approx(spacing)
    for planned, index in zip(trials.near.planned(positions), inner, strict=True):
        assert planned.t == pytest.approx(0.5)
        assert trials.near.kept[planned.left] == index - 1
        assert planned.position_mm == positions[index]


@given(st.integers(5, 60))
def test_the_second_pass_hides_every_second_hidden_slice_again(count):
    trials = choose(1.5 * np.arange(count))
    if trials.wide is None:
        assert count < 6
        return
    assert set(trials.wide.hidden) <= set(trials.near.hidden)
    assert set(trials.wide.kept) <= set(range(1, count, 2))
    assert trials.wide.gap_mm == pytest.approx(6.0)
    for planned, index in zip(
        trials.wide.planned(1.5 * np.arange(count)), trials.wide.hidden, strict=True
    ):
        assert planned.t == pytest.approx(0.5)
        assert trials.wide.kept[planned.left] == index - 2


def test_gaps_wider_than_any_fitted_are_not_looked_at():
    assert choose(WIDEST_MM / 4 * np.arange(20)).wide is not None
    assert choose((WIDEST_MM / 4 + 0.1) * np.arange(20)).wide is None


def test_slices_beside_a_missing_one_are_not_scored():
    positions = np.delete(2.0 * np.arange(20), 8)
    near = choose(positions).near
    inside = {index: positions[index + 1] - positions[index - 1] for index in range(1, 18, 2)}
    assert set(near.hidden) == {index for index, width in inside.items() if width == 4.0}
    assert near.uneven == 1
    assert near.gap_mm == 4.0
    assert near.candidates == 9


def test_where_the_spacing_changes_the_denser_part_counts():
    positions = np.concatenate([np.arange(0, 20, 2.0), np.arange(20, 70, 5.0)])
    near = choose(positions).near
    assert near.gap_mm == 4.0
    assert near.uneven > 0
    assert all(positions[index] < 20 for index in near.hidden)


def test_where_no_slice_is_quite_half_way_roughly_will_do():
    near = choose([0.0, 2.0, 5.0, 7.0, 10.0, 12.0, 15.0]).near
    assert near.hidden == (1, 3, 5)
    assert [planned.t for planned in near.planned(np.array([0, 2, 5, 7, 10, 12, 15.0]))] == (
        pytest.approx([0.4, 0.4, 0.4])
    )


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_too_few_slices_are_refused(count):
    with pytest.raises(RequestError, match=f"it has {count} slices?; .* at least 5"):
        choose(2.0 * np.arange(count))


def test_slices_that_lie_in_pairs_are_refused():
    with pytest.raises(RequestError, match="no slice about half-way"):
        choose([0.0, 0.1, 5.0, 5.1, 10.0, 10.1, 15.0])


def test_long_scans_are_sampled_and_both_passes_share_slices():
    trials = choose(np.arange(400.0), near=40, wide=16)
    assert len(trials.near.hidden) == 40
    assert len(trials.wide.hidden) == 16
    assert set(trials.wide.hidden) <= set(trials.near.hidden)
    assert np.diff(trials.near.hidden).max() <= 30
    assert trials.near.hidden[0] < 30
    assert trials.near.hidden[-1] > 370
    assert len(trials.needed) < 280


@given(st.integers(1, 90), st.integers(1, 50))
def test_a_spread_holds_distinct_members_from_end_to_end(count, wanted):
    chosen = spread(range(count), wanted)
    assert len(set(chosen)) == len(chosen) == min(count, wanted)
    assert sorted(chosen) == list(chosen)
    assert chosen[0] <= count / wanted
    assert chosen[-1] >= count - 1 - count / wanted


def test_nothing_to_hide():
    assert hide(np.arange(5.0), among=range(2)) is None
    assert hide(np.arange(5.0), among=[]) is None


def test_a_thinned_scan_is_the_scan_of_the_slices_that_stay(thick: Volume):
    thin = Thinned(thick, (0, 2, 6))
    assert thin.geometry.positions_mm.tolist() == [0.0, 10.0, 30.0]
    assert thin.geometry.slice_thickness == thick.geometry.slice_thickness
    np.testing.assert_array_equal(thin.read_slice(2), thick.array[6])
    assert thin.widened().read_slice(1).dtype == np.float32
    assert len(thin.source_ids) == 3


def test_held_slices_are_not_read_again(thick: Volume):
    held = Held(thick, {3: np.zeros((12, 10), np.int16)})
    assert not held.read_slice(3).any()
    np.testing.assert_array_equal(held.read_slice(4), thick.array[4])

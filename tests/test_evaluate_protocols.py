"""Planning: every slice is kept or hidden, and hidden ones lie where they truly lie."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.errors import RequestError
from hrinet.evaluate.protocols import (
    PROTOCOLS,
    Adjacent,
    Factor,
    GapMm,
    Reconstruction,
    distinct,
    hide,
    large_gap,
    median,
    nearest_factor,
    parse_protocols,
    spread,
)

gaps = st.lists(st.floats(0.3, 8.0), min_size=1, max_size=60)
factors = st.integers(2, 8)


def positions_of(widths: list[float]) -> list[float]:
    found = [-40.0]
    for width in widths:
        found.append(found[-1] + width)
    return found


@settings(max_examples=40, deadline=None)
@given(gaps, factors)
def test_every_slice_up_to_the_last_kept_one_is_kept_or_hidden(
    widths: list[float], factor: int
) -> None:
    positions = positions_of(widths)
    if len(positions) <= factor:
        with pytest.raises(RequestError):
            hide(positions, factor)
        return
    plan = hide(positions, factor)
    assert sorted([*plan.kept, *plan.truths]) == list(range(plan.kept[-1] + 1))
    assert len(positions) - 1 - plan.kept[-1] < factor
    assert all(b - a == factor for a, b in pairwise(plan.kept))


@settings(max_examples=40, deadline=None)
@given(gaps, factors)
def test_targets_lie_at_the_true_positions(widths: list[float], factor: int) -> None:
    positions = positions_of(widths)
    if len(positions) <= factor:
        return
    plan = hide(positions, factor)
    kept = [positions[index] for index in plan.kept]
    for target in plan.targets:
        assert target.truth is not None
        start, stop = kept[target.left], kept[target.left + 1]
        assert 0 < target.t < 1
        assert start + target.t * (stop - start) == pytest.approx(positions[target.truth])
        assert target.gap_mm == pytest.approx(stop - start)
        nearest = min(abs(positions[target.truth] - place) for place in kept)
        assert target.distance_mm == pytest.approx(nearest, abs=1e-9)
    assert [p.position_mm for p in plan.planned] == [t.position_mm for t in plan.targets]
    assert not any(planned.is_original for planned in plan.planned)


def test_the_large_gap_of_the_thesis_hides_five_of_seven() -> None:
    plan = large_gap().plan([2.5 * k for k in range(7)])
    assert plan.kept == (0, 6)
    assert plan.truths == [1, 2, 3, 4, 5]
    assert [target.t for target in plan.targets] == pytest.approx([k / 6 for k in range(1, 6)])
    assert plan.gap_mm == 15.0
    with pytest.raises(RequestError, match="hides nothing"):
        large_gap(2)


@settings(max_examples=40, deadline=None)
@given(st.floats(1.0, 30.0), st.floats(0.4, 6.0))
def test_no_other_factor_comes_nearer_to_a_gap(gap: float, spacing: float) -> None:
    factor = nearest_factor(gap, spacing)
    error = abs(factor * spacing - gap)
    assert factor >= 1
    others = [abs(k * spacing - gap) for k in range(1, 100)]
    assert error <= min(others) + 1e-6 * spacing


def test_gaps_in_mm_become_whole_factors_or_a_sentence() -> None:
    positions = [2.5 * k for k in range(40)]
    assert GapMm(gap_mm=10.0).factor_for(positions) == 4
    assert GapMm(gap_mm=6.0).plan(positions).gap_mm == 5.0
    with pytest.raises(RequestError, match=r"5 mm apart; the narrowest possible is 10 mm"):
        GapMm(gap_mm=6.0).plan([5.0 * k for k in range(40)])


@settings(max_examples=40, deadline=None)
@given(gaps, st.integers(1, 6), st.integers(1, 9))
def test_adjacent_slices_lie_inside_gaps_of_the_scan(
    widths: list[float], inner: int, most: int
) -> None:
    positions = positions_of(widths)
    plan = Adjacent(inner=inner, gaps=most).plan(positions)
    assert plan.kept == tuple(range(len(positions)))
    assert plan.truths == []
    assert len(plan.targets) == inner * min(most, len(widths))
    for target in plan.targets:
        assert positions[target.left] < target.position_mm < positions[target.left + 1]


def test_reconstruction_takes_the_slices_themselves() -> None:
    plan = Reconstruction(slices=4).plan([float(k) for k in range(20)])
    assert plan.truths == list(plan.kept)
    assert [target.left for target in plan.targets] == [0, 1, 2, 3]


def test_doubled_slices_are_taken_once() -> None:
    doubled = [0.0, 0.005, 5.0, 5.005, 10.0, 10.005, 15.0, 15.005]
    assert distinct(doubled) == (0, 2, 4, 6)
    assert distinct([0.0, 5.0, 5.005, 10.0, 15.0]) == (0, 1, 3, 4)
    uneven = [0.0, 1.1, 5.1, 12.1]
    assert distinct(uneven) == (0, 1, 2, 3)


@settings(max_examples=40, deadline=None)
@given(gaps)
def test_what_is_left_of_doubled_slices_keeps_its_distance(widths: list[float]) -> None:
    positions = positions_of(widths)
    chosen = distinct(positions)
    assert chosen[0] == 0
    usual = sorted(widths)[3 * len(widths) // 4]
    least = 0.05 * usual if len(positions) > 2 else 0.0
    assert all(positions[b] - positions[a] >= least - 1e-9 for a, b in pairwise(chosen))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 500), st.integers(1, 40))
def test_spread_indices_are_distinct_and_in_range(count: int, most: int) -> None:
    found = spread(count, most)
    assert len(set(found)) == len(found) == min(count, most)
    assert list(found) == sorted(found)
    assert 0 <= found[0] <= found[-1] < count


def test_median_of_even_and_odd() -> None:
    assert (median([]), median([3.0]), median([1.0, 9.0]), median([5.0, 1.0, 2.0])) == (0, 3, 5, 2)


def test_protocols_by_name() -> None:
    assert parse_protocols("all") == PROTOCOLS
    assert parse_protocols("adjacent, factors") == ("factors", "adjacent")
    with pytest.raises(RequestError, match="there is no 'factor'"):
        parse_protocols("factor")
    with pytest.raises(RequestError, match="empty"):
        parse_protocols(",")


def test_keys_tell_protocols_apart() -> None:
    keys = {
        protocol.key
        for protocol in (
            Factor(factor=4),
            Factor(factor=6),
            large_gap(size=256),
            GapMm(gap_mm=6),
            Adjacent(),
            Adjacent(size=256),
            Reconstruction(),
        )
    }
    assert len(keys) == 7
    assert large_gap().key == Factor(factor=6).key

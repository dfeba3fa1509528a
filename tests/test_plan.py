from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from hrinet.errors import RequestError
from hrinet.plan.gaps import GapLimits
from hrinet.plan.plan import MAX_INTERVALS, Request, make_plan

ANY_GAP = GapLimits(refuse_mm=1e9, refuse_ratio=1e9)
PIXEL = (0.859375, 0.859375)
REGULAR = [5.0 * k - 100 for k in range(35)]

uneven = st.lists(st.floats(0.4, 15.0), min_size=1, max_size=40).map(
    lambda gaps: np.cumsum([0.0, *gaps]).tolist()
)


def test_iso_follows_the_formula_of_the_thesis():
    plan = make_plan(REGULAR, Request(), pixel_spacing_mm=PIXEL)
    intervals = round(5 / 0.859375)  # n = gap / pixel length, section 5.1
    assert len(plan.slices) == 34 * intervals + 1
    assert plan.spacing_mm == pytest.approx(5 / intervals)
    assert plan.is_uniform
    assert plan.dropped_originals == ()
    assert [s.left for s in plan.slices if s.is_original] == list(range(35))


@pytest.mark.parametrize("factor", [1, 2, 3, 7])
def test_factor_gives_the_grid_of_originals_and_equal_parts(factor):
    plan = make_plan(REGULAR, Request(factor=factor), pixel_spacing_mm=PIXEL)
    assert len(plan.slices) == 34 * factor + 1
    assert [s.t for s in plan.slices[: factor + 1]] == pytest.approx(
        [j / factor for j in range(factor)] + [0]
    )


def test_a_missing_slice_is_filled_by_factor_like_the_rest_and_flagged():
    positions = np.delete(REGULAR, 10).tolist()
    plan = make_plan(positions, Request(factor=2), pixel_spacing_mm=PIXEL)
    assert plan.is_uniform
    assert plan.spacing_mm == pytest.approx(2.5)
    flagged = [s for s in plan.slices if s.flag]
    assert len(flagged) == 3
    assert {s.left for s in flagged} == {9}


@given(uneven, st.integers(1, 6))
def test_originals_grid_keeps_every_original_at_its_place(positions, factor):
    request = Request(factor=factor, limits=ANY_GAP)
    plan = make_plan(positions, request, pixel_spacing_mm=(1, 1))
    originals = [s for s in plan.slices if s.is_original]
    assert [s.left for s in originals] == list(range(len(positions)))
    tolerance = 0.01 * np.median(np.diff(positions)) + 1e-9
    assert all(abs(s.position_mm - positions[s.left]) <= tolerance for s in originals)
    assert plan.position_error_mm <= tolerance
    assert np.all(np.diff([s.position_mm for s in plan.slices]) > 0)
    assert all(0 <= s.t < 1 for s in plan.slices)


@given(uneven, st.floats(0.3, 5.0))
def test_a_spacing_in_mm_is_honoured_exactly_at_true_positions(positions, spacing):
    assume(spacing <= positions[-1])
    request = Request(spacing=spacing, limits=ANY_GAP)
    plan = make_plan(positions, request, pixel_spacing_mm=(1, 1))
    grid = np.array([s.position_mm for s in plan.slices])
    assert plan.is_uniform
    assert np.allclose(np.diff(grid), spacing)
    tolerance = 0.01 * np.median(np.diff(positions)) + 1e-9
    for planned in plan.slices:
        if planned.is_original:
            assert abs(planned.position_mm - positions[planned.left]) <= tolerance
        else:
            left, right = positions[planned.left], positions[planned.left + 1]
            assert left < planned.position_mm < right
            assert left + planned.t * (right - left) == pytest.approx(planned.position_mm)
    on_grid = {s.left for s in plan.slices if s.is_original}
    assert on_grid | set(plan.dropped_originals) == set(range(len(positions)))


def test_a_spacing_off_the_originals_says_so_and_offers_the_nearest():
    plan = make_plan(REGULAR, Request(spacing=1.2), pixel_spacing_mm=PIXEL)
    assert len(plan.dropped_originals) == 29
    assert "6 of 35 original slices lie on the uniform 1.2 mm grid" in plan.notes[0]
    assert "keeps all of them is 1.25 mm" in plan.notes[0]
    nearest = make_plan(REGULAR, Request(spacing=1.25), pixel_spacing_mm=PIXEL)
    assert nearest.dropped_originals == ()


def test_uneven_gaps_get_different_counts_by_iso():
    plan = make_plan([0, 4, 8, 15], Request(), pixel_spacing_mm=(0.5, 0.5))
    counts = [sum(s.left == k and not s.is_original for s in plan.slices) for k in range(3)]
    assert counts == [7, 7, 13]
    assert plan.is_uniform  # 4/8 = 7/14: the same half millimetre throughout.
    uneven_plan = make_plan([0, 4.2, 8.2, 15], Request(), pixel_spacing_mm=(0.5, 0.5))
    assert not uneven_plan.is_uniform
    uniform = make_plan([0, 4.2, 8.2, 15], Request(grid="uniform"), pixel_spacing_mm=(0.5, 0.5))
    assert uniform.is_uniform


def test_jitter_below_the_tolerance_stays_uniform_with_all_originals():
    jitter = np.random.default_rng(0).uniform(-0.02, 0.02, len(REGULAR))
    plan = make_plan((np.array(REGULAR) + jitter).tolist(), Request(), pixel_spacing_mm=PIXEL)
    assert plan.is_uniform
    assert plan.dropped_originals == ()
    assert 0 < plan.position_error_mm <= 0.05


def test_a_range_uses_only_its_slices_and_keeps_their_numbers():
    plan = make_plan(REGULAR, Request(factor=2, start=10, stop=13), pixel_spacing_mm=PIXEL)
    assert [(s.left, s.t) for s in plan.slices] == [(10, 0), (10, 0.5), (11, 0), (11, 0.5), (12, 0)]


def test_a_single_slice_is_refused_however_it_is_asked_for():
    with pytest.raises(RequestError, match=r"range 3:4 holds a single slice; two are the least"):
        make_plan(REGULAR, Request(start=3, stop=4), pixel_spacing_mm=PIXEL)
    with pytest.raises(RequestError, match=r"171 mm is more than the 170 mm from the first slice"):
        make_plan(REGULAR, Request(spacing=171.0), pixel_spacing_mm=PIXEL)
    whole = make_plan(REGULAR, Request(spacing=170.0), pixel_spacing_mm=PIXEL)
    assert [s.left for s in whole.slices] == [0, 34]


def test_slices_nearer_than_a_pixel_are_left_alone():
    plan = make_plan([0.5 * k for k in range(5)], Request(), pixel_spacing_mm=(1.0, 1.0))
    assert plan.synthetic_count == 0


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request(factor=0), "factor must be 1 to"),
        (Request(factor=MAX_INTERVALS + 1), "factor must be 1 to"),
        (Request(spacing=-1.0), "positive number of mm"),
        (Request(spacing=float("nan")), "positive number of mm"),
        (Request(spacing=float("inf")), "positive number of mm"),
        (Request(spacing=0.001), "5000 slices into every 5 mm gap"),
        (Request(spacing="fine"), "'iso', got 'fine'"),
        (Request(spacing="0.5"), "'iso', got '0.5'"),
        (Request(spacing=None), "'iso', got None"),
        (Request(spacing=[0.5]), "'iso', got "),
        (Request(spacing=np.array([0.5, 1])), "'iso', got array"),
        (Request(spacing="fine", factor=2), "'iso', got 'fine'"),
        (Request(factor="2"), "factor must be an integer, got '2'"),
        (Request(factor=2.5), "factor must be an integer, got 2.5"),
        (Request(factor=True), "factor must be an integer, got True"),
        (Request(grid="fine"), "grid must be one of originals, uniform, got 'fine'"),
        (Request(start=34, stop=34), "does not lie in the input's 35 slices"),
        (Request(start=-3), "does not lie"),
        (Request(stop=36), "does not lie"),
    ],
)
def test_silly_requests_are_refused(request_, message):
    with pytest.raises(RequestError, match=message):
        make_plan(REGULAR, request_, pixel_spacing_mm=PIXEL)


def test_numbers_of_numpy_are_numbers():
    for request in (Request(factor=np.int64(2)), Request(spacing=np.float32(2.5))):
        plan = make_plan(REGULAR, request, pixel_spacing_mm=PIXEL)
        assert plan.spacing_mm == pytest.approx(2.5)


def test_a_gap_too_wide_is_refused_unless_allowed():
    positions = [*REGULAR, REGULAR[-1] + 60]
    with pytest.raises(RequestError, match="60 mm wide"):
        make_plan(positions, Request(), pixel_spacing_mm=PIXEL)
    allowed = GapLimits(refuse_mm=61, refuse_ratio=float("inf"))
    plan = make_plan(positions, Request(limits=allowed), pixel_spacing_mm=PIXEL)
    assert sum(bool(s.flag) for s in plan.slices) == 69


def test_a_coarser_grid_says_which_originals_are_lost():
    positions = [5.0 * k for k in range(7)]
    plan = make_plan(positions, Request(spacing=10.0), pixel_spacing_mm=(0.7, 0.7))
    assert plan.dropped_originals == (1, 3, 5)
    [note] = plan.notes
    assert (
        "4 of 7 original slices lie on the uniform 10 mm grid and are kept exactly; 3 are left"
        in note
    )
    assert "interpolated between" not in note

    # At 12 mm: nothing lies where the slices at 5 and 30 mm do, 12 and 24 stand for the others.
    plan = make_plan(positions, Request(spacing=12.0), pixel_spacing_mm=(0.7, 0.7))
    assert [round(s.position_mm, 6) for s in plan.slices] == [0, 12, 24]
    [note] = plan.notes
    assert "kept exactly; 2 are left out, the others are interpolated between" in note


def test_factor_and_spacing_contradict_each_other():
    with pytest.raises(RequestError, match=r"factor 3 and spacing 1.5 mm contradict each other"):
        make_plan([0, 5, 10], Request(factor=3, spacing=1.5), pixel_spacing_mm=(0.7, 0.7))

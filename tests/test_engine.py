from __future__ import annotations

import threading
import time
import weakref
from contextlib import contextmanager
from dataclasses import replace

import cv2
import numpy as np
import pytest

from conftest import make_geometry
from doubtful import Doubtful, expected_error, half_width
from hrinet.errors import InputError
from hrinet.plan.plan import PlannedSlice, Request, make_plan
from hrinet.synthesize.cubic import cubic_weights
from hrinet.synthesize.engine import gaps_at_once, slices_in_memory, synthesize
from hrinet.synthesize.linear import Linear
from hrinet.synthesize.registry import build_interpolator, installed_methods
from hrinet.synthesize.synthesized import ErrorMaps, mean_error
from hrinet.volume import Volume


def planned_for(volume, **request):
    return make_plan(
        volume.geometry.positions_mm.tolist(),
        Request(**request),
        pixel_spacing_mm=volume.geometry.pixel_spacing,
    ).slices


def run(volume, method="linear", threads=2, **request):
    interpolator = build_interpolator(method)
    made = synthesize(volume, planned_for(volume, **request), interpolator, threads=threads)
    return pairs(made)


def pairs(made):
    return [(one.planned, one.values) for one in made]


@pytest.mark.parametrize("method", [method.name for method in installed_methods()])
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_originals_come_through_bit_for_bit(thick, method, dtype):
    volume = thick if dtype is np.int16 else thick.widened()
    results = run(volume, method, factor=3)
    assert len(results) == 19
    for planned, values in results:
        assert values.dtype == dtype
        assert values.shape == (12, 10)
        if planned.is_original:
            assert np.array_equal(values, volume.array[planned.left])


def test_synthetic_slices_see_four_neighbours_at_true_positions():
    positions = [0.0, 4.0, 9.0, 10.0, 16.0]
    geometry = make_geometry(positions)
    array = np.random.default_rng(0).normal(0, 400, geometry.shape).astype(np.float32)
    volume = Volume(array=array, geometry=geometry)
    for planned, values in run(volume, "cubic", spacing=1.5):
        if planned.is_original:
            continue
        first, last = max(planned.left - 1, 0), min(planned.left + 2, 4)
        weights = cubic_weights(positions[first : last + 1], planned.left - first, planned.t)
        expected = np.tensordot(weights, array[first : last + 1].astype(float), 1)
        assert np.abs(values - expected).max() < 1e-2


def test_the_same_bytes_whatever_the_number_of_threads(thick):
    runs = [[v.tobytes() for _, v in run(thick, "cubic", threads=n, factor=4)] for n in (1, 2, 5)]
    assert runs[0] == runs[1] == runs[2]


def test_an_output_array_is_filled_in_place(thick):
    planned = planned_for(thick, factor=3)
    out = np.zeros((len(planned), 12, 10), np.int16)
    results = pairs(synthesize(thick, planned, build_interpolator("cubic"), out=out))
    expected = run(thick, "cubic", factor=3)
    for index, ((_, values), (_, other)) in enumerate(zip(results, expected, strict=True)):
        assert np.shares_memory(values, out[index])
        assert np.array_equal(values, other)


def test_padding_does_not_bleed_into_the_image():
    geometry = make_geometry([0, 5, 10, 15])
    array = np.full(geometry.shape, 40, np.int16)
    array[:, :3] = -3024
    array[2:, 3] = -3024
    volume = Volume(array=array, geometry=geometry, padding_hu=-3024.0)
    for planned, values in run(volume, "cubic", factor=4):
        assert set(np.unique(values[4:])) == {40}
        assert set(np.unique(values[:3])) == {-3024}
        # Where only one side is outside, the nearer side decides, and air is what is blended with.
        if planned.left == 1 and planned.t > 0.5:
            assert np.all(values[3] == -3024)
        elif planned.left == 1 and not planned.is_original:
            assert np.all((values[3] > -1200) & (values[3] < 41))


def test_only_a_few_slices_are_held_at_a_time():
    geometry = make_geometry(5.0 * np.arange(200))
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    ahead = 0

    class Watched:
        read = 0

        def __getattr__(self, name):
            return getattr(volume, name)

        def read_slice(self, index):
            self.read = max(self.read, index)
            return volume.read_slice(index)

    source = Watched()
    planned = planned_for(volume, factor=3)
    for made in synthesize(source, planned, Linear(), threads=2):
        time.sleep(0.0005)
        ahead = max(ahead, source.read - made.planned.left)
    assert ahead <= 6
    assert slices_in_memory(planned, gaps=2) == 16


def test_sequential_sources_are_read_in_order(thick):
    seen = []

    class Sequential:
        is_sequential = True

        def __getattr__(self, name):
            return getattr(thick, name)

        def read_slice(self, index):
            seen.append(index)
            return thick.read_slice(index)

    list(synthesize(Sequential(), planned_for(thick, factor=2), Linear(), threads=3))
    assert seen == list(range(7))


def test_an_error_in_a_slice_reaches_the_caller_and_stops_the_threads(thick):
    class Broken:
        def __getattr__(self, name):
            return getattr(thick, name)

        def read_slice(self, index):
            if index == 4:
                raise InputError("slice 4 is damaged")
            return thick.read_slice(index)

    before = threading.active_count()
    with pytest.raises(InputError, match="slice 4"):
        list(synthesize(Broken(), planned_for(thick, factor=2), Linear(), threads=2))
    assert threading.active_count() == before


def test_opencv_gets_its_threads_back(thick):
    before = cv2.getNumThreads()
    run(thick, factor=2)
    assert cv2.getNumThreads() == before


def test_a_plan_of_originals_only(thick):
    results = pairs(synthesize(thick, [PlannedSlice(0.0, 0), PlannedSlice(30.0, 6)], Linear()))
    assert [np.array_equal(v, thick.array[p.left]) for p, v in results] == [True, True]


class Spread:
    """Linear, a gap at a time, telling what the engine asked of it."""

    name = "spread"

    def __init__(self):
        self.asked, self.log, self.running, self.most = [], [], 0, 0

    def gaps_at_once(self, threads):
        self.asked.append(threads)
        return 1

    @contextmanager
    def using(self, *, gaps, threads):
        self.log.append((gaps, threads))
        try:
            yield self
        finally:
            self.log.append("done")

    def synthesize(self, gap, t):
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.002)
        self.running -= 1
        yield from Linear().synthesize(gap, t)


def test_a_method_may_take_all_cores_for_one_gap(thick):
    method = Spread()
    planned = planned_for(thick, factor=3)
    results = pairs(synthesize(thick, planned, method, threads=6))
    expected = run(thick, factor=3)
    assert all(np.array_equal(a, b) for (_, a), (_, b) in zip(results, expected, strict=True))
    assert method.most == 1
    assert set(method.asked) == {6}
    assert method.log == [(1, 6), "done"]


@pytest.mark.parametrize(
    ("wish", "threads", "slices", "asked"),
    [
        (4, 7, 7, (4, 1)),
        (4, 16, 7, (4, 4)),
        (4, 8, 2, (1, 8)),
        (4, 8, 3, (2, 4)),
        (2, 1, 7, (1, 1)),
    ],
)
def test_no_more_threads_than_cores_and_no_more_gaps_than_there_are(
    thick, wish, threads, slices, asked
):
    method = Spread()
    method.gaps_at_once = lambda threads: wish
    volume = thick.subset(range(slices))
    list(synthesize(volume, planned_for(volume, factor=3), method, threads=threads))
    assert method.log == [asked, "done"]


def test_padding_of_an_outer_slice_is_as_if_there_were_none():
    """Where an outer slice is outside the field of view, the cubic has nothing to subtract."""
    array = np.array([-2000, 40, 60, -2000], np.int16)[:, None, None] * np.ones((1, 4, 5), np.int16)
    geometry = make_geometry([0.0, 5.0, 10.0, 15.0], rows=4, columns=5)
    volume = Volume(array=array, geometry=geometry, padding_hu=-2000.0)
    planned = [PlannedSlice(7.0, 1, 0.4)]
    cubic = build_interpolator("cubic")
    (hidden,) = synthesize(volume, planned, cubic)
    repeated = np.array([40, 40, 60, 60], np.int16)[:, None, None] * np.ones((1, 4, 5), np.int16)
    (wanted,) = synthesize(replace(volume, array=repeated), planned, cubic)
    assert np.array_equal(hidden.values, wanted.values)
    assert 40 < hidden.values.min() <= hidden.values.max() < 60


def test_what_a_method_prepared_is_undone_after_an_error(thick):
    method = Spread()
    started = synthesize(thick, planned_for(thick, factor=3), method, threads=4)
    next(started)
    assert method.log == [(1, 4)]
    started.close()
    assert method.log == [(1, 4), "done"]


@pytest.mark.parametrize(("wish", "threads", "gaps"), [(4, 16, 4), (9, 2, 2), (0, 3, 1)])
def test_wishes_stay_within_the_cores(wish, threads, gaps):
    method = Spread()
    method.gaps_at_once = lambda threads: wish
    assert gaps_at_once(method, threads) == gaps
    assert gaps_at_once(Linear(), threads) == threads


def test_errors_come_with_the_slices_and_maps_only_if_wanted(thick):
    planned = planned_for(thick, factor=3)
    plain = list(synthesize(thick, planned, Doubtful(), threads=2))
    assert all(made.maps is None for made in plain)
    with_maps = list(synthesize(thick, planned, Doubtful(), threads=2, wants_maps=True))
    for made, other in zip(with_maps, plain, strict=True):
        assert made.error == other.error
        assert np.array_equal(made.values, other.values)
        assert made.maps.expected_error.shape == made.maps.half_width.shape == (12, 10)
        assert made.maps.expected_error.dtype == made.maps.half_width.dtype == np.float32
        if made.planned.is_original:
            assert made.error == (0.0, 0.0)
            assert not np.any(made.maps)
            continue
        # Right although the method gives the same buffers again and again.
        wanted = expected_error(12, 10, made.planned.t), half_width(12, 10, made.planned.t)
        assert np.array_equal(made.maps, wanted)
        body = made.values > -900
        assert made.error == pytest.approx([one[body].mean() for one in wanted], rel=1e-6)
    others = list(synthesize(thick, planned, Linear(), wants_maps=True))
    assert all(made.error is None and made.maps is None for made in others)
    originals = list(synthesize(thick, [PlannedSlice(0.0, 0)], Doubtful(), wants_maps=True))
    assert originals[0].error == (0.0, 0.0)
    assert not np.any(originals[0].maps)


def test_maps_of_few_slices_are_held_at_a_time():
    geometry = make_geometry(5.0 * np.arange(100))
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    planned, alive, most = planned_for(volume, factor=3), [], 0
    for made in synthesize(volume, planned, Doubtful(), threads=2, wants_maps=True):
        if not made.planned.is_original:
            alive.append(weakref.ref(made.maps.expected_error))
        alive = [reference for reference in alive if reference() is not None]
        most = max(most, len(alive))
    assert most <= 4


def test_the_estimate_is_that_of_what_was_prepared(thick):
    class Prepared(Spread):
        synthesize_with_error = Doubtful.synthesize_with_error
        calls = 0

    method = Prepared()
    made = list(synthesize(thick, planned_for(thick, factor=2), method, threads=2))
    assert method.calls == 6
    assert method.most == 0
    assert made[1].error.expected_hu > 0


def test_the_mean_error_is_that_of_the_body():
    values = np.array([[-1000, -900, -899, 40]], np.int16)
    maps = ErrorMaps(
        np.array([[50.0, 60.0, 1.0, 3.0]], np.float32),
        np.array([[70.0, 80.0, 4.0, np.nan]], np.float32),
    )
    assert mean_error(values, maps) == (2.0, 4.0)
    assert mean_error(np.full((1, 4), -1000, np.int16), maps) == (28.5, pytest.approx(154 / 3))
    nothing = np.full((1, 4), np.nan, np.float32)
    assert mean_error(values, ErrorMaps(nothing, nothing)) == (0.0, 0.0)

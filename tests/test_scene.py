from __future__ import annotations

import numpy as np
import pytest

from hrinet.synthesize.cubic import cubic_weights
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.scene import PLAIN, VIEWS, WINDOW, scene_of


def uneven_gap(count, left):
    """Slices of different numbers at uneven places."""
    rng = np.random.default_rng(count)
    places = (0.0, 5.0, 8.0, 14.0)[:count]
    slices = tuple(rng.normal(0, 100, (20, 37)).astype(np.float32) for _ in places)
    return Gap(slices, places, left, (0.7, 0.7), 2.5)


def reversed_gap(gap):
    """The same patient, seen from the other end."""
    end = gap.positions_mm[-1]
    return Gap(
        gap.slices[::-1],
        tuple(end - place for place in reversed(gap.positions_mm)),
        len(gap.slices) - 2 - gap.left,
        gap.pixel_spacing_mm,
        gap.slice_thickness_mm,
    )


def test_there_are_eight_views_and_the_plain_one_is_first():
    assert len(set(VIEWS)) == 8
    assert VIEWS[0] == PLAIN


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_is_its_own_inverse(view):
    values = np.arange(24).reshape(2, 3, 4)
    np.testing.assert_array_equal(view.mirrored(view.mirrored(values)), values)
    assert view.position(view.position(0.3)) == pytest.approx(0.3)
    scene = scene_of(uneven_gap(4, 1), knows_thickness=True)
    again = scene.seen(view).seen(view)
    np.testing.assert_array_equal(again.slices, scene.slices)
    np.testing.assert_allclose(again.offsets, scene.offsets, atol=1e-6)
    assert [slot for slot, _ in again.positions] == [slot for slot, _ in scene.positions]
    np.testing.assert_allclose(again.positions, scene.positions, atol=1e-6)


@pytest.mark.parametrize(("count", "left"), [(4, 1), (3, 0), (3, 1), (2, 0)])
def test_from_above_is_the_scene_of_the_reversed_gap(count, left):
    gap = uneven_gap(count, left)
    view = next(view for view in VIEWS if view.from_above and not view.flips_rows)
    seen = scene_of(gap, knows_thickness=True).seen(view)
    expected = scene_of(reversed_gap(gap), knows_thickness=True)
    np.testing.assert_array_equal(seen.slices, expected.slices)
    np.testing.assert_allclose(seen.offsets, expected.offsets, atol=1e-6)
    np.testing.assert_allclose(seen.weights(0.7), expected.weights(0.7), atol=1e-6)
    places = [(place - gap.positions_mm[left]) / gap.width_mm for place in gap.positions_mm]
    of_the_gap = cubic_weights(places, left, 0.3)
    found = seen.weights(0.7)[0][::-1]
    np.testing.assert_allclose(found[found != 0], of_the_gap, atol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("beside", [50.0, 20_000.0])
def test_what_is_no_number_beyond_the_gap_is_as_in_the_gap(value, beside):
    gap = uneven_gap(4, 1)
    for outer, inner in ((0, 1), (3, 2)):
        gap.slices[outer][4, 5] = value
        gap.slices[inner][4, 5] = beside
    slices = scene_of(gap, knows_thickness=True).slices[0]
    clipped = min(beside, WINDOW[1])
    assert slices[:, 4, 5].tolist() == [clipped, beside, beside, clipped]

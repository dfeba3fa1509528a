"""Label interpolation against analytic shapes, scipy's distances and its own promises."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from hrinet.errors import InputError
from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.labels import Labels
from hrinet.synthesize.signed_distance import offsets_to_outside, shifted, signed_distance

STEP = 5
Y, X = np.mgrid[-40:41, -40:41].astype(float)
Z = np.arange(-45.0, 46.0)[:, None, None]


def gap_of(*slices, left=None, positions=None, spacing=(1.0, 1.0)):
    positions = positions or tuple(float(STEP * k) for k in range(len(slices)))
    left = (len(slices) - 1) // 2 if left is None else left
    return Gap(tuple(slices), tuple(positions), left, spacing)


def between(*slices, t=(0.5,), **options):
    return list(Labels().synthesize(gap_of(*slices, **options), t))


def refill(stack, reach=1):
    """Replace all but every fifth slice; ``reach`` is how many slices beyond the gap are seen."""
    out = stack.copy()
    kept = list(range(0, len(stack), STEP))
    for number in range(len(kept) - 1):
        chosen = kept[max(number - reach, 0) : number + 2 + reach]
        gap = gap_of(
            *(stack[k] for k in chosen),
            positions=[float(k) for k in chosen],
            left=chosen.index(kept[number]),
        )
        for j, plane in enumerate(Labels().synthesize(gap, [0.2, 0.4, 0.6, 0.8]), start=1):
            out[kept[number] + j] = plane
    return out


def nearest(stack):
    index = np.minimum((np.arange(len(stack)) + STEP // 2) // STEP * STEP, len(stack) - 1)
    return stack[index]


def dice(a, b, label=1):
    a, b = a == label, b == label
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def volume(inside):
    return np.broadcast_to(inside, (len(Z), *X.shape)).astype(np.int16)


def disc(y, x, radius, shape=(80, 80), value=1):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return np.where(np.hypot(rows - y, columns - x) < radius, value, 0).astype(np.int16)


SHAPES = {
    # inside, least Dice, volume within this fraction
    "sphere": (lambda d: X**2 + Y**2 + (Z + d) ** 2 < 30**2, 0.985, 0.01),
    "ellipsoid": (
        lambda d: (X / 12) ** 2 + (Y / 25) ** 2 + ((Z + d) / 38) ** 2 < 1,
        0.98,
        0.015,
    ),
    "flat ellipsoid": (
        lambda d: (X / 30) ** 2 + (Y / 25) ** 2 + ((Z + d) / 12) ** 2 < 1,
        0.955,
        0.08,
    ),
    "cone": (lambda d: np.hypot(X, Y) < 0.3 * (35 - Z - d), 0.985, 0.01),
    "oblique ellipsoid": (
        lambda d: ((X - 0.5 * Z) / 10) ** 2 + (Y / 14) ** 2 + ((Z + d) / 30) ** 2 < 1,
        0.965,
        0.03,
    ),
    "oblique cylinder": (lambda d: (X - 0.7 * (Z + d)) ** 2 + Y**2 < 25, 0.955, 0.02),
}


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("offset", [0.13, 2.4])
def test_analytic_shapes_beat_nearest(name, offset):
    inside, least, tolerance = SHAPES[name]
    truth = volume(inside(offset))
    result = refill(truth)
    assert dice(result, truth) >= least
    assert dice(result, truth) > dice(nearest(truth), truth)
    assert result.sum() == pytest.approx(truth.sum(), rel=tolerance)


@pytest.mark.parametrize("name", ["flat ellipsoid"])
def test_slices_beyond_the_gap_help(name):
    truth = volume(SHAPES[name][0](1.3))
    assert dice(refill(truth, reach=1), truth) > dice(refill(truth, reach=0), truth) + 0.005


@pytest.mark.parametrize(
    ("inside", "low", "high"),
    [
        (lambda d: np.hypot(X, Y) < 0.8 * (20 - Z - d), 0.4, 1.2),
        (lambda d: np.hypot(X, Y) < 0.4 * (20 - Z - d), 0.4, 1.2),
        (lambda d: X**2 + Y**2 + (Z + d) ** 2 < 10**2, 0.85, 1.2),
        (lambda d: X**2 + Y**2 + (Z + d) ** 2 < 30**2, 0.85, 1.2),
    ],
    ids=["blunt cone", "cone", "small sphere", "sphere"],
)
def test_volume_of_vanishing_tips(inside, low, high):
    """Beyond the last slice, over all positions of the tip in the gap; closer than nearest."""
    volumes = []
    for offset in np.arange(0.1, 5.0, 0.5):
        truth = volume(inside(offset))
        result = refill(truth)
        last = STEP * max(k for k in range(len(truth) // STEP) if truth[STEP * k].any())
        tip = slice(last + 1, last + STEP)
        volumes.append((result[tip].sum(), truth[tip].sum(), nearest(truth)[tip].sum()))
    made, real, repeated = np.sum(volumes, axis=0)
    assert low * real < made < high * real
    assert abs(made - real) < abs(repeated - real)


def test_a_piece_on_one_side_tapers():
    empty = np.zeros((80, 80), np.int16)
    areas = [int(s.sum()) for s in between(disc(40, 40, 15), empty, t=np.linspace(0.01, 0.99, 50))]
    assert areas[0] > 0.95 * disc(40, 40, 15).sum()
    assert all(a >= b for a, b in pairwise(areas))
    assert len(set(areas)) > 15
    assert areas[-1] == 0


def test_touching_labels_stay_a_partition():
    """Two halves with a boundary that moves and turns, within an outline that shrinks."""
    planes = []
    for radius, angle, position in ((30, 0.2, -8), (24, 0.7, 6)):
        side = X * np.cos(angle) + Y * np.sin(angle) > position
        planes.append(np.where(np.hypot(X, Y) < radius, 1 + side, 0).astype(np.int16))
    for t, plane in zip((0.2, 0.5, 0.8), between(*planes, t=(0.2, 0.5, 0.8)), strict=True):
        assert not np.any(plane[np.hypot(X, Y) < 30 - 6 * t - 1] == 0)
        assert not np.any(plane[np.hypot(X, Y) > 30 - 6 * t + 1])
        assert {1, 2} <= set(np.unique(plane))


def test_many_touching_labels_leave_no_gaps():
    rng = np.random.default_rng(0)
    seeds = rng.uniform(0, 96, (25, 2))
    rows, columns = np.mgrid[:96, :96]
    planes = []
    for move in (rng.normal(0, 2, seeds.shape), rng.normal(0, 2, seeds.shape)):
        y, x = (seeds + move).T
        nearest_seed = np.argmin((rows[..., None] - y) ** 2 + (columns[..., None] - x) ** 2, axis=2)
        planes.append((nearest_seed + 1).astype(np.int16))
    for plane in between(*planes, t=(0.25, 0.5, 0.75)):
        assert np.all(plane > 0)


def test_a_label_that_replaces_another_leaves_no_hole():
    plane = between(disc(40, 40, 20), disc(40, 40, 20, value=2), t=(0.3, 0.5, 0.7))
    for one in plane:
        np.testing.assert_array_equal(one > 0, disc(40, 40, 20) > 0)
    assert dice(plane[0], disc(40, 40, 20)) > 0.95
    assert dice(plane[2], disc(40, 40, 20, value=2), 2) > 0.95


@pytest.mark.parametrize("inside_liver", [False, True])
@pytest.mark.parametrize("slope", [0.5, 1.0, 1.5])
def test_oblique_vessel_stays_continuous(slope, inside_liver):
    vessel = (X - slope * Z * 0.5) ** 2 + (Y - slope * Z * 0.2) ** 2 < 9
    truth = np.where(vessel, 1, 2 if inside_liver else 0).astype(np.int16)
    result = refill(truth)
    _, count = ndimage.label(result == 1, structure=np.ones((3, 3, 3)))
    assert count == 1
    assert dice(result, truth) > 0.9
    areas = np.count_nonzero(result == 1, axis=(1, 2))
    assert areas.min() > 0.7 * areas.max()


def test_branches_join():
    """One stem becomes two limbs: overlapping, and apart from it on both sides."""
    stem = disc(40, 40, 6)
    for apart in (5, 10):
        limbs = disc(40, 40 - apart, 4) | disc(40, 40 + apart, 4)
        stack = np.stack([stem, *between(stem, limbs, t=np.arange(0.1, 0.95, 0.1)), limbs])
        assert ndimage.label(stack, structure=np.ones((3, 3, 3)))[1] == 1
        np.testing.assert_array_equal(stack, stack[:, :, ::-1][:, :, np.r_[79, :79]])


def test_far_pieces_are_not_joined():
    plane = between(disc(10, 10, 5), disc(70, 70, 5))[0]
    assert not plane[30:50].any()


def test_small_piece_beside_a_large_one_does_not_pull_it_over():
    large = disc(30, 40, 18)
    both = large | disc(52, 40, 2)
    assert dice(between(large, both)[0], large) > 0.97


@pytest.mark.parametrize("t", [1e-4, 1 - 1e-4])
def test_limits_are_the_neighbours(t):
    rng = np.random.default_rng(1)
    first, second = (
        sum(disc(*rng.uniform(5, 75, 2), 6, value=int(v)) for v in (1, 2, 3)).astype(np.int16)
        for _ in range(2)
    )
    np.testing.assert_array_equal(between(first, second, t=[t])[0], first if t < 0.5 else second)


def blobs(seed, shape=(40, 52), count=6):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=shape), 4)
    edges = np.quantile(field, np.linspace(0.4, 1, count)[:-1])
    return np.digitize(field, edges).astype(np.int16)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.7)])
def test_reversal_and_rotation(seed, spacing):
    slices = [blobs(10 * seed + k) for k in range(4)]
    t = [0.1, 0.2, 0.5, 0.7]
    positions = [0.0, 4.0, 9.0, 15.0]
    result = between(*slices, t=t, positions=positions, spacing=spacing)
    back = between(
        *slices[::-1],
        t=[1 - v for v in t[::-1]],
        positions=[15 - p for p in positions[::-1]],
        spacing=spacing,
    )
    np.testing.assert_array_equal(result, back[::-1])
    flipped = between(*(s[::-1] for s in slices), t=t, positions=positions, spacing=spacing)
    np.testing.assert_array_equal(result, [s[::-1] for s in flipped])
    turned = between(
        *(np.rot90(s) for s in slices), t=t, positions=positions, spacing=spacing[::-1]
    )
    # Equal distances in two directions may round differently where rows and columns are swapped.
    same = np.mean(np.array(result) == [np.rot90(s, -1) for s in turned])
    assert same == 1 if spacing[0] == spacing[1] else same > 0.995


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.7, 0.7), (0.5, 2.0), (3.0, 0.8)])
def test_distances_agree_with_scipy(spacing):
    mask = blobs(5) > 2
    down, across = offsets_to_outside(mask, spacing)
    expected = ndimage.distance_transform_edt(mask, sampling=spacing)
    np.testing.assert_allclose(np.hypot(down, across), expected, atol=1e-9)
    signed = signed_distance(mask, spacing)
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    np.testing.assert_array_equal(signed > 0, mask)
    # Half a pixel in whichever direction lies between the outline and the next pixel's centre.
    off = np.where(mask, expected, outside) - np.abs(signed)
    assert off.min() > min(spacing) / 2 - 1e-5
    assert off.max() < max(spacing) / 2 + 1e-5


@pytest.mark.parametrize("spacing", [(0.5, 2.0), (1.5, 0.6)])
def test_spacing_is_honoured(spacing):
    """A disc in mm stays a disc in mm, and where it grows its radius does so evenly."""
    rows, columns = np.mgrid[:161, :161] - 80
    radius = np.hypot(rows * spacing[0], columns * spacing[1])
    small, large = (radius < 10).astype(np.int16), (radius < 30).astype(np.int16)
    for t, plane in zip(
        (0.3, 0.6), between(small, large, t=(0.3, 0.6), spacing=spacing), strict=True
    ):
        assert dice(plane, radius < 10 + 20 * t) > 0.98


def test_shift_by_whole_and_half_pixels():
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.testing.assert_array_equal(shifted(values, 1, 0)[1:], values[:-1])
    np.testing.assert_allclose(shifted(values, 0, -0.5)[:, :-1], values[:, :-1] + 0.5)


def test_many_ids_are_kept():
    rows, columns = np.mgrid[:128, :128]
    grid = rows // 4 * 32 + columns // 4
    for ids in (grid - 500, grid * 7):
        plane = ids.astype(np.int16)
        np.testing.assert_array_equal(between(plane, plane)[0], plane)
    large = (grid + 2**24 - 1100).astype(np.float32)
    result = between(large, large)[0]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, large)


def test_a_hundred_labels_that_move():
    first, second = np.zeros((200, 200), np.int16), np.zeros((200, 200), np.int16)
    for k in range(100):
        y, x = 10 + 20 * (k // 10), 10 + 20 * (k % 10)
        first |= disc(y - 2, x, 5, first.shape, k - 120)
        second |= disc(y + 2, x, 5, first.shape, k - 120)
    plane = between(first, second)[0]
    for k in range(100):
        expected = disc(10 + 20 * (k // 10), 10 + 20 * (k % 10), 5, first.shape, k - 120)
        assert dice(plane, expected, k - 120) > 0.9


@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, 2.0**25])
def test_other_than_whole_numbers_is_refused(value):
    plane = np.zeros((4, 4), np.float32)
    plane[1, 2] = value
    with pytest.raises(InputError, match="label map holds whole numbers"):
        between(np.zeros((4, 4), np.float32), plane)


def test_an_image_is_no_label_map():
    values = np.arange(1, 1026, dtype=np.int16).reshape(25, 41)
    with pytest.raises(InputError, match=r"holds 1025 different values.*leave out --label"):
        between(np.minimum(values, 1024), values)
    most = np.minimum(values, 1024)
    assert np.array_equal(between(most, most)[0], most)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (6, 1), (2, 2)])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 2.0)])
def test_tiny_slices(shape, spacing):
    empty, full = np.zeros(shape, np.int16), np.full(shape, -3, np.int16)
    for pair in ((empty, empty), (empty, full), (full, full), (full, full * 2)):
        for plane in between(*pair, t=(0.1, 0.5, 0.9), spacing=spacing):
            assert plane.shape == shape
            assert plane.dtype == np.int16
            assert set(np.unique(plane)) <= {0, -3, -6}
    np.testing.assert_array_equal(between(full, full, spacing=spacing)[0], full)


@settings(max_examples=60, deadline=None)
@given(
    slices=st.integers(2, 4).flatmap(
        lambda count: hnp.arrays(
            np.int16,
            st.tuples(st.just(count), st.integers(1, 12), st.integers(1, 12)),
            elements=st.sampled_from([0, 0, 1, 2, -7]),
        )
    ),
    t=st.floats(0.001, 0.999),
    oblong=st.booleans(),
)
def test_no_new_ids(slices, t, oblong):
    gap = gap_of(*slices, spacing=(1.0, 2.5) if oblong else (0.6, 0.6))
    plane = next(Labels().synthesize(gap, [t]))
    neighbours = slices[gap.left : gap.left + 2]
    assert set(np.unique(plane)) <= set(np.unique(neighbours)) | {0}
    if np.array_equal(*neighbours) and len(slices) == 2:
        np.testing.assert_array_equal(plane, neighbours[0])


def test_speckle_is_handled_in_bulk():
    rng = np.random.default_rng(0)
    first, second = ((rng.random((128, 128)) < 0.2).astype(np.int16) for _ in range(2))
    plane = between(first, second)[0]
    assert set(np.unique(plane)) <= {0, 1}
    assert np.all(plane[(first == 1) & (second == 1)] == 1)


def test_memory_does_not_grow_with_the_number_of_labels():
    """Labels whose boxes all span the slice, the worst case for keeping their maps."""
    size = 256
    rows, columns = np.mgrid[:size, :size]
    peaks = []
    for count in (10, 60):
        diagonal = ((rows + columns) * count // (2 * size) + 1).astype(np.int16)
        other = ((rows + size - 1 - columns) * count // (2 * size) + 1).astype(np.int16)
        tracemalloc.start()
        for _ in Labels().synthesize(gap_of(diagonal, other), [0.3, 0.6]):
            pass
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    slice_bytes = size * size * 4
    assert max(peaks) < 40 * slice_bytes


def test_input_is_left_alone_and_result_is_repeatable():
    slices = [blobs(k) for k in range(2)]
    for plane in slices:
        plane.setflags(write=False)
    threads = cv2.getNumThreads()
    first = between(*slices)[0]
    cv2.setNumThreads(1)
    try:
        np.testing.assert_array_equal(between(*slices)[0], first)
    finally:
        cv2.setNumThreads(threads)

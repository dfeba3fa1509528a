from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

from hrinet.metrics.psnr import psnr  # noqa: E402
from hrinet.synthesize import second_opinion  # noqa: E402
from hrinet.synthesize.cubic import Cubic  # noqa: E402
from hrinet.synthesize.flow import Flow  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.interpolator import Gap  # noqa: E402
from hrinet.synthesize.registry import find_method  # noqa: E402
from hrinet.synthesize.scene import scene_of  # noqa: E402
from hrinet.synthesize.second_opinion import (  # noqa: E402
    SecondOpinion,
    cubic_share,
    flow_share,
    with_cubic,
    with_flow,
)
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_hrinet_flow import make_gap, moving, real_slices  # noqa: E402
from test_readme import ROOT  # noqa: E402

SHAPE = (40, 48)


def opinion(gap, t, *, rough=90.0, flow=True):
    scene = scene_of(gap, knows_thickness=True)
    return SecondOpinion(scene, gap, t, roughness_hu=rough, flow=Flow() if flow else None)


def level(value):
    return np.full(SHAPE, value, np.float32)


def test_where_the_two_agree_they_stay():
    values = np.asarray(moving(1)[0], np.float32)
    assert np.array_equal(with_flow(values, values.copy(), share=0.3), values)


@pytest.mark.parametrize(
    ("thickness", "share"),
    [(None, 0.3), (1.0, 0.3), (2.5, 0.3), (3.125, 0.225), (3.75, 0.15), (10.0, 0.15)],
)
def test_flow_counts_less_where_slices_overlap(thickness, share):
    gap = make_gap(moving(), thickness=thickness)  # 5 mm wide
    assert flow_share(gap) == pytest.approx(share)
    mixed = with_flow(level(0.0), level(10.0), share=share)
    assert mixed.mean() == pytest.approx(10 * share, abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_share_falls_with_the_distance(sign):
    network = level(37.0)
    shares = []
    for distance in (1.0, 10.0, 30.0, 60.0, 200.0, 600.0, 900.0, 3000.0):
        mixed = with_flow(network, network + np.float32(sign * distance), share=0.3)
        assert np.ptp(mixed) < 1e-3
        shares.append(float(sign * (mixed - network).mean() / distance))
    assert shares[:3] == pytest.approx([0.3] * 3, abs=1e-4)
    assert shares[3] == pytest.approx(0.66 - 0.1 * np.log(63), abs=1e-4)
    assert all(a > b for a, b in pairwise(shares[2:6]))
    assert shares[6:] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_it_looks_at_the_surroundings():
    """One pixel far off in calm surroundings is noise; a whole region far off is not."""
    network = level(0.0)
    one, region = network.copy(), network.copy()
    one[20, 20] = 300.0
    region[10:30, 10:30] = 300.0
    of_one, of_region = (
        with_flow(network, flow, share=0.3)[20, 20] / 300.0 for flow in (one, region)
    )
    assert of_one == pytest.approx(0.3, abs=1e-4)
    assert of_region == pytest.approx(0.66 - 0.1 * np.log(303), abs=1e-4)


def test_the_network_s_slice_is_not_written_to():
    network = level(5.0)
    network.flags.writeable = False
    assert with_flow(network, level(50.0), share=0.3).mean() > 6
    gap = make_gap(moving(size=SHAPE), thickness=5.0)
    others = opinion(gap, (0.5,))
    assert not np.array_equal(others.mixed(network), network)
    assert np.array_equal(network, level(5.0))


@pytest.mark.parametrize(
    ("thickness", "rough", "share"),
    [
        (None, 90.0, 0.0),
        (1.0, 90.0, 0.0),
        (2.5, 90.0, 0.0),
        (3.125, 90.0, 0.25),
        (3.75, 90.0, 0.5),
        (5.0, 90.0, 0.5),
        (5.0, 75.0, 0.5),
        (5.0, 60.0, 0.25),
        (5.0, 45.0, 0.0),
        (5.0, 0.1, 0.0),
        (3.125, 60.0, 0.125),
        (6.0, 90.0, 0.25),
        (6.5, 75.0, 0.125),
        (7.0, 90.0, 0.0),
        (10.0, 90.0, 0.0),
    ],
)
def test_the_cubic_counts_where_slices_overlap_in_a_noisy_scan(thickness, rough, share):
    gap = make_gap(moving(), thickness=thickness)  # 5 mm wide
    assert cubic_share(gap, roughness_hu=rough) == pytest.approx(share)


def test_the_cubic_counts_where_it_is_as_near_as_noise():
    values, rough = level(0.0), 80.0
    kept = with_cubic(values, values, share=0.5, roughness_hu=rough)
    assert np.array_equal(kept, values)
    for distance in (1.0, 6.0, 12.0, 30.0):
        expected = 0.5 * np.exp(-((distance / 12.0) ** 2)) * distance
        for sign in (-1, 1):
            mixed = with_cubic(values, level(sign * distance), share=0.5, roughness_hu=rough)
            np.testing.assert_allclose(mixed, sign * expected, rtol=1e-5, atol=1e-5)
    far = with_cubic(values, level(300.0), share=0.5, roughness_hu=rough)
    assert np.array_equal(far, values)


def test_what_is_mixed_is_flow_and_the_cubic():
    slices = moving()
    gap = make_gap(slices, [0.0, 5.0, 10.0, 17.0], thickness=5.0)
    positions = (0.2, 0.5, 0.7)
    flows, cubics = (list(map(np.array, m.synthesize(gap, positions))) for m in (Flow(), Cubic()))
    for rough, most, asked in ((40.0, 0.0, True), (400.0, 0.5, True), (400.0, 0.5, False)):
        others = opinion(gap, positions, rough=rough, flow=asked)
        for flow, cubic in zip(flows, cubics, strict=True):
            network = np.asarray(flow + 20, np.float32)
            with_one = network - (0.15 * 20 if asked else 0)  # slices as thick as the gap
            distance = cv2.blur(np.abs(cubic - with_one), (7, 7))
            share = most * np.exp(-((distance / (0.15 * rough)) ** 2))
            expected = with_one + share * (cubic - with_one)
            np.testing.assert_allclose(others.mixed(network), expected, atol=0.02)


def test_a_slice_too_small_for_flow_is_the_network_s():
    gap = make_gap([s[:20, :20] for s in moving()], thickness=2.0)
    values = np.zeros((20, 20), np.float32)
    others = opinion(gap, (0.5,))
    assert others.mixed(values) is values


def test_without_the_slice_thickness_the_network_stays_alone():
    gap = make_gap(moving())
    values = np.zeros(gap.slices[0].shape, np.float32)
    others = opinion(gap, (0.5,))
    assert others.mixed(values) is values


def test_no_number_comes_through_from_what_is_none():
    slices = [one.copy() for one in moving()]
    slices[0][5:9, 5:9] = np.nan
    slices[1][12:15, 12:15] = np.inf
    gap = make_gap(slices, thickness=5.0)
    others = opinion(gap, (0.5,))
    assert np.isfinite(others.mixed(np.zeros(slices[0].shape, np.float32))).all()


def test_one_huge_value_does_not_reach_the_rest_of_the_slice():
    slices = [one.copy() for one in moving()]
    slices[1][5:9, 5:9] = np.finfo(np.float32).max
    gap = make_gap(slices, thickness=5.0)
    others = opinion(gap, (0.5,))
    values = np.full(slices[0].shape, 40.0, np.float32)
    assert others.mixed(values) is values
    slices[1][5:9, 5:9] = 65_535.0  # the most that a DICOM file of 16 bits holds, unscaled
    gap = make_gap(slices, thickness=5.0)
    others = opinion(gap, (0.5,))
    assert np.isfinite(others.mixed(values)).all()


@pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)
def test_together_they_are_nearer_to_real_slices():
    method = HrinetFlow(load_flow(packaged_weights("hrinet-flow")), precision="f32")
    gains = []
    with method.using(gaps=1, threads=1) as running:
        for start in range(20, 110, 15):
            slices, positions = real_slices([start, start + 3, start + 6, start + 9])
            gap = Gap(tuple(slices), tuple(positions), 1, (0.7, 0.7), 2.5)
            truth = real_slices([start + 4])[0][0]
            alone, flow = (next(one.synthesize(gap, (1 / 3,))) for one in (running, Flow()))
            together = with_flow(alone, flow, share=flow_share(gap))
            before, after = (
                psnr(
                    *(np.clip(values, -1000, 1000).astype(float) for values in (made, truth)),
                    data_range=2000.0,
                )
                for made in (alone, together)
            )
            gains.append(after - before)
    assert np.mean(gains) > 0.01
    assert sum(gain > 0 for gain in gains) >= 5


def test_the_constants_are_what_is_documented():
    at_34 = second_opinion._START - second_opinion._SLOPE * np.log(34 + second_opinion._FLOOR_HU)
    at_730 = second_opinion._START - second_opinion._SLOPE * np.log(730 + second_opinion._FLOOR_HU)
    assert at_34 == pytest.approx(second_opinion._MOST, abs=0.01)
    assert at_730 == pytest.approx(0.0, abs=0.01)
    told = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert "up to 0.3 of it where the two are less than 34 HU apart" in told
    assert "none beyond 730 HU" in told
    assert "half of that where slices overlap (thicker than half the gap, fully from three" in told
    assert "thicker than half the gap, is full from three quarters on" in told
    assert second_opinion._OVERLAPPING == second_opinion._OVERLAP == 0.5
    assert second_opinion._FULL_OVERLAP == 0.75
    assert "up to slices as thick as the gap, none of it where they are 1.4 times as thick" in told
    assert (second_opinion._THICK, second_opinion._TOO_THICK) == (1.0, 1.4)
    assert "in a noisy scan, up to half of `cubic`" in told

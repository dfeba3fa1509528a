from __future__ import annotations

from itertools import pairwise

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
from hrinet.synthesize.second_opinion import SecondOpinion, cubic_share, with_flow  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_hrinet_flow import make_gap, moving, real_slices  # noqa: E402
from test_readme import ROOT  # noqa: E402

SHAPE = (40, 48)


def level(value):
    return np.full(SHAPE, value, np.float32)


def test_where_the_two_agree_they_stay():
    values = np.asarray(moving(1)[0], np.float32)
    assert np.array_equal(with_flow(values, values.copy()), values)


@pytest.mark.parametrize("sign", [1, -1])
def test_the_share_falls_with_the_distance(sign):
    network = level(37.0)
    shares = []
    for distance in (1.0, 10.0, 30.0, 60.0, 200.0, 600.0, 900.0, 3000.0):
        mixed = with_flow(network, network + np.float32(sign * distance))
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
    of_one, of_region = (with_flow(network, flow)[20, 20] / 300.0 for flow in (one, region))
    assert of_one == pytest.approx(0.3, abs=1e-4)
    assert of_region == pytest.approx(0.66 - 0.1 * np.log(303), abs=1e-4)


def test_the_network_s_slice_is_not_written_to():
    network = level(5.0)
    network.flags.writeable = False
    assert with_flow(network, level(50.0)).mean() > 6
    gap = make_gap(moving(size=SHAPE), thickness=5.0)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    assert not np.array_equal(others.mixed(network), network)
    assert np.array_equal(network, level(5.0))


@pytest.mark.parametrize(
    ("thickness", "share"),
    [(None, 0.0), (1.0, 0.0), (2.5, 0.0), (3.125, 0.05), (3.75, 0.1), (10.0, 0.1)],
)
def test_the_cubic_counts_where_slices_overlap(thickness, share):
    gap = make_gap(moving(), thickness=thickness)  # 5 mm wide
    assert cubic_share(gap) == pytest.approx(share)


def test_what_is_mixed_is_flow_and_the_cubic():
    slices = moving()
    gap = make_gap(slices, [0.0, 5.0, 10.0, 17.0], thickness=5.0)
    positions = (0.2, 0.5, 0.7)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, positions)
    flows, cubics = (list(map(np.array, m.synthesize(gap, positions))) for m in (Flow(), Cubic()))
    for flow, cubic in zip(flows, cubics, strict=True):
        network = np.asarray(flow + 20, np.float32)
        expected = 0.9 * (network - 0.3 * 20) + 0.1 * cubic
        np.testing.assert_allclose(others.mixed(network), expected, atol=0.02)


def test_a_slice_too_small_for_flow_is_the_network_s():
    gap = make_gap([s[:20, :20] for s in moving()], thickness=2.0)
    values = np.zeros((20, 20), np.float32)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    assert others.mixed(values) is values


def test_without_the_slice_thickness_the_network_stays_alone():
    gap = make_gap(moving())
    values = np.zeros(gap.slices[0].shape, np.float32)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    assert others.mixed(values) is values


def test_no_number_comes_through_from_what_is_none():
    slices = [one.copy() for one in moving()]
    slices[0][5:9, 5:9] = np.nan
    slices[1][12:15, 12:15] = np.inf
    gap = make_gap(slices, thickness=5.0)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    assert np.isfinite(others.mixed(np.zeros(slices[0].shape, np.float32))).all()


def test_one_huge_value_does_not_reach_the_rest_of_the_slice():
    slices = [one.copy() for one in moving()]
    slices[1][5:9, 5:9] = np.finfo(np.float32).max
    gap = make_gap(slices, thickness=5.0)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    values = np.full(slices[0].shape, 40.0, np.float32)
    assert others.mixed(values) is values
    slices[1][5:9, 5:9] = 65_535.0  # the most that a DICOM file of 16 bits holds, unscaled
    gap = make_gap(slices, thickness=5.0)
    others = SecondOpinion(Flow(), scene_of(gap, knows_thickness=True), gap, (0.5,))
    assert np.isfinite(others.mixed(values)).all()


@pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)
def test_together_they_are_nearer_to_real_slices():
    graphs = load_flow(packaged_weights("hrinet-flow"))
    scores: dict[str, list[float]] = {}
    for quality in ("fast", "standard"):
        method = HrinetFlow(graphs, precision="f32", quality=quality)
        with method.using(gaps=1, threads=1) as running:
            for start in range(20, 110, 15):
                slices, positions = real_slices([start, start + 3, start + 6, start + 9])
                gap = Gap(tuple(slices), tuple(positions), 1, (0.7, 0.7), 2.5)
                truth = real_slices([start + 4])[0][0]
                (made,) = running.synthesize(gap, (1 / 3,))
                pair = (np.clip(values, -1000, 1000).astype(float) for values in (made, truth))
                scores.setdefault(quality, []).append(psnr(*pair, data_range=2000.0))
    gains = np.subtract(scores["standard"], scores["fast"])
    assert gains.mean() > 0.01
    assert (gains > 0).sum() >= 5


def test_the_constants_are_what_is_documented():
    at_34 = second_opinion._START - second_opinion._SLOPE * np.log(34 + second_opinion._FLOOR_HU)
    at_730 = second_opinion._START - second_opinion._SLOPE * np.log(730 + second_opinion._FLOOR_HU)
    assert at_34 == pytest.approx(second_opinion._MOST, abs=0.01)
    assert at_730 == pytest.approx(0.0, abs=0.01)
    told = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert "up to 0.3 of it where the two are less than 34 HU apart" in told
    assert "none beyond 730 HU" in told
    assert "thicker than half the gap), up to 0.1 of `cubic`" in told

from __future__ import annotations

import cv2
import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

from hrinet.synthesize import overlap  # noqa: E402
from hrinet.synthesize.cubic import Cubic  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.overlap import Overlap, cubic_share, with_cubic  # noqa: E402
from hrinet.synthesize.registry import find_method  # noqa: E402
from hrinet.synthesize.scene import VIEWS, scene_of  # noqa: E402
from hrinet.synthesize.slice_trust import roughness  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_hrinet_flow import make_gap, moving, only  # noqa: E402
from test_readme import ROOT  # noqa: E402

SHAPE = (40, 48)


def overlapping(gap, t, *, rough=90.0):
    return Overlap(scene_of(gap, knows_thickness=True), gap, t, roughness_hu=rough)


def level(value):
    return np.full(SHAPE, value, np.float32)


def test_the_network_s_slice_is_not_written_to():
    network = level(5.0)
    network.flags.writeable = False
    mixer = overlapping(make_gap(moving(size=SHAPE), thickness=5.0), (0.5,))
    assert not np.array_equal(mixer.mixed(network), network)
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


def test_every_position_has_its_own_cubic():
    gap = make_gap(moving(), [0.0, 5.0, 10.0, 17.0], thickness=5.0)
    positions = (0.2, 0.5, 0.7)
    mixer = overlapping(gap, positions, rough=400.0)
    for cubic in map(np.array, Cubic().synthesize(gap, positions)):
        network = np.asarray(cubic + 20, np.float32)
        distance = cv2.blur(np.abs(cubic - network), (7, 7))
        expected = network - 20 * 0.5 * np.exp(-((distance / 60.0) ** 2))
        np.testing.assert_allclose(mixer.mixed(network), expected, atol=0.02)


@pytest.mark.parametrize(("thickness", "rough"), [(None, 90.0), (2.0, 90.0), (5.0, 40.0)])
def test_elsewhere_the_network_stays_alone(thickness, rough):
    gap = make_gap(moving(), thickness=thickness)
    values = np.zeros(gap.slices[0].shape, np.float32)
    assert overlapping(gap, (0.5,), rough=rough).mixed(values) is values


def test_no_number_comes_through_from_what_is_none():
    slices = [one.copy() for one in moving()]
    slices[0][5:9, 5:9] = np.nan
    slices[1][12:15, 12:15] = np.inf
    gap = make_gap(slices, thickness=5.0)
    mixer = overlapping(gap, (0.5,))
    assert np.isfinite(mixer.mixed(np.zeros(slices[0].shape, np.float32))).all()


def test_one_huge_value_does_not_reach_the_rest_of_the_slice():
    slices = [one.copy() for one in moving()]
    slices[1][5:9, 5:9] = np.finfo(np.float32).max
    gap = make_gap(slices, thickness=5.0)
    mixer = overlapping(gap, (0.5,))
    values = np.full(slices[0].shape, 40.0, np.float32)
    assert mixer.mixed(values) is values
    slices[1][5:9, 5:9] = 65_535.0  # the most that a DICOM file of 16 bits holds, unscaled
    gap = make_gap(slices, thickness=5.0)
    mixer = overlapping(gap, (0.5,))
    assert np.isfinite(mixer.mixed(values)).all()


@pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)
class TestInTheMethod:
    """What :class:`HrinetFlow` makes of a gap, beside what it is made of."""

    def made(self, gap, quality):
        """By the method, and by the network, seen in all the ways that the quality has."""
        graphs = load_flow(packaged_weights("hrinet-flow"))
        method = HrinetFlow(graphs, precision="f32", quality=quality)
        scene = scene_of(gap, knows_thickness=True)
        with method.using(gaps=1, threads=1) as running:
            values = only(running, gap, 0.5)
            views = VIEWS if quality == "best" else VIEWS[:1]
            found = [
                next(running._ready.iterate(scene, (0.5,), "f32", view=view))[0].copy()
                for view in views
            ]
        return values, np.mean(found, axis=0)

    @pytest.mark.parametrize("quality", ["standard", "best"])
    def test_slices_apart_are_the_network_s(self, quality):
        values, network = self.made(make_gap(moving(noise=40.0), thickness=2.0), quality)
        np.testing.assert_allclose(values, network, atol=1e-3)

    @pytest.mark.parametrize("quality", ["standard", "best"])
    def test_in_noise_slices_that_overlap_have_the_cubic_s_part(self, quality):
        gap = make_gap(moving(noise=40.0), thickness=5.0)
        values, network = self.made(gap, quality)
        rough = (roughness(gap.slices[1]) + roughness(gap.slices[2])) / 2
        assert rough > 75
        expected = with_cubic(network, only(Cubic(), gap, 0.5), share=0.5, roughness_hu=rough)
        assert np.abs(expected - network).mean() > 1
        np.testing.assert_allclose(values, expected, atol=0.01)


def test_the_constants_are_what_is_documented():
    told = (ROOT / "docs" / "methods.md").read_text("utf-8")
    assert "in a noisy scan, up to half of `cubic`" in told
    assert "thicker than half the gap, is full from three quarters on" in told
    assert "up to slices as thick as the gap, none of it where they are 1.4 times as thick" in told
    assert (overlap._OVERLAP, overlap._FULL_OVERLAP) == (0.5, 0.75)
    assert (overlap._THICK, overlap._TOO_THICK) == (1.0, 1.4)
    assert overlap._MOST == 0.5

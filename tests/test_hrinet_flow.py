from __future__ import annotations

import threading

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

import hrinet  # noqa: E402
from conftest import make_geometry  # noqa: E402
from hrinet.errors import RequestError  # noqa: E402
from hrinet.plan.plan import PlannedSlice  # noqa: E402
from hrinet.synthesize.cubic import Cubic, cubic_weights  # noqa: E402
from hrinet.synthesize.engine import synthesize  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.interpolator import (  # noqa: E402
    Cautious,
    Described,
    Estimating,
    Gap,
    Multithreaded,
    Trained,
)
from hrinet.synthesize.registry import Choices, build_interpolator, find_method  # noqa: E402
from hrinet.synthesize.scene import scene_of  # noqa: E402
from hrinet.synthesize.trial import SelfChecking  # noqa: E402
from hrinet.volume import Volume  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from real_data import ct  # noqa: E402
from test_flow import texture  # noqa: E402

SIZE = (48, 64)

pytestmark = pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)


@pytest.fixture(scope="module")
def method():
    return HrinetFlow(load_flow(packaged_weights("hrinet-flow")), precision="f32")


@pytest.fixture(scope="module")
def running(method):
    with method.using(gaps=1, threads=1) as running:
        yield running


@pytest.fixture(scope="module")
def best():
    graphs = load_flow(packaged_weights("hrinet-flow"))
    with HrinetFlow(graphs, precision="f32", quality="best").using(gaps=1, threads=1) as running:
        yield running


def make_gap(slices, positions=None, *, left=1, thickness=None):
    positions = [5.0 * k for k in range(len(slices))] if positions is None else positions
    return Gap(tuple(slices), tuple(positions), left, (0.7, 0.7), thickness)


def moving(count=4, *, step=3.0, size=SIZE, noise=10.0, dtype=np.float32):
    """Soft blobs that wander, with noise, all inside the window."""
    rng = np.random.default_rng(5)
    slices = [texture(step * k, size=size) + rng.normal(0, noise, size) for k in range(count)]
    return [s.round().astype(dtype) for s in slices]


def only(method, gap, t=0.4):
    (one,) = (np.array(v) for v in method.synthesize(gap, [t]))
    return one


def mean_of(values):
    return float(np.abs(values).mean())


def test_it_is_all_that_the_engine_asks_about(method, running):
    for each in (method, running):
        for protocol in (Multithreaded, Estimating, Cautious, Described, Trained, SelfChecking):
            assert isinstance(each, protocol)
        assert (each.name, each.engine, each.precision) == ("hrinet-flow", "openvino", "f32")
        assert each.weights.sha256 == load_flow(packaged_weights("hrinet-flow")).description.sha256
    assert [method.gaps_at_once(n) for n in (1, 2, 64)] == [1, 2, 4]


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
@pytest.mark.parametrize(("count", "left"), [(2, 0), (3, 0), (3, 1), (4, 1)])
def test_two_three_and_four_slices(running, dtype, count, left):
    gap = make_gap(moving(count, dtype=dtype), left=left)
    before = [s.copy() for s in gap.slices]
    values = only(running, gap)
    assert (values.shape, values.dtype) == (SIZE, np.float32)
    cubic = only(Cubic(), gap)
    assert 1 < mean_of(values - cubic) < 60
    truth = texture(3.0 * (left + 0.4), size=SIZE)
    assert mean_of(values - truth) < 1.1 * mean_of(cubic - truth)
    for slice_before, after in zip(before, gap.slices, strict=True):
        assert np.array_equal(slice_before, after)
    if dtype is np.int16:
        wide = make_gap([s.astype(np.float32) for s in gap.slices], left=left)
        assert np.array_equal(values, only(running, wide))


def test_uneven_gaps_know_where_their_slices_lie(running):
    slices = moving(step=2.0)
    even = only(running, make_gap(slices))
    assert np.array_equal(even, only(running, make_gap(slices, [-9.0, -2.0, 5.0, 12.0])))
    uneven = make_gap(slices, [3.0, 5.0, 10.0, 23.0])
    values = only(running, uneven)
    assert mean_of(values - even) > 0.5
    assert mean_of(values - only(Cubic(), uneven)) < 60


def test_the_scene_is_what_the_cubic_weighs():
    positions = [3.0, 5.0, 10.0, 23.0]
    scene = scene_of(make_gap(moving(), positions, thickness=2.5), knows_thickness=True)
    assert scene.offsets.tolist() == [pytest.approx([-0.4, 0.0, 1.0, 3.6])]
    assert scene.thickness.tolist() == [0.5]
    np.testing.assert_allclose(scene.weights(0.3)[0], cubic_weights(positions, 1, 0.3), atol=1e-6)
    pair = scene_of(make_gap(moving(2), left=0), knows_thickness=True)
    assert pair.offsets.tolist() == [[-1.0, 0.0, 1.0, 2.0]]
    assert pair.thickness.tolist() == [0.0]
    np.testing.assert_allclose(pair.weights(0.3)[0], [0.0, 0.7, 0.3, 0.0], atol=1e-6)
    assert np.array_equal(pair.slices[0, 0], pair.slices[0, 1])
    ignorant = scene_of(make_gap(moving(), thickness=2.5), knows_thickness=False)
    assert ignorant.thickness.tolist() == [0.0]


@pytest.mark.parametrize("size", [(37, 53), (16, 1), (500, 500)])
def test_any_size(running, size):
    big = moving(size=(max(size[0], 160), max(size[1], 144)))
    gap = make_gap([np.ascontiguousarray(s[: size[0], : size[1]]) for s in big])
    values = only(running, gap)
    assert values.shape == size
    assert np.isfinite(values).all()
    assert mean_of(values - only(Cubic(), gap)) < 100


@pytest.mark.parametrize("value", [3200, 3500, 20000, -1201, -3024])
@pytest.mark.parametrize("where", [(1,), (2,), (0, 1, 2, 3)])
def test_beyond_the_window_it_is_the_cubic_without_a_seam(running, value, where):
    slices = moving(dtype=np.int16)
    inside = only(running, make_gap([s.copy() for s in slices]))
    for index in where:
        slices[index][20:28, 24:32] = value
    gap = make_gap(slices)
    values, cubic = only(running, gap), only(Cubic(), gap)
    assert np.isfinite(values).all()
    np.testing.assert_array_equal(values[20:28, 24:32], cubic[20:28, 24:32])
    far = values[:, 56:]  # beyond the ramp there is only what the network sees of the metal
    assert mean_of(far - inside[:, 56:]) < 40


def test_12_bit_metal_is_the_networks(running):
    slices = moving(dtype=np.int16)
    for index in range(4):
        slices[index][20:28, 24:32] = 3071
    values = only(running, make_gap(slices))
    assert abs(np.median(values[22:26, 26:30]) - 3071) < 150


@pytest.mark.parametrize(("value", "most"), [(20000, 1500), (-3024, 1500), (np.nan, 60)])
def test_what_only_an_outer_slice_shows_does_not_come_through(running, value, most):
    slices = moving()
    before = only(running, make_gap(slices))
    slices[0] = slices[0].copy()
    slices[0][20:28, 24:32] = value
    values = only(running, make_gap(slices))
    assert np.isfinite(values).all()
    assert np.abs(values - before)[20:28, 24:32].max() < most


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_values_stay_where_they_are(running, value):
    slices = moving()
    slices[1][10, 12] = value
    values = only(running, make_gap(slices))
    assert not np.isfinite(values[10, 12])
    assert np.isfinite(values).sum() == values.size - 1
    for estimated in running.synthesize_with_error(make_gap(slices), [0.5]):
        assert np.isfinite(estimated.expected_error).all()
        assert np.isfinite(estimated.half_width).all()


def test_upside_down_it_is_nearly_the_same(running):
    """The two directions are as near to one another as training on both of them brought them.

    Measured on this gap, over the mean difference to the cubic: 0.21.
    """
    slices = moving(step=6.0, size=(96, 112))
    gap = make_gap(slices, [0.0, 5.0, 10.0, 18.0])
    reversed_gap = make_gap(slices[::-1], [-18.0, -10.0, -5.0, 0.0])
    values, other = only(running, gap, 0.3), only(running, reversed_gap, 0.7)
    assert mean_of(values - other) < 0.45 * mean_of(values - only(Cubic(), gap, 0.3))


def test_errors_come_with_the_same_values(running):
    gap, ts = make_gap(moving()), [0.2, 0.5, 0.9]
    values = [np.array(v) for v in running.synthesize(gap, ts)]
    for value, estimated in zip(values, running.synthesize_with_error(gap, ts), strict=True):
        assert np.array_equal(value, estimated.values)
        for one in (estimated.expected_error, estimated.half_width):
            assert (one.shape, one.dtype) == (SIZE, np.float32)
            assert (one >= 0).all()
        assert (estimated.half_width > estimated.expected_error).mean() > 0.9
    assert list(running.synthesize(gap, [])) == []


def test_without_a_context_it_is_the_same(method, running):
    gap = make_gap(moving())
    assert np.array_equal(only(method, gap), only(running, gap))


def volume_of(count=5, size=SIZE):
    geometry = make_geometry(5.0 * np.arange(count), rows=size[0], columns=size[1])
    return Volume(array=np.stack(moving(count, dtype=np.int16, size=size)), geometry=geometry)


def test_cores_change_no_bit(method):
    volume = volume_of()
    planned = [PlannedSlice(5.0 * k + 5.0 * t, k, t) for k in range(4) for t in (0.0, 0.3, 0.6)]
    made = [list(synthesize(volume, planned, method, threads=n, wants_maps=True)) for n in (1, 2)]
    for one, other in zip(*made, strict=True):
        assert np.array_equal(one.values, other.values)
        assert np.array_equal(one.maps, other.maps)
        if one.planned.is_original:
            assert np.array_equal(one.values, volume.array[one.planned.left])


def test_gaps_in_parallel_are_gaps_one_at_a_time(method, running):
    gaps = [make_gap([s + 40 * k for s in moving()]) for k in range(4)]
    expected = [[np.array(v) for v in running.synthesize(gap, [0.3, 0.7])] for gap in gaps]
    found = {}

    def compute(shared, number):
        found[number] = [np.array(v) for v in shared.synthesize(gaps[number], [0.3, 0.7])]

    with method.using(gaps=2, threads=1) as shared:
        workers = [threading.Thread(target=compute, args=(shared, k)) for k in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    for number, values in enumerate(expected):
        assert np.array_equal(values, found[number])


def test_wide_gaps_are_cautioned_of(method):
    graphs = load_flow(packaged_weights("hrinet-flow"))
    limit = graphs.calibration.largest_gap_mm
    assert method.caution([limit, 1.0]) is None
    assert method.caution([]) is None
    assert method.caution([1.0, limit + 5]) == (
        f"one gap is up to {limit + 5:.4g} mm wide; hrinet-flow was validated up to "
        f"{limit:.4g} mm, so the errors expected there are guesses"
    )
    assert method.caution([limit + 1, limit + 9]).startswith(f"2 gaps are up to {limit + 9:.4g} mm")


def test_on_real_ct_it_is_the_trained_network(running):
    torch = pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from hrinet.networks.flow_net import FlowNet, FlowNetConfig, Gaps
    from hrinet.weights.files import read_weights

    slices, positions = real_slices([30, 33, 36, 39])
    gap = make_gap([s[150:246, 200:312] for s in slices], positions)
    tensors, description = read_weights(packaged_weights("hrinet-flow"))
    network = FlowNet(FlowNetConfig(**description.model))
    network.load_state_dict(tensors)
    gaps = Gaps(
        torch.from_numpy(np.stack(gap.slices).astype(np.float32))[None],
        torch.tensor([[-1.0, 0.0, 1.0, 2.0]]),
        torch.tensor([0.0]),
    )
    weights = torch.tensor([cubic_weights(positions, 1, 1 / 3)])
    with torch.no_grad():
        expected = network.eval()(gaps, torch.tensor([1 / 3]), weights).values[0, 0].numpy()
    inside = (np.stack(gap.slices[1:3]) > -1100).all(0)
    assert inside.mean() > 0.9
    np.testing.assert_allclose(only(running, gap, 1 / 3)[inside], expected[inside], atol=0.05)


def test_what_is_padded_reaches_no_farther_than_the_rim(running):
    """305 and 310 pixels are no multiples of 16; zeros in the padding would reach 110 pixels."""
    slices, positions = real_slices([30, 33, 36, 39])
    whole = only(running, make_gap([s[:320, :320] for s in slices], positions))
    part = only(running, make_gap([s[:310, :305] for s in slices], positions))
    assert np.abs(part - whole[:310, :305])[:195, :195].max() < 0.05


@pytest.mark.parametrize(("gaps", "threads"), [(1, 1), (2, 1), (1, 2)])
def test_no_more_threads_than_it_was_given(method, gaps, threads):
    with method.using(gaps=gaps, threads=threads) as running:
        only(running, make_gap(moving()))
        (compiled,) = running._ready._compiled.values()
    for part in (compiled.encoder, compiled.decoder):
        assert part.get_property("INFERENCE_NUM_THREADS") == gaps * threads
        assert part.get_property("NUM_STREAMS") == gaps


def test_it_beats_the_cubic_on_real_ct(running):
    gains = []
    for left in (30, 60, 90):
        slices, positions = real_slices([left - 3, left, left + 3, left + 6, left + 1])
        slices = [s[140:364, 100:420] for s in slices]
        gap, hidden = make_gap(slices[:4], positions[:4]), slices[4].astype(float)
        error = {
            method.name: np.square(only(method, gap, 1 / 3) - hidden).mean()
            for method in (running, Cubic())
        }
        gains.append(10 * np.log10(error["cubic"] / error["hrinet-flow"]))
    assert min(gains) > 0.3
    assert np.mean(gains) > 1.5


def real_slices(indices):
    """Slices of a scan that was not trained on, int16, and their positions."""
    from hrinet.io.formats import open_scan

    source = open_scan(ct("validation/lidc_0002"))
    positions = [float(source.geometry.positions_mm[index]) for index in indices]
    return [source.read_slice(index) for index in indices], positions


class TestBest:
    """The mean over all views of a gap."""

    def test_it_is_the_same_from_every_side(self, best, running):
        """The network alone is not, so that this tells whether all views were taken."""
        slices = moving()
        positions = [0.0, 5.0, 10.0, 17.0]
        mirrored = [one[::-1, ::-1] for one in reversed(slices)]
        other_way = make_gap(mirrored, [17.0 - place for place in reversed(positions)])
        differences = []
        for method in (best, running):
            (plain,) = method.synthesize(make_gap(slices, positions), (0.3,))
            (turned,) = method.synthesize(other_way, (0.7,))
            differences.append(np.abs(plain - turned[::-1, ::-1]).max())
        assert differences[0] < 0.5 < 5 < differences[1]

    def test_it_errs_less_on_a_real_scan(self, best, running):
        volume = hrinet.read(ct("validation/lidc_0002"))
        kept = volume.array[40:56:4].astype(np.float32)
        gap = make_gap(list(kept[:, 100:356, 100:356]), [0.0, 10.0, 20.0, 30.0])
        truth = volume.array[46, 100:356, 100:356]
        errors = [
            np.square(next(iter(method.synthesize(gap, (0.5,)))) - truth).mean()
            for method in (best, running)
        ]
        assert errors[0] < errors[1]

    def test_others_have_one_quality(self):
        with pytest.raises(RequestError, match="'cubic' has one quality only; leave out --quality"):
            build_interpolator("cubic", choices=Choices(quality="best"))

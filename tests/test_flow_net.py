from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from flow_tools import SMALL, make_gaps, one_thread, perturbed  # noqa: E402, F401
from hrinet.networks.flow_net import (  # noqa: E402
    MULTIPLE,
    FlowNet,
    FlowNetConfig,
    inside_share,
    move,
    position_values,
)

EVEN = [-1.0, 0.0, 1.0, 2.0]


@pytest.mark.parametrize("offsets", [EVEN, [-0.4, 0.0, 1.0, 3.5]])
@pytest.mark.parametrize("kept", [(0, 1, 2, 3), (1, 2, 3), (0, 1, 2), (1, 2)])
@pytest.mark.parametrize("t", [0.1, 0.5, 0.8])
def test_untrained_it_is_the_cubic(offsets, kept, t):
    gaps, position, weights = make_gaps(offsets, kept=kept, t=t, thickness=0.7)
    torch.manual_seed(0)
    values, log_error, _ = FlowNet(SMALL)(gaps, position, weights)
    cubic = np.tensordot(weights[0].double().numpy(), gaps.slices[0].double().numpy(), 1)
    np.testing.assert_allclose(values[0, 0].detach().numpy(), cubic, atol=1e-3)
    assert values.shape == log_error.shape == (1, 1, 32, 48)
    assert torch.all(log_error == 2.5)


@pytest.mark.parametrize("added", [-300.0, 55.0, 1000.0])
def test_adding_a_constant_adds_it_but_for_what_the_network_sees_of_it(added):
    gaps, t, weights = make_gaps(EVEN)
    network = perturbed()
    # The anatomy that the network sees moves with the constant; without it only sums remain.
    with torch.no_grad():
        network.encoder.quarter_in.weight[:, :16] = 0  # of the mean of the inner slices
        network.encoder.texture_in.weight[:, :4] = 0
        network.decoder.start.weight[:, SMALL.fine_width : SMALL.fine_width + 4] = 0  # the cubic
    before = network(gaps, t, weights)
    after = network(gaps._replace(slices=gaps.slices + added), t, weights)
    torch.testing.assert_close(after.values, before.values + added, atol=0.02, rtol=0)
    torch.testing.assert_close(after.log_error, before.log_error, atol=1e-3, rtol=0)
    plain = (gaps.slices * weights[:, :, None, None]).sum(1, keepdim=True)
    assert (before.values - plain).abs().max() > 5


def test_weights_of_a_pixel_sum_to_zero():
    """Slices that are alike come through as they are, but for the residual."""
    gaps, t, weights = make_gaps(EVEN)
    alike = gaps.slices[:, :1].expand(-1, 4, -1, -1).clone()
    network = perturbed()
    with torch.no_grad():
        network.decoder.out.weight[-4:] = 0
        network.decoder.out.bias[-4:] = 0
        network.decoder.motion_out.weight.zero_()  # moved slices are other slices
        network.decoder.motion_out.bias.zero_()
    values = network(gaps._replace(slices=alike), t, weights).values
    torch.testing.assert_close(values, alike[:, :1], atol=1e-2, rtol=0)


def test_sides_are_multiples_of_16():
    network = perturbed()
    for rows, columns in ((MULTIPLE, 3 * MULTIPLE), (64, 16)):
        gaps, t, weights = make_gaps(EVEN, rows=rows, columns=columns)
        assert network(gaps, t, weights).values.shape == (1, 1, rows, columns)
        coarse, fine = network.encoder(gaps.slices)
        assert coarse.shape == (1, SMALL.coarse_width, rows // 4, columns // 4)
        assert fine.shape == (1, SMALL.fine_width, rows // 2, columns // 2)
    gaps, t, weights = make_gaps(EVEN, rows=24, columns=32)
    with pytest.raises(RuntimeError):
        network(gaps, t, weights)


@pytest.mark.parametrize("t", [0.25, 0.6])
def test_slices_move_along_the_motion(t):
    rng = np.random.default_rng(1)
    slices = rng.normal(size=(2, 4, 16, 32)).astype(np.float32)
    offsets = np.array([EVEN, [-0.5, 0.0, 1.0, 2.5]], np.float32)
    motion = rng.uniform(-3, 3, (2, 4, 1, 1)).astype(np.float32)
    moved = move(
        torch.from_numpy(slices),
        torch.from_numpy(offsets),
        torch.from_numpy(motion).expand(2, 4, 4, 8),
        torch.full((2,), t),
    )
    rows, columns = np.mgrid[:16, :32].astype(float)
    for batch in range(2):
        for index in range(4):
            across, down = motion[batch, 2 * (index // 2) : 2 * (index // 2) + 2, 0, 0]
            part = offsets[batch, index] - t
            places = [rows + part * down, columns + part * across]
            expected = map_coordinates(slices[batch, index], places, order=1, mode="nearest")
            np.testing.assert_allclose(moved[batch, index], expected, atol=1e-4)


def test_both_slices_of_a_side_meet_where_the_motion_is_true():
    """A slice that slides by (2, -4) pixels a gap is the same picture from every side."""
    rng = np.random.default_rng(0)
    scene = torch.from_numpy(rng.normal(size=(64, 64)).astype(np.float32))
    slices = torch.stack(
        [scene.roll((round(2 * z), round(-4 * z)), (0, 1)) for z in (-1, 0, 1, 2)]
    )[None]
    motion = torch.tensor([-4.0, 2.0, -4.0, 2.0])[None, :, None, None].expand(1, 4, 16, 16)
    moved = move(slices, torch.tensor([EVEN]), motion, torch.tensor([0.5]))
    wanted = scene.roll((1, -2), (0, 1))[8:-8, 8:-8]
    for index in range(4):
        torch.testing.assert_close(moved[0, index, 8:-8, 8:-8], wanted, atol=1e-4, rtol=0)


def test_the_motion_stays_within_reach():
    network = perturbed()
    with torch.no_grad():
        network.decoder.motion_out.bias.fill_(1e6)
    gaps, t, weights = make_gaps(EVEN)
    calls = []
    original = move

    def note(slices, offsets, motion, t):
        calls.append(motion)
        return original(slices, offsets, motion, t)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("hrinet.networks.flow_net.move", note)
        network(gaps, t, weights)
    assert calls[0].abs().max() <= SMALL.reach_px


def test_a_diverged_network_gives_no_numbers_rather_than_a_crash():
    network = perturbed().requires_grad_(True)
    with torch.no_grad():
        network.decoder.motion_out.bias.fill_(float("nan"))
        network.encoder.quarter_in.bias.fill_(float("inf"))
    gaps, t, weights = make_gaps(EVEN)
    values = network(gaps, t, weights).values
    values.sum().backward()
    assert not torch.isfinite(values).all()


def test_gradients_reach_every_parameter():
    network = perturbed().requires_grad_(True)
    gaps, t, weights = make_gaps(EVEN, thickness=0.8)
    values, log_error, blend = network(gaps, t, weights)
    (values.square().mean() + log_error.square().mean() + blend.square().mean()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_the_predicted_error_does_not_teach_the_slices():
    network = perturbed().requires_grad_(True)
    gaps, t, weights = make_gaps(EVEN)
    network(gaps, t, weights).log_error.sum().backward()
    taught = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None}
    assert taught == {"error_in", "error_out"}


def test_nothing_is_added_at_the_slices_themselves():
    t = torch.tensor([0.0, 0.5, 1.0])
    assert inside_share(t).tolist() == [0.0, 1.0, 0.0]
    between = inside_share(torch.linspace(0, 1, 101))
    assert torch.all(between[:51].diff() >= 0)
    torch.testing.assert_close(between, between.flip(0))
    torch.testing.assert_close(between[10], torch.tensor(1 - (1 - 0.36) ** 2))


def test_what_the_decoder_is_told_of_a_position():
    weights = torch.tensor([[-0.0625, 0.5625, 0.5625, -0.0625]])
    one = position_values(
        torch.tensor([0.5]), torch.tensor([[-1.5, 0.0, 1.0, 2.25]]), torch.tensor([3.0]), weights
    )
    expected = [0.0, 1.0, -0.5, 0.25, -0.25, 0.5625, 0.5625, -0.25, 2.0, 1.0]
    torch.testing.assert_close(one, torch.tensor([expected]))
    unknown = position_values(
        torch.tensor([0.5]), torch.tensor([EVEN]), torch.tensor([0.0]), weights
    )
    assert unknown[0, -2:].tolist() == [0.0, 0.0]


def test_sizes_come_back_from_their_description():
    network = FlowNet(SMALL)
    assert FlowNetConfig(**network.describe()) == SMALL

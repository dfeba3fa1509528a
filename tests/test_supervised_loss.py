from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.losses.acai_loss import adversarial_constraint_loss  # noqa: E402
from hrinet.losses.content_loss import mse_content_loss, perceptual_content_loss  # noqa: E402
from hrinet.losses.supervised_loss import supervised_alphas, supervised_loss  # noqa: E402
from hrinet.losses.weights import LossWeights  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402
from hrinet.networks.loss_network import LossNetwork  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_alphas_fall_from_the_first_slice():
    torch.testing.assert_close(supervised_alphas(), torch.tensor([5.0, 4, 3, 2, 1]) / 6)
    assert supervised_alphas(3).tolist() == [0.5]
    with pytest.raises(RequestError, match="group of 2"):
        supervised_alphas(2)


def test_the_first_alpha_is_nearest_the_first_slice():
    x1, x2 = torch.zeros(1, 1), torch.ones(1, 1)
    a = supervised_alphas(7).view(-1, 1)
    ramp = (a * x1 + (1 - a) * x2).flatten()  # what slices of a linear ramp would be
    torch.testing.assert_close(ramp, torch.tensor([1.0, 2, 3, 4, 5]) / 6)


def test_equation_3_9_by_hand():
    # Two samples of two slices of 1 x 2 pixels. Squared errors summed over elements:
    # 1 + 4 = 5 and 9 for the first sample, 0 and 4 for the second.
    errors = torch.tensor([[[1.0, 2], [3, 0]], [[0, 0], [0, 2]]]).view(2, 2, 1, 1, 2)
    loss = supervised_loss(errors, torch.zeros_like(errors), epsilon=0.5)
    assert loss == 0.5 * ((5 + 9) / 2 + (0 + 4) / 2) / 2
    default = supervised_loss(errors, torch.zeros_like(errors))
    assert default.item() == pytest.approx(2e-5 * 4.5)


def test_perceptual_form_by_hand():
    def network(x):
        return torch.cat([x, 2 * x], dim=1)  # squares 1 + 4 times those of the pixels

    errors = torch.tensor([[[1.0, 2], [3, 0]]]).view(1, 2, 1, 1, 2)
    zeros = torch.zeros_like(errors)
    loss = supervised_loss(errors, zeros, loss_network=network, epsilon=1.0)
    assert loss == 5 * (5 + 9) / 2


def test_shapes_must_agree():
    with pytest.raises(RequestError, match="batch, slice"):
        supervised_loss(torch.zeros(2, 5, 1, 4, 4), torch.zeros(2, 4, 1, 4, 4))
    with pytest.raises(RequestError, match="batch, slice"):
        supervised_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4))


def realistic(size: int = 256) -> tuple[torch.Tensor, torch.Tensor]:
    """A soft pattern and an error of 0.03 RMS, shape (1, 5, 1, size, size)."""
    axis = torch.linspace(0, 12, size)
    real = (0.5 + 0.4 * torch.sin(axis)[:, None] * torch.cos(axis)).expand(1, 5, 1, size, size)
    return real + 0.03 * torch.randn(real.shape, generator=seeded()), real


def test_magnitudes_of_the_two_steps_at_256():
    weights = LossWeights.for_size(256)
    output, real = realistic()
    content = mse_content_loss(output[:, 0], real[:, 0], reduction="mean")
    supervised = supervised_loss(output, real, epsilon=weights.epsilon)
    # 65 536 elements times 2e-5: neither step drowns the other.
    assert (supervised / content).item() == pytest.approx(65536 * 2e-5, rel=0.02)
    # A D1 that is off by 0.05 of [0, 0.5] weighs what the content loss does, in both steps.
    constraint = weights.lambda_ * adversarial_constraint_loss(torch.tensor([0.05]))
    assert 0.1 < (constraint / content).item() < 10
    assert 0.1 < (constraint / supervised).item() < 10
    # D2's term for a score of order 1.
    assert 0.1 < weights.beta / content.item() < 10


def test_a_sum_in_step_one_would_drown_all_else():
    weights = LossWeights.for_size(256)
    output, real = realistic()
    supervised = supervised_loss(output, real, epsilon=weights.epsilon)
    content_sum = mse_content_loss(output[:, 0], real[:, 0], reduction="sum")
    assert supervised < 1e-4 * content_sum
    largest_constraint = weights.lambda_ * adversarial_constraint_loss(torch.tensor([0.5]))
    assert largest_constraint < 0.01 * content_sum


@pytest.mark.parametrize(("width", "ratio"), [(16, 2.62), (8, 1.31)])
def test_magnitudes_hold_for_features_too(width, ratio):
    output, real = realistic()
    network = LossNetwork(Generator(width=width, rng=seeded(1)))
    content = perceptual_content_loss(network, output[:, 0], real[:, 0], reduction="mean")
    supervised = supervised_loss(output, real, loss_network=network)
    # Channels of 32 x 32 features: 128 at width 16.
    assert 8 * width * 32 * 32 * 2e-5 == pytest.approx(ratio, abs=0.005)
    assert (supervised / content).item() == pytest.approx(ratio, rel=0.1)

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.networks.critic import Critic  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("mixing", ["three", "one"])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_one_number_a_sample_that_ignores_the_others(mixing, channels):
    critic = Critic(mixing=mixing, in_channels=channels, width=4, rng=seeded())
    x = torch.rand(3, channels, 64, 128, generator=seeded(1))
    prediction = critic(x)
    assert prediction.shape == (3,)
    assert prediction.unique().numel() == 3
    torch.testing.assert_close(critic(x[1:2]), prediction[1:2])


@pytest.mark.parametrize("mixing", ["three", "one"])
@pytest.mark.parametrize("size", [256, 512])
def test_shape_is_that_of_the_encoder(mixing, size):
    critic = Critic(mixing=mixing, size=size)
    generator = Generator(mixing=mixing, size=size)
    shapes = {k: v.shape for k, v in critic.encoder.state_dict().items()}
    assert shapes == {k: v.shape for k, v in generator.encoder.state_dict().items()}
    assert critic.bottleneck.weight.shape == generator.bottlenecks[-1].weight.shape


@torch.no_grad()
def test_prediction_is_the_mean_of_the_linear_bottleneck():
    critic = Critic(width=4, rng=seeded())
    critic.bottleneck.weight.zero_()
    critic.bottleneck.bias.copy_(torch.tensor([-8.0, 0, 0, 0, 0, 0, 0, 4.0]))
    # (-8 + 4) / 8 channels; a leaky ReLU after the bottleneck would give (-1.6 + 4) / 8.
    assert critic(torch.rand(1, 1, 64, 64)).tolist() == [-0.5]


def test_sees_the_whole_image():
    critic = Critic(width=2, rng=seeded())
    x = torch.rand(1, 1, 128, 128, generator=seeded(1), requires_grad=True)
    critic(x).sum().backward()
    assert torch.count_nonzero(x.grad) > 0.99 * x.numel()


@torch.no_grad()
def test_sizes_that_do_not_halve_evenly():
    assert Critic(width=2)(torch.rand(1, 1, 500, 100)).shape == (1,)
    with pytest.raises(RequestError, match="at least 64 x 64"):
        Critic(width=2)(torch.rand(1, 1, 63, 64))


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 1_179_768), ({"size": 512}, 1_179_252), ({"mixing": "one"}, 590_464)],
)
def test_parameter_counts_are_the_documented_ones(options, count):
    assert sum(p.numel() for p in Critic(**options).parameters()) == count


def test_gradients_reach_every_parameter():
    critic = Critic(width=2, rng=seeded())
    critic(torch.rand(2, 1, 64, 64, generator=seeded(1))).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())

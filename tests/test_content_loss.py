from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.losses.content_loss import mse_content_loss, perceptual_content_loss  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402
from hrinet.networks.loss_network import LossNetwork  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 7.5), ("mean", 1.875)])
def test_mse_by_hand(reduction, expected):
    # Errors 1, 2, 0, 3 (squares sum to 14) and 1, 0, 0, 0 (1): mean over the batch of two.
    output = torch.tensor([[1.0, 2, 0, 3], [1, 0, 0, 0]]).view(2, 1, 2, 2)
    assert mse_content_loss(output, torch.zeros(2, 1, 2, 2), reduction=reduction) == expected


def test_shapes_must_agree():
    with pytest.raises(RequestError, match="must be the same"):
        mse_content_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 1), reduction="mean")


@pytest.mark.parametrize(("reduction", "expected"), [("sum", 20.0), ("mean", 5.0)])
def test_perceptual_by_hand(reduction, expected):
    def network(x):
        return 2 * torch.nn.functional.avg_pool2d(x, 2)  # (1, 4, 1, 1)

    output = torch.tensor([1.0, 0, 2, 0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    # Features 2, 0, 4, 0: squares 4 + 16 over four elements.
    loss = perceptual_content_loss(network, output, torch.zeros(1, 4, 2, 2), reduction=reduction)
    assert loss == expected


def test_loss_network_is_the_first_half_of_the_encoder():
    generator = Generator(width=2, rng=seeded())
    network = LossNetwork(generator)
    x = torch.rand(1, 1, 64, 64, generator=seeded(1))
    assert torch.equal(network(x), generator.encoder_features_en4(x))
    assert network(x).shape == (1, 16, 8, 8)
    assert len(network.encoder.blocks) == 4
    assert len(generator.encoder.blocks) == 7


def test_loss_network_is_frozen_and_a_copy():
    generator = Generator(width=2, rng=seeded())
    network = LossNetwork(generator)
    x = torch.rand(1, 1, 64, 64, generator=seeded(1))
    before = network(x).clone()
    output = generator.reconstruct(x)
    loss = perceptual_content_loss(network, output, x, reduction="mean")
    loss.backward()
    # The gradient passes through to the generator, decoder first, and leaves the network alone.
    assert all(p.grad.abs().sum() > 0 for p in generator.decoder.parameters())
    assert all(p.grad is None and not p.requires_grad for p in network.parameters())
    with torch.no_grad():
        for p in generator.parameters():
            p.zero_()
    assert torch.equal(network(x), before)
    assert not torch.equal(generator.encoder_features_en4(x), before)


def test_no_gradient_passes_to_the_target():
    network = LossNetwork(Generator(width=2, rng=seeded()))
    output = torch.rand(1, 1, 16, 16, generator=seeded(1), requires_grad=True)
    target = torch.rand(1, 1, 16, 16, generator=seeded(2), requires_grad=True)
    perceptual_content_loss(network, output, target, reduction="sum").backward()
    assert output.grad.abs().sum() > 0
    assert target.grad is None

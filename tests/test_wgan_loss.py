from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.losses.wgan_loss import (  # noqa: E402
    average_prediction,
    d2_gan_loss,
    d2_loss,
    generator_gan_loss,
    gradient_penalty,
)
from hrinet.networks.patchgan import PatchGAN  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


REAL = torch.tensor([[1.0, 3.0], [5.0, 7.0]]).view(2, 1, 1, 2)  # averages 2 and 6
FAKE = torch.tensor([[0.0, 2.0], [-4.0, 0.0]]).view(2, 1, 1, 2)  # averages 1 and -2


def linear(x):
    """Gradient (3, 4, 0, 0) everywhere, norm 5; of shape (batch,)."""
    return x.flatten(1) @ torch.tensor([3.0, 4.0, 0.0, 0.0])


def test_average_by_hand():
    assert average_prediction(REAL).tolist() == [2.0, 6.0]
    assert average_prediction(torch.tensor([1.0, 2.0])).tolist() == [1.0, 2.0]


def test_wasserstein_form_by_hand():
    assert d2_gan_loss(REAL, FAKE) == -0.5 - 4.0
    assert generator_gan_loss(FAKE) == 0.5


def test_log_form_by_hand():
    # Probabilities 0.5 and 0.75 average to 0.625; 0.25 and 0.5 to 0.375.
    real = torch.tensor([logit(0.5), logit(0.75)]).view(1, 1, 1, 2)
    fake = torch.tensor([logit(0.25), logit(0.5)]).view(1, 1, 1, 2)
    wanted = -math.log(0.625) - math.log(1 - 0.375)
    assert d2_gan_loss(real, fake, form="log").item() == pytest.approx(wanted, abs=1e-6)
    generator = generator_gan_loss(fake, form="log").item()
    assert generator == pytest.approx(math.log(1 - 0.375), abs=1e-6)


@pytest.mark.parametrize("form", ["wgan", "log"])
def test_the_two_sides_pull_apart(form):
    real, fake = (torch.zeros(1, 1, 1, 1, requires_grad=True) for _ in range(2))
    d2_gan_loss(real, fake, form=form).backward()
    assert real.grad < 0 < fake.grad  # descending raises D2 on real images, lowers it on fake
    again = torch.zeros(1, 1, 1, 1, requires_grad=True)
    generator_gan_loss(again, form=form).backward()
    assert again.grad < 0  # descending raises D2 on what was generated


def test_log_form_is_finite_and_bounded_where_d2_is_sure():
    sure = torch.full((1, 1, 2, 2), 200.0)
    assert d2_gan_loss(sure, -sure, form="log") == 0
    assert d2_gan_loss(-sure, sure, form="log") == 400
    assert generator_gan_loss(sure, form="log") == -200


def test_penalty_by_hand():
    real, fake = torch.rand(2, 2, 1, 2, 2)
    assert gradient_penalty(linear, real, fake) == 16  # (5 - 1)^2, a norm over all elements

    def patches(x):  # twice as many predictions, the same average
        return torch.stack([linear(x), linear(x)], dim=1)

    assert gradient_penalty(patches, real, fake) == 16


def test_penalty_is_taken_between_real_and_fake_a_sample_each():
    def half_square(x):  # its gradient is x itself
        return 0.5 * x.flatten(1).square().sum(1)

    real, fake = torch.zeros(2, 1, 2, 2), torch.ones(2, 1, 2, 2)
    share = torch.rand(2, generator=seeded(7))
    assert share[0] != share[1]
    # The points are (1 - share) in all four elements, of norm 2 (1 - share).
    wanted = (2 * (1 - share) - 1).square().mean()
    penalty = gradient_penalty(half_square, real, fake, rng=seeded(7))
    torch.testing.assert_close(penalty, wanted)


def test_penalty_weighs_ten():
    real, fake = torch.ones(2, 1, 2, 2), torch.zeros(2, 1, 2, 2)
    assert d2_loss(linear, real, fake) == (0 - 7) + 10 * 16
    assert d2_loss(linear, real, fake, penalty=0.5) == (0 - 7) + 0.5 * 16


def test_log_form_has_no_penalty():
    real, fake = torch.rand(2, 1, 1, 2, 2)
    loss = d2_loss(linear, real, fake, form="log")
    assert loss == d2_gan_loss(linear(real), linear(fake), form="log")


def test_only_d2_is_trained():
    network = PatchGAN(receptive_field=16, width=2, rng=seeded())
    real = torch.rand(2, 1, 32, 32, generator=seeded(1))
    fake = torch.rand(2, 1, 32, 32, generator=seeded(2), requires_grad=True)
    d2_loss(network, real, fake, rng=seeded(3)).backward()
    assert fake.grad is None
    assert all(p.grad is not None for p in network.parameters())


def test_penalty_trains_d2_towards_unit_slope():
    network = PatchGAN(receptive_field=16, width=4, rng=seeded())
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-2)
    real, fake = torch.rand(2, 2, 1, 16, 16, generator=seeded(1))
    losses = []
    for step in range(20):
        loss = gradient_penalty(network, real, fake, rng=seeded(step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[0] > 0.5
    assert losses[-1] < 0.05


def test_penalty_survives_a_flat_d2():
    scale = torch.zeros((), requires_grad=True)
    real, fake = torch.rand(2, 2, 1, 2, 2)
    penalty = gradient_penalty(lambda x: scale * linear(x), real, fake)
    assert penalty == 1
    penalty.backward()
    assert torch.isfinite(scale.grad)


def test_penalty_works_where_gradients_are_off():
    with torch.no_grad():
        assert gradient_penalty(linear, torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2)) == 16


def test_shapes_must_agree():
    with pytest.raises(RequestError, match="must be the same"):
        gradient_penalty(linear, torch.zeros(2, 1, 2, 2), torch.zeros(1, 1, 2, 2))

"""The losses of the game with D2: WGAN-GP as trained (thesis 3.3.2.4), and the log form."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from hrinet.errors import RequestError
from hrinet.networks.options import AdversarialForm


def average_prediction(prediction: Tensor) -> Tensor:
    """D2's verdict on each image: the average of its patches (equation 3-3).

    Args:
        prediction: shape (batch, 1, row, column), or (batch,) already averaged.

    Returns:
        Shape (batch,).
    """
    return prediction if prediction.ndim == 1 else prediction.flatten(1).mean(dim=1)


def generator_gan_loss(fake: Tensor, *, form: AdversarialForm = "wgan") -> Tensor:
    """The generator's term; its weight is beta.

    "wgan": ``-D2(x_a)``. "log": ``log(1 - D2(x_a))`` (equation 3-6), where D2 is the average over
    the patches of the sigmoid of the prediction.

    Args:
        fake: D2's predictions for interpolated images, shape (batch, 1, row, column).
        form: of the game.

    Returns:
        A scalar of any sign; mean over the batch.
    """
    if form == "wgan":
        return -average_prediction(fake).mean()
    return _log_average_sigmoid(-fake).mean()


def d2_gan_loss(real: Tensor, fake: Tensor, *, form: AdversarialForm = "wgan") -> Tensor:
    """What D2 minimises, without the gradient penalty.

    "wgan": ``D2(x_a) - D2(x)``. "log": ``-log(D2(x)) - log(1 - D2(x_a))``. Equation 3-8 prints
    ``log(1 - D2(x)) + log(D2(x_a))``, which pushes the same way but falls without bound, and
    fastest where D2 is right already; this is the form of Goodfellow et al. (2014).

    Args:
        real: D2's predictions for real images, shape (batch, 1, row, column).
        fake: for interpolated images.
        form: of the game.

    Returns:
        A scalar; mean over the batch. Of any sign with "wgan", at least 0 with "log".
    """
    if form == "wgan":
        return average_prediction(fake).mean() - average_prediction(real).mean()
    return -_log_average_sigmoid(real).mean() - _log_average_sigmoid(-fake).mean()


def gradient_penalty(
    d2: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    rng: torch.Generator | None = None,
) -> Tensor:
    """``(||grad D2(m)|| - 1)^2`` at random points m between real and fake images.

    D2 is the averaged prediction, and the norm is the Euclidean one over all elements of a
    sample's gradient, not a mean; the weight 10 assumes both (Gulrajani et al., 2017).

    Args:
        d2: the discriminator.
        real: shape (batch, channel, row, column), [0, 1].
        fake: the same shape; no gradient passes to the generator.
        rng: source of the points, on the device of ``real``; torch's global one if None.

    Returns:
        A scalar, at least 0, differentiable by D2's parameters; mean over the batch.

    Raises:
        RequestError: the shapes differ.
    """
    if real.shape != fake.shape:
        raise RequestError(
            f"The real images have shape {tuple(real.shape)} and the fake ones "
            f"{tuple(fake.shape)}; they must be the same."
        )
    share = torch.rand(real.shape[0], generator=rng, device=real.device, dtype=real.dtype)
    share = share.view(-1, *[1] * (real.ndim - 1))  # (batch, 1, 1, 1)
    with torch.enable_grad():
        points = (share * real + (1 - share) * fake).detach().requires_grad_(True)
        # Samples do not see each other (no batch norm), so the sum has every sample's gradient.
        verdict = average_prediction(d2(points)).sum()
        (gradient,) = torch.autograd.grad(verdict, points, create_graph=True)
    norms: Tensor = torch.linalg.vector_norm(gradient.flatten(1), dim=1)  # (batch,)
    return (norms - 1).square().mean()


def d2_loss(
    d2: Callable[[Tensor], Tensor],
    real: Tensor,
    fake: Tensor,
    *,
    form: AdversarialForm = "wgan",
    penalty: float = 10.0,
    rng: torch.Generator | None = None,
) -> Tensor:
    """All that D2 minimises in one update: the game, and with "wgan" the gradient penalty.

    Args:
        d2: the discriminator.
        real: shape (batch, channel, row, column), [0, 1].
        fake: interpolated images, the same shape; no gradient passes to the generator.
        form: of the game.
        penalty: weight of the gradient penalty.
        rng: see :func:`gradient_penalty`.

    Returns:
        A scalar; mean over the batch.
    """
    fake = fake.detach()
    loss = d2_gan_loss(d2(real), d2(fake), form=form)
    if form == "wgan":
        loss = loss + penalty * gradient_penalty(d2, real, fake, rng=rng)
    return loss


def _log_average_sigmoid(logits: Tensor) -> Tensor:
    """``log(mean(sigmoid))`` over the patches, finite where the sigmoid rounds to 0."""
    logs = functional.logsigmoid(logits.reshape(logits.shape[0], -1))  # (batch, patch)
    return torch.logsumexp(logs, dim=1) - math.log(logs.shape[1])

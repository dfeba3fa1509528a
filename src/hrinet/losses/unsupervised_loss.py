"""The generator's objective in step I (thesis 3.2.1)."""

from __future__ import annotations

from torch import Tensor

from hrinet.losses.weights import LossWeights


def unsupervised_loss(
    content: Tensor,
    *,
    constraint: Tensor | None = None,
    adversarial: Tensor | None = None,
    weights: LossWeights,
) -> Tensor:
    """``L_cont + lambda L_ac + beta L_gen`` (equation 3-4).

    Args:
        content: content loss of the reconstructions, a mean over elements.
        constraint: D1's term, from :func:`hrinet.losses.acai_loss.adversarial_constraint_loss`;
            None without D1.
        adversarial: D2's term, from :func:`hrinet.losses.wgan_loss.generator_gan_loss`; None
            without D2 and in stage 1.
        weights: see :class:`hrinet.losses.weights.LossWeights` for the reductions they assume.

    Returns:
        A scalar.
    """
    loss = content
    if constraint is not None:
        loss = loss + weights.lambda_ * constraint
    if adversarial is not None:
        loss = loss + weights.beta * adversarial
    return loss

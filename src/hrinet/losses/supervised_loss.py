"""The generator's objective in step II (thesis 3.2.2)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hrinet.errors import RequestError
from hrinet.losses.content_loss import mse_content_loss, perceptual_content_loss
from hrinet.networks.mixing import alpha_from_position


def supervised_alphas(slices: int = 7) -> Tensor:
    """Coefficients of the slices between the first and the last of a group.

    Args:
        slices: n, consecutive and evenly spaced, the endpoints included; 7 in the thesis.

    Returns:
        Shape (n - 2,), in the order of the slices, so falling: 5/6, 4/6, ... 1/6 for 7, because
        the first slice is x1 and a = 1 gives x1.

    Raises:
        RequestError: fewer than three slices, so that nothing lies between.
    """
    if slices < 3:
        raise RequestError(f"A group of {slices} slices has none between its ends; 3 are needed.")
    return alpha_from_position(torch.arange(1, slices - 1) / (slices - 1))


def supervised_loss(
    interpolated: Tensor,
    real: Tensor,
    *,
    loss_network: Callable[[Tensor], Tensor] | None = None,
    epsilon: float = 2e-5,
) -> Tensor:
    """``epsilon / (n - 2) * sum_i L_cont_i`` (equations 3-9 and 3-13).

    Each ``L_cont_i`` is a **sum over the elements** of a slice (or of its features), for epsilon
    would make a mean vanish; see :class:`hrinet.losses.weights.LossWeights`. The sum grows with
    the number of pixels: at 512 x 512 the loss weighs four times what it does at 256 x 256. Of
    features it runs over the channels too, and grows with the width of the loss network.

    Args:
        interpolated: shape (batch, n - 2, channel, row, column), around [0, 1].
        real: the real slices at the same positions, the same shape.
        loss_network: compare its features, for HRINet-Perceptual; pixels if None (HRINet-MSE).
        epsilon: the weight.

    Returns:
        A scalar, at least 0; mean over the batch.

    Raises:
        RequestError: the shapes differ or have no axis of slices.
    """
    if interpolated.ndim != 5 or interpolated.shape != real.shape:
        raise RequestError(
            f"The interpolated slices have shape {tuple(interpolated.shape)} and the real ones "
            f"{tuple(real.shape)}; both must be (batch, slice, channel, row, column)."
        )
    # The mean over batch * (n - 2) slices is the mean over the batch of 1 / (n - 2) times the sum.
    output, target = interpolated.flatten(0, 1), real.flatten(0, 1)
    if loss_network is None:
        return epsilon * mse_content_loss(output, target, reduction="sum")
    return epsilon * perceptual_content_loss(loss_network, output, target, reduction="sum")

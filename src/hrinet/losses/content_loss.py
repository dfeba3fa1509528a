"""The content loss, between pixels or between features (thesis 3.2.3)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from hrinet.errors import RequestError

Reduction: TypeAlias = Literal["mean", "sum"]
"""Over the elements of a sample; over the batch it is a mean always.

"mean" in step I, beside ACAI's lambda; "sum", the ``||.||^2`` as written, in step II under
epsilon. :class:`hrinet.losses.weights.LossWeights` has the reasons.
"""


def mse_content_loss(output: Tensor, target: Tensor, *, reduction: Reduction) -> Tensor:
    """Squared distance between pixels (equations 3-11 and 3-12, left).

    Args:
        output: reconstruction or interpolation, shape (batch, ...), intensities around [0, 1].
        target: the real images, the same shape.
        reduction: over the elements of a sample.

    Returns:
        A scalar, at least 0.

    Raises:
        RequestError: the shapes differ; broadcasting would compare what does not belong together.
    """
    if output.shape != target.shape:
        raise RequestError(
            f"The output has shape {tuple(output.shape)} and the target {tuple(target.shape)}; "
            "they must be the same."
        )
    squares = (output - target).square().flatten(1)  # (batch, element)
    a_sample = squares.sum(dim=1) if reduction == "sum" else squares.mean(dim=1)
    return a_sample.mean()


def perceptual_content_loss(
    network: Callable[[Tensor], Tensor], output: Tensor, target: Tensor, *, reduction: Reduction
) -> Tensor:
    """Squared distance between features (equations 3-10 to 3-12, right).

    Equation 3-10 divides by the size of the feature map and says nothing of its channels; "mean"
    divides by both, so that the weights do not depend on the width of the network.

    Args:
        network: the loss network; see :class:`hrinet.networks.loss_network.LossNetwork`.
        output: reconstruction or interpolation, shape (batch, channel, row, column).
        target: the real images, the same shape; no gradient passes to them.
        reduction: over the elements of a sample's features.

    Returns:
        A scalar, at least 0.
    """
    with torch.no_grad():
        wanted = network(target)
    return mse_content_loss(network(output), wanted, reduction=reduction)

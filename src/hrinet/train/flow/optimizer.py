"""What moves the weights of ``hrinet-flow``: Muon for kernels, AdamW for everything else."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

_MOMENTUM = 0.95
_BETAS = (0.9, 0.999)
_TINY = 1e-8
_ROUNDS = 5
_QUINTIC = (3.4445, -4.775, 2.0315)
"""Coefficients of the iteration, by Jordan et al.: singular values end between 0.7 and 1.2."""
_LEFT_TO_ADAM = ("motion_out", "out", "error_in", "error_out")
"""Layers of the decoder whose kernels make results, or only the estimate of the error."""
_LIKE_ADAM = 0.2
"""Root mean square of an update over the rate, which AdamW's mostly have (Liu et al., 2025)."""


class Muon(Optimizer):
    """Steps whose singular values are all nearly alike, so that no direction of a kernel is slow.

    The momentum of a kernel, as a matrix of output channels by everything else, is replaced by the
    nearest orthogonal matrix. Vectors have no singular values, and layers that make the result are
    better left alone: these go by AdamW. The updates of both are about equally large.

    PyTorch's own takes matrices alone, and no two kinds of update in one checkpoint.

    Source: Jordan et al., 2024, "Muon: an optimizer for hidden layers in neural networks"; scale of
    the update: Liu et al., 2025, "Muon is scalable for LLM training", section 2.2.
    """

    def __init__(self, network: nn.Module, *, lr: float, weight_decay: float) -> None:
        """Take the weights of a network over.

        Args:
            network: whose kernels are moved by Muon, but for those of its last layers.
            lr: the rate of both.
            weight_decay: of both, times the rate.
        """
        kernels: list[Tensor] = []
        others: list[Tensor] = []
        for name, parameter in network.named_parameters():
            is_kernel = parameter.ndim == 4 and name.split(".")[-2] not in _LEFT_TO_ADAM
            (kernels if is_kernel else others).append(parameter)
        groups = [
            {"params": parameters, "orthogonal": orthogonal}
            for parameters, orthogonal in ((kernels, True), (others, False))
        ]
        super().__init__(groups, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move the weights by their gradients; ``closure`` must be absent."""
        if closure is not None:
            raise TypeError("Muon takes no closure")
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                update = self._orthogonal if group["orthogonal"] else self._adam
                parameter.sub_(group["lr"] * update(parameter))

    def _orthogonal(self, parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        state: dict[str, Tensor] = self.state[parameter]
        assert gradient is not None
        if not state:
            state["mean"] = torch.zeros_like(parameter)
        state["mean"].lerp_(gradient, 1 - _MOMENTUM)
        ahead = torch.lerp(gradient, state["mean"], _MOMENTUM).flatten(1)
        update = orthogonalized(ahead) * (_LIKE_ADAM * math.sqrt(max(ahead.shape)))
        return update.reshape(parameter.shape)

    def _adam(self, parameter: Tensor) -> Tensor:
        gradient = parameter.grad
        state: dict[str, Tensor] = self.state[parameter]
        assert gradient is not None
        if not state:
            state["step"] = torch.zeros(())
            state["mean"], state["square"] = (torch.zeros_like(parameter) for _ in range(2))
        state["step"] += 1
        state["mean"].lerp_(gradient, 1 - _BETAS[0])
        state["square"].lerp_(gradient.square(), 1 - _BETAS[1])
        mean, square = (
            state[name] / (1 - beta ** float(state["step"]))
            for name, beta in zip(("mean", "square"), _BETAS, strict=True)
        )
        update: Tensor = mean / (square.sqrt() + _TINY)
        return update


def orthogonalized(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, roughly: singular values of 0.7 to 1.2.

    Args:
        matrix: shape (row, column).
    """
    is_tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if is_tall else matrix
    x = x / (torch.linalg.matrix_norm(x) + 1e-7)
    a, b, c = _QUINTIC
    for _ in range(_ROUNDS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if is_tall else x

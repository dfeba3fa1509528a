"""What stops a run that has gone wrong, in one sentence, before it spoils the last checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from hrinet.errors import RunError
from hrinet.train.config import TrainConfig

_ADVICE = "begin again in another output folder with a lower learning_rate or beta"
"""A run goes on with its own values of these two alone."""


def spread(images: Tensor) -> Tensor:
    """How much images differ from one another: SD over the batch, averaged over the pixels.

    A generator that gives the same image for everything has none, whatever that image shows. Of a
    single image it is the SD of the pixels, which catches a blank one.

    Args:
        images: shape (batch, channel, row, column).
    """
    if images.shape[0] == 1:
        return images.float().std(correction=0)
    return images.float().std(dim=0, correction=0).mean()


class Guards:
    """Watches the figures of a run; see :class:`hrinet.train.config.TrainConfig` for the limits.

    Every process has to be given the same figures, or one stops while the others wait for it.

    Attributes:
        low_checks: how many checks in a row the spread has been too low; part of a checkpoint.
    """

    def __init__(self, config: TrainConfig, *, low_checks: int = 0) -> None:
        self._config = config
        self.low_checks = low_checks

    def check(self, step: int, figures: Mapping[str, float]) -> None:
        """Look at the figures of a log interval.

        Args:
            step: number of steps done.
            figures: as they are logged; "spread" and "spread_of_inputs" are compared, "gap" is
                D2's verdict on real images less that on synthetic ones.

        Raises:
            RunError: if one is not finite, the outputs no longer differ, or D2 has run away.
        """
        for name, value in figures.items():
            if not math.isfinite(value):
                raise RunError(f"training broke down by step {step}: {name} is {value}; {_ADVICE}")
        if "spread" in figures:
            wanted = self._config.collapse_ratio * figures["spread_of_inputs"]
            self.low_checks = self.low_checks + 1 if figures["spread"] < wanted else 0
            if self.low_checks >= self._config.collapse_checks:
                raise RunError(
                    f"the generator collapsed by step {step}: for {self.low_checks} checks in a "
                    f"row its outputs differed from one another by {figures['spread']:.2g}, its "
                    f"inputs by {figures['spread_of_inputs']:.2g}; {_ADVICE}, or lower "
                    "collapse_ratio to go on from the last checkpoint"
                )
        gap = figures.get("gap", 0.0)
        if abs(gap) > self._config.critic_gap_limit:
            raise RunError(
                f"D2 ran away by step {step}: its verdicts on real and synthetic images differ by "
                f"{gap:.3g}, more than critic_gap_limit {self._config.critic_gap_limit:g}; "
                f"{_ADVICE}, or raise it to go on from the last checkpoint"
            )


def check_finite(step: int, networks: Mapping[str, nn.Module]) -> None:
    """Refuse to save weights that are not numbers.

    Raises:
        RunError: naming the network.
    """
    for name, network in networks.items():
        if not all(bool(torch.isfinite(p).all()) for p in network.parameters()):
            raise RunError(
                f"training broke down by step {step}: weights of the {name} are not finite; "
                f"{_ADVICE}"
            )

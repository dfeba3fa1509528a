"""Algorithm 1's steps, with the shape of every tensor; no files, no schedule.

Gradients are averaged over the processes by hand rather than by DistributedDataParallel: a critic
takes part in two losses a step, once frozen, and D2's has a gradient within, which its hooks do not
expect. By hand it is exact for every division of a step, and the networks are small.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim import Adam

from hrinet.losses.acai_loss import adversarial_constraint_loss, d1_loss, regularising_images
from hrinet.losses.content_loss import mse_content_loss, perceptual_content_loss
from hrinet.losses.supervised_loss import supervised_alphas, supervised_loss
from hrinet.losses.unsupervised_loss import unsupervised_loss
from hrinet.losses.weights import LossWeights
from hrinet.losses.wgan_loss import d2_gan_loss, generator_gan_loss, gradient_penalty
from hrinet.networks.critic import Critic
from hrinet.networks.family import build
from hrinet.networks.generator import Generator
from hrinet.networks.loss_network import LossNetwork
from hrinet.networks.patchgan import PatchGAN
from hrinet.train.batches import Pairs
from hrinet.train.config import TrainConfig
from hrinet.train.guards import spread
from hrinet.train.processes import mean_over_processes


@dataclass(eq=False, kw_only=True)
class Players:
    """The networks of a run on their device, and what updates them.

    Attributes:
        loss_network: from the start of stage 2, with perceptual content; else None.
        average: exponential moving average of the generator, which is then what is shown and
            exported (Yazici et al. 2019, arXiv 1806.04498); None without.
        averaged: updates of the generator that are in it.
        optimizers: one for each network that is trained, by its name.
        figures: sums of everything worth logging, and how often it was added, by name.
    """

    config: TrainConfig
    weights: LossWeights
    fabric: Fabric
    generator: Generator
    d1: Critic | None
    d2: PatchGAN | None
    loss_network: LossNetwork | None = None
    average: Generator | None = None
    averaged: int = 0
    optimizers: dict[str, Adam] = field(default_factory=dict)
    figures: dict[str, tuple[Tensor, int]] = field(default_factory=dict)

    @classmethod
    def of(cls, config: TrainConfig, fabric: Fabric) -> Players:
        """Build everything; the same on every process, for the weights follow from the seed."""
        networks = build(config.model(), seed=config.seed)
        players = cls(
            config=config,
            weights=config.weights(),
            fabric=fabric,
            generator=networks.generator,
            d1=networks.d1,
            d2=networks.d2,
        )
        for name, network in players.networks().items():
            network.to(fabric.device)
            players.optimizers[name] = Adam(
                network.parameters(),
                lr=config.learning_rate,
                betas=config.d2_adam_betas if name == "d2" else config.adam_betas,
                weight_decay=config.weight_decay,
            )
        return players

    def networks(self) -> dict[str, nn.Module]:
        """All there are, by name."""
        named = {
            "generator": self.generator,
            "d1": self.d1,
            "d2": self.d2,
            "loss_network": self.loss_network,
            "average": self.average,
        }
        return {name: network for name, network in named.items() if network is not None}

    def begin_stage2(self) -> None:
        """Freeze the loss network from the encoder as stage 1 left it (thesis 3.3.2.4)."""
        if self.config.content == "perceptual" and self.loss_network is None:
            self.loss_network = LossNetwork(self.generator)

    def begin_average(self, averaged: int = 0) -> None:
        """Average from here on, if the run does.

        Args:
            averaged: updates in an earlier average, which is filled in afterwards.
        """
        if self.config.average > 0:
            self.average, self.averaged = copy.deepcopy(self.generator), averaged
            self.average.requires_grad_(False)

    @property
    def result(self) -> Generator:
        """What the training has made so far, for use."""
        return self.generator if self.average is None else self.average

    def note(self, **figures: Tensor) -> None:
        """Add to what is logged; on the device, so that nothing waits."""
        for name, value in figures.items():
            total, count = self.figures.get(name, (torch.zeros((), device=value.device), 0))
            self.figures[name] = (total + value.detach().float(), count + 1)

    def collect_figures(self) -> dict[str, float]:
        """Means of everything noted since the last call, over all processes."""
        if not self.figures:
            return {}
        means = torch.stack([total / count for total, count in self.figures.values()])
        means = mean_over_processes(self.fabric, means)
        names = list(self.figures)
        self.figures.clear()
        return dict(zip(names, means.tolist(), strict=True))

    def update(self, name: str) -> None:
        """One step of an optimizer, with the gradients averaged over the processes."""
        optimizer = self.optimizers[name]
        gradients = [p.grad for p in self.networks()[name].parameters() if p.grad is not None]
        if self.fabric.world_size > 1:
            flat = torch.cat([gradient.flatten() for gradient in gradients])
            flat = mean_over_processes(self.fabric, flat)
            parts = torch.split(flat, [gradient.numel() for gradient in gradients])
            for gradient, part in zip(gradients, parts, strict=True):
                gradient.copy_(part.view_as(gradient))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if name == "generator" and self.average is not None:
            # The first ones count more, or the weights at the beginning would stay in for long.
            share = min(self.config.average, (self.averaged + 1) / (self.averaged + 10))
            with torch.no_grad():
                torch._foreach_lerp_(
                    list(self.average.parameters()), list(self.generator.parameters()), 1 - share
                )
            self.averaged += 1


def unsupervised_step(players: Players, batches: Sequence[Pairs], *, with_d2: bool) -> None:
    """Step I, and every step of stage 1: update the generator and D1.

    Both learn from the same images and the weights before the step, as in ACAI.

    Args:
        players: updated in place.
        batches: micro-batches.
        with_d2: in stage 2. Stage 1 has no D2, and measures content between pixels always.
    """
    generator, d1, weights = players.generator, players.d1, players.weights
    d2 = players.d2 if with_d2 else None
    loss_network = players.loss_network if with_d2 else None
    for pairs in batches:
        x1, x2, a = _moved(players, pairs)  # (batch, 1, row, column), the same, (batch,)
        with players.fabric.autocast(), _frozen(d1, d2):
            maps = generator.encode(x1)  # (batch, 16, row/16, column/16), (batch, 8, row/32, ...
            reconstruction = generator.decode(maps).float()  # (batch, 1, row, column)
            interpolated = reconstruction
            constraint = adversarial = None
            if d1 is not None or d2 is not None:
                mixed = generator.mix(maps, generator.encode(x2), a)  # shapes of maps
                interpolated = generator.decode(mixed).float()  # (batch, 1, row, column)
            if d1 is not None:
                prediction = d1(interpolated).float()  # (batch,)
                constraint = adversarial_constraint_loss(prediction)
            if d2 is not None:
                verdict = d2(interpolated).float()  # (batch, 1, row', column')
                adversarial = generator_gan_loss(verdict, form=players.config.form)
            if loss_network is None:
                content = mse_content_loss(reconstruction, x1, reduction="mean")
            else:
                features = _in_float(loss_network)  # to (batch, 8 * width, row/8, column/8)
                content = perceptual_content_loss(features, reconstruction, x1, reduction="mean")
            loss = unsupervised_loss(
                content, constraint=constraint, adversarial=adversarial, weights=weights
            )
        (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        players.note(content=content, spread=spread(interpolated), spread_of_inputs=spread(x1))
        if constraint is not None:
            players.note(constraint=constraint)
        if adversarial is not None:
            players.note(adversarial=adversarial)
        if d1 is not None:
            with players.fabric.autocast():
                shown = regularising_images(x1, reconstruction.detach(), gamma=weights.gamma)
                loss = d1_loss(
                    d1(interpolated.detach()).float(),  # (batch,)
                    a,
                    d1(shown).float(),  # (batch,)
                    folded=players.config.folded,
                )
            (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
            players.note(loss_d1=loss)
    players.update("generator")
    if d1 is not None:
        players.update("d1")


def d2_step(players: Players, batches: Sequence[Pairs]) -> None:
    """One of the updates of D2 that precede each unsupervised one of the generator (3.3.2.4)."""
    d2, config = players.d2, players.config
    assert d2 is not None
    for pairs in batches:
        x1, x2, a = _moved(players, pairs)  # (batch, 1, row, column), the same, (batch,)
        with players.fabric.autocast():
            with torch.no_grad():
                fake = players.generator(x1, x2, a).float()  # (batch, 1, row, column)
            game = d2_gan_loss(d2(x1).float(), d2(fake).float(), form=config.form)
            loss = game
            if config.form == "wgan":
                random = torch.Generator(x1.device).manual_seed(pairs.seed)
                # The points of the other parts of the draw come first: on a CPU every division
                # of a draw has the same ones.
                torch.rand(pairs.position, generator=random, device=x1.device)
                penalty = gradient_penalty(_in_float(d2), x1, fake, rng=random)
                loss = loss + players.weights.penalty * penalty
                players.note(gap=-game, gradient_penalty=penalty)
        (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        players.note(loss_d2=loss)
    players.update("d2")


def supervised_step(players: Players, batches: Sequence[Tensor]) -> None:
    """Step II: update the generator alone, from runs of consecutive slices.

    Args:
        players: updated in place.
        batches: micro-batches of shape (batch, n, 1, row, column), [0, 1].
    """
    device = players.fabric.device
    for batch in batches:
        slices = batch.to(device, non_blocking=True)  # (batch, n, 1, row, column)
        a = supervised_alphas(slices.shape[1]).to(device)  # (n - 2,)
        with players.fabric.autocast():
            interpolated = players.generator.interpolate(
                slices[:, 0], slices[:, -1], a.expand(len(slices), -1)
            ).float()  # (batch, n - 2, 1, row, column)
            loss = supervised_loss(
                interpolated,
                slices[:, 1:-1],
                loss_network=None
                if players.loss_network is None
                else _in_float(players.loss_network),
                epsilon=players.weights.epsilon,
            )
        (loss / len(batches)).backward()  # type: ignore[no-untyped-call]
        players.note(supervised=loss)
    players.update("generator")


class _InFloat:
    """A network whose output is float32 whatever autocast makes of it."""

    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, x: Tensor) -> Tensor:
        output: Tensor = self._network(x)
        return output.float()


def _in_float(network: nn.Module) -> _InFloat:
    return _InFloat(network)


def _moved(players: Players, pairs: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    device = players.fabric.device
    first, second, a = (part.to(device, non_blocking=True) for part in pairs[:3])
    return first, second, a


@contextmanager
def _frozen(*networks: nn.Module | None) -> Iterator[None]:
    """What is computed inside gives these networks no gradient, though it passes through them."""
    given = [network for network in networks if network is not None]
    for network in given:
        network.requires_grad_(False)
    try:
        yield
    finally:
        for network in given:
            network.requires_grad_(True)

"""What a step computes, against the formulas of the thesis written out here once more.

Nothing of :mod:`hrinet.losses` is called: losses, mixing and Adam's arithmetic stand in this file,
and ``torch.autograd.grad`` differentiates them.
"""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
fabric = pytest.importorskip("lightning_fabric")

from hrinet.train.batches import Pairs  # noqa: E402
from hrinet.train.config import TrainConfig  # noqa: E402
from hrinet.train.steps import Players, d2_step, supervised_step, unsupervised_step  # noqa: E402

# None of these is a default, and every term of a loss is large enough to be missed.
GIVEN = {
    **{"name": "own", "size": 64, "width": 2, "patchgan_width": 2, "receptive_field": 16},
    **{"learning_rate": 3e-3, "weight_decay": 0.04, "accelerator": "cpu"},
    **{"adam_betas": (0.7, 0.95), "d2_adam_betas": (0.2, 0.8)},
    **{"lambda_": 0.8, "beta": 0.3, "epsilon": 3e-4, "gamma": 0.35, "penalty": 4.0, "seed": 5},
}
SIDE = 64


def make_players(*, stage: int = 1, **changes):
    """Players of a run, with weights that have moved on since the loss network was frozen."""
    config = TrainConfig(**{**GIVEN, **changes})
    players = Players.of(config, fabric.Fabric(accelerator="cpu", devices=1))
    if players.d1 is not None:  # whose predictions are nearly 0 at first, so that nothing hangs on
        torch.nn.init.ones_(players.d1.bottleneck.bias)  # them
    if stage == 2:
        players.begin_stage2()
        rng = torch.Generator().manual_seed(9)
        with torch.no_grad():
            for parameter in players.generator.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng))
    return players


def images(*shape: int, seed: int):
    """Blurred noise in [0, 1], so that neither edges nor flat places are missing."""
    noise = torch.rand(*shape, generator=torch.Generator().manual_seed(seed))
    flat = noise.reshape(-1, 1, *shape[-2:])
    smooth = torch.nn.functional.avg_pool2d(flat, 5, stride=1, padding=2)
    return (0.5 * smooth + 0.5 * flat).reshape(shape)


def pairs_of(count: int, *, seed: int, position: int = 0) -> Pairs:
    a = torch.rand(count, generator=torch.Generator().manual_seed(seed + 1))
    first, second = (images(count, 1, SIDE, SIDE, seed=seed + k) for k in (2, 3))
    return Pairs(first, second, a, 77 + seed // 100, position)


def step_of(players, step, *arguments, **options):
    """Run a step; the networks before it, and the gradients that each optimizer was given."""
    before = {name: copy.deepcopy(network) for name, network in players.networks().items()}
    given: dict[str, list[torch.Tensor]] = {}
    handles = []
    for name, optimizer in players.optimizers.items():

        def keep(optimizer, *_, name=name):
            assert name not in given, "two updates in one step"
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            given[name] = [p.grad.clone() for p in parameters]

        handles.append(optimizer.register_step_pre_hook(keep))
    step(players, *arguments, **options)
    for handle in handles:
        handle.remove()
    return SimpleNamespace(**before), given


def check(players, before, given, losses, *, history):
    """Compare gradients with those of ``losses``, and weights with what Adam makes of them.

    Args:
        players: after the step.
        before: networks before it.
        given: gradients that the optimizers got.
        losses: of the networks that are to be updated, by name.
        history: decayed gradients of the steps so far, by name and parameter; this step's is added.
    """
    assert set(given) == set(losses)
    for name, network in players.networks().items():
        after, start = list(network.parameters()), list(getattr(before, name).parameters())
        assert all(parameter.grad is None for parameter in after)
        assert all(p.requires_grad == (name != "loss_network") for p in after)
        if name not in losses:
            assert all(torch.equal(one, other) for one, other in zip(after, start, strict=True))
            continue
        wanted = torch.autograd.grad(losses[name], start, retain_graph=True)
        clear = every = 0
        for index, (gradient, right) in enumerate(zip(given[name], wanted, strict=True)):
            # The last bias of D2 has none in a Wasserstein game: it cancels.
            assert right.norm() > 0 or (name, index) == ("d2", len(wanted) - 1)
            assert (gradient - right).norm() <= 1e-3 * right.norm() + 1e-8, (name, index)
            decayed = gradient + GIVEN["weight_decay"] * start[index].detach()
            history.setdefault((name, index), []).append(decayed)
            betas = GIVEN["d2_adam_betas" if name == "d2" else "adam_betas"]
            moved = start[index] - adam_change(history[name, index], betas)
            # Adam makes a whole step of what rounding leaves where the two parts cancel.
            is_clear = decayed.abs() > 1e-6
            clear, every = clear + int(is_clear.sum()), every + is_clear.numel()
            torch.testing.assert_close(
                after[index][is_clear], moved[is_clear], rtol=1e-5, atol=2e-6
            )
        assert clear > 0.99 * every


def adam_change(gradients, betas):
    """Kingma and Ba (2015), algorithm 1, after these gradients."""
    means = []
    for beta, power in zip(betas, (1, 2), strict=True):
        last = len(gradients) - 1
        terms = [beta ** (last - k) * gradient**power for k, gradient in enumerate(gradients)]
        means.append((1 - beta) * sum(terms) / (1 - beta ** len(gradients)))
    return GIVEN["learning_rate"] * means[0] / (means[1].sqrt() + 1e-8)


def at(generator, x1, x2, a):
    """Equation 3-1: decoded ``a f(x1) + (1 - a) f(x2)``, for every map."""
    a = a.view(-1, 1, 1, 1)
    both = zip(generator.encode(x1), generator.encode(x2), strict=True)
    return generator.decode(tuple(a * one + (1 - a) * other for one, other in both))


def features(before, x):
    """The end of EN4 of the frozen encoder."""
    for index, block in enumerate(before.loss_network.encoder.blocks):
        x = block(torch.nn.functional.avg_pool2d(x, 2) if index else x)
    assert index == 3
    return x


def verdicts(d2, x):
    """Equation 3-3: the average of the patches, of each image."""
    return d2(x).mean(dim=(1, 2, 3))


def step_one_losses(before, pairs, *, d2=False, perceptual=False, folded=True, log=False):
    """What the generator and D1 minimise in step I, of one micro-batch (3.2.1)."""
    x1, x2, a = pairs[:3]
    reconstruction = before.generator.decode(before.generator.encode(x1))
    made = at(before.generator, x1, x2, a)
    if perceptual:
        content = (features(before, reconstruction) - features(before, x1)).square().mean()
    else:
        content = (reconstruction - x1).square().mean()
    generator = content + 0.8 * before.d1(made).square().mean()  # lambda
    if d2:  # equation 3-6, and its Wasserstein form
        score = before.d2(made)
        game = (
            (1 - score.sigmoid().mean(dim=(1, 2, 3))).log() if log else -verdicts(before.d2, made)
        )
        generator = generator + 0.3 * game.mean()  # beta
    target = torch.minimum(a, 1 - a) if folded else a
    shown = 0.35 * x1 + 0.65 * reconstruction.detach()  # gamma
    d1 = (before.d1(made.detach()) - target).square().mean() + before.d1(shown).square().mean()
    return {"generator": generator, "d1": d1}


def mean_of(parts):
    """The losses of a whole batch from those of equal micro-batches."""
    return {name: sum(part[name] for part in parts) / len(parts) for name in parts[0]}


@pytest.mark.parametrize("folded", [True, False])
def test_stage_1(folded):
    # The content of stage 1 is between pixels, whatever that of stage 2, and D2 has no part in it.
    players, history = make_players(stage=2, folded=folded, content="perceptual"), {}
    for seed in (100, 200):
        batches = [pairs_of(3, seed=seed), pairs_of(3, seed=seed + 10)]
        before, given = step_of(players, unsupervised_step, batches, with_d2=False)
        losses = mean_of([step_one_losses(before, pairs, folded=folded) for pairs in batches])
        check(players, before, given, losses, history=history)


def test_stage_1_of_an_autoencoder_is_the_content_alone():
    players, history = make_players(mixing="one", d1=False, d2=False, alternating=False), {}
    pairs = pairs_of(4, seed=100)
    before, given = step_of(players, unsupervised_step, [pairs], with_d2=False)
    reconstruction = before.generator.decode(before.generator.encode(pairs.first))
    losses = {"generator": (reconstruction - pairs.first).square().mean()}
    check(players, before, given, losses, history=history)


@pytest.mark.parametrize("content", ["mse", "perceptual"])
@pytest.mark.parametrize("form", ["wgan", "log"])
def test_step_one(content, form):
    players, history = make_players(stage=2, content=content, form=form), {}
    for seed in (100, 200):
        batches = [pairs_of(2, seed=seed), pairs_of(2, seed=seed + 10)]
        before, given = step_of(players, unsupervised_step, batches, with_d2=True)
        kind = {"d2": True, "perceptual": content == "perceptual", "log": form == "log"}
        losses = mean_of([step_one_losses(before, pairs, **kind) for pairs in batches])
        check(players, before, given, losses, history=history)


def test_d2_with_the_gradient_penalty():
    players, history = make_players(stage=2), {}
    for seed in (100, 200):
        batches = [pairs_of(2, seed=seed), pairs_of(2, seed=seed + 10, position=2)]
        before, given = step_of(players, d2_step, batches)
        drawn = torch.rand(4, generator=torch.Generator().manual_seed(batches[0].seed))
        losses = []
        for pairs, share in zip(batches, (drawn[:2], drawn[2:]), strict=True):
            x1, x2, a = pairs[:3]
            fake = at(before.generator, x1, x2, a).detach()
            share = share.view(-1, 1, 1, 1)
            points = (share * x1 + (1 - share) * fake).requires_grad_(True)
            verdict = verdicts(before.d2, points).sum()
            (slope,) = torch.autograd.grad(verdict, points, create_graph=True)
            norms = slope.square().sum(dim=(1, 2, 3)).sqrt()
            game = verdicts(before.d2, fake).mean() - verdicts(before.d2, x1).mean()
            losses.append({"d2": game + 4.0 * (norms - 1).square().mean()})  # penalty
        check(players, before, given, mean_of(losses), history=history)


def test_d2_in_the_log_form_has_no_penalty():
    players, history = make_players(stage=2, form="log"), {}
    pairs = pairs_of(3, seed=100)
    before, given = step_of(players, d2_step, [pairs])
    fake = at(before.generator, *pairs[:3]).detach()
    real, made = (before.d2(x).sigmoid().mean(dim=(1, 2, 3)) for x in (pairs.first, fake))
    losses = {"d2": -real.log().mean() - (1 - made).log().mean()}
    check(players, before, given, losses, history=history)


@pytest.mark.parametrize("content", ["mse", "perceptual"])
def test_step_two(content):
    players, history = make_players(stage=2, content=content, run_length=5), {}
    for seed in (100, 200):
        batches = [images(2, 5, 1, SIDE, SIDE, seed=seed + k) for k in range(2)]
        before, given = step_of(players, supervised_step, batches)
        losses = []
        for slices in batches:
            total = torch.zeros(())
            for number, share in ((1, 0.75), (2, 0.5), (3, 0.25)):  # a = 1 is the first slice
                a = torch.full((2,), share)
                made, real = at(before.generator, slices[:, 0], slices[:, -1], a), slices[:, number]
                if content == "perceptual":
                    made, real = features(before, made), features(before, real)
                total = total + (made - real).square().sum(dim=(1, 2, 3)).mean()
            losses.append({"generator": 3e-4 / 3 * total})  # epsilon / (n - 2)
        check(players, before, given, mean_of(losses), history=history)

from __future__ import annotations

from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import RunError  # noqa: E402
from hrinet.networks.family import build  # noqa: E402
from hrinet.train import DEFAULT_WINDOW  # noqa: E402
from hrinet.train.checkpoint import checkpoints, load_snapshot  # noqa: E402
from hrinet.train.config import TrainConfig  # noqa: E402
from hrinet.train.guards import Guards, check_finite, spread  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.weights.files import save_weights  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402

CONFIG = TrainConfig(collapse_ratio=0.01, collapse_checks=3, critic_gap_limit=100)
FINE = {"content": 0.1, "spread": 0.2, "spread_of_inputs": 0.2, "gap": 5.0}


def one_sentence(error: RunError) -> str:
    assert error.exit_code == 1
    assert "\n" not in str(error)
    return str(error)


def test_the_spread_is_zero_for_equal_images_and_for_one_blank_one():
    images = torch.rand(1, 1, 8, 8).expand(4, 1, 8, 8)
    assert spread(images) == pytest.approx(0, abs=1e-7)
    assert spread(torch.rand(4, 1, 8, 8)) > 0.1
    assert spread(torch.full((1, 1, 8, 8), 0.5)) == 0
    assert spread(images[:1]) > 0.1
    halves = torch.stack([torch.zeros(1, 2, 2), torch.ones(1, 2, 2)])
    assert spread(halves) == pytest.approx(0.5)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_figure_that_is_no_number_stops(value):
    with pytest.raises(RunError) as caught:
        Guards(CONFIG).check(7, {**FINE, "loss_d2": value})
    assert "by step 7: loss_d2 is" in one_sentence(caught.value)


def test_collapse_needs_several_checks_in_a_row():
    guards = Guards(CONFIG)
    flat = {**FINE, "spread": 0.001}
    for figures in (flat, flat, FINE, flat, {"supervised": 1.0}, flat):
        guards.check(1, figures)
    assert guards.low_checks == 2
    with pytest.raises(RunError) as caught:
        guards.check(9, flat)
    assert "collapsed by step 9: for 3 checks" in one_sentence(caught.value)


def test_a_critic_that_runs_away_stops():
    with pytest.raises(RunError) as caught:
        Guards(CONFIG).check(1, {**FINE, "gap": -101.0})
    assert "D2 ran away" in one_sentence(caught.value)


def test_weights_that_are_no_numbers_are_not_saved():
    network = torch.nn.Linear(2, 2)
    check_finite(1, {"generator": network})
    network.weight.data[0, 1] = float("nan")
    with pytest.raises(RunError, match="weights of the generator are not finite"):
        check_finite(1, {"generator": network})


def test_a_run_that_breaks_down_stops_and_keeps_a_good_checkpoint(tmp_path):
    cache = make_cache(tmp_path)
    config = tiny(cache, tmp_path / "run", learning_rate=1e18, checkpoint_every=1)
    with pytest.raises(RunError) as caught:
        train(config)
    assert "training broke down" in one_sentence(caught.value)
    (kept, *_) = checkpoints(tmp_path / "run")
    snapshot = load_snapshot(kept)
    assert all(torch.isfinite(t).all() for t in snapshot.tensors.values() if t.is_floating_point())
    assert not (tmp_path / "run" / "weights.safetensors").exists()


def test_collapse_is_judged_by_the_spread_of_the_inputs():
    def checked(spread_of_inputs: float) -> Guards:
        guards = Guards(CONFIG)
        for step in range(3):
            guards.check(step, {**FINE, "spread": 0.0015, "spread_of_inputs": spread_of_inputs})
        return guards

    assert checked(0.1).low_checks == 0  # the same outputs are as varied as 1 % of these inputs
    with pytest.raises(RunError, match=r"its inputs by 0\.2"):
        checked(0.2)


@pytest.mark.parametrize("output", ["blank", "one image", "varied"])
def test_a_generator_that_gives_one_image_stops(tmp_path, output):
    """At the default limits, of a training that hardly changes the weights it begins with."""
    cache = make_cache(tmp_path)
    model = tiny(cache, tmp_path / "run").model()
    generator = build(model, seed=0).generator
    convolutions = [m for m in generator.decoder.modules() if isinstance(m, torch.nn.Conv2d)]
    with torch.no_grad():
        if output == "blank":
            convolutions[-1].weight.zero_()
            convolutions[-1].bias.fill_(0.3)
        elif output == "one image":  # whatever is encoded, what is decoded is of zeros
            for bottleneck in generator.bottlenecks:
                bottleneck.weight.zero_()
            for convolution in convolutions:
                convolution.bias.normal_(generator=torch.Generator().manual_seed(1))
    start = save_generator(generator, tmp_path / "start.safetensors", model)
    config = tiny(
        *(cache, tmp_path / "run"),
        **{"stage1_steps": 24, "stage2_steps": 0, "log_every": 1, "learning_rate": 1e-9},
        checkpoint_every=99,
        start_from=str(start),
    )
    assert (config.collapse_ratio, config.collapse_checks) == (1e-3, 20)
    if output == "varied":
        assert train(config).is_finished
        return
    with pytest.raises(RunError) as caught:
        train(config)
    assert "the generator collapsed by step 20: for 20 checks" in one_sentence(caught.value)


def save_generator(generator, path, model):
    described = {
        **{"name": "start", "model": asdict(model), "window_hu": list(DEFAULT_WINDOW), "steps": 0},
        **{"steps_planned": 0, "scans": 0, "patients": 0, "collections": []},
    }
    save_weights(path, generator.state_dict(), described)
    return path

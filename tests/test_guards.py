from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import RunError  # noqa: E402
from hrinet.train.checkpoint import checkpoints, load_snapshot  # noqa: E402
from hrinet.train.config import TrainConfig  # noqa: E402
from hrinet.train.guards import Guards, check_finite, spread  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
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


def test_a_generator_that_gives_one_image_stops(tmp_path):
    cache = make_cache(tmp_path)
    # Nothing is this varied: every check is a low one.
    config = replace(tiny(cache, tmp_path / "run"), collapse_ratio=1e6, collapse_checks=2)
    with pytest.raises(RunError) as caught:
        train(config)
    assert "the generator collapsed" in one_sentence(caught.value)

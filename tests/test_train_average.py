"""The moving average of the generator's weights, and what is said of it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.train import loop  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.weights.files import read_weights  # noqa: E402
from test_train_loop import has_changed, networks_after, weights_at_start  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scans"))


def test_the_average_is_that_of_the_weights_after_every_step(cache, tmp_path):
    config = tiny(cache, tmp_path / "run", average=0.7)
    average = {
        name: tensor.double() for name, tensor in weights_at_start(config)["generator"].items()
    }
    for number in range(config.steps):  # of a run that is interrupted after every step
        train(replace(config, max_minutes=0.0))
        share = min(0.7, (number + 1) / (number + 10))
        for name, tensor in networks_after(tmp_path / "run")["generator"].items():
            average[name] = share * average[name] + (1 - share) * tensor
    found = networks_after(tmp_path / "run")
    assert has_changed(found["generator"], found["average"])
    for name, tensor in found["average"].items():
        torch.testing.assert_close(tensor, average[name].float(), rtol=1e-4, atol=1e-6)
    exported, _ = read_weights(tmp_path / "run" / "weights.safetensors")
    assert not has_changed(found["average"], exported)
    train(replace(config, output=str(tmp_path / "whole")))
    whole = networks_after(tmp_path / "whole")
    assert not any(has_changed(whole[name], found[name]) for name in whole)


def test_the_average_stays_out_of_autograd(cache, tmp_path, monkeypatch):
    exported = []
    monkeypatch.setattr(loop, "export_weights", lambda network, *_, **__: exported.append(network))
    train(tiny(cache, tmp_path, average=0.7))
    assert all(p.is_leaf and not p.requires_grad for p in exported[0].parameters())


def test_averaging_may_begin_late_and_changes_no_step(cache, tmp_path):
    config = tiny(cache, tmp_path / "run")
    train(replace(config, max_minutes=0.0))
    train(replace(config, average=0.9))
    train(replace(config, output=str(tmp_path / "without")))
    found, without = networks_after(tmp_path / "run"), networks_after(tmp_path / "without")
    assert not any(has_changed(without[name], found[name]) for name in without)
    assert set(found) == {*without, "average"}
    longer = replace(config, stage2_steps=config.stage2_steps + 1)
    train(longer)  # and may end
    assert set(networks_after(tmp_path / "run")) == set(without)


def test_an_average_of_no_step_is_refused(cache, tmp_path):
    config = tiny(cache, tmp_path / "run")
    train(config)
    left = sorted((path, path.read_bytes()) for path in config.output_folder().glob("weights.*"))
    said = r"has done all its 10 steps, and none is left for an average of 0\.9; set average back"
    with pytest.raises(RequestError, match=said):
        train(replace(config, average=0.9))
    assert left == sorted((path, path.read_bytes()) for path, _ in left)
    assert averaged_in(config.output_folder()) == (0, 0.0)

    longer = replace(config, stage2_steps=config.stage2_steps + 2, average=0.9)
    train(longer)
    assert averaged_in(config.output_folder()) == (2, 0.9)
    with pytest.raises(RequestError, match=r"none is left for an average of 0\.5"):
        train(replace(longer, average=0.5))
    train(replace(longer, average=0.0))  # the last weights, without a step
    assert averaged_in(config.output_folder()) == (0, 0.0)
    exported, _ = read_weights(config.output_folder() / "weights.safetensors")
    assert not has_changed(exported, networks_after(config.output_folder())["generator"])
    train(longer)
    assert averaged_in(config.output_folder()) == (2, 0.9)


def test_an_average_with_another_factor_begins_anew(cache, tmp_path):
    config = tiny(cache, tmp_path / "run")
    for average in (0.9, 0.9, 0.5, 0.5):
        train(replace(config, average=average, max_minutes=0.0))  # a step each
    assert averaged_in(tmp_path / "run") == (2, 0.5)
    whole = replace(config, output=str(tmp_path / "whole"))
    train(replace(whole, average=0.0, max_minutes=0.0))
    train(replace(whole, average=0.0, max_minutes=0.0))
    for _ in range(2):
        train(replace(whole, average=0.5, max_minutes=0.0))
    found, expected = networks_after(tmp_path / "run"), networks_after(tmp_path / "whole")
    assert not has_changed(found["average"], expected["average"])


def averaged_in(folder) -> tuple[int, float]:
    """What the description says: steps in the average, and its factor."""
    told = json.loads((folder / "weights.json").read_text("utf-8"))
    return told["averaged"], told["config"]["average"]

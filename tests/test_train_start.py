"""Beginning with a trained model, or with another run's stage 1."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.networks.family import build, model_config  # noqa: E402
from hrinet.train.checkpoint import newest_snapshot  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.train.start import start_from_weights  # noqa: E402
from hrinet.weights.files import read_weights, save_weights  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402

WINDOW = (-1024.0, 3071.0)
NAMES = ("whole", "second")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return make_cache(tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def one_stage(cache, tmp_path_factory):
    """A run that ended with stage 1."""
    folder = tmp_path_factory.mktemp("runs") / "stage1"
    train(tiny(cache, folder, "hrinet-mse", stage2_steps=0))
    return folder


def saved(tmp_path, name, **values):
    """Random weights of a model of the family, in a file."""
    config = model_config(name)
    network = build(config, seed=3).generator
    described = {
        "name": name,
        "model": asdict(config),
        "window_hu": [-1024.0, 3071.0],
        "steps": 7,
        "steps_planned": 7,
        "scans": 1,
        "patients": 1,
        "collections": [],
        **values,
    }
    path = tmp_path / f"{name}.safetensors"
    save_weights(path, network.state_dict(), described)
    return path, network


def weights_of(folder):
    snapshot = newest_snapshot(folder)
    return {key: t for key, t in snapshot.tensors.items() if not key.startswith("random/")}


def test_a_deeper_generator_begins_as_the_same_function(tmp_path):
    path, shallow = saved(tmp_path, "acai")
    deep = build(model_config("hrinet-mse"), seed=5).generator
    random = torch.Generator().manual_seed(0)
    first, second = torch.rand((2, 3, 1, 128, 64), generator=random)
    a = torch.tensor([0.0, 0.3, 1.0])
    with torch.no_grad():
        assert not torch.allclose(deep(first, second, a), shallow(first, second, a), atol=1e-3)
        began = start_from_weights(deep, path, window=WINDOW)
        torch.testing.assert_close(
            deep(first, second, a), shallow(first, second, a), rtol=0, atol=1e-6
        )
    assert (began["name"], began["steps"]) == ("acai", 7)


def test_the_deeper_maps_learn_from_the_first_steps(tmp_path):
    path, _ = saved(tmp_path, "acai")
    deep = build(model_config("hrinet-mse"), seed=5).generator
    start_from_weights(deep, path, window=WINDOW)
    random = torch.Generator().manual_seed(0)
    x = torch.rand((2, 1, 64, 64), generator=random)
    optimizer = torch.optim.Adam(deep.parameters(), lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        (deep.reconstruct(x) - x).square().mean().backward()
        deepest = deep.bottlenecks[2].weight.grad
        assert bool(deepest.abs().max() > 0) == (step > 0)  # behind zeros at the very first
        optimizer.step()


def test_the_same_model_is_taken_over_whole(tmp_path):
    path, network = saved(tmp_path, "hrinet-mse", started_from={"name": "acai"})
    other = build(model_config("hrinet-perceptual"), seed=5).generator
    began = start_from_weights(other, path, window=WINDOW)
    own, theirs = other.state_dict(), network.state_dict()
    assert all(torch.equal(own[name], theirs[name]) for name in theirs)
    assert began["started_from"] == {"name": "acai"}


def test_weights_that_do_not_fit_are_refused(tmp_path):
    path, _ = saved(tmp_path, "hrinet-mse")
    with pytest.raises(InputError, match="does not fit the generator"):
        start_from_weights(build(model_config("ae")).generator, path, window=WINDOW)
    with pytest.raises(InputError, match="does not exist"):
        none = tmp_path / "none.safetensors"
        start_from_weights(build(model_config("ae")).generator, none, window=WINDOW)


@pytest.mark.parametrize("window", [[-160.0, 240.0], None])
def test_weights_of_another_window_are_refused(tmp_path, window):
    path, _ = saved(tmp_path, "hrinet-mse", window_hu=window)
    said = rf"mse\.safetensors: was trained with window_hu {re.escape(str(window))}, but the cache "
    with pytest.raises(InputError, match=said):
        start_from_weights(build(model_config("hrinet-mse")).generator, path, window=WINDOW)


@pytest.mark.parametrize("recipe", ["hrinet-mse", "hrinet-perceptual", "hrinet-patchgan"])
def test_stage_1_of_another_run_gives_the_same_bits(cache, one_stage, tmp_path, recipe):
    train(tiny(cache, tmp_path / "whole", recipe))
    train(tiny(cache, tmp_path / "second", recipe, stage1_from=str(one_stage)))
    whole, second = weights_of(tmp_path / "whole"), weights_of(tmp_path / "second")
    assert whole.keys() == second.keys()
    assert all(torch.equal(whole[key], second[key]) for key in whole)


def test_stage_1_of_another_run_brings_its_average(cache, tmp_path):
    whole = tiny(cache, tmp_path / "whole", average=0.7)
    train(whole)
    train(replace(whole, output=str(tmp_path / "first"), stage2_steps=0))
    second = replace(whole, output=str(tmp_path / "second"), stage1_from=str(tmp_path / "first"))
    train(second)
    exported = [read_weights(tmp_path / name / "weights.safetensors")[0] for name in NAMES]
    assert all(torch.equal(exported[0][key], exported[1][key]) for key in exported[0])
    averaged = {newest_snapshot(tmp_path / name).facts["averaged"] for name in NAMES}
    assert averaged == {whole.steps}
    train(replace(second, output=str(tmp_path / "anew"), average=0.5))
    assert newest_snapshot(tmp_path / "anew").facts["averaged"] == whole.second_steps
    without = replace(second, output=str(tmp_path / "without"), average=0.0)
    train(without)
    assert not any("network/average" in key for key in weights_of(tmp_path / "without"))


def test_what_a_run_began_with_is_in_its_description(cache, tmp_path):
    sizes = {"width": 2, "size": 64}
    config = model_config("acai")
    network = build(tiny(cache, tmp_path / "x", "acai").model(), seed=3).generator
    path = tmp_path / "acai.safetensors"
    described = {
        "name": "acai",
        "model": {**asdict(config), **sizes},
        "window_hu": [-1024.0, 3071.0],
        "steps": 7,
        "steps_planned": 7,
        "scans": 1,
        "patients": 1,
        "collections": [],
        "config": {"batch": 8},
    }
    save_weights(path, network.state_dict(), described)
    run = tmp_path / "run"
    train(tiny(cache, run, "hrinet-mse", stage2_steps=0, start_from=str(path)))
    train(tiny(cache, tmp_path / "two", "hrinet-mse", stage1_from=str(run)))
    for folder in (run, tmp_path / "two"):
        values = json.loads((folder / "weights.json").read_text("utf-8"))
        began = values["started_from"]
        assert (began["name"], began["steps"], began["batch"]) == ("acai", 7, 8)
        assert str(tmp_path) not in json.dumps(values)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"learning_rate": 2e-3}, "learning_rate"),
        ({"stage1_steps": 3}, "stage 1 has 4 steps, expected 3"),
        ({"stage1_steps": 2}, "has no checkpoint-000000002"),
        ({"batch": 2}, "batch"),
        ({"seed": 1}, "seed"),
    ],
)
def test_stage_1_that_was_trained_otherwise_is_refused(cache, one_stage, tmp_path, changes, said):
    config = tiny(cache, tmp_path / "run", "hrinet-mse", stage1_from=str(one_stage), **changes)
    with pytest.raises((InputError, RequestError), match=said):
        train(config)


def test_only_one_beginning(cache, tmp_path):
    with pytest.raises(RequestError, match="both set"):
        tiny(cache, tmp_path, start_from="a.safetensors", stage1_from="b")

from __future__ import annotations

import json
from dataclasses import asdict

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hrinet.errors import InputError  # noqa: E402
from hrinet.networks.flow_net import FlowNet, FlowNetConfig  # noqa: E402
from hrinet.synthesize.registry import METHODS  # noqa: E402
from hrinet.weights.files import save_weights  # noqa: E402
from hrinet.weights.generator import load_generator  # noqa: E402
from weights_tools import save_small  # noqa: E402

SHIPPED = [m for m in METHODS if m.kind == "family" and m.is_installed]


def test_the_generator_is_the_one_that_was_saved(tmp_path):
    saved = save_small(tmp_path / "w.safetensors", window_hu=[-1000, 400])
    trained = load_generator(tmp_path / "w.safetensors")
    assert trained.window_hu == (-1000.0, 400.0)
    assert not any(parameter.requires_grad for parameter in trained.network.parameters())
    x1, x2 = torch.rand(2, 1, 1, 64, 64)
    a = torch.tensor([0.3])
    with torch.no_grad():
        assert torch.equal(trained.network(x1, x2, a), saved(x1, x2, a))


@pytest.mark.parametrize(
    "change",
    [
        {"window_hu": [100, -100]},
        {"window_hu": [0]},
        {"window_hu": None},
        {"window_hu": [0, float("inf")]},
        {"model": {"width": 3}},
        {"model": {"depth": 3}},
        {"model": {"size": 100}},
    ],
)
def test_a_description_that_does_not_fit_is_a_clear_error(tmp_path, change):
    save_small(tmp_path / "w.safetensors")
    told = json.loads((tmp_path / "w.json").read_text())
    (tmp_path / "w.json").write_text(json.dumps({**told, **change}))
    with pytest.raises(InputError, match=r"w\.safetensors: does not fit the model in w\.json"):
        load_generator(tmp_path / "w.safetensors")


@pytest.mark.parametrize(
    ("name", "words"),
    [("hrinet-flow", "the weights are"), ("own", r"the weights \(named 'own'\) are")],
)
def test_weights_of_hrinet_flow_are_named_as_such(tmp_path, name, words):
    network = FlowNet(FlowNetConfig(decoder_blocks=1, encoder_blocks=1))
    described = {
        **{"name": name, "model": asdict(network.config), "steps": 0, "steps_planned": 0},
        **{"scans": 0, "patients": 0, "collections": []},
    }
    save_weights(tmp_path / "w.safetensors", network.state_dict(), described)
    with pytest.raises(InputError, match=f"{words} of hrinet-flow, not of the family"):
        load_generator(tmp_path / "w.safetensors")


@pytest.mark.skipif(not SHIPPED, reason="no weights in the package")
@pytest.mark.parametrize("method", SHIPPED, ids=lambda method: method.name)
def test_what_ships_loads_and_is_described(method):
    trained = load_generator(method.weights)
    assert trained.description.name == method.name
    assert trained.description.licence
    assert trained.description.collections
    card = method.weights.with_suffix(".md").read_text("utf-8")
    assert trained.description.sha256 in card
    assert "Not a medical device" in card

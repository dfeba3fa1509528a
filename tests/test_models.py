from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from hrinet.commands.app import app
from hrinet.errors import RequestError
from hrinet.report.models import describe_models, list_models, model_card
from hrinet.synthesize import registry
from hrinet.synthesize.registry import METHODS


@pytest.fixture
def shipped(monkeypatch, tmp_path):
    """One method with weights, and the others as they would be without any."""
    pytest.importorskip("torch")
    pytest.importorskip("safetensors")
    from weights_tools import save_small

    path = tmp_path / "acai.safetensors"
    save_small(path, name="acai", licence="Apache-2.0", precision="float16")
    (tmp_path / "acai.md").write_text("# acai\n\nA card.\n")
    methods = [
        m if m.weights is None else replace(m, weights=tmp_path / m.weights.name) for m in METHODS
    ]
    monkeypatch.setattr(registry, "METHODS", tuple(methods))
    return path


def test_all_methods_are_listed(shipped):
    listed = {model["name"]: model for model in list_models()}
    assert list(listed) == [method.name for method in METHODS]
    assert listed["flow"]["is_auto"]
    assert listed["flow"]["weights"] is None
    assert not listed["hrinet-mse"]["is_installed"]
    assert "--weights" in listed["hrinet-mse"]["missing"]
    weights = listed["acai"]["weights"]
    assert weights["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
    assert weights["megabytes"] == pytest.approx(shipped.stat().st_size / 1e6, abs=0.01)
    assert (weights["steps"], weights["scans"], len(weights["collections"])) == (6000, 7, 2)


def test_parameters_are_those_of_the_network(shipped):
    from weights_tools import small_generator

    expected = sum(p.numel() for p in small_generator("acai").parameters())
    listed = {model["name"]: model for model in list_models()}
    assert listed["acai"]["weights"]["parameters"] == expected


def test_the_table_has_a_line_a_method(shipped):
    text = describe_models(list_models(), width=200)
    lines = text.splitlines()
    for method in METHODS:
        assert sum(line.startswith(f"{method.name} ") for line in lines) == 1
    row = next(line for line in lines if line.startswith("acai "))
    digest = hashlib.sha256(shipped.read_bytes()).hexdigest()
    for cell in ("family", "yes", "6000", digest[:12], "Apache-2.0"):
        assert cell in row
    assert "yes, auto" in next(line for line in lines if line.startswith("flow "))
    assert max(map(len, describe_models(list_models(), width=80).splitlines())) <= 80


def test_what_is_missing_is_in_the_table(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    text = describe_models(list_models(), width=200)
    assert "pip install 'hrinet[torch]'" in text


def test_cards(shipped):
    assert model_card("acai").endswith("A card.")
    assert "Not installed: has no weights" in model_card("hrinet-mse")
    assert model_card("auto").startswith("flow (classical): optical flow")
    with pytest.raises(RequestError, match="no method 'vae'"):
        model_card("vae")


def test_the_command(shipped):
    table = CliRunner().invoke(app, ["models"])
    assert table.exit_code == 0
    assert "acai" in table.stdout
    listed = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)["models"]
    assert listed == list_models()
    one = json.loads(CliRunner().invoke(app, ["models", "acai", "--json"]).stdout)
    assert one["weights"]["steps"] == 6000
    assert "A card." in one["card"]
    assert "A card." in CliRunner().invoke(app, ["models", "acai"]).stdout

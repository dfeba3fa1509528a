from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import hrinet
from hrinet.commands.app import app
from hrinet.errors import RequestError
from hrinet.synthesize import registry
from hrinet.synthesize.registry import (
    METHODS,
    Choices,
    find_method,
    installed_methods,
    method_help,
    method_names,
    ranked_methods,
    second_best,
)

RANKED = ["repeat", "linear", "cubic", "flow", "hrinet-flow"]
FAMILY = ["ae", "acai", "hrinet-patchgan", "hrinet-mse", "hrinet-perceptual"]


@pytest.fixture
def without_torch(monkeypatch):
    find_spec = importlib.util.find_spec
    absent = ("torch", "safetensors")
    monkeypatch.setattr(
        "importlib.util.find_spec", lambda name: None if name in absent else find_spec(name)
    )


def test_names_are_unique_and_the_family_is_among_them():
    assert len(set(method_names())) == len(METHODS) + 1
    assert [method.name for method in METHODS if method.kind == "family"] == FAMILY


def test_auto_is_the_highest_rank_and_never_the_family():
    ranks = [method.rank for method in METHODS if method.rank is not None]
    assert len(set(ranks)) == len(ranks)
    ranked = sorted(
        (method for method in METHODS if method.rank is not None), key=lambda method: method.rank
    )
    assert [method.name for method in ranked] == RANKED
    assert [method.name for method in ranked_methods()][:4] == RANKED[:4]
    assert all(method.rank is None for method in METHODS if method.kind == "family")


def test_auto_falls_back_where_the_best_is_not_installed(monkeypatch, tmp_path):
    best = replace(find_method("cubic"), name="best", rank=99)
    monkeypatch.setattr(registry, "METHODS", (best, *METHODS))
    assert find_method().name == "best"
    assert "the best installed, best)" in method_help()
    for lacking in (
        replace(best, modules=("no_such_module",), extra="x"),
        replace(best, weights=tmp_path / "none.safetensors"),
    ):
        monkeypatch.setattr(registry, "METHODS", (lacking, *METHODS))
        assert find_method().name == ranked_methods()[-1].name != "best"
        assert lacking not in installed_methods()


@pytest.mark.usefixtures("without_torch")
def test_without_torch_one_sentence_says_what_to_install(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    arguments = ["interpolate", str(tmp_path / "in.nii"), str(tmp_path / "out.nii")]
    for name in FAMILY:
        failed = CliRunner().invoke(app, [*arguments, "--method", name]).exception
        assert isinstance(failed, RequestError)
        assert failed.exit_code == 2
        assert str(failed).startswith(f"method {name!r} needs torch and safetensors: ")
        assert str(failed).endswith("pip install 'hrinet[torch]'")
    assert not (tmp_path / "out.nii").exists()
    assert find_method("auto").name in ("flow", "hrinet-flow")
    assert find_method("auto").name == [method.name for method in installed_methods()][-1]


@pytest.fixture
def openvino_here(monkeypatch, request):
    """Whether OpenVINO can be found, whatever is really installed; and weights are there."""
    find_spec, is_here = importlib.util.find_spec, request.param

    def find(name):
        return (object() if is_here else None) if name == "openvino" else find_spec(name)

    monkeypatch.setattr("importlib.util.find_spec", find)
    there = replace(find_method("hrinet-flow"), weights=Path(__file__))
    methods = tuple(there if method.name == "hrinet-flow" else method for method in METHODS)
    monkeypatch.setattr(registry, "METHODS", methods)


@pytest.mark.parametrize("openvino_here", [True], indirect=True)
@pytest.mark.usefixtures("openvino_here")
def test_auto_is_the_network_where_it_can_run():
    assert find_method().name == "hrinet-flow"
    assert "the best installed, hrinet-flow)" in method_help()
    assert second_best() is None


@pytest.mark.parametrize("openvino_here", [False], indirect=True)
@pytest.mark.usefixtures("openvino_here")
def test_without_openvino_auto_is_the_next_and_says_so():
    assert find_method().name == "flow"
    assert second_best() == ("used flow, because hrinet-flow needs openvino: pip install openvino")
    assert second_best("cubic") is None
    assert second_best("flow") is None
    with pytest.raises(RequestError, match="method 'hrinet-flow' needs openvino: pip install open"):
        registry.build_interpolator("hrinet-flow")


@pytest.mark.parametrize("openvino_here", [True], indirect=True)
@pytest.mark.usefixtures("openvino_here")
def test_without_its_weights_auto_is_the_next_and_says_so(monkeypatch, tmp_path):
    lacking = replace(find_method("hrinet-flow"), weights=tmp_path / "none.safetensors")
    methods = [lacking if m.name == "hrinet-flow" else m for m in METHODS]
    monkeypatch.setattr(registry, "METHODS", tuple(methods))
    assert find_method().name == "flow"
    assert second_best().startswith("used flow, because hrinet-flow has no weights in this")


@pytest.mark.parametrize("name", ["cubic", "flow", "ae"])
def test_only_the_network_computes_in_bfloat16(name):
    ready = replace(find_method(name), modules=(), weights=None)
    with pytest.raises(RequestError) as caught:
        ready.make(Choices(precision="bf16"))
    assert str(caught.value) == (f"method {name!r} cannot compute in bf16; choose one of auto, f32")
    assert find_method("hrinet-flow").precisions == ("auto", "f32", "bf16")


def test_the_choices_reach_the_method():
    asked: list[Choices] = []
    method = replace(find_method("hrinet-flow"), modules=(), weights=None, build=asked.append)
    for precision in ("auto", "f32", "bf16"):
        method.make(Choices(precision=precision))
    method.make(Choices(quality="best", device="cuda"))
    assert [choices.precision for choices in asked] == ["auto", "f32", "bf16", "auto"]
    assert [choices.quality for choices in asked] == ["standard"] * 3 + ["best"]
    assert [choices.device for choices in asked] == ["cpu"] * 3 + ["cuda"]


def test_a_method_without_its_weights_says_so(tmp_path):
    pytest.importorskip("torch")
    lacking = replace(find_method("ae"), weights=tmp_path / "ae.safetensors")
    with pytest.raises(RequestError, match="'ae' has no weights in this installation: pass --wei"):
        lacking.make()


def test_listing_the_methods_loads_nothing_heavy():
    code = (
        "import sys; from hrinet.synthesize.registry import METHODS, method_help; method_help();"
        "[m.missing for m in METHODS];"
        "print([m for m in ('numpy', 'cv2', 'torch', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


class TestOwnWeights:
    @pytest.fixture
    def path(self, tmp_path):
        pytest.importorskip("torch")
        pytest.importorskip("safetensors")
        from weights_tools import save_small

        save_small(tmp_path / "w.safetensors", name="hrinet-mse")
        return tmp_path / "w.safetensors"

    def test_the_name_comes_from_the_description(self, path):
        method = find_method(weights=path)
        assert (method.name, method.kind, method.missing) == ("hrinet-mse", "family", "")
        assert method.make().name == "hrinet-mse"
        assert find_method("hrinet-mse", weights=path).name == "hrinet-mse"

    def test_another_method_contradicts_them(self, path):
        with pytest.raises(RequestError, match="'hrinet-mse', which --method ae contradicts"):
            find_method("ae", weights=path)

    def test_label_maps_refuse_them(self, path, thick):
        with pytest.raises(RequestError, match="leave out --weights"):
            hrinet.interpolate(thick, label=True, weights=path)

    @pytest.mark.parametrize("broken", ["weights", "description", "both"])
    def test_damage_is_exit_code_2_and_no_output(self, path, thick, tmp_path, broken):
        hrinet.write(thick, tmp_path / "in.nii")
        if broken in ("weights", "both"):
            path.write_bytes(path.read_bytes()[:-7])
        if broken in ("description", "both"):
            path.with_suffix(".json").write_text("{")
        command = ["-m", "hrinet", "interpolate", "in.nii", "out.nii", "--weights", str(path)]
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert len(done.stderr.strip().splitlines()) == 1
        assert "SHA-256" in done.stderr if broken == "weights" else "is no JSON" in done.stderr
        assert not (tmp_path / "out.nii").exists()


class TestOwnFlowWeights:
    @pytest.fixture
    def path(self, tmp_path):
        for module in ("torch", "safetensors", "openvino"):
            pytest.importorskip(module)
        from flow_tools import perturbed, save_flow

        save_flow(tmp_path / "w.safetensors", perturbed(), name="mine")
        return tmp_path / "w.safetensors"

    def test_they_run_without_torch_under_their_own_name(self, path, thick):
        method = find_method(weights=path)
        assert (method.name, method.kind, method.missing) == ("mine", "network", "")
        assert method.modules == ("openvino",)
        filled = hrinet.interpolate(thick, factor=2, weights=path)
        assert {entry.method for entry in filled.provenance if entry.is_synthetic} == {"mine"}
        with pytest.raises(RequestError, match="'mine', which --method hrinet-flow contradicts"):
            find_method("hrinet-flow", weights=path)

    def test_fresh_from_training_they_need_their_graphs(self, path):
        from hrinet.errors import InputError

        told = json.loads(path.with_suffix(".json").read_text())
        del told["graphs"]
        path.with_suffix(".json").write_text(json.dumps(told))
        with pytest.raises(
            InputError, match=r"w\.json: names no graphs that run the network; tool"
        ):
            find_method(weights=path).make()

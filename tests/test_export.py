from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from safetensors.torch import load_file  # noqa: E402

from hrinet.networks.family import ModelConfig, build  # noqa: E402
from hrinet.train.checkpoint import newest_snapshot  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.train.manifest import load_manifest, save_manifest  # noqa: E402
from hrinet.weights.generator import load_generator  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run, from a manifest on."""
    root = tmp_path_factory.mktemp("scans")
    made = make_cache(root)
    listed = [
        {"path": f"{p}.nii", "patient": p, "split": "validation" if p == "v" else "train"}
        for p in "abcv"
    ]
    for entry in listed:
        entry.update(collection="made" if entry["path"] != "b.nii" else "other", licence="CC0")
    path = root / "own.json"
    path.write_text(json.dumps({"schema": "hrinet-manifest-1", "entries": listed}))
    save_manifest(load_manifest(path), root / "manifest.json")
    config = tiny(made, root / "run", manifest=str(root / "manifest.json"))
    config = replace(config, cache=str(root / "built-by-the-run"))
    assert train(config).weights == root / "run" / "weights.safetensors"
    return root / "run"


def test_the_description(run):
    description = json.loads((run / "weights.json").read_text())
    content = (run / "weights.safetensors").read_bytes()
    assert description["sha256"] == hashlib.sha256(content).hexdigest()
    assert description["name"] == "hrinet-mse"
    assert description["window_hu"] == [-1024, 3071]
    assert (description["size"], description["seed"]) == (64, 0)
    assert description["steps"] == description["steps_planned"] == 10
    assert (description["scans"], description["patients"]) == (3, 3)
    assert description["collections"] == [
        {"collection": "made", "licence": "CC0", "scans": 2},
        {"collection": "other", "licence": "CC0", "scans": 1},
    ]
    assert str(run.parent) not in json.dumps(description)


def test_the_weights_give_what_the_trained_generator_gives(run):
    description = json.loads((run / "weights.json").read_text())
    direct = build(ModelConfig(**description["model"]), seed=9).generator
    direct.load_state_dict(load_file(run / "weights.safetensors"))
    trained = load_generator(run / "weights.safetensors")
    assert trained.description.values == description
    loaded = trained.network
    at_the_end = build(ModelConfig(**description["model"]), seed=8).generator
    tensors = newest_snapshot(run).tensors
    prefix = "network/generator/"
    at_the_end.load_state_dict(
        {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    )
    x1, x2 = torch.rand(2, 3, 1, 64, 64)
    a = torch.tensor([0.0, 0.3, 1.0])
    with torch.no_grad():
        expected = at_the_end(x1, x2, a)
        assert torch.equal(direct(x1, x2, a), expected)
        assert torch.equal(loaded(x1, x2, a), expected)

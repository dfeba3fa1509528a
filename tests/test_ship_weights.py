from __future__ import annotations

import hashlib
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.networks.family import FAMILY  # noqa: E402
from hrinet.synthesize.registry import find_method  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.description import read_description  # noqa: E402
from hrinet.weights.files import read_weights  # noqa: E402
from hrinet.weights.generator import load_generator  # noqa: E402
from test_readme import load_tool  # noqa: E402
from weights_tools import save_small  # noqa: E402

ship_weights = load_tool("ship_weights")

TRAINED = [name for name in FAMILY if find_method(name).is_installed]


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    save_small(tmp_path / "run" / "weights.safetensors")
    return tmp_path / "run"


def test_three_files_from_a_run(run, tmp_path):
    target = tmp_path / "hrinet-mse.safetensors"
    files = ship_weights.ship(run, target, licence="Apache-2.0")
    assert [f.name for f in files] == [f"hrinet-mse.{e}" for e in ("safetensors", "json", "md")]
    trained, _ = read_weights(run / "weights.safetensors")
    shipped, description = read_weights(target)
    assert all(torch.equal(shipped[name], t.half().float()) for name, t in trained.items())
    told = json.loads(target.with_suffix(".json").read_text())
    before = hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
    assert told["trained_sha256"] == before != told["sha256"]
    assert (told["licence"], told["precision"]) == ("Apache-2.0", "float16")
    assert told["window_hu"] == [-1024, 3071]
    assert load_generator(target).description == description


def test_the_card_tells_what_a_user_has_to_know(run, tmp_path):
    target = tmp_path / "hrinet-mse.safetensors"
    card = ship_weights.ship(run, target, licence="Apache-2.0")[-1].read_text()
    sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
    for line in (
        "| steps of stage 1 | 5000 of 5000; 500000 in the recipe |",
        "| steps of stage 2 | 1000 of 5000; 500000 in the recipe |",
        "| window | -1024 to 3071 HU become 0 to 1 |",
        "| training size | 64 x 64 pixels |",
        "| one | CC BY 4.0 | 4 |",
        "| two | CC0 | 3 |",
        "| trained on | 7 scans of 6 patients |",
        f"| SHA-256 | `{sha256}` |",
        "| licence | Apache-2.0 |",
        "Not a medical device; not for diagnosis.",
    ):
        assert line in card.splitlines()


@pytest.mark.parametrize(
    ("averaged", "row"),
    [
        ({}, None),  # as descriptions were once
        ({"averaged": 0}, "| weights | the last step's |"),
        ({"averaged": 40}, "| weights | moving average (0.9) of the last 40 steps |"),
    ],
)
def test_the_card_tells_what_was_really_averaged(run, tmp_path, averaged, row):
    path = run / "weights.safetensors"
    told = json.loads(path.with_suffix(".json").read_text())
    told["config"]["average"] = 0.0 if averaged == {"averaged": 0} else 0.9
    path.with_suffix(".json").write_text(json.dumps({**told, **averaged}))
    card = ship_weights.ship(run, tmp_path / "hrinet-mse.safetensors", licence="Apache-2.0")[-1]
    rows = [line for line in card.read_text().splitlines() if line.startswith("| weights")]
    assert rows == ([row] if row else [])


def test_what_is_no_method_or_damaged_is_not_shipped(run, tmp_path):
    target = tmp_path / "x.safetensors"
    path = run / "weights.safetensors"
    save_small(path, name="hrinet-mse")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        ship_weights.ship(run, target, licence="Apache-2.0")
    told = json.loads((run / "weights.json").read_text())
    told |= {"name": "own", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    save_small(path)
    told["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
    (run / "weights.json").write_text(json.dumps(told))
    with pytest.raises(RequestError, match="'own', which is no method"):
        ship_weights.ship(run, target, licence="Apache-2.0")
    assert not target.exists()


@pytest.mark.parametrize("name", TRAINED)
def test_the_cards_that_ship_are_of_the_weights_that_ship(name):
    weights = packaged_weights(name)
    card = ship_weights.model_card(read_description(weights), weights)
    assert weights.with_suffix(".md").read_text("utf-8") == card

from __future__ import annotations

import hashlib
import json

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

from flow_tools import CALIBRATION, one_thread, perturbed, told  # noqa: E402, F401
from hrinet.errors import InputError  # noqa: E402
from hrinet.weights.files import read_weights, save_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_readme import load_tool  # noqa: E402

ship_flow = load_tool("ship_flow")


@pytest.fixture
def run(tmp_path):
    """A folder as training leaves it: no graphs, no calibration."""
    (tmp_path / "run").mkdir()
    network = perturbed()
    description = {
        "name": "hrinet-flow",
        "model": network.describe(),
        "steps": 400,
        "steps_planned": 500,
        "scans": 3,
        "patients": 2,
        "scans_of_known_thickness": 2,
        "collections": [{"collection": "one", "licence": "CC0", "scans": 3}],
        "config": {"batch": 64},
    }
    save_weights(tmp_path / "run" / "weights.safetensors", network.state_dict(), description)
    (tmp_path / "calibration.json").write_text(json.dumps(CALIBRATION))
    return tmp_path / "run"


def ship(run, target):
    calibration = run.parent / "calibration.json"
    return ship_flow.ship(run, calibration, target, licence="Apache-2.0")


def test_five_files_from_a_run(run, tmp_path):
    target = tmp_path / "hrinet-flow.safetensors"
    files = ship(run, target)
    assert {file.name for file in files} == {
        *(f"hrinet-flow.{suffix}" for suffix in ("safetensors", "json", "md")),
        *(f"hrinet-flow-{part}.onnx" for part in ("encoder", "decoder")),
    }
    trained, _ = read_weights(run / "weights.safetensors")
    shipped, description = read_weights(target)
    for name, tensor in trained.items():
        if tensor.ndim == 1:
            assert torch.equal(shipped[name], tensor)
        else:  # to eight bits
            torch.testing.assert_close(shipped[name], tensor, rtol=2**-8, atol=0.0)
            assert torch.equal(shipped[name], shipped[name].bfloat16().float())
    assert (description.licence, description.steps) == ("Apache-2.0", 400)
    graphs = load_flow(target)
    assert graphs.description == description
    assert graphs.calibration.largest_gap_mm == CALIBRATION["largest_gap_mm"]
    assert graphs.knows_thickness
    for part in ("encoder", "decoder"):
        content = (tmp_path / f"hrinet-flow-{part}.onnx").read_bytes()
        assert hashlib.sha256(content).hexdigest() == told(target)["graphs"][part]


def test_the_card_tells_what_a_user_has_to_know(run, tmp_path):
    target = tmp_path / "hrinet-flow.safetensors"
    ship(run, target)
    lines = target.with_suffix(".md").read_text("utf-8").splitlines()
    sha256 = hashlib.sha256(target.read_bytes()).hexdigest()
    for line in (
        "# hrinet-flow",
        "| training steps | 400 of 64 crops |",
        "| trained on | 3 scans of 2 patients |",
        "| errors calibrated on | one, gaps up to 12 mm |",
        f"| SHA-256 | `{sha256}` |",
        "| licence | Apache-2.0 |",
        "| one | CC0 | 3 |",
        "Not a medical device; not for diagnosis.",
    ):
        assert line in lines
    results = json.loads((ship_flow.RESULTS / "trust.json").read_text())
    found = results["test/aapm_L291 x2"]["found"]
    (row,) = (line for line in lines if line.startswith("| aapm_L291 x2 (4 mm) | +"))
    assert f" | {found:.1f} | " in row


def test_what_is_damaged_is_not_shipped(run, tmp_path):
    target = tmp_path / "hrinet-flow.safetensors"
    weights = run / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(InputError, match="SHA-256"):
        ship(run, target)
    assert not target.exists()


def test_a_damaged_calibration_does_not_go_unnoticed(run, tmp_path):
    (tmp_path / "calibration.json").write_text(json.dumps({**CALIBRATION, "half_width": [1.0]}))
    target = tmp_path / "hrinet-flow.safetensors"
    target.write_bytes(b"what was there before")
    with pytest.raises(InputError, match="its calibration is damaged"):
        ship(run, target)
    assert {path.name for path in tmp_path.iterdir()} == {run.name, "calibration.json", target.name}
    assert target.read_bytes() == b"what was there before"

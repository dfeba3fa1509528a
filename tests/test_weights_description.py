from __future__ import annotations

import json

import pytest

from hrinet.errors import InputError
from hrinet.weights.description import count_parameters, read_description

GOOD = {
    "schema": "hrinet-weights-1",
    "name": "ae",
    "sha256": "0" * 64,
    "model": {"width": 2},
    "steps": 5,
    "steps_planned": 10,
    "scans": 3,
    "patients": 2,
    "collections": [{"collection": "c", "licence": "CC0", "scans": 3}],
    "size": 64,
}


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "w.safetensors"
    header = json.dumps(
        {
            "__metadata__": {"schema": "x"},
            "a": {"dtype": "F16", "shape": [3, 2, 2], "data_offsets": [0, 24]},
            "b": {"dtype": "F16", "shape": [], "data_offsets": [24, 26]},
        }
    ).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(26))
    (tmp_path / "w.json").write_text(json.dumps(GOOD))
    return path


def test_what_is_told_arrives(weights):
    description = read_description(weights)
    assert (description.name, description.steps, description.scans) == ("ae", 5, 3)
    assert description.collections[0].licence == "CC0"
    assert description.precision == "float32"  # Of those before there was a choice.
    assert description.values["size"] == 64


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": "other"}, "no description of weights of version"),
        ({"name": ""}, "damaged"),
        ({"sha256": 3}, "damaged"),
        ({"steps": "many"}, "damaged"),
        ({"collections": [{"place": "c"}]}, "damaged"),
        ({"precision": "float8"}, "damaged"),
        ({"model": 3}, "damaged"),
    ],
)
def test_damage_is_one_clear_error(weights, change, message):
    weights.with_suffix(".json").write_text(json.dumps({**GOOD, **change}))
    with pytest.raises(InputError, match=message):
        read_description(weights)


def test_no_json_at_all(weights):
    weights.with_suffix(".json").write_text("{")
    with pytest.raises(InputError, match="is no JSON"):
        read_description(weights)
    weights.with_suffix(".json").write_text("[]")
    with pytest.raises(InputError, match="no description"):
        read_description(weights)
    weights.with_suffix(".json").unlink()
    with pytest.raises(InputError, match=r"w\.json: cannot be read"):
        read_description(weights)


def test_parameters_are_counted_from_the_header(weights):
    assert count_parameters(weights) == 13


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, b"\x02\0\0\0\0\0\0\0[]", b"\x01" * 40])
def test_a_damaged_header_is_one_clear_error(weights, content):
    weights.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        count_parameters(weights)

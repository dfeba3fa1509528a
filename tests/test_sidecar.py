from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from hrinet.errors import InputError
from hrinet.io.formats import write
from hrinet.io.sidecar import read_kinds, schema, sidecar, sidecar_path
from hrinet.pipeline import interpolate


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("scan.nii.gz", "scan.json"),
        ("scan.nii", "scan.json"),
        ("a.b.nrrd", "a.b.json"),
        ("folder/x.MHA", "folder/x.json"),
        ("series", "series.json"),
        ("series.zip", "series.json"),
        ("1.2.826.0", "1.2.826.0.json"),
    ],
)
def test_name(output, expected):
    assert sidecar_path(Path(output)) == Path(expected)


def test_every_sidecar_satisfies_the_schema(thick):
    jsonschema.Draft202012Validator.check_schema(schema())
    filled = interpolate(thick, factor=3, method="cubic")
    for volume in (thick, filled):
        content = sidecar(
            output=Path("x.nii"),
            geometry=volume.geometry,
            provenance=volume.provenance,
            info=volume.info,
        )
        jsonschema.validate(json.loads(json.dumps(content)), schema())
    kinds = [entry["kind"] for entry in content["slices"]]
    assert kinds == (["original", "synthetic", "synthetic"] * 6) + ["original"]
    assert content["slices"][4] == {
        "index": 4,
        "position_mm": pytest.approx(6.666667),
        "kind": "synthetic",
        "method": "cubic",
        "t": pytest.approx(1 / 3),
        "neighbours": [1, 2],
    }


@pytest.mark.parametrize(
    "broken",
    [{"kind": "synthetic"}, {"kind": "guessed"}, {"kind": "synthetic", "t": 1.5}, {}],
)
def test_the_schema_refuses_what_is_wrong(thick, broken):
    content = sidecar(
        output=Path("x.nii"), geometry=thick.geometry, provenance=thick.provenance, info=thick.info
    )
    content["slices"][0] = {"index": 0, "position_mm": 0.0, **broken}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(content, schema())


def test_the_file_is_one_slice_a_line(tmp_path, thick):
    write(interpolate(thick, factor=2, method="linear"), tmp_path / "x.nii")
    text = (tmp_path / "x.json").read_text()
    jsonschema.validate(json.loads(text), schema())
    assert sum(line.startswith('    {"index"') for line in text.splitlines()) == 13
    assert read_kinds(tmp_path / "x.nii")[:3] == ("original", "synthetic", "original")


def test_reading_something_else_is_a_clear_error(tmp_path):
    (tmp_path / "x.json").write_text("{}")
    with pytest.raises(InputError, match="not a readable HRINet sidecar"):
        read_kinds(tmp_path / "x.nii")

from __future__ import annotations

import gzip
import json
import os
import sys
from pathlib import Path
from typing import get_args

import jsonschema
import pytest

from hrinet.errors import InputError, RequestError
from hrinet.io.formats import write
from hrinet.io.sidecar import read_kinds, refuse_sidecars, schema, sidecar, sidecar_path
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request
from hrinet.synthesize.registry import Quality


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


def test_the_schema_knows_every_quality():
    known = schema()["properties"]["run"]["properties"]["quality"]["enum"]
    assert set(known) == set(get_args(Quality))


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
    [
        {"kind": "synthetic"},
        {"kind": "guessed"},
        {"kind": "synthetic", "t": 1.5},
        {"kind": "synthetic", "method": "cubic", "t": 0.5},
        {"kind": "synthetic", "method": "cubic", "neighbours": [0, 1]},
        {},
    ],
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


def test_a_sidecar_is_never_taken_by_another_output(tmp_path, thick):
    filled = interpolate(thick, factor=2, method="linear")
    write(filled, tmp_path / "x.nii.gz")
    before = (tmp_path / "x.json").read_bytes()
    for overwrite in (False, True):
        for name in ("x.nrrd", "x.nii", "x.zip", "x"):
            with pytest.raises(RequestError, match=r"x.json: is the sidecar of x.nii.gz; choose"):
                write(filled, tmp_path / name, overwrite=overwrite)
    assert (tmp_path / "x.json").read_bytes() == before
    write(filled, tmp_path / "x.nii.gz", overwrite=True)  # Its own.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.json", "x.nii.gz"]

    (tmp_path / "x.nii").write_bytes(gzip.decompress((tmp_path / "x.nii.gz").read_bytes()))
    (tmp_path / "x.nii.gz").unlink()
    with pytest.raises(RequestError, match=r"x.json: is the sidecar of x.nii; choose"):
        write(filled, tmp_path / "x.nrrd", overwrite=True)
    (tmp_path / "x.nii").unlink()  # Now it describes nothing.
    with pytest.raises(RequestError, match=r"x.json: exists already; pass --overwrite"):
        write(filled, tmp_path / "x.nrrd")
    write(filled, tmp_path / "x.nrrd", overwrite=True)
    assert json.loads((tmp_path / "x.json").read_text())["output"] == "x.nrrd"


@pytest.mark.parametrize("name", ["sub/x.nii", "/abs/x.nii", "./x.nii", "..", 5, None, ["x.nii"]])
def test_a_sidecar_with_a_damaged_name_is_nobody_elses(tmp_path, thick, name):
    damaged = json.dumps({"schema": "hrinet-sidecar-1", "output": name})
    (tmp_path / "x.json").write_text(damaged)
    with pytest.raises(RequestError, match=r"x.json: exists already; pass --overwrite"):
        write(thick, tmp_path / "x.nii")
    write(thick, tmp_path / "x.nii", overwrite=True)
    (tmp_path / "x.json").write_text(damaged)
    with pytest.raises(RequestError, match=r"x.json: is the sidecar of x.nii; choose"):
        write(thick, tmp_path / "x.nrrd", overwrite=True)


def test_a_json_nested_without_end_is_no_sidecar(tmp_path, thick):
    (tmp_path / "x.json").write_text("[" * 200_000)
    with pytest.raises(RequestError, match=r"x.json: is no sidecar of HRINet and would be lost"):
        write(thick, tmp_path / "x.nii", overwrite=True)
    with pytest.raises(InputError, match="not a readable HRINet sidecar"):
        read_kinds(tmp_path / "x.nii")
    refuse_sidecars([tmp_path / "x.json"])


def test_a_json_of_another_program_is_never_replaced(tmp_path, thick):
    (tmp_path / "x.json").write_text('{"Modality": "CT"}')  # As dcm2niix writes beside x.nii.gz.
    with pytest.raises(RequestError, match=r"x.json: is no sidecar of HRINet and would be lost"):
        write(thick, tmp_path / "x.nrrd", overwrite=True)
    assert (tmp_path / "x.json").read_text() == '{"Modality": "CT"}'
    assert not (tmp_path / "x.nrrd").exists()


def test_a_report_does_not_take_the_place_of_a_sidecar(tmp_path, thick):
    write(thick, tmp_path / "in.nii")
    (tmp_path / "r.json").write_text("{}")
    before = (tmp_path / "in.json").read_bytes()
    for report in ("in.json", "out.json"):
        outputs = Outputs(volume=tmp_path / "out.nii", report=tmp_path / report, overwrite=True)
        with pytest.raises(RequestError, match=r"is the sidecar of in.nii|as two outputs"):
            interpolate_file(tmp_path / "in.nii", outputs, Options(method="linear"))
    assert (tmp_path / "in.json").read_bytes() == before
    outputs = Outputs(volume=tmp_path / "o.nii", report=tmp_path / "r.json", overwrite=True)
    interpolate_file(tmp_path / "in.nii", outputs, Options(method="linear"))


def test_projections_keep_the_sidecar_of_a_volume(tmp_path, thick):
    from hrinet.project.options import Options as ProjectionOptions
    from hrinet.project.run import project_file

    write(thick, tmp_path / "x.nii")
    before = (tmp_path / "x.json").read_bytes()
    options = ProjectionOptions(fill="linear", overwrite=True)
    with pytest.raises(RequestError, match=r"x.json: is the sidecar of x.nii; choose another"):
        project_file(tmp_path / "x.nii", [tmp_path / "x.png"], options)
    assert (tmp_path / "x.json").read_bytes() == before
    both = [tmp_path / "p.png", tmp_path / "p.tif"]
    for _ in range(2):
        project_file(tmp_path / "x.nii", both, options)
    with pytest.raises(RequestError, match=r"p.json: is the sidecar of p.tif; choose another"):
        project_file(tmp_path / "x.nii", both[:1], options)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="names are Unicode there")
def test_names_that_are_no_utf8(tmp_path, thick):
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/pat_M\xfcller"))
    folder.mkdir()
    write(thick, tmp_path / "in.nii")
    source = folder / os.fsdecode(b"\xfc.nii")
    (tmp_path / "in.nii").rename(source)
    for name in (b"o\xfc.nii.gz", b"series\xfc", b"zip\xfc.zip"):
        output = folder / os.fsdecode(name)
        interpolate_file(
            source,
            Outputs(volume=output, report=folder / "r.json", overwrite=True),
            Options(method="linear", request=Request(factor=2)),
            command=f"hrinet interpolate {source} {output}",
        )
        content = json.loads(sidecar_path(output).read_text("utf-8"))
        jsonschema.validate(content, schema())
        assert content["output"] == output.name
        assert content["source"]["name"] == source.name
        assert os.fsencode(content["run"]["command"]).endswith(name)
        assert len(read_kinds(output)) == 13

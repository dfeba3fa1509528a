from __future__ import annotations

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest

import hrinet
from dicom_builder import phantom, write_series
from dicom_tools import patient
from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.sidecar import read_kinds, schema
from hrinet.job import Options
from hrinet.measured import measured, refuse_synthetic, told_provenance
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request
from hrinet.project.fill import fill_gaps
from hrinet.report.summary import summarize
from hrinet.selftest.hide import Thinned
from hrinet.untilt import Untilted

PATTERN = (True, False, True, False, True, False, True, False, True, False, True, False, True)


def fill(source: Path, output: Path) -> Path:
    options = Options(method="linear", request=Request(factor=2))
    interpolate_file(source, Outputs(volume=output), options)
    return output


@pytest.fixture(params=[".nii.gz", ".nrrd", ".mha", "", ".zip"])
def filled(tmp_path, thick, request):
    """A scan whose every second slice is synthetic, in a file or as DICOM."""
    hrinet.write(thick, tmp_path / "in.nii")
    return fill(tmp_path / "in.nii", tmp_path / f"fill{request.param}")


def test_synthetic_slices_do_not_become_originals(tmp_path, filled):
    before = sorted(p.name for p in tmp_path.iterdir())
    assert measured(open_scan(filled)) == PATTERN
    for output in ("again.nii", "again"):
        with pytest.raises(RequestError, match=r"would pass for originals") as refused:
            fill(filled, tmp_path / output)
        assert str(filled) in str(refused.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == before
    would_do = summarize(filled, Options(method="linear"))["would_do"]
    assert "would pass for originals" in would_do["refused"]


def test_what_is_read_again_says_what_it_is(tmp_path, filled):
    volume = hrinet.read(filled)
    assert tuple(not one.is_synthetic for one in volume.provenance) == PATTERN
    with pytest.raises(RequestError, match="6 synthetic slices"):
        interpolate(volume, factor=2, method="linear")
    hrinet.write(volume, tmp_path / "copy.nii")
    kinds = read_kinds(tmp_path / "copy.nii")
    assert tuple(kind == "original" for kind in kinds) == PATTERN
    # The measured slices alone are a scan like any other.
    originals = volume.subset([k for k, known in enumerate(PATTERN) if known])
    assert len(interpolate(originals, factor=2, method="linear")) == 13


def test_a_volume_in_memory_is_not_filled_twice(thick):
    once = interpolate(thick, factor=2, method="linear")
    with pytest.raises(RequestError, match="the volume: holds 6 synthetic slices"):
        interpolate(once, factor=2, method="linear")
    assert measured(Untilted(once)) == PATTERN


def test_the_records_of_a_volume_file_count_its_own_slices(tmp_path, thick):
    once = interpolate(thick, factor=3, method="cubic")
    entry = once.provenance[1]
    estimated = replace(entry, flag="wide", expected_error_hu=3.25, half_width_90_hu=7.5)
    once = replace(once, provenance=(once.provenance[0], estimated, *once.provenance[2:]))
    hrinet.write(once, tmp_path / "x.nii.gz")
    again = hrinet.read(tmp_path / "x.nii.gz")
    for index, (one, wanted) in enumerate(zip(again.provenance, once.provenance, strict=True)):
        place = None if wanted.is_synthetic else index
        assert replace(one, t=0) == replace(wanted, t=0, source=place, neighbours=None)
        assert one.t == pytest.approx(wanted.t, abs=1e-8)
    hrinet.write(again, tmp_path / "y.nii")
    content = json.loads((tmp_path / "y.json").read_text())
    jsonschema.validate(content, schema())
    assert content["source"]["name"] == "x.nii.gz"
    for one in content["slices"]:  # What they count lies in x.nii.gz, which has 19 slices.
        assert one.get("source", one["index"]) == one["index"]
        assert "neighbours" not in one
    assert content["slices"][1]["kind"] == "synthetic"
    assert hrinet.read(tmp_path / "y.nii").provenance[:3] == tuple(
        replace(one, t=0) for one in again.provenance[:3]
    )


def test_what_is_read_of_a_made_series_makes_a_valid_sidecar(tmp_path, thick):
    hrinet.write(interpolate(thick, factor=2, method="linear"), tmp_path / "series")
    hrinet.write(hrinet.read(tmp_path / "series"), tmp_path / "copy.nii")
    jsonschema.validate(json.loads((tmp_path / "copy.json").read_text()), schema())
    assert measured(open_scan(tmp_path / "copy.nii")) == PATTERN


def test_one_synthetic_slice_is_one(thick):
    one = interpolate(thick.subset([0, 1]), factor=2, method="linear")
    with pytest.raises(RequestError, match="holds 1 synthetic slice of HRINet, which would pass f"):
        refuse_synthetic(one)


def test_records_are_for_as_many_slices_as_there_are(thick):
    once = interpolate(thick, factor=2, method="linear")
    some = Thinned(once, [0, 2, 4])
    assert told_provenance(some) is None
    assert measured(some) == (True,) * 3


def test_the_sidecar_is_found_from_another_folder(tmp_path, thick, monkeypatch):
    hrinet.write(interpolate(thick, factor=2, method="linear"), tmp_path / "fill.nii")
    monkeypatch.chdir(tmp_path)
    source = open_scan("fill.nii")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert measured(source) == PATTERN
    with pytest.raises(RequestError, match=r"^fill.nii: holds 6 synthetic"):
        refuse_synthetic(source)


def test_projections_count_what_was_measured(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    path = fill(tmp_path / "in.nii", tmp_path / "fill.nii")
    for method in ("linear", "none"):
        assert fill_gaps(open_scan(path), method, threads=1).originals == 7
        assert fill_gaps(open_scan(tmp_path / "in.nii"), method, threads=1).originals == 7


def test_a_sidecar_of_another_file_says_nothing(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    path = fill(tmp_path / "in.nii", tmp_path / "fill.nii")
    # Renamed or unpacked, with the sidecar beside it: still known.
    shutil.copy(path, tmp_path / "new.nii")
    shutil.copy(tmp_path / "fill.json", tmp_path / "new.json")
    path.rename(tmp_path / "fill2.nii")
    assert False in measured(open_scan(tmp_path / "new.nii"))
    # A scan that has the stem of a filled volume, but not its slices.
    shutil.copy(tmp_path / "in.nii", tmp_path / "fill.nii")
    assert told_provenance(open_scan(tmp_path / "fill.nii")) is None
    refuse_synthetic(open_scan(tmp_path / "fill.nii"))
    # A volume of the same size beside the one that the sidecar names.
    (tmp_path / "fill2.nii").rename(tmp_path / "fill.nii")
    noise = np.random.default_rng(3).integers(-1000, 1000, (13, 12, 10)).astype(np.int16)
    geometry = hrinet.read(tmp_path / "fill.nii").geometry
    (tmp_path / "elsewhere").mkdir()
    hrinet.write(hrinet.Volume(array=noise, geometry=geometry), tmp_path / "elsewhere/fill.nrrd")
    shutil.copy(tmp_path / "elsewhere/fill.nrrd", tmp_path / "fill.nrrd")
    assert measured(open_scan(tmp_path / "fill.nrrd")) == (True,) * 13
    assert measured(open_scan(tmp_path / "fill.nii")) == PATTERN


def test_a_filled_volume_that_was_renamed_is_known_beside_its_successor(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    fill(tmp_path / "in.nii", tmp_path / "out.nii")
    for suffix in (".nii", ".json"):
        (tmp_path / f"out{suffix}").rename(tmp_path / f"out_linear{suffix}")
    fill(tmp_path / "in.nii", tmp_path / "out.nii")
    for name in ("out.nii", "out_linear.nii"):
        assert measured(open_scan(tmp_path / name)) == PATTERN
        with pytest.raises(RequestError, match=rf"{name}: holds 6 synthetic"):
            refuse_synthetic(open_scan(tmp_path / name))


@pytest.mark.parametrize("output", ["..", ".", "", "a" * 300, "a\0b", "in/other.nii"])
def test_a_sidecar_that_names_no_file_is_of_the_file_beside_it(tmp_path, thick, output):
    hrinet.write(thick, tmp_path / "in.nii")
    path = fill(tmp_path / "in.nii", tmp_path / "out.nii")
    sidecar = json.loads((tmp_path / "out.json").read_text())
    (tmp_path / "out.json").write_text(json.dumps({**sidecar, "output": output}))
    assert measured(open_scan(path)) == PATTERN
    assert len(hrinet.read(path)) == 13


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"schema": "hrinet-sidecar-1"}', "\xff", "[" * 200_000]
)
def test_a_damaged_sidecar_stops_nothing(tmp_path, thick, text):
    hrinet.write(thick, tmp_path / "in.nii")
    (tmp_path / "in.json").write_text(text, encoding="latin-1")
    assert told_provenance(open_scan(tmp_path / "in.nii")) is None
    assert len(hrinet.read(tmp_path / "in.nii")) == 7


@pytest.mark.parametrize(
    "value", [None, "x", -1, 3.5, [], {}, float("nan"), pytest.param(10**400, id="huge")]
)
def test_a_damaged_detail_hides_no_synthetic_slice(tmp_path, thick, value):
    hrinet.write(interpolate(thick, factor=2, method="linear"), tmp_path / "fill.nii")
    written = json.loads((tmp_path / "fill.json").read_text())
    details = ("source", "source_id", "method", "neighbours", "t", "flag", "expected_error_hu")
    for name in details:
        content = deepcopy(written)
        for one in content["slices"][:2]:
            one[name] = value
        (tmp_path / "fill.json").write_text(json.dumps(content))
        volume = hrinet.read(tmp_path / "fill.nii")
        assert tuple(not one.is_synthetic for one in volume.provenance) == PATTERN
        hrinet.write(volume, tmp_path / "copy.nii", overwrite=True)
    for one in content["slices"][:2]:
        one.update(dict.fromkeys(details, value))
    (tmp_path / "fill.json").write_text(json.dumps(content))
    hrinet.write(hrinet.read(tmp_path / "fill.nii"), tmp_path / "series")
    assert measured(open_scan(tmp_path / "series")) == PATTERN
    content = written | {"output": "sub/fill.nii"}
    (tmp_path / "fill.json").write_text(json.dumps(content))
    assert measured(open_scan(tmp_path / "fill.nii")) == PATTERN


def test_a_scan_from_a_scanner_is_all_measured(tmp_path):
    write_series(tmp_path / "ct", phantom((4, 12, 10)), **patient())
    assert told_provenance(open_scan(tmp_path / "ct")) is None
    assert measured(open_scan(tmp_path / "ct")) == (True,) * 4

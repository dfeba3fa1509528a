from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hrinet
from dicom_builder import phantom, write_series
from dicom_tools import patient
from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.sidecar import read_kinds
from hrinet.job import Options
from hrinet.measured import measured, refuse_synthetic, told_provenance
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request
from hrinet.project.fill import fill_gaps
from hrinet.report.summary import summarize
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


def test_the_records_of_a_volume_file_are_those_that_were_written(tmp_path, thick):
    once = interpolate(thick, factor=3, method="cubic")
    entry = once.provenance[1]
    estimated = replace(entry, flag="wide", expected_error_hu=3.25, half_width_90_hu=7.5)
    once = replace(once, provenance=(once.provenance[0], estimated, *once.provenance[2:]))
    hrinet.write(once, tmp_path / "x.nii.gz")
    found = hrinet.read(tmp_path / "x.nii.gz").provenance
    for one, wanted in zip(found, once.provenance, strict=True):
        assert replace(one, t=0) == replace(wanted, t=0)
        assert one.t == pytest.approx(wanted.t, abs=1e-8)


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


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": "hrinet-sidecar-1"}', "\xff"])
def test_a_damaged_sidecar_stops_nothing(tmp_path, thick, text):
    hrinet.write(thick, tmp_path / "in.nii")
    (tmp_path / "in.json").write_text(text, encoding="latin-1")
    assert told_provenance(open_scan(tmp_path / "in.nii")) is None
    assert len(hrinet.read(tmp_path / "in.nii")) == 7


def test_a_scan_from_a_scanner_is_all_measured(tmp_path):
    write_series(tmp_path / "ct", phantom((4, 12, 10)), **patient())
    assert told_provenance(open_scan(tmp_path / "ct")) is None
    assert measured(open_scan(tmp_path / "ct")) == (True,) * 4

from __future__ import annotations

import json

import nibabel
import nrrd
import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.thickness import thickness_beside
from hrinet.job import Options, prepare
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.report.description import describe
from hrinet.thickness import Restated
from hrinet.volume import Volume


def nifti(path):
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 40, 5), np.int16), affine), path)
    return path


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
def test_what_a_converter_put_beside_a_file_is_believed(tmp_path, name):
    path = nifti(tmp_path / name)
    assert open_scan(path).geometry.slice_thickness is None
    (tmp_path / "scan.json").write_text('{"Modality": "CT", "SliceThickness": 3}')
    assert open_scan(path).geometry.slice_thickness == 3.0
    assert hrinet.read(path).geometry.slice_thickness == 3.0


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[3]",
        '{"SliceThickness": "3"}',
        '{"SliceThickness": true}',
        '{"SliceThickness": 0}',
        '{"SliceThickness": -2.5}',
        '{"SliceThickness": NaN}',
        '{"SliceThickness": Infinity}',
        '{"SliceThickness": 1e400}',
        '{"SliceThickness": 1000}',
        '{"SliceThickness": null}',
        '{"schema": "hrinet-sidecar-1", "SliceThickness": 3}',
        '{"schema": "hrinet-sidecar-1", "output": "scan.nii", "geometry": 7}',
        '{"schema": "hrinet-sidecar-1", "outputs": 7, "geometry": {"slice_thickness_mm": 3}}',
        '{"schema": "hrinet-sidecar-1", "output": "scan.mha", "geometry": '
        '{"slice_thickness_mm": 3}}',
        "[" * 100_000,
    ],
)
def test_what_else_lies_beside_a_file_tells_nothing(tmp_path, content):
    path = nifti(tmp_path / "scan.nii")
    (tmp_path / "scan.json").write_text(content)
    assert thickness_beside(path) is None
    assert open_scan(path).geometry.slice_thickness is None


def test_a_written_volume_comes_back_with_its_thickness(tmp_path, thick):
    known = make_geometry([0.0, 5.0, 10.0], thickness=4.0)
    volume = Volume(array=np.zeros(known.shape, np.int16), geometry=known)
    for suffix in (".nii.gz", ".nrrd", ".mha"):
        hrinet.write(volume, tmp_path / f"o{suffix[1:3]}{suffix}")
        found = hrinet.read(tmp_path / f"o{suffix[1:3]}{suffix}")
        assert found.geometry.slice_thickness == 4.0


def test_nrrd_states_it_for_an_axis(tmp_path):
    header = {"space": "left-posterior-superior", "space directions": np.diag([0.8, 0.8, 5.0])}
    path = tmp_path / "scan.nrrd"
    for thicknesses, expected in (
        ([np.nan, np.nan, 4.0], 4.0),
        ([4.0, 4.0, np.nan], None),
        ([np.nan, np.nan, -1.0], None),
    ):
        nrrd.write(
            str(path), np.zeros((40, 40, 5), np.int16), {**header, "thicknesses": thicknesses}
        )
        assert open_scan(path).geometry.slice_thickness == expected
    # A coronal stack in axial order: the slices lie along the second axis.
    header["space directions"] = np.diag([0.8, 5.0, 0.8])
    nrrd.write(
        str(path),
        np.zeros((40, 5, 40), np.int16),
        {**header, "thicknesses": [1.0, 3.5, 2.0]},
    )
    assert open_scan(path).geometry.slice_thickness == 3.5
    in_cm = {**header, "thicknesses": [1.0, 3.5, 2.0], "space units": ["cm", "cm", "cm"]}
    nrrd.write(str(path), np.zeros((40, 5, 40), np.int16), in_cm)
    assert open_scan(path).geometry.slice_thickness is None


def test_the_user_knows_better_than_the_header(tmp_path):
    geometry = make_geometry([0.0, 5.0, 10.0], thickness=4.0)
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    job = prepare(volume, Options(method="linear", thickness_mm=5.0))
    assert job.source.geometry.slice_thickness == 5.0
    assert describe(job)["input"]["slice_thickness_mm"] == 5.0
    assert any("taken to be 5 mm thick, as asked; the input says 4 mm" in n for n in job.notes)
    same = prepare(volume, Options(method="linear", thickness_mm=4.001))
    assert not any("thick" in note for note in same.notes)
    for wrong in (0.0, -1.0, float("nan"), float("inf"), 1e6, "5", True):
        with pytest.raises(RequestError, match="slice thickness must be a number of mm above 0"):
            Restated(volume, thickness_mm=wrong)


def test_it_reaches_the_method(tmp_path):
    rng = np.random.default_rng(0)
    geometry = make_geometry([0.0, 5.0, 10.0, 15.0], rows=64, columns=64)
    array = rng.normal(0, 30, geometry.shape).astype(np.int16)
    volume = Volume(array=array, geometry=geometry)
    told = interpolate(volume, method="flow", factor=2, thickness_mm=10.0)
    known = make_geometry([0.0, 5.0, 10.0, 15.0], rows=64, columns=64, thickness=10.0)
    expected = interpolate(Volume(array=array, geometry=known), method="flow", factor=2)
    assert np.array_equal(told.array, expected.array)
    assert not np.array_equal(told.array, interpolate(volume, method="flow", factor=2).array)
    hrinet.write(volume, tmp_path / "in.nii")
    (tmp_path / "in.json").write_text(json.dumps({"SliceThickness": 10.0}))
    outputs = Outputs(volume=tmp_path / "o.nii")
    report = interpolate_file(tmp_path / "in.nii", outputs, Options(method="linear"))
    assert report["input"]["slice_thickness_mm"] == 10.0

from __future__ import annotations

import errno
import json

import nibabel
import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.errors import RequestError, RunError
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request
from hrinet.synthesize.registry import installed_methods
from hrinet.volume import Volume
from real_data import ct

NAMES = [method.name for method in installed_methods()]


@pytest.mark.parametrize("method", NAMES)
def test_originals_stay_exact_in_memory(thick, method):
    iso = interpolate(thick, method=method)
    kept = [k for k, entry in enumerate(iso.provenance) if not entry.is_synthetic]
    assert np.array_equal(iso.array[kept], thick.array)
    assert iso.geometry.spacing_mm == pytest.approx(5 / 7)
    synthetic = [entry for entry in iso.provenance if entry.is_synthetic]
    assert {entry.method for entry in synthetic} == {method}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_files_equal_memory(tmp_path, thick, suffix):
    hrinet.write(thick, tmp_path / "in.nrrd")
    output = tmp_path / f"out{suffix}"
    report = interpolate_file(
        tmp_path / "in.nrrd",
        Outputs(volume=output, report=tmp_path / "report.json", preview=tmp_path / "p.png"),
        Options(method="cubic", request=Request(factor=3)),
    )
    expected = interpolate(thick, factor=3, method="cubic")
    result = hrinet.read(output)
    assert np.array_equal(result.array, expected.array)
    assert np.allclose(result.geometry.origins, expected.geometry.origins, atol=1e-4)
    assert report["plan"]["synthetic"] == 12
    assert json.loads((tmp_path / "report.json").read_text()) == report
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


def test_the_same_input_gives_the_same_bytes(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    contents = []
    for name, threads in (("a", 1), ("b", 3)):
        output = tmp_path / name / "out.nii.gz"
        output.parent.mkdir()
        interpolate_file(tmp_path / "in.nii", Outputs(volume=output), Options(threads=threads))
        contents.append(output.read_bytes())
    assert contents[0] == contents[1]


def test_uneven_scans_go_to_a_uniform_file_and_stay_exact_in_memory(tmp_path):
    geometry = make_geometry([0.0, 4.0, 8.3, 12.0, 16.0])
    array = np.random.default_rng(0).integers(-900, 900, geometry.shape).astype(np.int16)
    volume = Volume(array=array, geometry=geometry)
    filled = interpolate(volume, method="linear")
    assert not filled.geometry.is_uniform
    kept = [k for k, entry in enumerate(filled.provenance) if not entry.is_synthetic]
    assert np.array_equal(filled.array[kept], array)

    even = interpolate(volume, method="linear", grid="uniform")
    hrinet.write(even, tmp_path / "even.nii")
    result = hrinet.read(tmp_path / "even.nii")
    assert np.allclose(np.diff(result.geometry.positions_mm), even.geometry.spacing_mm, atol=1e-4)
    # Voxels lie where the affine says: linear interpolation of a linear ramp is exact.
    ramp = np.broadcast_to(geometry.positions_mm[:, None, None] * 100, geometry.shape)
    ramp_volume = Volume(array=ramp.astype(np.float32), geometry=geometry)
    on_grid = interpolate(ramp_volume, method="linear", grid="uniform", spacing=0.9)
    expected = on_grid.geometry.positions_mm * 100
    assert np.abs(on_grid.array[:, 3, 3] - expected).max() < 5  # 1 % of the 4 mm gap, in ramp HU.


def test_tilt_is_kept_in_the_affine_or_removed(tmp_path):
    geometry = make_geometry(np.arange(5) * 4.0, shear=(0.0, 0.33), rows=20, columns=20)
    array = np.random.default_rng(0).integers(-900, 900, geometry.shape).astype(np.int16)
    volume = Volume(array=array, geometry=geometry)
    hrinet.write(interpolate(volume, method="linear"), tmp_path / "tilted.nii")
    back = hrinet.read(tmp_path / "tilted.nii")
    assert back.geometry.tilt_deg == pytest.approx(geometry.tilt_deg, abs=1e-3)
    header = nibabel.load(tmp_path / "tilted.nii").header
    assert header["qform_code"] == 0  # A quaternion cannot hold shear.

    straight = interpolate(volume, method="linear", untilt=True)
    assert straight.geometry.tilt_deg < 1e-9
    assert straight.geometry.rows > 20
    assert "gantry tilt" in straight.provenance[0].flag


def test_labels_keep_their_ids(tmp_path):
    geometry = make_geometry([0.0, 5.0, 10.0], rows=40, columns=40)
    array = np.zeros(geometry.shape, np.int16)
    array[0, 10:20, 10:20] = 300
    array[1, 10:24, 10:24] = 300
    array[2, 10:20, 25:35] = 7
    hrinet.write(Volume(array=array, geometry=geometry), tmp_path / "seg.nii.gz")
    interpolate_file(
        tmp_path / "seg.nii.gz", Outputs(volume=tmp_path / "out.nii.gz"), Options(label=True)
    )
    assert set(np.unique(hrinet.read(tmp_path / "out.nii.gz").array)) == {0, 7, 300}


def test_one_slice_is_refused(tmp_path):
    geometry = make_geometry([0.0])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    with pytest.raises(RequestError, match="single slice"):
        interpolate(volume)


def test_unknown_method_and_grid(thick):
    with pytest.raises(RequestError, match=r"no method 'spline'; choose one of auto, repeat"):
        interpolate(thick, method="spline")
    with pytest.raises(RequestError, match="--max-gap"):
        interpolate(thick, max_gap_mm=-1)
    with pytest.raises(RequestError, match="max-gap must be a positive number of mm, got '5'"):
        interpolate(thick, max_gap_mm="5")


@pytest.mark.parametrize("wrong", [{"spacing": "fine"}, {"factor": "2"}, {"factor": 2.5}])
def test_what_is_no_number_is_refused_in_one_sentence(thick, wrong):
    [(name, value)] = wrong.items()
    with pytest.raises(RequestError, match=rf"^{name} must be .*, got {value!r}$"):
        interpolate(thick, **wrong)


def test_a_method_for_label_maps_is_refused_rather_than_ignored(thick):
    with pytest.raises(RequestError, match="leave out --method linear"):
        interpolate(thick, label=True, method="linear")


def test_keeping_all_originals_of_an_uneven_scan_needs_a_format_that_can(tmp_path):
    geometry = make_geometry([0.0, 4.0, 8.3, 12.0])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    from hrinet.job import prepare

    with pytest.raises(RequestError, match="--grid uniform"):
        prepare(volume, Options(request=Request(grid="originals")), needs_uniform=True)


def test_a_failure_half_way_leaves_nothing(tmp_path, thick, monkeypatch):
    hrinet.write(thick, tmp_path / "in.nii")
    out = tmp_path / "out"
    out.mkdir()

    def full_disk(*args, **kwargs):
        raise RunError("the disk is full")

    monkeypatch.setattr("hrinet.io.nifti.NiftiSink.write", full_disk)
    with pytest.raises(RunError):
        interpolate_file(tmp_path / "in.nii", Outputs(volume=out / "x.nii"), Options())
    assert list(out.iterdir()) == []


def test_space_on_the_disk_is_checked_first(tmp_path, thick, monkeypatch):
    hrinet.write(thick, tmp_path / "in.nii")
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("U", (), {"free": 10})())
    with pytest.raises(RunError, match="are free on its disk"):
        interpolate_file(tmp_path / "in.nii", Outputs(volume=tmp_path / "x.nii"), Options())


@pytest.mark.parametrize(
    ("case", "slices", "synthetic"),
    [
        ("cases/cptac_C3L-00189", 205, 170),
        ("cases/rider_0109", 435, 372),
        ("cases/enhanced_multiframe_ct.dcm", 27, 25),
    ],
)
def test_real_scans_become_isotropic_with_every_original_exact(tmp_path, case, slices, synthetic):
    source = hrinet.read(ct(case))
    report = interpolate_file(
        ct(case), Outputs(volume=tmp_path / "out.nii"), Options(method="linear")
    )
    assert (report["plan"]["slices"], report["plan"]["synthetic"]) == (slices, synthetic)
    image = nibabel.load(tmp_path / "out.nii")
    array = np.asarray(image.dataobj).T
    entries = json.loads((tmp_path / "out.json").read_text())["slices"]
    for index, entry in enumerate(entries):
        if entry["kind"] == "original":
            assert np.array_equal(array[index], source.array[entry["source"]])
            # nibabel's affine puts the slice where the scanner's tags say.
            ras = image.affine @ [0, 0, index, 1]
            lps = source.geometry.origins[entry["source"]]
            assert np.abs(ras[:3] * [-1, -1, 1] - lps).max() < 0.01 * source.geometry.spacing_mm
    zooms = image.header.get_zooms()
    assert zooms[2] == pytest.approx(zooms[0], rel=0.06)


def test_a_full_disk_is_told_by_the_name_of_the_output(tmp_path, thick, monkeypatch):
    class Full:
        def write(self, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    hrinet.write(thick, tmp_path / "in.nii")
    monkeypatch.setattr("hrinet.io.raw_sink.open_gzip_writer", lambda path: Full())
    output = tmp_path / "o.nii.gz"
    with pytest.raises(RunError) as failed:
        interpolate_file(tmp_path / "in.nii", Outputs(volume=output), Options(method="linear"))
    assert str(failed.value) == f"{output}: cannot be written: No space left on device"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.json", "in.nii"]


def test_the_preview_shows_the_slices_of_the_range(tmp_path, thick, monkeypatch):
    from hrinet.report.preview import Preview

    shown = set()
    monkeypatch.setattr(
        Preview, "add_source", lambda self, values, *, position_mm: shown.add(position_mm)
    )
    hrinet.write(thick, tmp_path / "in.nii")
    outputs = Outputs(volume=tmp_path / "o.nii", preview=tmp_path / "p.png")
    request = Request(start=2, stop=5)
    interpolate_file(tmp_path / "in.nii", outputs, Options(method="cubic", request=request))
    positions = hrinet.read(tmp_path / "in.nii").geometry.positions_mm
    assert sorted(shown) == pytest.approx(positions[2:5].tolist())


def test_a_preview_is_a_png_by_name(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    outputs = Outputs(volume=tmp_path / "o.nii", preview=tmp_path / "p.jpg")
    with pytest.raises(RequestError, match=r"p.jpg: --preview draws a PNG; end its name in .png"):
        interpolate_file(tmp_path / "in.nii", outputs, Options(method="linear"))

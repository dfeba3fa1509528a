from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from doubtful import Doubtful, expected_error, half_width
from hrinet.errors import InputError, RequestError, RunError
from hrinet.io.sidecar import half_width_path, schema
from hrinet.job import Options, parse_device, parse_precision, parse_quality, prepare
from hrinet.pipeline import Outputs, interpolate, interpolate_file
from hrinet.plan.plan import Request
from hrinet.report.summary import summarize
from hrinet.report.wording import describe_result, describe_summary
from hrinet.volume import Uncertainty, Volume


@pytest.fixture
def method(monkeypatch):
    """Made instead of any method that is asked for."""
    made = Doubtful()
    monkeypatch.setattr("hrinet.job.build_interpolator", lambda *args, **kwargs: made)
    return made


@pytest.fixture
def thick(thick):
    """With two rows of air."""
    array = thick.array.copy()
    array[:, :2] = -1000
    return replace(thick, array=array)


@pytest.fixture
def scan(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    return tmp_path / "in.nii"


def fill(scan, output, uncertainty=None, *, factor=4, overwrite=False, **others):
    outputs = Outputs(volume=output, uncertainty=uncertainty, overwrite=overwrite, **others)
    return interpolate_file(scan, outputs, Options(request=Request(factor=factor)))


def told(output):
    content = json.loads(output.read_text())
    jsonschema.validate(content, schema())
    return content


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nibabel_reads_both_maps_where_the_output_lies(tmp_path, scan, method, suffix):
    report = fill(scan, tmp_path / "out.nii", tmp_path / f"error{suffix}")
    output = nibabel.load(tmp_path / "out.nii")
    kinds = [entry["kind"] for entry in told(tmp_path / "out.json")["slices"]]
    for name, rule in ((f"error{suffix}", expected_error), (f"error-half-width-90{suffix}", None)):
        image = nibabel.load(tmp_path / name)
        assert image.get_data_dtype() == np.float32
        assert image.shape == output.shape == (10, 12, 25)
        assert np.array_equal(image.affine, output.affine)
        array = np.asarray(image.dataobj).T
        for index, kind in enumerate(kinds):
            if kind == "original":
                assert not array[index].any()
            else:
                expected = (rule or half_width)(12, 10, index % 4 / 4)
                assert np.array_equal(array[index], expected)
    assert kinds.count("original") == 7
    assert method.calls == 6
    assert report["expected_error"] == str(tmp_path / f"error{suffix}")
    assert report["half_width_90"] == str(tmp_path / f"error-half-width-90{suffix}")


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_every_format_and_memory_agree(tmp_path, thick, scan, method, suffix):
    fill(scan, tmp_path / "out.nrrd", tmp_path / f"e{suffix}")
    filled = interpolate(thick, factor=4, uncertainty=True, threads=2)
    error = hrinet.read(tmp_path / f"e{suffix}")
    width = hrinet.read(tmp_path / f"e-half-width-90{suffix}")
    output = hrinet.read(tmp_path / "out.nrrd")
    assert np.array_equal(error.array, filled.uncertainty.expected_error)
    assert np.array_equal(width.array, filled.uncertainty.half_width_90)
    for volume in (error, width):
        assert np.allclose(volume.geometry.origins, output.geometry.origins, atol=1e-4)
        assert volume.geometry.orientation == output.geometry.orientation
    assert np.array_equal(output.array, filled.array)


def test_the_order_of_axes_in_the_file_is_that_of_the_output(tmp_path, thick, method):
    turned = nibabel.Nifti1Image(
        np.asarray(thick.array).transpose(0, 2, 1),  # Slices are the fastest axis.
        np.array([[0, 0.7, 0, 0], [0, 0, 0.8, 0], [5.0, 0, 0, 0], [0, 0, 0, 1]]),
    )
    nibabel.save(turned, tmp_path / "in.nii")
    fill(tmp_path / "in.nii", tmp_path / "out.nii", tmp_path / "e.nii")
    output, error = nibabel.load(tmp_path / "out.nii"), nibabel.load(tmp_path / "e.nii")
    assert output.shape == error.shape == (25, 10, 12)
    assert np.array_equal(output.affine, error.affine)
    assert not np.asarray(error.dataobj)[::4].any()
    assert np.asarray(error.dataobj)[1::4].all()


def test_the_same_bytes_whatever_the_number_of_threads(tmp_path, thick, scan, method):
    for threads in (1, 3):
        interpolate_file(
            scan,
            Outputs(volume=tmp_path / f"{threads}.nii", uncertainty=tmp_path / f"e{threads}.nii"),
            Options(request=Request(factor=3), threads=threads),
        )
    assert (tmp_path / "e1.nii").read_bytes() == (tmp_path / "e3.nii").read_bytes()
    slices = [told(tmp_path / f"{threads}.json")["slices"] for threads in (1, 3)]
    assert slices[0] == slices[1]


def test_the_sidecar_lists_the_error_of_every_slice(tmp_path, thick, scan, method):
    report = fill(scan, tmp_path / "out.nii", tmp_path / "e.nii.gz")
    content = told(tmp_path / "out.json")
    output = np.asarray(nibabel.load(tmp_path / "out.nii").dataobj).T
    means = {}
    for index, entry in enumerate(content["slices"]):
        found = entry["expected_error_hu"], entry["half_width_90_hu"]
        if entry["kind"] == "original":
            assert found == (0, 0)
            continue
        body = output[index] > -900
        assert 0 < body.sum() < body.size
        t = index % 4 / 4
        means[index] = expected_error(12, 10, t)[body].mean(), half_width(12, 10, t)[body].mean()
        assert found == pytest.approx(means[index], abs=1e-3)
    worst = max(means, key=lambda index: means[index][0])
    assert content["run"]["uncertainty"] == report["uncertainty"]
    assert report["uncertainty"] == {
        "expected_error_hu": pytest.approx(np.mean([m[0] for m in means.values()]), abs=1e-3),
        "half_width_90_hu": pytest.approx(np.mean([m[1] for m in means.values()]), abs=1e-3),
        "worst_slice": worst,
        "worst_expected_error_hu": pytest.approx(means[worst][0], abs=1e-3),
        "expected_error_file": "e.nii.gz",
        "half_width_90_file": "e-half-width-90.nii.gz",
    }
    assert (content["run"]["engine"], content["run"]["precision"]) == ("abacus", "f64")


def test_the_sidecar_has_it_without_maps_too(tmp_path, thick, scan, method):
    report = fill(scan, tmp_path / "out.nii")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "in.json",
        "in.nii",
        "out.json",
        "out.nii",
    ]
    content = told(tmp_path / "out.json")
    assert content["slices"][1]["expected_error_hu"] > 0
    assert content["run"]["uncertainty"].keys() == {
        "expected_error_hu",
        "half_width_90_hu",
        "worst_slice",
        "worst_expected_error_hu",
    }
    assert report["expected_error"] is report["half_width_90"] is None
    filled = interpolate(thick, factor=4)
    assert filled.uncertainty is None
    hrinet.write(filled, tmp_path / "memory.nii")
    assert told(tmp_path / "memory.json")["slices"] == content["slices"]


def test_a_method_without_an_estimate_says_nothing_of_errors(tmp_path, scan):
    report = interpolate_file(scan, Outputs(volume=tmp_path / "out.nii"), Options(method="linear"))
    content = told(tmp_path / "out.json")
    assert "uncertainty" not in content["run"]
    assert not any("error" in key for entry in content["slices"] for key in entry)
    assert (content["run"]["engine"], content["run"]["precision"]) == ("cpu", "f32")
    assert "xpected error" not in describe_result(report)


@pytest.mark.parametrize(
    ("key", "value"), [("expected_error_hu", -1), ("half_width_90_hu", "large")]
)
def test_the_schema_refuses_impossible_errors(tmp_path, scan, method, key, value):
    fill(scan, tmp_path / "out.nii")
    for part in ("slices", "run"):
        content = told(tmp_path / "out.json")
        (content["slices"][1] if part == "slices" else content["run"]["uncertainty"])[key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(content, schema())


def test_nothing_to_fill_has_no_error(tmp_path, scan, method):
    report = fill(scan, tmp_path / "out.nii", tmp_path / "e.nii", factor=1)
    assert "uncertainty" not in report
    assert not np.asarray(nibabel.load(tmp_path / "e.nii").dataobj).any()
    assert "xpected error 0" not in describe_result(report)


def test_where_padding_was_put_back_there_is_no_error(method):
    array = np.full((3, 12, 10), 40, np.int16)
    array[:, :5] = -2000
    array[1:, 5] = -2000
    volume = Volume(array=array, geometry=make_geometry([0, 5, 10]), padding_hu=-2000.0)
    filled = interpolate(volume, factor=4, uncertainty=True)
    found = filled.uncertainty.expected_error
    assert not found[filled.array == -2000].any()
    assert found[1][filled.array[1] != -2000].all()
    assert filled.array[1, 5, 0] != -2000  # The slice on its other side is the farther one.
    body = expected_error(12, 10, 0.25)[5:]
    assert filled.provenance[1].expected_error_hu == pytest.approx(body.mean(), abs=1e-4)


@pytest.mark.parametrize("arguments", [{"label": True}, {"method": "linear"}, {"method": "cubic"}])
def test_who_cannot_estimate_says_so_before_any_work(tmp_path, scan, thick, arguments):
    before = set(tmp_path.iterdir())
    outputs = Outputs(volume=tmp_path / "o.nii", uncertainty=tmp_path / "e.nii")
    message = (
        "label maps have a method of their own, which gives no estimate"
        if "label" in arguments
        else f"method '{arguments['method']}' gives no estimate.*choose --method hrinet-flow"
    )
    with pytest.raises(RequestError, match=message) as caught:
        interpolate_file(scan, outputs, Options(**arguments))
    assert caught.value.exit_code == 2
    assert "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before
    with pytest.raises(RequestError, match=message):
        interpolate(thick, uncertainty=True, **arguments)


def test_files_are_replaced_only_if_allowed(tmp_path, scan, method):
    (tmp_path / "e-half-width-90.nii").write_text("precious")
    with pytest.raises(RequestError, match=r"half-width-90.nii: exists already; pass --overwrite"):
        fill(scan, tmp_path / "out.nii", tmp_path / "e.nii")
    assert not (tmp_path / "out.nii").exists()
    fill(scan, tmp_path / "out.nii", tmp_path / "e.nii", overwrite=True)
    assert nibabel.load(tmp_path / "e-half-width-90.nii").shape == (10, 12, 25)
    with pytest.raises(RequestError, match="two outputs"):
        fill(scan, tmp_path / "x.nii", tmp_path / "x.nii")
    with pytest.raises(RequestError, match=r"cannot write '.png'"):
        fill(scan, tmp_path / "x.nii", tmp_path / "x.png")


@pytest.mark.parametrize("number", [1, 2, 3, 30, 60])
def test_a_failure_half_way_leaves_nothing(tmp_path, scan, method, monkeypatch, number):
    from hrinet.io.nifti import NiftiSink

    write, written, aborted = NiftiSink.write, [], []

    def full_disk(self, values):
        written.append(self)
        if len(written) == number:
            raise RunError("the disk is full")
        write(self, values)

    monkeypatch.setattr(NiftiSink, "write", full_disk)
    monkeypatch.setattr(NiftiSink, "abort", lambda self: aborted.append(self))
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RunError, match="disk is full"):
        fill(scan, out / "x.nii", out / "e.nii")
    assert list(out.iterdir()) == []
    assert len({id(sink) for sink in aborted}) == 3


def test_space_is_checked_for_all_files_together(tmp_path, scan, method, monkeypatch):
    voxels = 10 * 12 * 25
    disk = type("Usage", (), {"free": voxels * 2 + voxels * 4})()
    monkeypatch.setattr("shutil.disk_usage", lambda path: disk)
    fill(scan, tmp_path / "one.nii")
    with pytest.raises(RunError, match=r"e-half-width-90.nii: needs about"):
        fill(scan, tmp_path / "two.nii", tmp_path / "e.nii")
    assert not (tmp_path / "two.nii").exists()


def test_the_report_says_it_in_one_sentence(tmp_path, scan, method):
    report = fill(scan, tmp_path / "out.nii", tmp_path / "e.nii")
    report["uncertainty"] |= {
        "expected_error_hu": 14.2,
        "worst_expected_error_hu": 23.4,
        "worst_slice": 57,
    }
    text = describe_result(report)
    sentence = "Expected error 14 HU on average, 23 HU in the worst slice (#57)."
    assert text.splitlines()[1] == sentence
    assert f"Error map: {tmp_path / 'e.nii'} " in text
    assert f"Interval map: {tmp_path / 'e-half-width-90.nii'} " in text
    report["uncertainty"]["expected_error_hu"] = 3.456
    assert "Expected error 3.5 HU on average" in describe_result(report)


def test_a_caution_is_a_note_everywhere(tmp_path, scan, method):
    method.widest_mm = 4.0
    sentence = "5 mm are more than doubtful was validated on"
    report = fill(scan, tmp_path / "out.nii")
    assert sentence in report["notes"]
    assert f"* {sentence}." in describe_result(report)
    assert sentence in told(tmp_path / "out.json")["run"]["notes"]
    assert f"* {sentence}." in describe_summary(summarize(scan, Options()))


def test_a_method_is_asked_about_the_gaps_that_it_fills(method):
    geometry = make_geometry([0.0, 1.0, 5.0, 9.5, 10.5])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    prepare(volume, Options(request=Request(spacing=1.0, grid="originals")))
    assert method.asked == [4.0, 4.5]
    method.asked = None
    prepare(volume, Options(request=Request(spacing=9.0, grid="originals")))
    assert method.asked is None


def test_precision_and_quality_reach_the_method(monkeypatch, thick, tmp_path, scan):
    seen = []

    def build(name, *, weights, choices):
        seen.append((choices.precision, choices.quality))
        return Doubtful()

    monkeypatch.setattr("hrinet.job.build_interpolator", build)
    interpolate(thick, factor=2)
    interpolate(thick, factor=2, precision="bf16")
    best = Options(precision="f32", quality="best")
    report = interpolate_file(scan, Outputs(volume=tmp_path / "o.nii"), best)
    assert seen == [("auto", "standard"), ("bf16", "standard"), ("f32", "best")]
    assert report["quality"] == "best"
    assert parse_quality("best") == "best"
    with pytest.raises(RequestError, match="--quality is 'good', expected standard, best"):
        parse_quality("good")
    assert parse_device("mps") == "mps"
    with pytest.raises(RequestError, match="--device is 'gpu', expected cpu, cuda or mps"):
        parse_device("gpu")
    with pytest.raises(RequestError, match="leave out --device"):
        interpolate(thick, label=True, device="cuda")
    with pytest.raises(RequestError, match="leave out --quality"):
        interpolate(thick, label=True, quality="best")
    assert parse_precision("bf16") == "bf16"
    with pytest.raises(RequestError, match="--precision is 'half', expected auto, f32 or bf16"):
        parse_precision("half")
    with pytest.raises(RequestError, match="leave out --precision bf16"):
        interpolate(thick, label=True, precision="bf16")


def test_the_real_command(tmp_path, scan):
    def call(*arguments):
        script = (
            "import sys; sys.path[:0] = [sys.argv.pop(1)]; import hrinet.job; "
            "from doubtful import Doubtful; from hrinet.commands.app import main; "
            "real = hrinet.job.build_interpolator; "
            "hrinet.job.build_interpolator = lambda name, **others: "
            "Doubtful(4.0) if name == 'auto' else real(name, **others); main()"
        )
        return subprocess.run(
            [sys.executable, "-c", script, str(Path(__file__).parent), *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            cwd=tmp_path,
        )

    job = ("interpolate", "in.nii", "out.nii.gz", "--uncertainty", "e.nii.gz")
    done = call(*job, "--precision", "f32")
    assert done.returncode == 0, done.stderr
    assert "Expected error " in done.stdout
    assert "5 mm are more than doubtful was validated on." in done.stdout
    assert nibabel.load(tmp_path / "e-half-width-90.nii.gz").shape[2] == 43
    again = call(*job)
    assert again.returncode == 2
    assert "exists already; pass --overwrite" in again.stderr
    for wrong, message in (
        (("--method", "linear"), "choose --method hrinet-flow"),
        (("--label",), "leave out --uncertainty"),
        (("--precision", "f16"), "--precision is 'f16'"),
    ):
        refused = call(*job, "--overwrite", *wrong)
        assert refused.returncode == 2
        assert message in refused.stderr
        assert len(refused.stderr.strip().splitlines()) == 1


def test_names_beside_each_other(tmp_path):
    for name, other in (
        ("e.nii.gz", "e-half-width-90.nii.gz"),
        ("a.b.MHA", "a.b-half-width-90.MHA"),
        ("x.NII.GZ", "x-half-width-90.NII.GZ"),
    ):
        assert half_width_path(tmp_path / name) == tmp_path / other


def test_an_uncertainty_fits_its_volume_and_is_read_only(thick):
    maps = [np.zeros(thick.shape, np.float32) for _ in range(2)]
    volume = replace(thick, uncertainty=Uncertainty(*maps))
    assert volume.widened().uncertainty is volume.uncertainty
    with pytest.raises(ValueError, match="read-only"):
        volume.uncertainty.expected_error[0] = 1
    with pytest.raises(InputError, match="float32"):
        Uncertainty(maps[0].astype(np.float64), maps[1])
    with pytest.raises(InputError, match="half_width_90"):
        Uncertainty(maps[0], maps[1][:2])
    with pytest.raises(InputError, match="the uncertainty's shape"):
        replace(thick, uncertainty=Uncertainty(maps[0][:2], maps[1][:2]))

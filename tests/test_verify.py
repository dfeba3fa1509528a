from __future__ import annotations

import json

import numpy as np
import pydicom
import pytest

from dicom_builder import phantom, write_series
from dicom_tools import SECRET, patient
from hrinet.errors import InputError, RequestError
from hrinet.verify.derived import verify
from test_commands import call
from test_dicom_derived import derive


@pytest.fixture
def scan(tmp_path):
    write_series(tmp_path / "scan", phantom((4, 12, 10)), **patient())
    return tmp_path / "scan"


@pytest.fixture
def out(scan, tmp_path):
    derive(scan, tmp_path / "out")
    return tmp_path / "out"


def failed(found):
    return {check.name for check in found.checks if check.outcome == "failed"}


def edit(path, change):
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)


def test_a_sound_series_passes(out, scan):
    found = verify(out, source=scan)
    assert found.passed
    assert {check.outcome for check in found.checks} == {"passed"}
    assert (found.originals, found.synthetic) == (4, 6)


def test_without_the_source_some_checks_are_left_out(out):
    found = verify(out)
    assert found.passed
    assert {check.name for check in found.checks if check.outcome == "skipped"} == {
        "references", "study", "originals", "geometry",
    }  # fmt: skip


def _pixel(dataset):
    values = dataset.pixel_array.copy()
    values[3, 3] ^= 1
    dataset.PixelData = values.tobytes()


DEFECTS = {
    "a changed pixel": ("0004.dcm", _pixel, {"originals"}),
    "another rescale": (
        "0004.dcm", lambda d: setattr(d, "RescaleIntercept", -1000), {"originals"},
    ),
    "a moved slice": (
        "0004.dcm",
        lambda d: setattr(d, "ImagePositionPatient", [-50, -60, 5.01]),
        {"geometry"},
    ),
    "no mark": (
        "0002.dcm",
        lambda d: setattr(d, "ImageType", ["DERIVED", "SECONDARY", "AXIAL"]),
        {"marks", "sidecar"},
    ),
    "no derivation code": (
        "0002.dcm", lambda d: delattr(d, "DerivationCodeSequence"), {"marks"},
    ),
    "a reference elsewhere": (
        "0002.dcm",
        lambda d: setattr(d.SourceImageSequence[0], "ReferencedSOPInstanceUID", "1.2.3"),
        {"references"},
    ),
    "a UID of the source": (
        "0004.dcm", lambda d: setattr(d, "SOPInstanceUID", "1.2.3.4.9.2"), {"UIDs", "sidecar"},
    ),
    "another patient": ("0002.dcm", lambda d: setattr(d, "PatientID", "x"), {"study"}),
    "another frame of reference": (
        "0002.dcm", lambda d: setattr(d, "FrameOfReferenceUID", "1.2"), {"study"},
    ),
    "a false spacing": (
        "0002.dcm", lambda d: setattr(d, "SpacingBetweenSlices", 5), {"spacing"},
    ),
    "a private attribute": (
        "0002.dcm",
        lambda d: d.add_new(0x00090010, "LO", "X"),
        {"private attributes"},
    ),
    "another number": ("0002.dcm", lambda d: setattr(d, "InstanceNumber", 9), {"order", "UIDs"}),
    "a spacing in words": (
        "0002.dcm", lambda d: d.add_new("SpacingBetweenSlices", "LO", "abc"), {"spacing"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEFECTS)
def test_every_defect_is_found(out, scan, name):
    file, change, expected = DEFECTS[name]
    edit(out / file, change)
    found = verify(out, source=scan)
    assert expected <= failed(found), found
    assert SECRET not in json.dumps(found.as_json())


def test_a_missing_file_is_found(out, scan):
    (out / "0005.dcm").unlink()
    assert failed(verify(out, source=scan)) >= {"order", "spacing", "sidecar"}


def test_another_source_is_found(out, tmp_path):
    write_series(tmp_path / "other", phantom((4, 12, 10), seed=1), series="1.2.7", **patient())
    assert {"references", "originals"} <= failed(verify(out, source=tmp_path / "other"))


def test_a_changed_sidecar_is_found(out, scan):
    path = out.with_name("out.json")
    content = json.loads(path.read_text())
    content["slices"][1]["kind"] = "original"
    path.write_text(json.dumps(content))
    assert failed(verify(out, source=scan)) == {"sidecar"}
    path.write_text("{}")
    with pytest.raises(InputError, match="not a readable HRINet sidecar"):
        verify(out)


def test_enhanced_and_zip(scan, tmp_path):
    derive(scan, tmp_path / "e", enhanced=True)
    derive(scan, tmp_path / "z.zip")
    assert verify(tmp_path / "e", source=scan).passed
    assert verify(tmp_path / "z.zip", source=scan).passed

    def in_words(dataset):
        content = dataset.PerFrameFunctionalGroupsSequence[1].FrameContentSequence[0]
        content.add_new("InStackPositionNumber", "LO", "two")

    edit(next((tmp_path / "e").glob("*.dcm")), in_words)
    assert failed(verify(tmp_path / "e")) == {"order"}


def test_what_is_no_dicom(tmp_path, thick):
    import hrinet

    hrinet.write(thick, tmp_path / "x.nii")
    with pytest.raises(InputError, match="is no DICOM series, which 'hrinet verify' checks"):
        verify(tmp_path / "x.nii")


def test_a_series_of_no_source_is_refused(out):
    with pytest.raises(RequestError, match=r"^--series chooses .* pass --source as well$"):
        verify(out, series="1.2.3")


def test_the_command(scan, tmp_path):
    run = call(
        "interpolate", scan, tmp_path / "o", "--factor", 2, "--method", "linear",
        "--compress", "rle", "--burn-in",
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    run = call("verify", tmp_path / "o", "--source", scan)
    assert run.returncode == 0
    assert run.stdout.splitlines()[-1] == "4 original and 3 synthetic images: verified."
    assert "originals           4 of 4 source images, identical bit by bit" in run.stdout
    edit(tmp_path / "o" / "0002.dcm", lambda d: setattr(d, "SpacingBetweenSlices", 5))
    run = call("verify", tmp_path / "o", "--json")
    assert run.returncode == 1
    assert json.loads(run.stdout)["passed"] is False
    assert call("verify", tmp_path / "nothing").returncode == 2
    assert SECRET not in run.stdout + run.stderr


def test_maps_of_uncertainty_are_series_of_their_own(tmp_path):
    from hrinet.job import Options
    from hrinet.pipeline import Outputs, interpolate_file
    from hrinet.plan.plan import Request
    from test_dicom_derived import images

    array = np.clip(phantom((4, 48, 40)) // 4 + 600, 0, 4095).astype(np.uint16)
    write_series(tmp_path / "scan", array, **patient())
    result = interpolate_file(
        tmp_path / "scan",
        Outputs(volume=tmp_path / "out", uncertainty=tmp_path / "error"),
        Options(request=Request(factor=2), method="hrinet-flow"),
    )
    made = {name: images(tmp_path / name) for name in ("out", "error", "error-half-width-90")}
    assert len({series[0].SeriesInstanceUID for series in made.values()}) == 3
    assert [series[0].SeriesNumber for series in made.values()] == [1005, 2005, 3005]
    error = made["error"]
    assert error[0].SeriesDescription.startswith("HRINet expected error HU")
    assert error[1].ImageType[3] == "EXPECTED_ERROR"
    assert "not a CT image" in error[1].DerivationDescription
    assert all(np.all(image.pixel_array == 0) for image in error[::2])
    mean = np.mean([image.pixel_array * float(image.RescaleSlope) for image in error[1::2]])
    assert mean > 0
    assert result["expected_error"] == str(tmp_path / "error")
    from dicom_tools import dciodvfy_errors

    assert dciodvfy_errors(tmp_path / "error" / "0002.dcm") == []

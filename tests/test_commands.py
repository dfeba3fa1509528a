from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.synthesize.registry import ranked_methods
from hrinet.volume import Volume
from real_data import ct


def call(*arguments, cwd=None):
    """Run the real command in its own process, as a user does."""
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "hrinet",
            *map(str, arguments),
        ],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )


@pytest.fixture
def scan(tmp_path, thick):
    path = tmp_path / "in.nii"
    hrinet.write(thick, path)
    return path


def test_help_lists_the_commands_and_loads_nothing_heavy():
    result = call("--help")
    assert result.returncode == 0
    for command in (
        *("interpolate", "info", "models", "train", "manifest", "demo", "doctor"),
        *("evaluate", "selftest", "project", "surface", "verify", "node", "pull", "push"),
    ):
        assert command in result.stdout
    probe = (
        "import sys; import hrinet, hrinet.commands.app; "
        "print([m for m in ('numpy', 'cv2', 'pydicom', 'nibabel', 'torch') if m in sys.modules])"
    )
    loaded = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert loaded.stdout.strip() == "[]"


def test_version():
    assert call("--version").stdout.strip() == f"hrinet {hrinet.__version__}"


def test_interpolate_reports_in_words(scan, tmp_path):
    result = call("interpolate", scan, tmp_path / "out.nii.gz", "--method", "linear")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""  # No progress bar where nobody watches.
    assert "7 slices every 5 mm -> 43 slices every 0.7143 mm" in result.stdout
    assert "7 original and unchanged, 36 synthetic by linear" in result.stdout
    assert "Not for diagnosis" in result.stdout


def test_json_is_one_object_on_standard_output(scan, tmp_path):
    result = call("interpolate", scan, tmp_path / "o.nrrd", "--factor", 2, "--json", "-v")
    content = json.loads(result.stdout)
    assert content["plan"]["synthetic"] == 6
    assert content["method"] == ranked_methods()[-1].name  # What auto chose.
    assert "13/13" in result.stderr
    assert json.loads(call("info", scan, "--json").stdout)["would_do"]["slices"] == 43


def test_the_command_in_the_sidecar_can_be_pasted_back(scan, tmp_path):
    result = call("interpolate", "in.nii", "sp ace.nii", "--method", "linear", cwd=tmp_path)
    assert result.returncode == 0
    command = json.loads((tmp_path / "sp ace.json").read_text())["run"]["command"]
    assert command == "hrinet interpolate in.nii 'sp ace.nii' --method linear"


def test_range_spacing_and_grid(scan, tmp_path):
    arguments = ("--method", "linear", "--json", "--overwrite")
    out = tmp_path / "o.nii"
    part = json.loads(call("interpolate", scan, out, "--range", "2:4", *arguments).stdout)
    assert (part["plan"]["original"], part["plan"]["synthetic"]) == (2, 6)
    exact = json.loads(call("interpolate", scan, out, "--spacing", "1.25mm", *arguments).stdout)
    assert exact["plan"]["spacing_mm"] == 1.25


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("interpolate", "nothing", "o.nii"), "nothing: no such file or folder"),
        (("interpolate", "in.nii", "o.png"), "cannot write '.png'"),
        (("interpolate", "in.nii", "o.nii", "--burn-in"), "--burn-in is for DICOM output"),
        (("interpolate", "in.nii", "no/o.nii"), "does not exist; create it"),
        (("interpolate", "in.nii", "in.nii"), "in.nii: is the input, which would be lost"),
        (("interpolate", "in.nii", "text.nii"), "exists already; pass --overwrite"),
        (("interpolate", "in.nii", "o.nii", "--factor", "3", "--spacing", "1.5"), "contradict"),
        (("info", "in.nii", "--method", "foo"), "no method 'foo'"),
        (("info", "in.nii", "--factor", "3", "--spacing", "1.5"), "contradict each other"),
        (("interpolate", "in.nii", "o.nii", "--method", "best"), "no method 'best'"),
        (("interpolate", "in.nii", "o.nii", "--spacing", "thin"), "--spacing is 'thin'"),
        (("interpolate", "in.nii", "o.nii", "--range", "3"), "--range is '3', expected A:B"),
        (("interpolate", "in.nii", "o.nii", "--range", "5:99"), "does not lie in the input's 7"),
        (("interpolate", "in.nii", "o.nii", "--range", "-3:"), "none of them negative"),
        (("interpolate", "in.nii", "o.nii", "--range", "3:4"), "range 3:4 holds a single slice"),
        (("interpolate", "in.nii", "o.nii", "--spacing", "1e9"), "would leave a single one"),
        (("interpolate", "in.nii", "no/o.nii"), "no/o.nii: its folder no does not exist"),
        (("interpolate", "in.nii", "text.nii"), "text.nii: exists already"),
        (("interpolate", "in.nii", "o.nii", "--grid", "any"), "--grid is 'any'"),
        (("interpolate", "in.nii", "o.nii", "--factor", "0"), "factor must be 1 to"),
        (("interpolate", "in.nii", "o.nii", "--max-gap", "-2"), "--max-gap must be"),
        (("interpolate", "in.nii", "o.nii", "--report", "o.nii"), "two outputs"),
        (("interpolate", "in.nii", "o.nii", "--series", "1.2"), "--series selects a DICOM"),
        (("interpolate", "text.dcm", "o.nii"), "text.dcm: is not a CT volume; expected DICOM"),
        (("interpolate", "cut.nii", "o.nii"), "cut.nii"),
        (("info", "text.nii"), "text.nii"),
        (("info", "empty"), "holds no DICOM images"),
    ],
)
def test_bad_input_is_one_sentence_exit_code_2_and_nothing_left(scan, tmp_path, arguments, message):
    (tmp_path / "text.dcm").write_text("Dear reader, " * 50)
    (tmp_path / "text.nii").write_text("Dear reader, " * 50)
    (tmp_path / "cut.nii").write_bytes(scan.read_bytes()[:1500])
    (tmp_path / "empty").mkdir()
    before = {p.name for p in tmp_path.iterdir()}
    result = call(*arguments, cwd=tmp_path)
    assert result.returncode == 2, result.stderr
    assert message in result.stderr
    assert result.stderr.startswith("hrinet: ")
    assert len(result.stderr.strip().splitlines()) == 1
    assert "Traceback" not in result.stderr
    assert result.stdout == ""
    assert {p.name for p in tmp_path.iterdir()} == before


def test_usage_errors_are_exit_code_2():
    assert call("interpolate").returncode == 2
    assert call("fill", "a", "b").returncode == 2


def test_strict_refuses_what_would_be_flagged(tmp_path):
    geometry = make_geometry([0.0, 5.0, 15.0, 20.0])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    path = tmp_path / "gap.nii"
    with pytest.raises(hrinet.RequestError):
        hrinet.write(volume, path)  # A file cannot hold it; DICOM can. Use slabs of 5 mm instead.
    wide = make_geometry([0.0, 15.0, 30.0])
    hrinet.write(Volume(array=np.zeros(wide.shape, np.int16), geometry=wide), path)
    loose = call("interpolate", path, tmp_path / "o.nii", "--method", "linear")
    assert loose.returncode == 0
    assert "synthetic slices are flagged" in loose.stdout
    strict = call("interpolate", path, tmp_path / "s.nii", "--method", "linear", "--strict")
    assert strict.returncode == 2
    assert "15 mm wide" in strict.stderr


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupting_leaves_no_partial_output(tmp_path, number):
    geometry = make_geometry(5.0 * np.arange(60), rows=512, columns=512)
    values = np.random.default_rng(0).integers(-1000, 1000, geometry.shape).astype(np.int16)
    hrinet.write(Volume(array=values, geometry=geometry), tmp_path / "in.nii")
    out = tmp_path / "out"
    out.mkdir()
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "hrinet",
            "interpolate",
            str(tmp_path / "in.nii"),
            str(out / "x.nii"),
            "--factor",
            "40",
            "--method",
            "cubic",
        ],
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        if any(p.stat().st_size > 1_000_000 for p in out.iterdir()):
            break
        time.sleep(0.01)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert not (out / "x.nii").exists()
    if number == signal.SIGKILL:
        assert all(p.name.startswith(".") for p in out.iterdir())
        return
    assert process.returncode == 128 + number
    assert errors.strip() == "hrinet: interrupted; no output was written"
    assert list(out.iterdir()) == []


def test_info_tells_what_would_be_done(scan):
    text = call("info", scan).stdout
    assert "10 x 12 x 7 (int16), axial, LPS" in text
    best = ranked_methods()[-1].name
    assert f"would make 43 slices every 0.7143 mm (36 synthetic, by {best})" in text


def test_info_on_real_cases():
    text = call("info", ct("cases/ge_variable_tilt_and_spacing")).stdout
    assert "18.50 degrees" in text
    assert "1 x 1.081 mm, 13 x 4.002 mm, 13 x 6.999 mm" in text
    assert "a doubled slice" in call("info", ct("cases/rider_0109")).stdout


def test_a_manifest_is_made_in_one_line(tmp_path, thick):
    for patient in ("a", "b", "c"):
        (tmp_path / "scans" / patient).mkdir(parents=True)
        hrinet.write(thick, tmp_path / "scans" / patient / "ct.nii")
    (tmp_path / "scans" / "broken.nii").write_text("no scan")
    result = call("manifest", tmp_path / "scans", tmp_path / "m.json", "--validation", 0.3)
    assert result.returncode == 0, result.stderr
    assert "train       patients 2, scans 2, slices 14" in result.stdout
    assert "validation  patients 1, scans 1, slices 7" in result.stdout
    assert "Left out:" in result.stdout
    again = call("manifest", tmp_path / "scans", tmp_path / "m.json")
    assert again.returncode == 2
    assert "Traceback" not in again.stderr


def test_doctor_is_well():
    result = call("doctor", "--json")
    assert result.returncode == 0
    content = json.loads(result.stdout)
    assert content["healthy"]
    assert content["decoders"]["JPEG lossless SV1"]
    assert {"repeat", "linear", "cubic", "flow"} <= set(content["seconds_a_slice"])
    assert set(content["seconds_a_slice"]) == {
        name for name, lacks in content["methods"].items() if not lacks
    }


def test_demo_shows_its_pictures_and_replaces_them_if_asked_to(tmp_path):
    result = call("demo", "--output", tmp_path / "d", "--json")
    assert result.returncode == 0, result.stderr
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    again = call("demo", "--output", tmp_path / "d", "--json")
    assert again.returncode == 2
    assert "d/thick.nii.gz: exists already; pass --overwrite" in again.stderr
    assert written == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    result = call("demo", "--output", tmp_path / "d", "--overwrite", "--json")
    assert result.returncode == 0, result.stderr
    later = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "d").iterdir()}
    assert written.keys() == later.keys()
    assert all(later[name] > before for name, before in written.items())
    content = json.loads(result.stdout)
    assert Path(content["preview"]).stat().st_size > 10_000
    errors = {name: row["psnr_db"] for name, row in content["methods"].items()}
    assert errors["repeat"] < errors["linear"]
    assert errors["flow"] > errors["cubic"]

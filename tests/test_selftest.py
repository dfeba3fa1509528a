from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

import hrinet
from conftest import make_geometry
from hrinet.commands.app import app
from hrinet.errors import RangeExceededError, RequestError
from hrinet.io.formats import open_scan
from hrinet.selftest.run import (
    MOST_NEAR,
    MOST_WIDE,
    SelftestOptions,
    selftest,
    selftest_file,
    split_names,
)
from hrinet.synthesize.registry import find_method, installed_methods, ranked_methods
from hrinet.volume import SourceInfo, Volume, WrappedSource
from real_data import ct

PLAIN = SelftestOptions(methods=("repeat", "linear", "cubic"))
RUNNER = CliRunner()


def volume_of(array, positions, **geometry) -> Volume:
    rows, columns = array.shape[1:]
    return Volume(
        array=array, geometry=make_geometry(positions, rows=rows, columns=columns, **geometry)
    )


@pytest.fixture
def moving() -> Volume:
    """Seventeen slices of a texture that moves sideways, the same at any slice."""
    rng = np.random.default_rng(8)
    smooth = cv2.GaussianBlur(rng.normal(0, 1500, (48, 200)).astype(np.float32), (0, 0), 2)
    array = np.stack([smooth[:, 2 * n : 2 * n + 48] for n in range(17)]).astype(np.int16)
    return volume_of(array, 2.5 * np.arange(17), thickness=1.0)


def row(report, name):
    return next(entry for entry in report["methods"] if entry["name"] == name)


def test_linear_is_scored_as_one_would_by_hand(thick):
    report = selftest(thick, PLAIN)
    a = thick.array.astype(float)
    errors = [np.abs(np.rint((a[n - 1] + a[n + 1]) / 2) - a[n]) for n in (1, 3, 5)]
    found = row(report, "linear")
    assert [entry["index"] for entry in found["slices"]] == [1, 3, 5]
    for entry, error in zip(found["slices"], errors, strict=True):
        assert entry["mae_hu"] == pytest.approx(error.mean(), abs=0.002)
    assert found["mae_hu"] == pytest.approx(np.mean(errors), abs=0.002)
    squares = [
        np.mean(
            (np.clip(np.rint((a[n - 1] + a[n + 1]) / 2), -1000, 1000) - np.clip(a[n], -1000, 1000))
            ** 2
        )
        for n in (1, 3, 5)
    ]
    assert found["psnr_of_all_db"] == pytest.approx(10 * np.log10(4e6 / np.mean(squares)), abs=0.01)
    assert found["psnr_db"] == pytest.approx(
        np.mean(10 * np.log10(4e6 / np.array(squares))), abs=0.01
    )


def test_the_protocol_is_stated(thick):
    report = selftest(thick, PLAIN)
    assert report["protocol"] == {
        "hidden": 3,
        "scored": 3,
        "scored_in_wider_gaps": 1,
        "tested_gap_mm": 10.0,
        "own_gap_mm": 5.0,
        "hu_range": [-1000.0, 1000.0],
    }
    assert json.loads(json.dumps(report)) == report


def test_what_moves_is_best_followed(moving):
    report = selftest(moving, SelftestOptions(methods=("linear", "cubic", "flow")))
    assert report["best"] == "flow"
    assert row(report, "flow")["mae_hu"] < 0.5 * row(report, "linear")["mae_hu"]
    growth = row(report, "linear")["own_growth"]
    assert growth is not None
    assert growth > 0


def test_the_default_is_what_auto_ranks(moving):
    report = selftest(moving)
    names = [entry["name"] for entry in report["methods"]]
    assert names == [method.name for method in ranked_methods()]
    assert report["auto"] == names[-1]
    if "hrinet-flow" in names:
        estimate = row(report, "hrinet-flow")["own_estimate"]
        assert estimate["expected_hu"] > 0
        assert estimate["self_check"]["slices"] == 6


def test_the_thing_tested_is_what_interpolate_does(moving):
    thin = Volume(
        array=moving.array[::2],
        geometry=replace(moving.geometry, origins=moving.geometry.origins[::2]),
    )
    for name in ("cubic", "flow"):
        made = hrinet.interpolate(thin, factor=2, method=name).array[1::2]
        errors = np.abs(made.astype(int) - moving.array[1::2]).mean(axis=(1, 2))
        found = row(selftest(moving, SelftestOptions(methods=(name,))), name)
        assert [s["mae_hu"] for s in found["slices"]] == pytest.approx(errors.tolist(), abs=1e-3)


def test_long_scans_are_sampled_unless_all_is_wanted():
    rng = np.random.default_rng(1)
    array = rng.integers(-1000, 1000, (131, 16, 16)).astype(np.int16)
    volume = volume_of(array, 1.0 * np.arange(131))
    report = selftest(volume, SelftestOptions(methods=("linear",)))
    assert report["protocol"]["scored"] == MOST_NEAR
    assert report["protocol"]["scored_in_wider_gaps"] == MOST_WIDE
    assert report["protocol"]["hidden"] == 65
    everything = selftest(volume, SelftestOptions(methods=("linear",), full=True))
    assert everything["protocol"]["scored"] == 65
    assert everything["protocol"]["scored_in_wider_gaps"] == 32
    # Independent noise: |x - (a + b) / 2| of uniform values, whatever the gap.
    assert row(everything, "linear")["own_growth"] == pytest.approx(0, abs=0.05)


def test_full_takes_every_installed_method(monkeypatch, thick):
    cubic = find_method("cubic")
    slow = replace(cubic, name="slow", rank=None)
    monkeypatch.setattr("hrinet.synthesize.registry.METHODS", (cubic, slow))
    assert [r["name"] for r in selftest(thick)["methods"]] == ["cubic"]
    report = selftest(thick, SelftestOptions(full=True))
    assert [r["name"] for r in report["methods"]] == ["cubic", "slow"]
    assert row(report, "slow")["law"] == "other"
    assert len(installed_methods()) == 2


def test_progress_reaches_its_total(thick):
    seen = []
    selftest(thick, PLAIN, progress=lambda done, total, what="": seen.append((done, total, what)))
    assert seen[-1] == (12, 12, "cubic")
    assert [entry[0] for entry in seen] == list(range(1, 13))


def test_nothing_in_the_report_names_the_patient_or_the_file(tmp_path, thick):
    path = tmp_path / "Doe_John.nii"
    hrinet.write(thick, path)
    info = SourceInfo(
        path=str(path),
        series_uid="1.2.3.4",
        description="Doe",
        notes=("left out Doe_John_7.dcm",),
        alternatives=("1.2.3.5 Doe", "1.2.3.6"),
        kernel="B30f",
    )
    report = selftest(replace(thick, info=info), PLAIN, subject=str(path))
    assert "Doe" not in json.dumps(report)
    assert "1.2.3" not in json.dumps(report)
    assert report["scan"]["kernel"] == "B30f"
    assert "2 other volumes" in " ".join(report["notes"])


def test_synthetic_slices_are_no_truth(tmp_path, thick):
    filled = hrinet.interpolate(thick, factor=2, method="linear")
    hrinet.write(filled, tmp_path / "filled.nii")
    with pytest.raises(RequestError, match=r"filled.nii: holds 6 synthetic .*; use its source"):
        selftest_file(tmp_path / "filled.nii", PLAIN)
    with pytest.raises(RequestError, match=r"the volume: holds 6 synthetic slices"):
        selftest(filled, PLAIN)


def test_an_unknown_thickness_is_said_and_overlap_too(thick):
    unknown = selftest(
        replace(thick, geometry=replace(thick.geometry, slice_thickness=None)), PLAIN
    )
    assert "thickness is not known" in " ".join(unknown["notes"])
    overlapping = replace(thick.geometry, slice_thickness=8.0)
    assert "8 mm thick every 5 mm overlap" in " ".join(
        selftest(replace(thick, geometry=overlapping), PLAIN)["notes"]
    )


def test_tilt_and_other_modalities_are_said(thick):
    sheared = make_geometry(5.0 * np.arange(7), shear=(0.0, 0.3))
    info = SourceInfo(modality="MR")
    notes = " ".join(selftest(replace(thick, geometry=sheared, info=info), PLAIN)["notes"])
    assert "tilted by 16.70 degrees" in notes
    assert "the modality is MR, not CT" in notes


def test_values_beyond_int16_and_padding(thick):
    array = thick.array.astype(np.float32) * 30
    array[:, :3] = -2000
    report = selftest(replace(thick, array=array, padding_hu=-2000.0), PLAIN)
    found = row(report, "linear")
    inner = array[:, 3:].astype(float)
    errors = [np.abs((inner[n - 1] + inner[n + 1]) / 2 - inner[n]).mean() for n in (1, 3, 5)]
    assert found["mae_hu"] == pytest.approx(np.mean(errors) * 9 / 12, rel=1e-4)


class Promising(WrappedSource):
    """A source whose header promised int16."""

    def read_slice(self, index):
        raise RangeExceededError("a slice does not fit")


def test_a_scan_that_does_not_fit_its_promise_is_read_as_floats(thick):
    report = selftest(Promising(thick), PLAIN)
    found, expected = (row(r, "cubic")["mae_hu"] for r in (report, selftest(thick, PLAIN)))
    assert found == pytest.approx(expected, abs=0.3)  # Floats are not rounded.


def test_segmentations_are_refused():
    labels = np.zeros((9, 30, 30), np.int16)
    labels[:, 5:20, 5:20] = 4
    with pytest.raises(RequestError, match="the scan looks like a segmentation"):
        selftest(volume_of(labels, 3.0 * np.arange(9)), PLAIN)


def test_methods_that_are_not_there_are_refused(monkeypatch, thick):
    with pytest.raises(RequestError, match="no method 'best'"):
        selftest(thick, SelftestOptions(methods=("best",)))
    absent = replace(find_method("cubic"), name="absent", modules=("no_such",), extra="torch")
    monkeypatch.setattr("hrinet.synthesize.registry.METHODS", (absent,))
    with pytest.raises(
        RequestError, match=r"'absent' needs no_such: pip install 'hrinet\[torch\]'"
    ):
        selftest(thick, SelftestOptions(methods=("absent",)))


def test_names_may_be_separated_by_commas():
    assert split_names(["linear, flow", "cubic", ""]) == ("linear", "flow", "cubic")
    assert split_names(None) == ()


def test_the_command_prints_a_table_or_json(tmp_path, thick):
    path = tmp_path / "in.nii"
    hrinet.write(thick, path)
    before = set(tmp_path.iterdir())
    result = RUNNER.invoke(app, ["selftest", str(path), "--methods", "linear,cubic"])
    assert result.exit_code == 0, result.output
    assert "On this scan cubic errs by" in result.stdout
    assert "in.nii" not in result.stdout
    as_json = RUNNER.invoke(app, ["selftest", str(path), "--methods", "linear", "--json"])
    assert [entry["name"] for entry in json.loads(as_json.stdout)["methods"]] == ["linear"]
    assert set(tmp_path.iterdir()) == before


def test_uneven_and_tilted_real_scans():
    report = selftest(open_scan(ct("cases/ge_variable_tilt_and_spacing")), PLAIN)
    assert report["protocol"]["own_gap_mm"] == pytest.approx(4.0, abs=0.01)
    assert report["protocol"]["scored"] < report["protocol"]["hidden"]
    notes = " ".join(report["notes"])
    assert "unusual distances" in notes
    assert "tilted by 18.50 degrees" in notes

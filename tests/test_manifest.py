from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from dicom_builder import phantom, write_series
from hrinet.errors import InputError, RequestError
from hrinet.train.finding import make_manifest
from hrinet.train.manifest import SPLITS, Entry, Manifest, load_manifest, save_manifest
from real_data import ct


def write_scan(path: Path, *, slices: int = 3, spacing: float = 4.0, hu: int = 40) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    geometry = make_geometry(spacing * np.arange(slices), rows=8, columns=8)
    array = np.full(geometry.shape, hu, np.int16)
    hrinet.write(hrinet.Volume(array=array, geometry=geometry), path)
    return path


def entry(path: str, patient: str, split: str, **options: object) -> Entry:
    return Entry(path=path, patient=patient, split=split, **options)  # type: ignore[arg-type]


def test_a_folder_or_file_below_the_root_is_one_patient(tmp_path):
    write_scan(tmp_path / "anna" / "early" / "a.nii.gz")
    write_scan(tmp_path / "anna" / "late.nrrd", slices=4, spacing=2.5)
    write_scan(tmp_path / "bert.mha")
    write_series(tmp_path / "carl" / "series", phantom((5, 8, 8)))
    shutil.make_archive(str(tmp_path / "dora"), "zip", tmp_path / "carl")
    shutil.rmtree(tmp_path / "carl")
    write_series(tmp_path / "emil" / "s", phantom((5, 8, 8), seed=1), series="1.2.9")
    shutil.make_archive(str(tmp_path / "emil" / "scan"), "zip", tmp_path / "emil" / "s")
    shutil.rmtree(tmp_path / "emil" / "s")
    found = {e.path: e for e in make_manifest(tmp_path).entries}
    assert {path: e.patient for path, e in found.items()} == {
        "anna/early/a.nii.gz": "anna",
        "anna/late.nrrd": "anna",
        "bert.mha": "bert",
        "dora.zip": "dora",
        "emil/scan.zip": "emil",
    }
    assert (found["anna/late.nrrd"].slices, found["anna/late.nrrd"].spacing_mm) == (4, 2.5)
    assert (found["dora.zip"].slices, found["dora.zip"].spacing_mm) == (5, 5.0)
    assert found["anna/late.nrrd"].split == found["anna/early/a.nii.gz"].split


def test_every_series_of_a_patient_is_an_entry(tmp_path):
    write_series(tmp_path / "p" / "one", phantom((5, 8, 8)), series="1.2.3")
    write_series(tmp_path / "p" / "two", phantom((3, 8, 8), seed=1), series="1.2.4", prefix="t")
    entries = make_manifest(tmp_path).entries
    assert {(e.path, e.series_uid, e.slices) for e in entries} == {
        ("p", "1.2.3", 5),
        ("p", "1.2.4", 3),
    }


def test_no_identifier_of_dicom_gets_into_the_file(tmp_path):
    folder = tmp_path / "scans"
    write_series(folder / "p", phantom((3, 8, 8)), PatientID="ID-4711", PatientName="Doe^Jane")
    save_manifest(make_manifest(folder), tmp_path / "m.json")
    text = (tmp_path / "m.json").read_text()
    assert "4711" not in text
    assert "Doe" not in text


def test_copies_of_a_series_make_one_patient(tmp_path):
    for name in ("p1", "p2", "p3"):
        write_series(tmp_path / name, phantom((3, 8, 8)), series="1.2.3" if name != "p2" else "1.9")
    patients = {e.path: e.patient for e in make_manifest(tmp_path).entries}
    assert patients == {"p1": "p1", "p2": "p2", "p3": "p1"}


def test_what_cannot_be_read_is_listed_with_the_reason(tmp_path):
    write_scan(tmp_path / "good.nii.gz")
    (tmp_path / "broken.nii").write_bytes(b"not a scan at all")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    write_scan(tmp_path / "single.nii", slices=1)
    write_series(tmp_path / "pet", phantom((3, 8, 8)), Modality="PT")
    manifest = make_manifest(tmp_path)
    assert [e.path for e in manifest.entries] == ["good.nii.gz"]
    reasons = {skipped.path: skipped.reason for skipped in manifest.skipped}
    assert set(reasons) == {"broken.nii", "single.nii", "pet"}
    assert "1 slice" in reasons["single.nii"]
    assert "PT" in reasons["pet"]


def test_what_this_program_filled_is_no_truth(tmp_path):
    source = hrinet.read(write_scan(tmp_path / "good.nii.gz"))
    filled = hrinet.interpolate(source, factor=2, method="linear")
    hrinet.write(filled, tmp_path / "filled.nii.gz")
    write_series(tmp_path / "p" / "scan", phantom((3, 8, 8)))
    from_dicom = hrinet.interpolate(hrinet.read(tmp_path / "p"), factor=2, method="linear")
    hrinet.write(from_dicom, tmp_path / "q")
    manifest = make_manifest(tmp_path)
    assert [e.path for e in manifest.entries] == ["good.nii.gz", "p"]
    assert [s.path for s in manifest.skipped] == ["filled.nii.gz", "q"]
    assert "holds 2 synthetic slices of HRINet" in manifest.skipped[0].reason
    assert all("would pass for originals" in s.reason for s in manifest.skipped)


def test_masks_can_be_excluded(tmp_path):
    write_scan(tmp_path / "p" / "ct.nii.gz")
    write_scan(tmp_path / "p" / "ct_seg.nii.gz")
    assert len(make_manifest(tmp_path).entries) == 2
    assert [e.path for e in make_manifest(tmp_path, exclude=["*_seg.nii.gz"]).entries] == [
        "p/ct.nii.gz"
    ]


def test_the_split_is_by_patient_and_reproducible(tmp_path):
    for number in range(10):
        for scan in range(1 + number % 3):
            write_scan(tmp_path / f"p{number}" / f"{scan}.nii")
    first = make_manifest(tmp_path, validation=0.2, test=0.1, seed=3)
    sides = {e.patient: e.split for e in first.entries}
    assert Counter(sides.values()) == {"train": 7, "validation": 2, "test": 1}
    assert all(e.split == sides[e.patient] for e in first.entries)
    assert make_manifest(tmp_path, validation=0.2, test=0.1, seed=3) == first
    divisions = {
        tuple(e.split for e in make_manifest(tmp_path, seed=seed).entries) for seed in range(4)
    }
    assert len(divisions) > 1


def test_where_scans_come_from_is_said_for_all(tmp_path):
    write_scan(tmp_path / "a.nii")
    write_scan(tmp_path / "b" / "c.nii")
    found = make_manifest(tmp_path, collection="LIDC", licence="CC BY 3.0").entries
    assert {(e.collection, e.licence) for e in found} == {("LIDC", "CC BY 3.0")}
    assert {(e.collection, e.licence) for e in make_manifest(tmp_path).entries} == {("", "")}


def test_two_patients_are_enough_to_validate_and_one_is_not(tmp_path):
    write_scan(tmp_path / "a.nii")
    assert [e.split for e in make_manifest(tmp_path).entries] == ["train"]
    write_scan(tmp_path / "b.nii")
    assert sorted(e.split for e in make_manifest(tmp_path).entries) == ["train", "validation"]
    with pytest.raises(RequestError, match="2 patients cannot be divided"):
        make_manifest(tmp_path, validation=0.2, test=0.2)


@pytest.mark.parametrize("fractions", [(-0.1, 0.0), (0.5, 0.5), (1.0, 0.0), (float("nan"), 0.0)])
def test_senseless_fractions_are_refused(tmp_path, fractions):
    with pytest.raises(RequestError, match="sum below 1"):
        make_manifest(tmp_path, validation=fractions[0], test=fractions[1])


@pytest.mark.parametrize("pattern", ["", ".", "./"])
def test_an_empty_pattern_is_refused(tmp_path, pattern):
    write_scan(tmp_path / "a.nii")
    with pytest.raises(RequestError, match="pattern to exclude is empty"):
        make_manifest(tmp_path, exclude=["*.txt", pattern])


def test_a_folder_without_scans_is_refused(tmp_path):
    with pytest.raises(InputError, match="no scan could be read"):
        make_manifest(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        make_manifest(tmp_path / "absent")


def test_saving_elsewhere_keeps_the_scans_reachable(tmp_path):
    write_scan(tmp_path / "scans" / "a.nii")
    write_scan(tmp_path / "scans" / "b" / "c.nii")
    (tmp_path / "scans" / "bad.nii").write_bytes(b"x")
    made = make_manifest(tmp_path / "scans")
    (tmp_path / "other").mkdir()
    save_manifest(made, tmp_path / "other" / "m.json")
    loaded = load_manifest(tmp_path / "other" / "m.json")
    assert [e.path for e in loaded.entries] == ["../scans/a.nii", "../scans/b/c.nii"]
    assert [s.path for s in loaded.skipped] == ["../scans/bad.nii"]
    assert all((loaded.root / e.path).is_file() for e in loaded.entries)
    save_manifest(made, tmp_path / "scans" / "m.json")
    assert load_manifest(tmp_path / "scans" / "m.json") == made
    with pytest.raises(RequestError, match="exists already"):
        save_manifest(made, tmp_path / "scans" / "m.json")


def test_a_list_of_names_is_a_manifest(tmp_path):
    listed = [
        {"name": "a", "split": "train", "slices": 9, "spacing_mm": [1, 2.5, 3], "licence": "CC0"},
        {"name": "b", "split": "validation", "kernel": "B30s"},
        {"name": "c", "split": "cases"},
    ]
    (tmp_path / "m.json").write_text(json.dumps(listed))
    loaded = load_manifest(tmp_path / "m.json")
    assert loaded.entries == (
        Entry(path="train/a", patient="a", split="train", slices=9, spacing_mm=2.5, licence="CC0"),
        Entry(path="validation/b", patient="b", split="validation"),
    )


def test_the_manifest_of_the_shared_scans_reads_as_it_is():
    path = ct("manifest.json")
    listed = json.loads(path.read_text())
    loaded = load_manifest(path)
    assert Counter(e.split for e in loaded.entries) == Counter(
        item["split"] for item in listed if item["split"] in SPLITS
    )
    assert all((loaded.root / e.path).exists() and e.collection for e in loaded.entries)


def test_a_patient_in_two_splits_is_refused(tmp_path):
    entries = (entry("x", "p", "train"), entry("y", "p", "validation"))
    with pytest.raises(InputError, match="patient p is in two splits: x in train, y in validation"):
        Manifest(root=tmp_path, entries=entries)


def test_a_series_in_two_splits_is_refused(tmp_path):
    entries = (
        entry("x", "p", "train", series_uid="1.2#1"),
        entry("y", "q", "test", series_uid="1.2#2"),
    )
    with pytest.raises(InputError, match=r"series 1\.2 is in two splits"):
        Manifest(root=tmp_path, entries=entries)


def test_a_scan_listed_twice_is_refused(tmp_path):
    with pytest.raises(InputError, match="listed twice"):
        Manifest(root=tmp_path, entries=(entry("x", "p", "train"), entry("x", "p", "train")))


GOOD = {"path": "x", "patient": "p", "split": "train"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is no JSON"),
        ("3", "is no manifest"),
        ('{"schema": "other", "entries": []}', "is no manifest"),
        ("[3]", "expected a list of objects"),
        ('[{"split": "train"}]', "patient is None"),
        ({**GOOD, "split": "holdout"}, "split is 'holdout', expected one of train, validation"),
        ({**GOOD, "split": ["train"]}, "split is"),
        ({**GOOD, "patient": ""}, "patient is ''"),
        ({**GOOD, "path": 3}, "path is 3"),
        ({**GOOD, "slices": "9"}, "slices is '9'"),
        ({**GOOD, "spacing_mm": -1.0}, "spacing_mm is -1.0"),
    ],
)
def test_a_damaged_manifest_is_refused_in_one_sentence(tmp_path, content, message):
    path = tmp_path / "m.json"
    if isinstance(content, dict):
        content = json.dumps({"schema": "hrinet-manifest-1", "entries": [content]})
    path.write_text(content)
    with pytest.raises(InputError, match=message) as caught:
        load_manifest(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_manifest_nested_without_end_is_refused(tmp_path):
    (tmp_path / "m.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is no JSON"):
        load_manifest(tmp_path / "m.json")


def test_an_absent_manifest_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_manifest(tmp_path / "absent.json")


def test_a_scan_is_never_replaced(tmp_path):
    scan = write_scan(tmp_path / "anna" / "a.nii.gz")
    before = scan.read_bytes()
    manifest = Manifest(root=tmp_path, entries=(entry("anna/a.nii.gz", "anna", "train"),))
    with pytest.raises(RequestError, match="is the input, which would be lost"):
        save_manifest(manifest, tmp_path / "anna" / ".." / "anna" / "a.nii.gz", overwrite=True)
    assert scan.read_bytes() == before


def test_a_sidecar_is_never_replaced_but_a_manifest_is(tmp_path):
    source = hrinet.read(write_scan(tmp_path / "anna" / "a.nii.gz"))
    hrinet.write(hrinet.interpolate(source, factor=2, method="linear"), tmp_path / "fill.nii")
    before = (tmp_path / "fill.json").read_bytes()
    manifest = make_manifest(tmp_path)
    with pytest.raises(RequestError, match=r"fill.json: is the sidecar of fill.nii; choose"):
        save_manifest(manifest, tmp_path / "fill.json", overwrite=True)
    assert (tmp_path / "fill.json").read_bytes() == before
    for _ in range(2):
        save_manifest(manifest, tmp_path / "m.json", overwrite=True)
    assert load_manifest(tmp_path / "m.json") == manifest

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from dicom_builder import phantom, write_series
from hrinet.errors import InputError, RequestError
from hrinet.train import (
    DEFAULT_WINDOW,
    caching,
    from_stored,
    prepare_slice,
    to_hu,
    to_stored,
    to_unit,
)
from hrinet.train.cache import Cache
from hrinet.train.caching import build_cache
from hrinet.train.finding import make_manifest
from hrinet.train.manifest import Entry, Manifest, load_manifest, save_manifest
from real_data import ct


def random_array(slices: int, *, rows: int = 16, columns: int = 16, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(-1024, 3072, (slices, rows, columns)).astype(np.int16)


def write_scan(path: Path, array: np.ndarray) -> None:
    slices, rows, columns = array.shape
    geometry = make_geometry(4.0 * np.arange(slices), rows=rows, columns=columns)
    hrinet.write(hrinet.Volume(array=array, geometry=geometry), path, overwrite=True)


def write_scans(folder: Path, count: int = 4) -> Manifest:
    folder.mkdir(exist_ok=True)
    entries = []
    for number in range(count):
        write_scan(folder / f"p{number}.nii", random_array(5 + number, seed=number))
        split = "validation" if number == 1 else "train"
        entries.append(Entry(path=f"p{number}.nii", patient=f"p{number}", split=split))
    return Manifest(root=folder, entries=tuple(entries))


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of change of every array: equal if it was not written again."""
    return {p.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.glob("*.npy")}


def test_the_window_maps_linearly_and_back():
    hu = np.array([-2000, -1024, -512, 0, 512, 1024, 5000])
    unit = to_unit(hu, (-1024.0, 1024.0))
    assert unit.dtype == np.float32
    np.testing.assert_array_equal(unit, [0, 0, 0.25, 0.5, 0.75, 1, 1])
    np.testing.assert_array_equal(to_hu(unit[1:-1], (-1024.0, 1024.0)), hu[1:-1])
    np.testing.assert_array_equal(to_hu([-0.5, 1.5], (0.0, 100.0)), [-50, 150])


def test_fixed_point_of_the_default_window_finds_every_hu_again():
    hu = np.arange(-1024, 3072)
    unit = from_stored(to_stored(to_unit(hu, DEFAULT_WINDOW)))
    assert np.max(np.abs(unit - (hu + 1024) / 4095)) < 1e-5
    np.testing.assert_array_equal(np.rint(to_hu(unit, DEFAULT_WINDOW)), hu)
    assert (unit[0], unit[-1]) == (0.0, 1.0)


def test_halving_averages_blocks():
    values = random_array(1, rows=32, columns=32)[0]
    expected = (values.reshape(16, 2, 16, 2).mean(axis=(1, 3)) + 1024) / 4095
    prepared = prepare_slice(values, size=16, window=DEFAULT_WINDOW)
    np.testing.assert_allclose(prepared, expected, atol=1e-6)


def test_a_fraction_of_a_pixel_counts_for_its_area():
    values = random_array(1, rows=3, columns=3)[0]
    weights = np.array([[2, 1, 0], [0, 1, 2]]) / 3  # three pixels on two
    expected = (weights @ values @ weights.T + 1024) / 4095
    prepared = prepare_slice(values, size=2, window=DEFAULT_WINDOW)
    np.testing.assert_allclose(prepared, expected, atol=1e-6)


@pytest.mark.parametrize("side", [5, 16, 23, 64])
def test_a_constant_stays_constant(side):
    values = np.full((side, side), 200, np.int16)
    prepared = prepare_slice(values, size=16, window=(0.0, 800.0))
    np.testing.assert_allclose(prepared, np.full((16, 16), 0.25), atol=1e-6)


def test_a_small_slice_is_interpolated_linearly():
    ramp = np.tile(np.arange(8, dtype=np.int16) * 100, (8, 1))
    prepared = prepare_slice(ramp, size=16, window=(0.0, 700.0))
    centres = (np.arange(16) + 0.5) / 2 - 0.5  # in source pixels; edges repeat beyond the first
    np.testing.assert_allclose(prepared, np.tile(centres.clip(0, 7) / 7, (16, 1)), atol=1e-6)


def test_an_oblong_slice_gets_air_on_both_sides():
    prepared = prepare_slice(np.full((16, 8), 3071, np.int16), size=16, window=DEFAULT_WINDOW)
    np.testing.assert_array_equal(prepared[:, 4:12], 1)
    assert prepared.sum() == 16 * 8
    turned = prepare_slice(np.full((8, 16), 3071, np.int16), size=16, window=DEFAULT_WINDOW)
    np.testing.assert_array_equal(turned, prepared.T)


def test_values_far_outside_the_window_do_not_bleed():
    values = np.array([[-30000, 100], [100, 100]], np.int16)
    assert prepare_slice(values, size=1, window=(0.0, 100.0))[0, 0] == pytest.approx(0.75)


def test_padding_and_nan_are_air():
    values = np.array([[500, 100], [np.nan, 100]], np.float32)
    prepared = prepare_slice(values, size=2, window=(0.0, 100.0), padding_hu=500.0)
    np.testing.assert_array_equal(prepared, [[0, 1], [0, 1]])


def test_a_cache_holds_what_the_reader_reads(tmp_path):
    array = random_array(6, rows=32, columns=32)
    write_scan(tmp_path / "a.nii.gz", array)  # sequential: a compressed stream
    write_series(tmp_path / "b", phantom((9, 32, 32)), RescaleIntercept=-1024, series="1.2.3")
    made = build_cache(make_manifest(tmp_path), tmp_path / "cache", size=16)
    assert [v.path for v in made.volumes] == ["a.nii.gz", "b"]
    first, second = made.volumes
    expected = (array.reshape(6, 16, 2, 16, 2).mean(axis=(2, 4)) + 1024) / 4095
    np.testing.assert_allclose(made.slices(first, [4, 1]), expected[[4, 1]], atol=1e-5)
    stored = phantom((9, 32, 32)).reshape(9, 16, 2, 16, 2).mean(axis=(2, 4)) / 4095
    np.testing.assert_allclose(made.slices(second, range(9)), stored, atol=1e-5)
    assert (second.slices, second.rows, second.series_uid) == (9, 32, "1.2.3")
    np.testing.assert_allclose(second.positions_mm, 5.0 * np.arange(9))
    assert second.pixel_spacing_mm == (0.7, 0.8)
    assert not made.stored(first).flags.writeable
    assert isinstance(made.stored(first), np.memmap)


def test_two_series_of_a_patient_are_two_scans(tmp_path):
    for seed, name in enumerate(("one", "two")):
        stored = phantom((3 + seed, 8, 8), seed=seed)
        series = f"1.2.{seed}"
        write_series(
            tmp_path / "p" / name, stored, series=series, prefix=name, RescaleIntercept=-1024
        )
    made = build_cache(make_manifest(tmp_path), tmp_path / "cache", size=8)
    assert sorted(v.series_uid for v in made.volumes) == ["1.2.0", "1.2.1"]
    for scan in made.volumes:
        seed = int(scan.series_uid[-1])
        stored = phantom((3 + seed, 8, 8), seed=seed) / 4095
        np.testing.assert_allclose(made.slices(scan, range(3 + seed)), stored, atol=1e-5)


def test_values_beyond_int16_are_read_as_float(tmp_path):
    array = np.full((3, 8, 8), 100.0, np.float32)
    array[1, 0, 0] = 1e6
    write_scan(tmp_path / "a.nii", array)
    made = build_cache(make_manifest(tmp_path), tmp_path / "cache", size=8, window=(0.0, 200.0))
    expected = np.full((3, 8, 8), 0.5)
    expected[1, 0, 0] = 1
    np.testing.assert_allclose(made.slices(made.volumes[0], range(3)), expected, atol=1e-5)


def test_a_second_build_reuses_everything(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    seen = []
    build_cache(manifest, folder, size=8, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    before = identities(folder)
    build_cache(manifest, folder, size=8)
    assert identities(folder) == before


def test_a_finished_cache_is_not_touched_so_that_several_trainings_may_begin_at_once(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    build_cache(manifest, folder, size=16)
    of_another_process = folder / ".index.json.0123abcd.tmp"
    of_another_process.write_bytes(b"")
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.iterdir()}
    build_cache(manifest, folder, size=16)
    assert before == {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in folder.iterdir()}


def test_what_changed_is_made_anew_and_the_rest_kept(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    before = build_cache(manifest, folder, size=8)
    old = identities(folder)
    write_scan(tmp_path / "scans" / "p2.nii", random_array(7, seed=99))
    after = build_cache(manifest, folder, size=8)
    kept = [v.path for v in after.volumes if identities(folder)[v.file] == old.get(v.file)]
    assert kept == ["p0.nii", "p1.nii", "p3.nii"]
    assert len(identities(folder)) == 4
    expected = (random_array(7, seed=99).reshape(7, 8, 2, 8, 2).mean(axis=(2, 4)) + 1024) / 4095
    np.testing.assert_allclose(after.slices(after.volumes[2], range(7)), expected, atol=1e-5)
    assert before.volumes[2].pixels_sha256 != after.volumes[2].pixels_sha256


@pytest.mark.parametrize("options", [{"size": 4}, {"size": 8, "window": (-200.0, 300.0)}])
def test_another_size_or_window_is_made_anew(tmp_path, options):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    build_cache(manifest, folder, size=8)
    old = identities(folder)
    made = build_cache(manifest, folder, **options)
    assert set(old).isdisjoint(identities(folder))
    fresh = build_cache(manifest, tmp_path / "fresh", **options)
    for one, other in zip(made.volumes, fresh.volumes, strict=True):
        np.testing.assert_array_equal(made.stored(one), fresh.stored(other))


def test_moving_a_patient_to_another_split_makes_no_pixels(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    build_cache(manifest, folder, size=8)
    old = identities(folder)
    moved = replace(manifest.entries[0], split="validation", patient="renamed")
    made = build_cache(replace(manifest, entries=(moved, *manifest.entries[1:])), folder, size=8)
    assert identities(folder) == old
    assert [v.patient for v in made.of_split("validation")] == ["renamed", "p1"]


def test_only_the_splits_asked_for_are_read(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    held_back = replace(manifest.entries[3], split="test")
    (tmp_path / "scans" / "p3.nii").write_bytes(b"would fail if it were opened")
    manifest = replace(manifest, entries=(*manifest.entries[:3], held_back))
    made = build_cache(manifest, tmp_path / "cache", size=8)
    assert {v.split for v in made.volumes} == {"train", "validation"}
    assert made.skipped == ()


KILLED = """
import os, signal, sys
from hrinet.train import caching
from hrinet.train.manifest import load_manifest
calls = 0
def dies(*args, **options):
    global calls
    calls += 1
    if calls == 5 + 6 + 4:  # in the middle of the third scan
        os.kill(os.getpid(), signal.SIGKILL)
    return prepare(*args, **options)
prepare, caching.prepare_slice = caching.prepare_slice, dies
caching._CHUNK = 2  # so that a part of the third scan is on disk
caching.build_cache(load_manifest(sys.argv[1]), sys.argv[2], size=8)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="the system has no SIGKILL")
def test_a_killed_build_goes_on_where_it_stopped(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    save_manifest(manifest, tmp_path / "scans" / "m.json")
    folder = tmp_path / "cache"
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, tmp_path / "scans" / "m.json", folder], check=False
    )
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(InputError, match="no finished cache"):
        Cache.open(folder)
    finished = identities(folder)
    assert len(finished) == 2
    assert [p for p in folder.iterdir() if p.name.endswith(".tmp")]
    made = build_cache(manifest, folder, size=8)
    after = identities(folder)
    assert len(after) == 4
    assert {name: after[name] for name in finished} == finished
    assert not [p for p in folder.iterdir() if p.name.endswith(".tmp")]
    fresh = build_cache(manifest, tmp_path / "fresh", size=8)
    for one, other in zip(made.volumes, fresh.volumes, strict=True):
        assert one.pixels_sha256 == other.pixels_sha256
        np.testing.assert_array_equal(made.stored(one), fresh.stored(other))


def test_a_truncated_array_is_made_anew(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    made = build_cache(manifest, folder, size=8)
    os.truncate(folder / made.volumes[0].file, 300)
    with pytest.raises(InputError, match="build the cache again"):
        Cache.open(folder).stored(made.volumes[0])
    again = build_cache(manifest, folder, size=8)
    assert again.stored(again.volumes[0]).shape == (5, 8, 8)


def test_foreign_files_are_left_alone(tmp_path):
    manifest = write_scans(tmp_path / "scans", count=2)
    folder = tmp_path / "cache"
    folder.mkdir()
    for name in ("notes.json", ".hidden.tmp", "weights.npy"):
        (folder / name).write_text("mine")
    build_cache(manifest, folder, size=8)
    assert {p.name for p in folder.iterdir()} >= {"notes.json", ".hidden.tmp", "weights.npy"}


def test_unreadable_scans_are_listed(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    (tmp_path / "scans" / "p0.nii").write_bytes(b"broken")
    (tmp_path / "scans" / "p2.nii").unlink()
    made = build_cache(manifest, tmp_path / "cache", size=8)
    assert [v.path for v in made.volumes] == ["p1.nii", "p3.nii"]
    assert [s.path for s in made.skipped] == ["p0.nii", "p2.nii"]
    assert Cache.open(tmp_path / "cache").skipped == made.skipped
    with pytest.raises(InputError, match="no readable scan"):
        build_cache(replace(manifest, entries=manifest.entries[:1]), tmp_path / "none", size=8)


def test_the_same_pixels_in_two_splits_are_refused(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    (tmp_path / "scans" / "p1.nii").write_bytes((tmp_path / "scans" / "p0.nii").read_bytes())
    with pytest.raises(InputError, match=r"p1\.nii \(validation\) holds the same pixels as p0"):
        build_cache(manifest, tmp_path / "cache", size=8)
    with pytest.raises(InputError, match="no finished cache"):
        Cache.open(tmp_path / "cache")


def test_a_full_disk_is_a_run_error(tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching, "write_npy", full)
    with pytest.raises(hrinet.RunError, match="No space left"):
        build_cache(write_scans(tmp_path / "scans"), tmp_path / "cache", size=8)
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(
    "options", [{"size": 0}, {"window": (100.0, 100.0)}, {"window": (0.0, float("nan"))}]
)
def test_senseless_options_are_refused(tmp_path, options):
    with pytest.raises(RequestError, match="low < high"):
        build_cache(Manifest(root=tmp_path, entries=()), tmp_path / "cache", **options)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "hrinet-cache-1", "size": 8}'])
def test_a_damaged_index_is_an_input_error(tmp_path, content):
    (tmp_path / "index.json").write_text(content)
    with pytest.raises(InputError, match="build it again"):
        Cache.open(tmp_path)


def test_a_cache_travels_to_other_processes_without_its_pixels(tmp_path):
    made = build_cache(write_scans(tmp_path / "scans"), tmp_path / "cache", size=8)
    made.stored(made.volumes[0])
    parcel = pickle.dumps(made)
    assert len(parcel) < 1000
    arrived = pickle.loads(parcel)
    np.testing.assert_array_equal(
        arrived.slices(arrived.volumes[2], [1]), made.slices(made.volumes[2], [1])
    )


def test_a_real_scan(tmp_path):
    path = ct("train/kits_00072_18sl")
    manifest = load_manifest(ct("manifest.json"))
    entries = tuple(e for e in manifest.entries if e.path.endswith(path.name))
    made = build_cache(replace(manifest, entries=entries), tmp_path, size=256)
    (scan,) = made.volumes
    array = hrinet.read(path).array.astype(float)
    expected = (array.reshape(len(array), 256, 2, 256, 2).mean(axis=(2, 4)) + 1024) / 4095
    assert array.min() >= -1024
    np.testing.assert_allclose(made.slices(scan, range(18)), expected, atol=1e-5)
    assert (scan.spacing_mm, scan.flagged_gaps) == (2.5, ())
    index = json.loads((tmp_path / "index.json").read_text())
    assert index["window"] == [-1024.0, 3071.0]


@pytest.mark.parametrize(
    "content", ['{"my": "index"}', "[]", "no json", '{"schema": "mine"}', '{"schema": "M\xfcller"}']
)
def test_the_index_of_something_else_is_not_replaced(tmp_path, content):
    manifest = write_scans(tmp_path / "scans")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "index.json").write_text(content, "latin-1")
    with pytest.raises(RequestError, match=r"site: holds an index\.json that is not of a cache"):
        build_cache(manifest, tmp_path / "site", size=8)
    assert (tmp_path / "site" / "index.json").read_text("latin-1") == content
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.json"]


def test_a_folder_in_the_place_of_the_index_is_refused_at_once(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    (tmp_path / "site" / "index.json").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"site: holds an index\.json that is not of a cache"):
        build_cache(manifest, tmp_path / "site", size=8)
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["index.json"]


def test_a_scan_whose_sidecar_appears_is_looked_at_again(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    entry = manifest.entries[0]
    thick = hrinet.read(manifest.root / entry.path)
    filled = manifest.root / "filled.nii"
    hrinet.write(hrinet.interpolate(thick, factor=2, method="linear"), filled)
    manifest = replace(manifest, entries=(*manifest.entries, replace(entry, path=filled.name)))
    sidecar = filled.with_suffix(".json")
    sidecar.rename(tmp_path / "away.json")
    before = build_cache(manifest, tmp_path / "cache", size=8)
    assert before.skipped == ()
    (tmp_path / "away.json").rename(sidecar)
    after = build_cache(manifest, tmp_path / "cache", size=8)
    assert len(after.volumes) == len(before.volumes) - 1
    assert [skipped.path for skipped in after.skipped] == ["filled.nii"]
    assert "would pass for originals" in after.skipped[0].reason


def test_a_cache_that_cannot_be_written_is_not_a_scan_that_cannot_be_read(tmp_path, monkeypatch):
    def refuse(_staging, path):
        raise RequestError(f"{path}: cannot be written: Permission denied")

    manifest = write_scans(tmp_path / "scans")
    monkeypatch.setattr(caching.Staging, "path", refuse)
    with pytest.raises(RequestError, match=r"npy: cannot be written: Permission denied$"):
        build_cache(manifest, tmp_path / "cache", size=8)
    assert not (tmp_path / "cache").exists()


def test_a_damaged_index_of_a_cache_is_made_anew(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    made = build_cache(manifest, tmp_path / "cache", size=8)
    (tmp_path / "cache" / "index.json").write_text("{", "utf-8")
    assert len(build_cache(manifest, tmp_path / "cache", size=8).volumes) == len(made.volumes)


def test_a_scan_that_is_away_for_a_while_keeps_its_slices(tmp_path):
    manifest = write_scans(tmp_path / "scans")
    folder = tmp_path / "cache"
    build_cache(manifest, folder, size=8)
    before = identities(folder)
    (tmp_path / "scans" / "p1.nii").rename(tmp_path / "away.nii")
    without = build_cache(manifest, folder, size=8)
    assert [item.path for item in without.skipped] == ["p1.nii"]
    (tmp_path / "away.nii").rename(tmp_path / "scans" / "p1.nii")
    assert len(build_cache(manifest, folder, size=8).volumes) == len(without.volumes) + 1
    assert identities(folder) == before


def test_a_volume_with_synthetic_slices_is_listed_and_not_learnt_from(tmp_path):
    manifest = write_scans(tmp_path / "scans", count=2)
    filled = hrinet.interpolate(
        hrinet.read(tmp_path / "scans" / "p0.nii"), factor=2, method="linear"
    )
    hrinet.write(filled, tmp_path / "scans" / "filled.nii")
    entry = Entry(path="filled.nii", patient="p9", split="train")  # as of an old manifest
    made = build_cache(
        replace(manifest, entries=(*manifest.entries, entry)), tmp_path / "cache", size=8
    )
    assert [volume.path for volume in made.volumes] == ["p0.nii", "p1.nii"]
    assert [item.path for item in made.skipped] == ["filled.nii"]
    assert "synthetic slices of HRINet" in made.skipped[0].reason

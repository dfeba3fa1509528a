from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from dicom_builder import phantom, write_series
from hrinet.errors import InputError, RequestError
from hrinet.train.cache import Cache
from hrinet.train.caching import build_cache
from hrinet.train.manifest import Entry, Manifest
from hrinet.train.sampling import (
    PairSampler,
    RunSampler,
    SampleStream,
    run_starts,
    sample_generator,
)

SIZE = 8
TRAIN = {"a": (9,), "b": (40, 8), "c": (12, 20, 7)}  # slices of each scan of a patient


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Cache:
    """Random slices, all different; three patients to train on, one to validate on."""
    root = tmp_path_factory.mktemp("scans")
    entries = []
    seed = 0
    for patient, counts in {**TRAIN, "v": (30,)}.items():
        for number, slices in enumerate(counts):
            seed += 1
            geometry = make_geometry(3.0 * np.arange(slices), rows=SIZE, columns=SIZE)
            rng = np.random.default_rng(seed)
            array = rng.integers(-1024, 3072, geometry.shape).astype(np.int16)
            name = f"{patient}{number}.nii"
            hrinet.write(hrinet.Volume(array=array, geometry=geometry), root / name)
            split = "validation" if patient == "v" else "train"
            entries.append(Entry(path=name, patient=patient, split=split))
    return build_cache(Manifest(root=root, entries=tuple(entries)), root / "cache", size=SIZE)


def flipped(images: np.ndarray, taken) -> np.ndarray:
    if taken.is_flipped_horizontally:
        images = np.flip(images, axis=-1)
    if taken.is_flipped_vertically:
        images = np.flip(images, axis=-2)
    return images


def original(cache: Cache, taken, count: int = 1) -> np.ndarray:
    (volume,) = [v for v in cache.volumes if v.path == taken.path]
    return cache.slices(volume, taken.index + np.arange(count))


def test_a_pair_batch_holds_what_it_says(cache):
    batch = PairSampler(cache=cache, batch=5, seed=1).sample(3)
    for images in (batch.first, batch.second):
        assert images.shape == (5, 1, SIZE, SIZE)
        assert images.dtype == np.float32
        assert images.flags.c_contiguous
    for number, (one, other) in enumerate(batch.taken):
        np.testing.assert_array_equal(batch.first[number], flipped(original(cache, one), one))
        np.testing.assert_array_equal(batch.second[number], flipped(original(cache, other), other))


def test_a_run_batch_holds_consecutive_slices_flipped_alike(cache):
    sampler = RunSampler(cache=cache, batch=6, seed=1)
    batch = sampler.sample(0)
    assert batch.slices.shape == (6, 7, 1, SIZE, SIZE)
    assert batch.slices.dtype == np.float32
    assert batch.slices.flags.c_contiguous
    for number, taken in enumerate(batch.taken):
        expected = flipped(original(cache, taken, 7), taken)
        np.testing.assert_array_equal(batch.slices[number, :, 0], expected)
        assert taken.spacing_mm == pytest.approx(3.0)


@pytest.mark.parametrize("kind", [PairSampler, RunSampler])
def test_all_four_flips_are_equally_likely(cache, kind):
    sampler = kind(cache=cache, batch=400, seed=5)
    taken = sampler.sample(0).taken
    ones = [entry if kind is RunSampler else entry[0] for entry in taken]
    counts = Counter((t.is_flipped_horizontally, t.is_flipped_vertically) for t in ones)
    assert len(counts) == 4
    assert chi_square(counts.values(), [100] * 4) < 16.3  # p = 0.001, 3 degrees of freedom
    still = kind(cache=cache, batch=50, seed=5, flips=False).sample(0).taken
    ones = [entry if kind is RunSampler else entry[0] for entry in still]
    assert not any(t.is_flipped_horizontally or t.is_flipped_vertically for t in ones)


def chi_square(counts, expected) -> float:
    return sum((c - e) ** 2 / e for c, e in zip(counts, expected, strict=True))


def test_patients_are_balanced_however_many_slices_they_have(cache):
    pairs = PairSampler(cache=cache, batch=900, seed=2).sample(0).taken
    first = Counter(one.patient for one, _ in pairs)
    second = Counter(other.patient for _, other in pairs)
    runs = Counter(t.patient for t in RunSampler(cache=cache, batch=900, seed=2).sample(0).taken)
    for counts in (first, second, runs):
        assert set(counts) == set(TRAIN)
        assert chi_square(counts.values(), [300] * 3) < 13.8  # p = 0.001, 2 degrees of freedom
    scans = Counter(one.path for one, _ in pairs if one.patient == "c")
    total = sum(scans.values())
    assert chi_square(scans.values(), [total / 3] * 3) < 13.8
    # The two of a pair know nothing of each other: all nine combinations, as often.
    both = Counter((one.patient, other.patient) for one, other in pairs)
    assert chi_square([both[p, q] for p in TRAIN for q in TRAIN], [100] * 9) < 26.1


def test_every_slice_and_every_run_comes_up(cache):
    pairs = PairSampler(cache=cache, batch=1500, seed=3).sample(0).taken
    assert len({(t.path, t.index) for pair in pairs for t in pair}) == sum(map(sum, TRAIN.values()))
    runs = RunSampler(cache=cache, batch=1500, seed=3).sample(0).taken
    every = [n - 6 for counts in TRAIN.values() for n in counts]
    assert len({(t.path, t.index) for t in runs}) == sum(every)


def test_a_pair_is_two_slices(cache):
    lone = replace(cache, volumes=tuple(v for v in cache.volumes if v.path == "c2.nii"))
    pairs = PairSampler(cache=lone, batch=200, seed=0).sample(0).taken
    assert all(one.index != other.index for one, other in pairs)


@pytest.mark.parametrize("kind", [PairSampler, RunSampler])
def test_a_batch_depends_on_seed_and_step_alone(cache, kind):
    one, other = kind(cache=cache, batch=4, seed=7), kind(cache=cache, batch=4, seed=7)
    wanted = one.sample(12)
    for step in (3, 12, 0):
        other.sample(step)
    again = other.sample(12)
    assert again.taken == wanted.taken
    field = "slices" if kind is RunSampler else "second"
    np.testing.assert_array_equal(getattr(again, field), getattr(wanted, field))
    assert kind(cache=cache, batch=4, seed=8).sample(12).taken != wanted.taken
    assert one.sample(13).taken != wanted.taken


@pytest.mark.parametrize("kind", [PairSampler, RunSampler])
def test_ranks_share_one_global_batch_between_them(cache, kind):
    alone = kind(cache=cache, batch=12, seed=7)
    ranks = [kind(cache=cache, batch=4, seed=7, rank=r, world_size=3) for r in range(3)]
    for step in (0, 5):
        parts = [rank.sample(step).taken for rank in ranks]
        assert sum(parts, ()) == alone.sample(step).taken
        assert len(set(parts)) == 3


def test_the_numbers_of_samples_never_overlap():
    draws = [
        sample_generator(seed=seed, stream=stream, number=number).random(50).tobytes()
        for seed in (0, 1)
        for stream in ("pairs", "runs", "mixing")
        for number in (*range(20), 2**40)
    ]
    assert len(set(draws)) == len(draws)


@pytest.mark.parametrize("kind", [PairSampler, RunSampler])
def test_a_stream_resumes_exactly(cache, kind):
    whole = SampleStream(kind(cache=cache, batch=3, seed=9))
    expected = [next(whole) for _ in range(6)]
    first = SampleStream(kind(cache=cache, batch=3, seed=9))
    for _ in range(4):
        next(first)
    saved = json.dumps(first.state())
    second = SampleStream(kind(cache=Cache.open(cache.folder), batch=3, seed=9))
    second.restore(json.loads(saved))
    assert second.step == 4
    for wanted in expected[4:]:
        got = next(second)
        assert got.taken == wanted.taken
        field = "slices" if kind is RunSampler else "first"
        assert getattr(got, field).tobytes() == getattr(wanted, field).tobytes()


def test_a_state_holds_for_every_division_of_the_batch(cache):
    alone = SampleStream(PairSampler(cache=cache, batch=6, seed=9), step=11)
    rank = SampleStream(PairSampler(cache=cache, batch=2, seed=9, rank=2, world_size=3))
    rank.restore(alone.state())
    assert next(rank).taken == next(alone).taken[4:]


def test_a_state_of_other_samples_is_refused(cache):
    state = SampleStream(RunSampler(cache=cache, batch=3, seed=9)).state()
    less = replace(cache, volumes=cache.volumes[1:])
    for name, other in {
        "seed": RunSampler(cache=cache, batch=3, seed=8),
        "global_batch": RunSampler(cache=cache, batch=4, seed=9),
        "flips": RunSampler(cache=cache, batch=3, seed=9, flips=False),
        "length": RunSampler(cache=cache, batch=3, seed=9, length=5),
        "split": RunSampler(cache=cache, batch=3, seed=9, split="validation"),
        "data": RunSampler(cache=less, batch=3, seed=9),
        "kind": PairSampler(cache=cache, batch=3, seed=9),
    }.items():
        with pytest.raises(RequestError, match=f"the saved sampler has {name}"):
            SampleStream(other).restore(state)
    stream = SampleStream(RunSampler(cache=cache, batch=3, seed=9))
    with pytest.raises(RequestError, match="step"):
        stream.restore({**state, "step": -1})


def test_training_never_touches_a_patient_of_another_split(cache, tmp_path):
    """Other splits hold ones throughout, or no file at all; real slices are never all ones."""
    for source in cache.folder.iterdir():
        (tmp_path / source.name).write_bytes(source.read_bytes())
    copied = Cache.open(tmp_path)
    (held_back,) = copied.of_split("validation")
    path = tmp_path / held_back.file
    np.save(path, np.full((held_back.slices, SIZE, SIZE), 65535, np.uint16))
    pairs = PairSampler(cache=copied, batch=300, seed=4)
    runs = RunSampler(cache=copied, batch=100, seed=4)
    seen = Cache.open(tmp_path)
    assert PairSampler(cache=seen, batch=1, seed=4, split="validation").sample(0).first.min() == 1.0
    for step in range(3):
        batch = pairs.sample(step)
        for images in (batch.first, batch.second):
            assert images.min(axis=(1, 2, 3)).max() < 1.0
        assert runs.sample(step).slices.min(axis=(2, 3, 4)).max() < 1.0
    path.unlink()
    pairs.sample(3)
    PairSampler(cache=Cache.open(tmp_path), batch=9, seed=4).sample(0)
    with pytest.raises(InputError, match="cannot be mapped"):
        PairSampler(cache=Cache.open(tmp_path), batch=1, seed=4, split="validation").sample(0)


def series_cache(tmp_path: Path, positions: list) -> Cache:
    write_series(tmp_path / "scan", phantom((len(positions), SIZE, SIZE)), positions)
    entries = (Entry(path="scan", patient="scan", split="train"),)
    return build_cache(Manifest(root=tmp_path, entries=entries), tmp_path / "cache", size=SIZE)


def test_no_run_crosses_a_gap(tmp_path):
    even = [2.5 * k for k in range(10)]
    after_hole = [even[-1] + 5.0 + 2.5 * k for k in range(8)]  # one slice is missing
    thicker = [after_hole[-1] + 5.0 * (k + 1) for k in range(8)]  # the spacing changes
    made = series_cache(tmp_path, even + after_hole + thicker)
    (scan,) = made.volumes
    # Even runs: 0-3 of the first ten, 10-11 of the next eight, 17-19 where steps are 5 mm.
    assert run_starts(scan, 7).tolist() == [0, 1, 2, 3, 10, 11, 17, 18, 19]
    taken = RunSampler(cache=made, batch=300, seed=0).sample(0).taken
    assert {t.index for t in taken} == {0, 1, 2, 3, 10, 11, 17, 18, 19}


def test_rounded_positions_are_even_and_wide_gaps_are_not_used(tmp_path):
    rounded = [round(k * 10 / 3, 2) for k in range(9)]
    (scan,) = series_cache(tmp_path / "a", rounded).volumes
    assert run_starts(scan, 7).tolist() == [0, 1, 2]
    (scan,) = series_cache(tmp_path / "b", [15.0 * k for k in range(9)]).volumes
    assert run_starts(scan, 7).tolist() == []


def test_slices_that_slide_evenly_are_a_run_and_a_sidestep_ends_it(tmp_path):
    tilted = [(-50.0 + 0.4 * k, -60.0, 3.0 * k) for k in range(9)]
    (scan,) = series_cache(tmp_path / "a", tilted).volumes
    assert run_starts(scan, 7).tolist() == [0, 1, 2]
    # Less than half a pixel, so that the reader takes it for one stack.
    aside = [(-50.0 + (0.2 if k > 6 else 0.0), -60.0, 3.0 * k) for k in range(9)]
    (scan,) = series_cache(tmp_path / "b", aside).volumes
    assert scan.slices == 9
    assert run_starts(scan, 7).tolist() == [0]


def test_short_scans_give_no_runs(cache):
    lengths = {v.path: len(run_starts(v, 9)) for v in cache.volumes}
    assert lengths == {
        "a0.nii": 1, "b0.nii": 32, "b1.nii": 0, "c0.nii": 4, "c1.nii": 12, "c2.nii": 0, "v0.nii": 22
    }  # fmt: skip
    assert RunSampler(cache=cache, batch=1, seed=0, length=10).patients == ("b", "c")
    with pytest.raises(InputError, match="no scan has 41 consecutive slices"):
        RunSampler(cache=cache, batch=1, seed=0, length=41)
    with pytest.raises(InputError, match="no scan in split test"):
        PairSampler(cache=cache, batch=1, seed=0, split="test")


@pytest.mark.parametrize(
    "options", [{"batch": 0}, {"seed": -1}, {"rank": 2, "world_size": 2}, {"rank": -1}]
)
def test_senseless_options_are_refused(cache, options):
    with pytest.raises(RequestError, match="expected a batch"):
        PairSampler(cache=cache, **{"batch": 1, "seed": 0, **options})
    with pytest.raises(RequestError, match="length is 2"):
        RunSampler(cache=cache, batch=1, seed=0, length=2)
    with pytest.raises(RequestError, match="step is -1"):
        PairSampler(cache=cache, batch=1, seed=0).sample(-1)

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.errors import InputError
from hrinet.synthesize.cubic import cubic_weights
from hrinet.train.flow.choices import FACTORS, Chooser, Extent, fingerprint
from hrinet.train.flow.config import FlowTrainConfig

SCANS = (Extent("a", 60, 1.0, 1.25), Extent("b", 19, 3.0), Extent("a", 33, 2.5, 5.0))
SIZE = (96, 80)


def chooser(scans=SCANS, **changes) -> Chooser:
    config = FlowTrainConfig(**{"batch": 24, "crop": 32, **changes})
    return Chooser(scans, config, rows=SIZE[0], columns=SIZE[1])


def same(one, other) -> bool:
    return all(
        np.array_equal(getattr(one, field.name), getattr(other, field.name))
        for field in dataclasses.fields(one)
    )


shares = st.sampled_from([0.0, 0.3, 1.0])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**9), shares, shares, shares, st.sampled_from([4.0, 25.0]))
def test_every_batch_makes_sense(step, thick, edge, uneven, largest):
    choices = chooser(
        thick=thick, edge=edge, uneven=uneven, largest_gap_mm=largest, coarse=0.5
    ).choose(step)
    bounds = np.cumsum([0, *(scan.slices for scan in SCANS)])
    for index in range(24):
        starts, averaged = choices.starts[index], choices.averaged[index]
        which = int(np.searchsorted(bounds, starts[0], side="right")) - 1
        scan = SCANS[which]
        # All thin slices lie within the one scan.
        assert starts.min() >= bounds[which]
        assert starts.max() + averaged <= bounds[which + 1]
        # Offsets are the distances between the slices, in gaps.
        first, second, target = (int(starts[k]) for k in (1, 2, 4))
        gap = second - first
        t = choices.t[index]
        assert t == pytest.approx((target - first) / gap)
        assert 0 < t < 1
        assert min(first, second) < target < max(first, second)
        missing = [k for k, beside in ((0, 1), (3, 2)) if starts[k] == starts[beside]]
        kept = [k for k in range(4) if k not in missing]
        offsets = choices.offsets[index]
        for k in kept:
            assert offsets[k] == pytest.approx((starts[k] - first) / gap)
        assert np.all(np.diff(offsets) > 0)
        assert edge > 0 or kept == [0, 1, 2, 3]
        # Weights are the cubic's of those that are there.
        expected = np.zeros(4)
        known = [float(offsets[k]) for k in kept]
        expected[kept] = cubic_weights(known, kept.index(1), float(t))
        np.testing.assert_allclose(choices.weights[index], expected, atol=1e-5)
        # Thickness over the width of the gap: of a mean of several, from the first to the last.
        if scan.thickness_mm is None:
            assert choices.thickness[index] == 0
        elif choices.thickness[index]:
            covered = (averaged - 1) * scan.spacing_mm + scan.thickness_mm
            wanted = covered / (abs(gap) * scan.spacing_mm)
            assert choices.thickness[index] == pytest.approx(wanted, rel=1e-5)
        side = 32 * choices.reduced[index]
        assert np.all(choices.corner[index] >= 0)
        assert np.all(choices.corner[index] + side <= SIZE)
    assert set(choices.averaged) <= ({1} if thick == 0 else {1, 2, 3, 4} - ({1} & {int(thick)}))
    assert choices.seed >= 0


def test_the_same_seed_and_step_choose_the_same():
    one = chooser()
    assert same(one.choose(5), one.choose(5))
    assert same(one.choose(5), pickle.loads(pickle.dumps(one)).choose(5))
    assert not same(one.choose(5), one.choose(6))
    assert not same(one.choose(5), chooser(seed=1).choose(5))


def test_half_of_all_gaps_are_upside_down_and_otherwise_alike():
    choices = chooser(batch=3000, edge=0.0, uneven=0.0).choose(0)
    is_down = choices.starts[:, 1] > choices.starts[:, 2]
    assert is_down.mean() == pytest.approx(0.5, abs=0.05)
    gaps = np.abs(choices.starts[:, 2] - choices.starts[:, 1])
    for name in ("t", "thickness"):
        values = getattr(choices, name)
        assert values[is_down].mean() == pytest.approx(values[~is_down].mean(), abs=0.05)
    assert gaps[is_down].mean() == pytest.approx(gaps[~is_down].mean(), rel=0.1)
    np.testing.assert_allclose(choices.offsets, [[-1, 0, 1, 2]] * 3000)


def test_variations_come_as_often_as_they_should():
    config = {"thick": 0.4, "smooth": 0.2, "sharp": 0.1, "noise": 0.5, "coarse": 0.25}
    choices = chooser(batch=4000, unknown=0.3, **config).choose(1)
    smooth, sharp = choices.kernel[:, 1] == -1, choices.kernel[:, 1] > 0
    noisy = choices.noise[:, 0] > 0
    assert smooth.mean() == pytest.approx(0.2, abs=0.03)
    assert sharp.mean() == pytest.approx(0.1, abs=0.03)
    assert (choices.reduced == 2).mean() == pytest.approx(0.25, abs=0.03)
    assert noisy[choices.averaged == 1].mean() == pytest.approx(0.5, abs=0.04)
    assert not noisy[choices.averaged > 1].any()
    assert choices.flips.mean(1) == pytest.approx([0.5] * 3, abs=0.04)
    bounds = np.cumsum([scan.slices for scan in SCANS])
    known = np.isin(np.searchsorted(bounds, choices.starts[:, 1], side="right"), [0, 2])
    assert (choices.thickness[known] == 0).mean() == pytest.approx(0.3, abs=0.04)
    thin = (choices.averaged == 1) & known
    gaps = np.abs(choices.starts[thin, 2] - choices.starts[thin, 1])
    assert set(gaps) == set(FACTORS)


def test_gaps_wider_than_the_largest_are_rare():
    choices = chooser((Extent("a", 80, 3.0),), batch=2000, largest_gap_mm=10.0, thick=0.0).choose(0)
    gaps = 3.0 * np.abs(choices.starts[:, 2] - choices.starts[:, 1])
    assert 0 < (gaps > 10).mean() < 0.15


def test_patients_weigh_between_evenly_and_by_their_slices():
    scans = (Extent("a", 400, 1.0), Extent("b", 100, 1.0))
    choices = chooser(scans, batch=3000, thick=0.0).choose(0)
    assert (choices.starts[:, 0] < 400).mean() == pytest.approx(2 / 3, abs=0.04)


def test_too_few_slices_are_refused_rather_than_tried_for_ever():
    with pytest.raises(InputError, match="the longest scan has 7 slices, expected one of 8 or mor"):
        chooser((Extent("a", 7, 1.0), Extent("b", 4, 1.0)))
    for thick in (0.0, 1.0):
        chooser((Extent("a", 8, 1.0),), thick=thick, edge=0.0, uneven=0.0, batch=2).choose(0)


def test_fingerprints_are_of_what_was_trained_on():
    assert fingerprint(SCANS) == fingerprint(list(SCANS))
    assert fingerprint(SCANS) != fingerprint(SCANS[::-1])
    assert fingerprint(SCANS) != fingerprint((*SCANS[:2], Extent("a", 33, 2.5, 4.0)))

"""One unit of work: one method on one scan under one protocol; runs in a process of its own."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import HrinetError
from hrinet.evaluate.cache import Cache, key_of
from hrinet.evaluate.protocols import Adjacent, AnyProtocol, Hiding, Reconstruction, spread
from hrinet.evaluate.scoring import LUNG_STEP, Scorer
from hrinet.evaluate.subject import Subject, load_subject, part_of, region_of, resized
from hrinet.metrics.emphysema import lung_mask
from hrinet.synthesize.engine import synthesize
from hrinet.synthesize.interpolator import Interpolator
from hrinet.synthesize.registry import find_method
from hrinet.types import VolumeArray
from hrinet.volume import Volume

SHOWN_GAPS = 3
"""Gaps of a scan whose slices are kept for pictures."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A method under evaluation.

    Attributes:
        name: of the method.
        weights: of one's own, or None for the registry's.
        sha256: of the weights; empty where there are none.
        is_family: whether it is a generator of the family.
        missing: why it cannot run; empty if it can.
    """

    name: str
    weights: Path | None = None
    sha256: str = ""
    is_family: bool = False
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What to do.

    Attributes:
        subject: the scan.
        identity: :attr:`Subject.identity`, computed once.
        protocol: what is hidden.
        candidate: the method; named ``truth`` with nothing else for the true slices themselves.
        every: the measures that cost much are taken of every so many synthetic slices at least.
        ma_model: the model of Ma et al., or None.
        ma_identity: SHA-256 of it, or an empty string.
        keeps_slices: whether slices for pictures are kept.
    """

    subject: Subject
    identity: str
    protocol: AnyProtocol
    candidate: Candidate
    ma_model: Path | None = None
    ma_identity: str = ""
    keeps_slices: bool = False

    @property
    def key(self) -> str:
        """Name of the result in the cache."""
        protocol = [type(self.protocol).__name__, asdict(self.protocol)]
        return key_of(
            {
                "scan": self.identity,
                "protocol": protocol,
                "method": self.candidate.name,
                "weights": self.candidate.sha256,
                "ma": self.ma_identity,
                "slices": self.keeps_slices,
            }
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceScore:
    """The measures of one synthetic slice.

    Attributes:
        index: of the hidden slice in the scan; -1 where there is none.
        position_mm: along the normal, mm.
        gap_mm: width of the gap that was filled, mm.
        distance_mm: to the nearer kept slice, mm.
        region: see :func:`hrinet.evaluate.subject.region_of`.
        values: by measure; a measure that was not taken of this slice is absent.
    """

    index: int
    position_mm: float
    gap_mm: float
    distance_mm: float
    region: str
    values: Mapping[str, float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The result of a task.

    Attributes:
        scan: name of the scan.
        protocol: key of the protocol.
        method: name of the method.
        refusal: why there is nothing; empty if there is.
        factor: every so-manieth slice was kept; 0 where that means nothing.
        gap_mm: median width of the gaps, mm.
        scores: one a synthetic slice.
        whole: measures of all synthetic slices together.
        seconds: processor time by activity: reading, synthesis, metrics.
        key: of the cache, where slices for pictures lie.
        histograms: share of voxels by HU, of the synthetic and of the true slices; may be empty.
    """

    scan: str
    protocol: str
    method: str
    refusal: str = ""
    factor: int = 0
    gap_mm: float = 0.0
    scores: tuple[SliceScore, ...] = ()
    whole: Mapping[str, float | None] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    key: str = ""
    histograms: Mapping[str, Sequence[float]] = field(default_factory=dict)

    @staticmethod
    def of_json(values: Mapping[str, Any], *, scan: str, key: str) -> Outcome:
        """What the cache holds, under the name that the scan has now."""
        fields = {name: values[name] for name in Outcome.__slots__ if name in values}
        fields["scores"] = tuple(SliceScore(**score) for score in values["scores"])
        return Outcome(**(fields | {"scan": scan, "key": key}))


def run_task(task: Task, cache_folder: Path, threads: int) -> Outcome:
    """Do a task, or take its result from the cache.

    What cannot be done is an outcome with a refusal, so that one scan that a protocol does not fit
    does not end the run.

    Args:
        task: what to do.
        cache_folder: see :class:`hrinet.evaluate.cache.Cache`.
        threads: cores for this task.
    """
    cache = Cache(cache_folder)
    key = task.key
    found = cache.get(key)
    if found is not None:
        try:
            return Outcome.of_json(found, scan=task.subject.name, key=key)
        except (KeyError, TypeError):
            pass  # Damaged: computed again.
    try:
        outcome, slices = _computed(task, threads)
    except HrinetError as error:
        reason = str(error).removeprefix(f"{task.subject.path}: ")
        return Outcome(
            scan=task.subject.name,
            protocol=task.protocol.key,
            method=task.candidate.name,
            refusal=reason,
        )
    # The name is not part of the result: the same scan may be called otherwise tomorrow.
    stored = asdict(outcome)
    del stored["scan"]
    cache.put(key, stored, slices)
    return Outcome.of_json(stored, scan=task.subject.name, key=key)


def _computed(task: Task, threads: int) -> tuple[Outcome, dict[str, NDArray[Any]]]:
    started = time.process_time()
    volume, _ = load_subject(task.subject.path, task.subject.series_uid)
    seen = resized(volume, getattr(task.protocol, "size", None))
    positions = [float(position) for position in seen.geometry.positions_mm]
    hiding = task.protocol.plan(positions)
    read = time.process_time()
    made = _made(task, seen, hiding, threads)
    synthesized = time.process_time()
    scorer = Scorer(
        pixel_mm=seen.geometry.pixel_spacing,
        padding_hu=seen.padding_hu,
        ma_model=task.ma_model,
        is_reconstruction=isinstance(task.protocol, Reconstruction),
    )
    is_truth = task.candidate.name == TRUTH
    has_truth = not isinstance(task.protocol, Adjacent)
    # Of the true slices themselves only what needs no truth is measured.
    truth = _truth(seen, hiding) if has_truth and not is_truth else None
    costly = set(scorer.sampled(len(hiding.targets)))
    compared = set(scorer.compared(hiding))
    scores = []
    for number, target in enumerate(hiding.targets):
        true = None if truth is None else truth[number]
        values = scorer.score(
            made[number], true, is_compared=number in compared, is_costly=number in costly
        )
        scores.append(
            SliceScore(
                index=-1 if target.truth is None else target.truth,
                position_mm=target.position_mm,
                gap_mm=target.gap_mm,
                distance_mm=target.distance_mm,
                region=region_of(made[number] if true is None else true, scorer.pixel_mm),
                values=values,
            )
        )
    whole: Mapping[str, float | None] = {}
    if has_truth and not isinstance(task.protocol, Reconstruction):
        lung = _lung(task.subject, task.protocol)
        whole = scorer.score_whole(seen, hiding, made, lung=lung, is_truth=is_truth)
    histograms = scorer.histograms(made, truth)
    scored = time.process_time()
    kept = hiding.kept
    outcome = Outcome(
        scan=task.subject.name,
        protocol=task.protocol.key,
        method=task.candidate.name,
        factor=kept[1] - kept[0] if has_truth and len(kept) > 1 else 0,
        gap_mm=hiding.gap_mm,
        scores=tuple(scores),
        whole=whole,
        seconds={
            "reading": read - started,
            "synthesis": synthesized - read,
            "metrics": scored - synthesized,
        },
        histograms=histograms,
    )
    return outcome, _for_pictures(task, seen, hiding, made) if task.keeps_slices else {}


@lru_cache(maxsize=1)
def _lung(subject: Subject, protocol: AnyProtocol) -> NDArray[np.bool_]:
    """The mask of lung in the hidden slices, kept for the methods that follow."""
    volume, _ = load_subject(subject.path, subject.series_uid)
    seen = resized(volume, getattr(protocol, "size", None))
    hiding = protocol.plan([float(position) for position in seen.geometry.positions_mm])
    return lung_mask(_truth(seen, hiding)[::LUNG_STEP])


def _truth(volume: Volume, hiding: Hiding) -> VolumeArray:
    return volume.array[hiding.truths]


def _made(task: Task, volume: Volume, hiding: Hiding, threads: int) -> VolumeArray:
    """The targets as the method makes them, shape (target, row, column), HU."""
    if task.candidate.name == TRUTH:
        if isinstance(task.protocol, Adjacent):
            return volume.array[[target.left for target in hiding.targets]]
        return _truth(volume, hiding)
    if isinstance(task.protocol, Reconstruction):
        return _reconstructed(task.candidate, volume, hiding)
    source = part_of(volume, hiding.kept)
    out = np.empty((len(hiding.targets), *volume.shape[1:]), volume.dtype)
    interpolator = _interpolator(task.candidate.name, task.candidate.weights)
    for _ in synthesize(source, hiding.planned, interpolator, threads=threads, out=out):
        pass
    return out


def _interpolator(name: str, weights: Path | None) -> Interpolator:
    # Not kept between tasks: methods that check themselves on a scan remember what they found.
    return find_method(name if weights is None else "auto", weights=weights).make()


def _reconstructed(candidate: Candidate, volume: Volume, hiding: Hiding) -> VolumeArray:
    import torch

    from hrinet.train import to_hu, to_unit

    trained = load_trained(candidate)
    out = np.empty((len(hiding.targets), *volume.shape[1:]), np.float32)
    with torch.inference_mode():
        for number, target in enumerate(hiding.targets):
            values = volume.array[hiding.kept[target.left]]
            unit = torch.from_numpy(to_unit(values, trained.window_hu))[None, None]
            made = trained.network.reconstruct(unit)[0, 0].numpy()
            out[number] = to_hu(made, trained.window_hu)
    return out


@lru_cache(maxsize=2)
def load_trained(candidate: Candidate) -> Any:
    """The generator of a method of the family.

    Raises:
        InputError: if its weights are missing or damaged.
    """
    from hrinet.weights import packaged_weights
    from hrinet.weights.generator import load_generator

    return load_generator(candidate.weights or packaged_weights(candidate.name))


def _for_pictures(
    task: Task, volume: Volume, hiding: Hiding, made: VolumeArray
) -> dict[str, NDArray[Any]]:
    """A few gaps: kept slices around them, what was made in them, and the truth."""
    slices: dict[str, NDArray[Any]] = {}
    lefts = sorted({target.left for target in hiding.targets})
    for place, number in enumerate(spread(len(lefts), SHOWN_GAPS)):
        left = lefts[number]
        chosen = [k for k, target in enumerate(hiding.targets) if target.left == left]
        ends = [hiding.kept[left], hiding.kept[min(left + 1, len(hiding.kept) - 1)]]
        targets = [hiding.targets[k] for k in chosen]
        slices[f"made{place}"] = _small(made[chosen])
        slices[f"ends{place}"] = _small(volume.array[ends])
        slices[f"t{place}"] = np.array([target.t for target in targets])
        slices[f"mm{place}"] = np.array([target.distance_mm for target in targets])
        slices[f"index{place}"] = np.array(ends)
        if targets[0].truth is not None:
            slices[f"truth{place}"] = _small(volume.array[[hiding.truths[k] for k in chosen]])
    return slices


def _small(array: VolumeArray) -> NDArray[np.int16]:
    rounded = np.rint(np.clip(np.nan_to_num(array), -1100, 3500))
    return np.asarray(rounded, np.int16)


TRUTH = "truth"
"""Name of the candidate that hands out the true slices themselves."""

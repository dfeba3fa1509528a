"""The evaluation: which tasks there are, running them over processes, writing the reports."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from hrinet.errors import InputError, RequestError, RunError
from hrinet.evaluate.cache import Cache
from hrinet.evaluate.candidates import choose, named, names_for
from hrinet.evaluate.protocols import (
    PROTOCOLS,
    Adjacent,
    AnyProtocol,
    Factor,
    GapMm,
    ProtocolName,
    Reconstruction,
    large_gap,
)
from hrinet.evaluate.subject import Subject, SubjectInfo, describe
from hrinet.evaluate.work import TRUTH, Candidate, Outcome, Task, run_task
from hrinet.synthesize.engine import default_threads
from hrinet.train.manifest import Split, load_manifest

Progress = Callable[[int, int], None]
"""Called after every task with (done, total)."""

SMALL = 256
"""The thesis's smaller size of a slice, pixels."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to evaluate.

    Attributes:
        methods: names, or None for all; the baselines take part in any case.
        weights: files of one's own.
        protocols: what is done.
        factors: of the protocol ``factors``.
        gaps_mm: of the protocol ``gaps-mm``, mm.
        ma_model: the model of Ma et al., or None.
        jobs: processes; None for one a core.
        cache: folder for results, or None for ``cache`` in the output folder.
        overwrite: whether existing reports may be replaced.
        command: the command line, for the report.
    """

    methods: tuple[str, ...] | None = None
    weights: tuple[Path, ...] = ()
    protocols: tuple[ProtocolName, ...] = PROTOCOLS
    factors: tuple[int, ...] = (2, 3, 4, 6)
    gaps_mm: tuple[float, ...] = (4.0, 6.0, 10.0, 15.0, 20.0)
    ma_model: Path | None = None
    jobs: int | None = None
    cache: Path | None = None
    overwrite: bool = False
    command: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One protocol of the run.

    Attributes:
        name: of the group of protocols that it belongs to.
        protocol: what is hidden.
        candidates: that take part.
    """

    name: ProtocolName
    protocol: AnyProtocol
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """Everything that a report is made of.

    Attributes:
        subjects: the scans.
        infos: what they hold, in the same order.
        sections: the protocols.
        outcomes: by (protocol key, method, scan).
        options: what was asked for.
        cache: folder of the results.
        wall_s: time that the run took, s.
        fresh: number of tasks that were computed and not taken from the cache.
        jobs: processes that ran side by side.
    """

    subjects: tuple[Subject, ...]
    infos: tuple[SubjectInfo, ...]
    sections: tuple[Section, ...]
    outcomes: Mapping[tuple[str, str, str], Outcome]
    options: Options
    cache: Path
    wall_s: float
    fresh: int
    jobs: int

    def of(self, section: Section, method: str) -> dict[str, Outcome]:
        """Outcomes of a method in a section by scan, without those that were refused."""
        found = {}
        for subject in self.subjects:
            outcome = self.outcomes.get((section.protocol.key, method, subject.name))
            if outcome is not None and not outcome.refusal:
                found[subject.name] = outcome
        return found


def subjects_of(
    scans: Sequence[Path],
    *,
    names: Sequence[str] | None = None,
    manifest: Path | None = None,
    split: Split = "test",
    hidden: Sequence[str] = (),
) -> tuple[Subject, ...]:
    """The scans of the command line and of a manifest.

    Args:
        scans: paths; called ``scan 1``, ``scan 2``, ..., since paths and tags may name a patient.
        names: what to call them instead.
        manifest: a list of scans, which are called by the last part of their path.
        split: which part of the manifest.
        hidden: names of those that must not appear in pictures.

    Raises:
        RequestError: if there are no scans, or names that do not fit.
        InputError: if the manifest cannot be read.
    """
    found = []
    if names is not None and len(names) != len(scans):
        raise RequestError(f"--names has {len(names)} names for {len(scans)} scans")
    for number, path in enumerate(scans):
        name = names[number] if names is not None else f"scan {number + 1}"
        found.append(Subject(name=name, path=path, may_be_shown=name not in hidden))
    if manifest is not None:
        listed = load_manifest(manifest)
        for entry in listed.of_split(split):
            name = Path(entry.path).name
            found.append(
                Subject(
                    name=name,
                    path=listed.root / entry.path,
                    series_uid=entry.series_uid,
                    collection=entry.collection,
                    licence=entry.licence,
                    may_be_shown=name not in hidden,
                )
            )
    if not found:
        raise RequestError("there is no scan to evaluate; give SCAN or --manifest")
    known = [subject.name for subject in found]
    if len(set(known)) < len(known):
        raise RequestError("two scans have the same name; tell them apart with --names")
    unknown = [name for name in hidden if name not in known]
    if unknown:
        raise RequestError(f"--no-pictures-of: there is no scan {unknown[0]!r}, only {known}")
    return tuple(found)


def sections_of(options: Options, candidates: Sequence[Candidate]) -> tuple[Section, ...]:
    """The protocols of a run, each with those that take part."""
    found = []
    for name in PROTOCOLS:
        if name not in options.protocols:
            continue
        taking_part = named(names_for(name, candidates), candidates)
        protocols: list[AnyProtocol] = []
        if name == "large-gap":
            protocols = [large_gap(), large_gap(size=SMALL)]
        elif name == "factors":
            protocols = [Factor(factor=factor) for factor in options.factors]
        elif name == "gaps-mm":
            protocols = [GapMm(gap_mm=gap) for gap in options.gaps_mm]
        elif name == "adjacent":
            protocols = [Adjacent(), Adjacent(size=SMALL)]
        elif name == "reconstruction":
            protocols = [Reconstruction(size=SMALL)]
        else:
            protocols = [large_gap(size=SMALL)]
        found += [Section(name=name, protocol=p, candidates=taking_part) for p in protocols]
    return tuple(found)


def evaluate(
    subjects: Sequence[Subject],
    folder: Path,
    options: Options,
    *,
    progress: Progress | None = None,
) -> Results:
    """Do all tasks, or take them from the cache; see :mod:`hrinet.evaluate.report` for reports.

    Args:
        subjects: the scans.
        folder: of the reports; made if missing.
        options: what to evaluate.
        progress: called after every task.

    Raises:
        RequestError: if the options do not fit, or no protocol fits any scan.
        InputError: if a scan cannot be read.
        RunError: if a process dies.
    """
    started = time.perf_counter()
    candidates = choose(options.methods, options.weights)
    sections = sections_of(options, candidates)
    cache = options.cache or folder / "cache"
    infos = tuple(describe(subject) for subject in subjects)
    tasks = _tasks(subjects, sections, options)
    cores = default_threads()
    jobs = max(1, min(options.jobs or cores, len(tasks)))
    outcomes: dict[tuple[str, str, str], Outcome] = {}
    fresh = 0
    for done, (outcome, is_fresh) in enumerate(_run(tasks, cache, jobs, max(1, cores // jobs)), 1):
        outcomes[outcome.protocol, outcome.method, outcome.scan] = outcome
        fresh += is_fresh
        if progress is not None:
            progress(done, len(tasks))
    refusals = [outcome.refusal for outcome in outcomes.values()]
    if refusals and all(refusals):
        raise RequestError(f"nothing could be evaluated: {refusals[0]}")
    return Results(
        subjects=tuple(subjects),
        infos=infos,
        sections=sections,
        outcomes=outcomes,
        options=options,
        cache=cache,
        wall_s=time.perf_counter() - started,
        fresh=fresh,
        jobs=jobs,
    )


def _tasks(
    subjects: Sequence[Subject], sections: Sequence[Section], options: Options
) -> tuple[Task, ...]:
    """Every method on every scan under every protocol once, scan by scan."""
    ma_identity = _identity_of(options.ma_model)
    identities = {subject.name: subject.identity for subject in subjects}
    found: dict[str, Task] = {}
    for subject in subjects:
        for section in sections:
            for candidate in (Candidate(name=TRUTH), *section.candidates):
                if candidate.missing:
                    continue
                if candidate.name == TRUTH and isinstance(section.protocol, Reconstruction):
                    continue
                task = Task(
                    subject=subject,
                    identity=identities[subject.name],
                    protocol=section.protocol,
                    candidate=candidate,
                    ma_model=options.ma_model,
                    ma_identity=ma_identity,
                    keeps_slices=subject.may_be_shown and _is_shown(section),
                )
                key = f"{subject.name}/{section.protocol.key}/{candidate.name}"
                known = found.get(key)
                # The same protocol may stand in two sections; pictures may be wanted in one.
                if known is None or task.keeps_slices:
                    found[key] = task
    return tuple(found.values())


def _is_shown(section: Section) -> bool:
    return section.name in ("large-gap", "adjacent", "reconstruction")


def _identity_of(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error


def _run(
    tasks: Sequence[Task], cache: Path, jobs: int, threads: int
) -> Iterator[tuple[Outcome, bool]]:
    """Yield (outcome, whether it was computed now), in the order of completion."""
    known = Cache(cache)
    is_fresh = {task: known.get(task.key) is None for task in tasks}
    if jobs == 1 or not any(is_fresh.values()):
        for task in tasks:
            yield run_task(task, cache, threads), is_fresh[task]
        return
    # Spawned, since neither PyTorch nor OpenVINO survives a fork; the number of threads has to be
    # known before they are imported.
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, str(threads)))
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_prepare, initargs=(threads,))
    try:
        futures = {pool.submit(run_task, task, cache, threads): task for task in tasks}
        for future in as_completed(futures):
            yield _result(future, futures[future]), is_fresh[futures[future]]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _prepare(threads: int) -> None:
    """In a new process: as many threads as were planned, and Ctrl-C is the parent's business."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(threads)


def _result(future: Future[Outcome], task: Task) -> Outcome:
    try:
        return future.result()
    except BrokenProcessPool as error:
        raise RunError(
            f"a process died while {task.candidate.name} was run on {task.subject.name}, perhaps "
            "for lack of memory; results so far are kept, and the same command goes on, with less "
            "memory if --jobs is 1"
        ) from error

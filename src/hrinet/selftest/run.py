"""The self-test: hide slices of a scan, let every method make them, compare."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from hrinet.errors import RangeExceededError, RequestError
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.measured import refuse_synthetic
from hrinet.selftest.hide import Held, Hiding, Thinned, Trials, choose_trials, spread
from hrinet.selftest.report import Scored, describe_method, describe_test
from hrinet.selftest.score import looks_like_labels, score
from hrinet.synthesize.engine import default_threads, synthesize
from hrinet.synthesize.interpolator import Cautious, Interpolator
from hrinet.synthesize.registry import (
    Method,
    find_method,
    installed_methods,
    ranked_methods,
)
from hrinet.synthesize.synthesized import Synthesized
from hrinet.synthesize.trial import SelfChecking
from hrinet.types import SliceArray
from hrinet.volume import SliceSource

MOST_NEAR, MOST_WIDE = 40, 16
"""Slices scored in gaps of twice and of four times the width, unless all are asked for."""

_LOOKED_AT = 3
"""Slices that are looked at to tell a segmentation from a scan."""


class Progress(Protocol):
    """Called after every synthetic slice; :class:`hrinet.commands.progress.Update` is one."""

    def __call__(self, done: int, total: int, what: str = "") -> None:
        """So many of so many are done, and what is being done if it changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class SelftestOptions:
    """What the user can choose.

    Attributes:
        methods: names of the registry; by default those that ``auto`` ranks, and with ``full``
            every one that is installed.
        full: score every hidden slice, however many there are.
        threads: cores to use; by default all.
    """

    methods: tuple[str, ...] = ()
    full: bool = False
    threads: int | None = None


def split_names(texts: Sequence[str] | None) -> tuple[str, ...]:
    """Names of methods from words that hold one or several of them, separated by commas."""
    return tuple(
        name for text in texts or () for name in (part.strip() for part in text.split(",")) if name
    )


def selftest_file(
    path: str | Path,
    options: SelftestOptions | None = None,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Test every method on a scan on disk.

    Args:
        path: see :func:`hrinet.io.formats.open_scan`.
        options: what the user wants.
        series: see :func:`hrinet.io.formats.open_scan`.
        limits: bounds on the input.
        progress: called after every synthetic slice.

    Returns:
        See :func:`selftest`.

    Raises:
        InputError: if the input is damaged.
        RequestError: if it is too short to hide anything, no scan, or holds synthetic slices.
    """
    source = open_scan(path, series=series, limits=limits)
    return selftest(source, options, subject=str(path), progress=progress)


def selftest(
    source: SliceSource,
    options: SelftestOptions | None = None,
    *,
    subject: str = "the scan",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Test every method on a scan, by hiding every second of its slices.

    The slices that are needed are held in memory: some 250 at the most, or with
    :attr:`SelftestOptions.full` all.

    Args:
        source: the scan; a :class:`hrinet.volume.Volume` is one.
        options: what the user wants.
        subject: what to call the scan in messages.
        progress: called after every synthetic slice.

    Returns:
        A JSON object, ``scan``, ``protocol``, ``methods`` (with every slice), ``best``, ``auto``,
        ``extrapolation`` and ``notes``. Nothing in it names the patient: no path, no UID, no
        description.

    Raises:
        InputError: if the scan is damaged.
        RequestError: if it is too short to hide anything, no scan, or holds synthetic slices.
    """
    options = options or SelftestOptions()
    refuse_synthetic(source)
    methods = _chosen(options)
    trials = choose_trials(
        source.geometry,
        most_near=None if options.full else MOST_NEAR,
        most_wide=None if options.full else MOST_WIDE,
        subject=subject,
    )
    total = len(methods) * (len(trials.near.hidden) + _count(trials.wide))
    done = 0

    def advance(name: str) -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done, total, name)

    try:
        return _test(source, trials, methods, options, subject, advance)
    except RangeExceededError:
        # Rare: the header promised whole numbers, and one of them does not fit int16.
        done = 0
        return _test(source.widened(), trials, methods, options, subject, advance)


def _test(
    source: SliceSource,
    trials: Trials,
    methods: Sequence[Method],
    options: SelftestOptions,
    subject: str,
    advance: Callable[[str], None],
) -> dict[str, Any]:
    """Run all methods on slices that are held in memory."""
    held = _hold(source, trials, options)
    looked_at = [held.slices[index] for index in spread(trials.near.hidden, _LOOKED_AT)]
    if looks_like_labels(looked_at):
        raise RequestError(
            f"{subject} looks like a segmentation (few values, none negative, in even areas), but "
            "the self-test measures errors in HU; pass the scan itself"
        )
    rows, cautions = [], []
    for method in methods:
        interpolator = method.make()
        if isinstance(interpolator, Cautious):
            cautions.append(interpolator.caution([trials.near.gap_mm]))
        started = time.perf_counter()
        near = _pass(held, trials.near, interpolator, options, partial(advance, method.name))
        check = interpolator.self_check if isinstance(interpolator, SelfChecking) else None
        seconds = time.perf_counter() - started
        wide = (
            _pass(held, trials.wide, interpolator, options, partial(advance, method.name))
            if trials.wide
            else None
        )
        row = describe_method(
            method.name,
            near,
            wide,
            gap_mm=trials.own_gap_mm,
            thickness_mm=held.geometry.slice_thickness,
        )
        row["seconds"] = round(seconds, 2)
        if check is not None:
            row.setdefault("own_estimate", {})["self_check"] = asdict(check)
        rows.append(row)
    return describe_test(held, trials, rows, [sentence for sentence in cautions if sentence])


def _chosen(options: SelftestOptions) -> list[Method]:
    """The methods to test.

    Raises:
        RequestError: if there is no such method, or it is not installed.
    """
    if not options.methods:
        return list(installed_methods() if options.full else ranked_methods())
    chosen: dict[str, Method] = {}
    for name in options.methods:
        method = find_method(name)
        if method.missing:
            raise RequestError(f"method {method.name!r} {method.missing}")
        chosen[method.name] = method
    return list(chosen.values())


def _count(hiding: Hiding | None) -> int:
    return len(hiding.hidden) if hiding else 0


def _hold(source: SliceSource, trials: Trials, options: SelftestOptions) -> Held:
    """Read what will be needed, each slice once and forwards."""
    needed = trials.needed
    threads = 1 if source.is_sequential else options.threads or default_threads()
    with ThreadPoolExecutor(threads, "hrinet-read") as readers:
        return Held(source, dict(zip(needed, readers.map(source.read_slice, needed), strict=True)))


def _pass(
    source: Held,
    hiding: Hiding,
    interpolator: Interpolator,
    options: SelftestOptions,
    advance: Callable[[], None],
) -> dict[int, Scored]:
    """Synthesize the hidden slices by the engine that fills gaps, and score them."""
    planned = hiding.planned(source.geometry.positions_mm)
    threads = options.threads or default_threads()
    made = synthesize(Thinned(source, hiding.kept), planned, interpolator, threads=threads)
    waiting: dict[int, Future[Scored]] = {}
    with ThreadPoolExecutor(threads, "hrinet-score") as scorers:
        for index, one in zip(hiding.hidden, made, strict=True):
            truth = source.read_slice(index)
            waiting[index] = scorers.submit(_scored, one, truth, source.padding_hu)
            advance()
        return {index: future.result() for index, future in waiting.items()}


def _scored(made: Synthesized, truth: SliceArray, padding: float | None) -> Scored:
    own = made.error.expected_hu if made.error else None
    return Scored(score(made.values, truth, padding=padding), own)

"""What the numbers say, in sentences made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence

from hrinet.evaluate.candidates import BASELINES, REFERENCE, title_of
from hrinet.evaluate.measures import BY_KEY
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.statistics import LEAST_SERIES
from hrinet.evaluate.tables import difference, hidden_words, series_count, summary
from hrinet.evaluate.work import Outcome

_NO_DIFFERENCE_DB = 0.05


def verdict(results: Results, section: Section) -> list[str]:
    """Which method is best in a section, and what each gains or loses against the reference."""
    ready = [c for c in section.candidates if not c.missing]
    scores = {c.name: summary(results, section, c.name, "psnr").mean for c in ready}
    present = {name: value for name, value in scores.items() if value is not None}
    if not present:
        return []
    best = max(present, key=lambda name: present[name])
    mae = summary(results, section, best, "mae").mean
    found = [
        f"{_case(results, section)}: {title_of(best)} is nearest to the truth "
        f"({present[best]:.2f} dB"
        + (f", {mae:.1f} HU mean absolute error" if mae is not None else "")
        + ")."
    ]
    found += [_against(results, section, c.name) for c in ready if c.name not in BASELINES]
    return [sentence for sentence in found if sentence]


def bottlenecks(results: Results, sections: Sequence[Section]) -> list[str]:
    """Where generators of the family lose to the reference, and where they do not."""
    family = {c.name: c for section in sections for c in section.candidates if c.is_family}
    found = []
    for name, candidate in family.items():
        if candidate.missing:
            continue
        losses, ties, wins = [], [], []
        for section in sections:
            change = difference(results, section, name, "psnr")
            if change.mean is None:
                continue
            lower = sum(value < 0 for value in change.by_series.values())
            case = (
                f"{_short(results, section)} ({change.mean:+.2f} dB, lower in {lower} of "
                f"{change.series} series)"
            )
            if abs(change.mean) < _NO_DIFFERENCE_DB:
                ties.append(case)
            elif change.mean < 0:
                losses.append(case)
            else:
                wins.append(case)
        parts = []
        if losses:
            parts.append(f"loses to {REFERENCE} at {', '.join(losses)}")
        if ties:
            parts.append(f"equals it at {', '.join(ties)}")
        if wins:
            parts.append(f"beats {'it' if losses else REFERENCE} at {', '.join(wins)}")
        if parts:
            found.append(f"{title_of(name)} {', '.join(parts)}.")
    missing = [title_of(name) for name, candidate in family.items() if candidate.missing]
    if missing:
        found.append(f"No weights installed, so nothing is said of: {', '.join(missing)}.")
    return found


def cautions(results: Results, section: Section) -> list[str]:
    """What a good PSNR hides, where a method shows it."""
    found = []
    for candidate in section.candidates:
        if candidate.missing:
            continue
        name = title_of(candidate.name)
        noise = summary(results, section, candidate.name, "noise").mean
        if noise is not None and noise < 0.8 and candidate.name not in BASELINES:
            found.append(
                f"{name}: noise in soft tissue is {noise:.2f} times that of measured slices; its "
                "slices look smoother than their neighbours."
            )
        laa = summary(results, section, candidate.name, "laa950").mean
        if laa is not None and abs(laa) >= 1.0:
            found.append(
                f"{name}: the emphysema index LAA-950 is off by {laa:+.1f} percentage points on "
                "average; do not do densitometry on its slices."
            )
    return found


def seconds_of(results: Results) -> dict[str, float]:
    """Processor time by activity over all tasks, s."""
    total = {"reading": 0.0, "synthesis": 0.0, "metrics": 0.0}
    for outcome in _unique(results):
        for name, value in outcome.seconds.items():
            total[name] = total.get(name, 0.0) + value
    return total


def time_words(results: Results) -> list[str]:
    """How long the run took and on what."""
    total = seconds_of(results)
    everything = sum(total.values()) or 1.0
    shares = ", ".join(
        f"{name} {value:.0f} s ({100 * value / everything:.0f} %)" for name, value in total.items()
    )
    found = [f"Processor time: {shares}."]
    if results.fresh:
        cached = len(results.outcomes) - results.fresh
        kept = f", {cached} more were taken from the cache" if cached else ""
        found.append(
            f"Wall time of this run: {results.wall_s:.0f} s for {results.fresh} tasks in "
            f"{results.jobs} processes{kept}."
        )
    else:
        found.append("All results were taken from the cache of an earlier run.")
    return found


def _unique(results: Results) -> list[Outcome]:
    return list(results.outcomes.values())


def _against(results: Results, section: Section, name: str) -> str:
    change = difference(results, section, name, "psnr")
    if change.mean is None:
        return ""
    errors = difference(results, section, name, "mae")
    verb = "gains" if change.mean >= 0 else "loses"
    values = list(change.by_series.values())
    if len(values) > 1:
        each = f" ({min(values):+.2f} to {max(values):+.2f} dB from series to series)"
    else:
        each = ""
    also = ""
    if errors.mean is not None:
        way = "larger" if errors.mean > 0 else "smaller"
        also = f"; its mean absolute error is {abs(errors.mean):.1f} HU {way}"
    return f"{title_of(name)} {verb} {abs(change.mean):.2f} dB against {REFERENCE}{each}{also}."


def _case(results: Results, section: Section) -> str:
    words = hidden_words(results, section)
    size = getattr(section.protocol, "size", None)
    return "At " + words + (f", at {size} x {size}" if size else "")


def _short(results: Results, section: Section) -> str:
    key = section.protocol.key.split("-")[0] if hasattr(section.protocol, "factor") else None
    size = getattr(section.protocol, "size", None)
    name = key or section.protocol.key.replace("-", " ")
    return name + (f" at {size} x {size}" if size else "")


def scope_words(results: Results, section: Section) -> str:
    """How far the result reaches."""
    count = series_count(results, section)
    if count < LEAST_SERIES:
        return (
            f"The figures rest on {count} series; another patient, kernel or part of the body may "
            "give others."
        )
    return f"The figures rest on {count} series; intervals are over series, not over slices."


def measure_words(keys: Sequence[str]) -> list[str]:
    """What each measure means and which direction is better."""
    return [f"{BY_KEY[key].head}: {BY_KEY[key].meaning} {_sentence(key)}" for key in keys]


def _sentence(key: str) -> str:
    direction = BY_KEY[key].direction
    return direction[0].upper() + direction[1:] + "."

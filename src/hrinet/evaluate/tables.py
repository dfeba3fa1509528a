"""What tables are made of: means by series, cells, marks, and the line that states the protocol."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import hrinet
from hrinet.evaluate.candidates import REFERENCE, title_of
from hrinet.evaluate.document import Cell, Table
from hrinet.evaluate.measures import BY_KEY, Measure
from hrinet.evaluate.protocols import Adjacent, GapMm, Reconstruction
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.scoring import COSTLY_SLICES, SOFT_HU, WIDE_HU
from hrinet.evaluate.statistics import Summary, interval_words, mean_of, paired, summarize
from hrinet.evaluate.work import TRUTH, Outcome, SliceScore

_BODY = ("psnr", "psnr_soft", "ssim", "mae", "rmse_255", "ms_ssim", "histogram")
_TRUTHS = (
    *("bias_lung", "bias_fat", "bias_soft", "bias_bone", "width_lung", "width_soft", "width_bone"),
    *("noise", "laa950", "perc15"),
)
_SHAPES = (
    *("sharpness", "spectral", "edge", "bone_volume", "ssim_coronal", "ssim_sagittal"),
    *("through_plane", "slab", "niqe"),
)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "How near the slices are to the truth": _BODY,
    "Whether HU can be trusted": _TRUTHS,
    "Sharpness, edges, and how slices follow one another": _SHAPES,
}
"""Measures of the tables that have a method a row, by title."""

Chosen = Callable[[SliceScore], bool]


def series_mean(outcome: Outcome, key: str, chosen: Chosen | None = None) -> float | None:
    """A measure of one scan: over all slices, or over those that are chosen."""
    if key in outcome.whole:
        return outcome.whole[key] if chosen is None else None
    scores = outcome.scores if chosen is None else [s for s in outcome.scores if chosen(s)]
    return mean_of(score.values.get(key) for score in scores)


def by_series(
    results: Results, section: Section, method: str, key: str, chosen: Chosen | None = None
) -> dict[str, float | None]:
    """A measure of a method, by scan."""
    found = results.of(section, method)
    return {scan: series_mean(outcome, key, chosen) for scan, outcome in found.items()}


def summary(results: Results, section: Section, method: str, key: str) -> Summary:
    """A measure of a method over the scans."""
    return summarize(by_series(results, section, method, key))


def difference(results: Results, section: Section, method: str, key: str) -> Summary:
    """Of a method from the reference, series by series."""
    return paired(
        by_series(results, section, method, key), by_series(results, section, REFERENCE, key)
    )


def text_of(found: Summary, measure: Measure, *, signed: bool = False) -> str:
    """Mean and, where there is one, interval."""
    text = measure.text(found.mean, signed=signed)
    if found.interval is not None:
        low, high = (
            measure.text(end, signed=signed) for end in (found.interval.low, found.interval.high)
        )
        text += f" [{low}, {high}]"
    return text


def marks(values: Mapping[str, float | None], measure: Measure) -> dict[str, str]:
    """Which of some methods is best and which second; equal values share a mark."""
    present = {
        name: round(measure.badness(value), measure.digits + 1)
        for name, value in values.items()
        if value is not None and math.isfinite(value) and measure.better != "truth"
    }
    ranks = sorted(set(present.values()))
    found = {}
    for name, value in present.items():
        if value == ranks[0]:
            found[name] = "best"
        elif len(ranks) > 1 and value == ranks[1]:
            found[name] = "second"
    return found


def method_table(
    results: Results,
    section: Section,
    keys: Sequence[str],
    *,
    title: str,
    with_difference: Sequence[str] = (),
) -> Table:
    """A table with a method a row.

    Args:
        results: of the run.
        section: the protocol.
        keys: measures, a column each; those that no method has are left out.
        title: above it.
        with_difference: measures whose difference from the reference follows in brackets.
    """
    methods = [candidate.name for candidate in section.candidates]
    found = {key: {name: summary(results, section, name, key) for name in methods} for key in keys}
    used = [key for key in keys if any(s.mean is not None for s in found[key].values())]
    best = {
        key: marks({name: s.mean for name, s in found[key].items()}, BY_KEY[key]) for key in used
    }
    rows = []
    for candidate in section.candidates:
        name = candidate.name
        if candidate.missing:
            absent = [Cell(candidate.missing, "absent"), *[Cell("", "absent")] * (len(used) - 1)]
            rows.append((Cell(title_of(name)), *absent[: len(used)]))
            continue
        row = [Cell(title_of(name))]
        for key in used:
            text = text_of(found[key][name], BY_KEY[key])
            if key in with_difference and name != REFERENCE:
                change = difference(results, section, name, key)
                if change.mean is not None:
                    text += f" ({text_of(change, BY_KEY[key], signed=True)})"
            row.append(Cell(text, best[key].get(name, "")))  # type: ignore[arg-type]
        rows.append(tuple(row))
    own = {key: summary(results, section, TRUTH, key) for key in used}
    if any(s.mean is not None for s in own.values()):
        rows.append(
            (
                Cell("true slices themselves", "thesis"),
                *(Cell(BY_KEY[key].text(own[key].mean), "thesis") for key in used),
            )
        )
    notes = [direction_words(used)]
    if with_difference:
        notes.append(f"In round brackets: difference from {REFERENCE}, paired by series.")
    notes.append(interval_words(series_count(results, section)))
    return Table(
        title=title,
        head=("method", *(BY_KEY[key].head for key in used)),
        rows=tuple(rows),
        protocol=protocol_words(results, section, keys=used),
        notes=tuple(notes),
    )


def direction_words(keys: Sequence[str]) -> str:
    """Which direction is better, measure by measure."""
    grouped: dict[str, list[str]] = {}
    for key in keys:
        grouped.setdefault(BY_KEY[key].direction, []).append(BY_KEY[key].title)
    parts = [f"{direction}: {', '.join(titles)}" for direction, titles in grouped.items()]
    if not parts:
        return "Nothing was measured."
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:].removesuffix('.')}. Bold is best, underlined second best."


def series_count(results: Results, section: Section) -> int:
    """Number of scans that a section has results of."""
    return len(
        results.of(section, REFERENCE) or results.of(section, TRUTH) or _any(results, section)
    )


def _any(results: Results, section: Section) -> dict[str, Outcome]:
    return max((results.of(section, c.name) for c in section.candidates), key=len, default={})


def hidden_words(results: Results, section: Section) -> str:
    """What was hidden, with the true width of the gaps on every scan."""
    protocol = section.protocol
    found = _any(results, section)
    if isinstance(protocol, Reconstruction):
        return f"up to {protocol.slices} real slices a series, encoded and decoded"
    if isinstance(protocol, Adjacent):
        gaps = ", ".join(f"{_widths(outcome)} in {name}" for name, outcome in found.items())
        return (
            f"nothing hidden; {protocol.inner} new slices in each of up to {protocol.gaps} gaps "
            f"({gaps}), no ground truth"
        )
    gaps = ", ".join(
        f"{_widths(outcome)} in {name}"
        + (f" (x{outcome.factor})" if isinstance(protocol, GapMm) else "")
        for name, outcome in found.items()
    )
    if isinstance(protocol, GapMm):
        return f"gaps as near to {protocol.gap_mm:g} mm as hiding whole slices allows: {gaps}"
    return (
        f"x{protocol.factor}: every {ordinal(protocol.factor)} slice kept, "
        f"{protocol.factor - 1} between two of them hidden; gaps of {gaps}"
    )


def _widths(outcome: Outcome) -> str:
    """The width of the gaps, and from where to where it goes if they are uneven."""
    widths = [score.gap_mm for score in outcome.scores]
    text = f"{outcome.gap_mm:.4g} mm"
    if widths and max(widths) - min(widths) > 0.01 * outcome.gap_mm:
        text += f" ({min(widths):.3g} to {max(widths):.3g} mm)"
    return text


def ordinal(number: int) -> str:
    """A number as in "every 3rd"."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def protocol_words(
    results: Results, section: Section, *, keys: Sequence[str] = (), methods: Sequence[str] = ()
) -> str:
    """Everything that a reader needs to compare a table with another one."""
    protocol = section.protocol
    found = _any(results, section)
    low, high = WIDE_HU
    size = getattr(protocol, "size", None)
    number = sum(len(outcome.scores) for outcome in found.values())
    kind = "reconstructed" if isinstance(protocol, Reconstruction) else "synthetic"
    parts = [
        hidden_words(results, section),
        f"HU clipped to {low:g} to {high:g}"
        + (f" ({SOFT_HU[0]:g} to {SOFT_HU[1]:g} for PSNR soft)" if "psnr_soft" in keys else ""),
        f"slices averaged to {size} x {size} first, no crop" if size else "whole slices, no crop",
        f"{len(found)} series: {', '.join(found)}",
        f"{kind} slices only: {number}",
    ]
    if "ssim" in keys and not isinstance(protocol, Reconstruction):
        parts.append("SSIM on every second or third of them")
    costly = [BY_KEY[key].title for key in keys if BY_KEY[key].costly]
    if costly:
        parts.append(f"{', '.join(costly)} on up to {COSTLY_SLICES} of them a series")
    parts.append("mean of the series' means")
    parts.append(f"hrinet {hrinet.__version__}")
    hashes = [
        f"{candidate.name} {candidate.sha256[:16]}"
        for candidate in section.candidates
        if candidate.sha256 and (not methods or candidate.name in methods)
    ]
    if hashes:
        parts.append(f"weights (SHA-256 begins): {', '.join(hashes)}")
    return "; ".join(parts) + "."


def refusals_of(results: Results, section: Section) -> list[str]:
    """Why scans have no result, each reason once."""
    found: dict[str, None] = {}
    for subject in results.subjects:
        for candidate in section.candidates:
            outcome = results.outcomes.get((section.protocol.key, candidate.name, subject.name))
            if outcome is not None and outcome.refusal:
                found[f"{subject.name}, {section.protocol.key}: {outcome.refusal}"] = None
    return list(found)

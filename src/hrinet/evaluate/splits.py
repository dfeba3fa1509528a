"""Results by scan, gap, kernel and region."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hrinet.evaluate.candidates import REFERENCE, title_of
from hrinet.evaluate.document import Cell, Table
from hrinet.evaluate.measures import BY_KEY
from hrinet.evaluate.protocols import Factor, GapMm
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.statistics import mean_of
from hrinet.evaluate.subject import REGIONS
from hrinet.evaluate.tables import marks, protocol_words, series_mean
from hrinet.evaluate.work import Outcome, SliceScore

_KEY = "psnr"

_NOTE = (
    f"PSNR in dB, in brackets the difference from {REFERENCE} on the same slices. Higher is "
    "better; bold is best of the row, underlined second best."
)


def by_series_table(results: Results, section: Section) -> Table:
    """A row a scan."""
    infos = {info.name: info for info in results.infos}
    rows = []
    for name in _scans(results, section):
        info = infos[name]
        kernel = f", kernel {info.kernel}" if info.kernel else ""
        label = f"{name} (every {info.spacing_mm:.4g} mm{kernel})"
        rows.append(_row(results, section, label, lambda o, n=name: o.scan == n))  # type: ignore[misc]
    return _table(results, section, "By series", rows)


def by_kernel_table(results: Results, section: Section) -> Table:
    """A row a reconstruction kernel."""
    kernels: dict[str, list[str]] = {}
    for info in results.infos:
        kernels.setdefault(info.kernel or "not stated", []).append(info.name)
    rows = [
        _row(results, section, f"{kernel} ({len(names)} series)", lambda o, n=names: o.scan in n)  # type: ignore[misc]
        for kernel, names in sorted(kernels.items())
    ]
    return _table(results, section, "By reconstruction kernel", rows)


def by_region_table(results: Results, section: Section) -> Table:
    """A row a region; the region of a slice is found in its voxels, not in a tag."""
    rows = []
    for region in REGIONS:
        number = sum(
            score.region == region
            for outcome in _reference(results, section).values()
            for score in outcome.scores
        )
        if number:
            rows.append(
                _row(
                    results,
                    section,
                    f"slices {region} ({number})",
                    lambda outcome: True,
                    lambda score, r=region: score.region == r,  # type: ignore[misc]
                )
            )
    table = _table(results, section, "By region", rows)
    note = "A slice counts as one with lung if more than 50 cm² of it lie between -950 and -500 HU."
    return Table(
        title=table.title,
        head=table.head,
        rows=table.rows,
        protocol=table.protocol,
        notes=(*table.notes, note),
    )


def by_gap_table(results: Results, sections: Sequence[Section]) -> Table | None:
    """A row a true width of the gap in mm, over all protocols that hide slices at full size."""
    found: dict[tuple[float, str], tuple[Section, str, int]] = {}
    asked: dict[tuple[float, str], list[str]] = {}
    for section in sections:
        protocol = section.protocol
        if not isinstance(protocol, Factor | GapMm) or getattr(protocol, "size", None):
            continue
        for name, outcome in _reference(results, section).items():
            key = (round(outcome.gap_mm, 3), name)
            found.setdefault(key, (section, name, outcome.factor))
            if isinstance(protocol, GapMm):
                words = f"{protocol.gap_mm:g}"
                if words not in asked.setdefault(key, []):
                    asked[key].append(words)
    if not found:
        return None
    rows = []
    for key in sorted(found):
        section, name, factor = found[key]
        label = f"{key[0]:g} mm: {name}, x{factor}"
        if key in asked:
            label += f" (asked for: {', '.join(asked[key])} mm)"
        rows.append(_row(results, section, label, lambda o, n=name: o.scan == n))  # type: ignore[misc]
    section = found[min(found)][0]
    table = _table(results, section, "By true width of the gap", rows)
    return Table(
        title=table.title,
        head=table.head,
        rows=table.rows,
        protocol="each row is one series; every so-manieth slice kept as stated, the others "
        "hidden; HU clipped to -1000 to 1000; whole slices; synthetic slices only.",
        notes=(
            *table.notes,
            "Only whole slices can be hidden, so a gap that was asked for becomes the nearest that "
            "the scan allows.",
        ),
    )


def _scans(results: Results, section: Section) -> list[str]:
    found = _reference(results, section)
    return [subject.name for subject in results.subjects if subject.name in found]


def _reference(results: Results, section: Section) -> dict[str, Outcome]:
    return results.of(section, REFERENCE)


def _row(
    results: Results,
    section: Section,
    label: str,
    is_chosen: Callable[[Outcome], bool],
    chosen: Callable[[SliceScore], bool] | None = None,
) -> tuple[Cell, ...]:
    means = {}
    for candidate in section.candidates:
        outcomes = [o for o in results.of(section, candidate.name).values() if is_chosen(o)]
        means[candidate.name] = mean_of(series_mean(o, _KEY, chosen) for o in outcomes)
    best = marks(means, BY_KEY[_KEY])
    reference = means.get(REFERENCE)
    row = [Cell(label)]
    for candidate in section.candidates:
        if candidate.missing:
            continue
        value = means[candidate.name]
        text = BY_KEY[_KEY].text(value)
        if value is not None and reference is not None and candidate.name != REFERENCE:
            text += f" ({value - reference:+.2f})"
        row.append(Cell(text, best.get(candidate.name, "")))  # type: ignore[arg-type]
    return tuple(row)


def _table(
    results: Results, section: Section, title: str, rows: Sequence[tuple[Cell, ...]]
) -> Table:
    names = [title_of(c.name) for c in section.candidates if not c.missing]
    return Table(
        title=title,
        head=("", *names),
        rows=tuple(rows),
        protocol=protocol_words(results, section, keys=(_KEY,)),
        notes=(_NOTE,),
    )

"""The report of an evaluation: one page for a reader, in HTML and Markdown, and its JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hrinet
from hrinet.errors import RequestError
from hrinet.evaluate import figures, network_figures, splits, thesis_tables, words
from hrinet.evaluate.document import Block, Figure, Heading, bullets, paragraph
from hrinet.evaluate.html import to_html
from hrinet.evaluate.markdown import to_markdown
from hrinet.evaluate.measures import BY_KEY, MEASURES
from hrinet.evaluate.protocols import Factor, GapMm
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.tables import (
    GROUPS,
    difference,
    method_table,
    ordinal,
    protocol_words,
    refusals_of,
    summary,
)
from hrinet.evaluate.work import TRUTH
from hrinet.explore.cases import require_torch_extra
from hrinet.io.sidecar import refuse_sidecars
from hrinet.io.staging import Staging

REPORT_SCHEMA = "hrinet-evaluate-1"

NAMES = ("report.html", "report.md", "report.json")

_MAIN_FACTOR = 4
_TITLE = "How good the synthetic slices are"


def check(folder: Path, *, overwrite: bool, training: Path | None = None) -> None:
    """Refuse before the work what would be refused after it.

    Args:
        folder: where reports will go to.
        overwrite: whether those that exist may be replaced.
        training: folder of a training, for Figure 4-9; or None.

    Raises:
        RequestError: if the folder is a file, a report exists that may not be replaced, or would
            replace the sidecar of a volume, or what the figure needs is not installed.
        InputError: if ``training`` is no folder of a training.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: is a file, expected a folder for the reports")
    refuse_sidecars(folder / name for name in NAMES)
    existing = [name for name in NAMES if (folder / name).exists()]
    if existing and not overwrite:
        raise RequestError(
            f"{folder / existing[0]}: exists already; pass --overwrite to replace it"
        )
    if training is not None:
        require_torch_extra()
        network_figures.progress_figure(training)


def write_report(results: Results, folder: Path, *, training: Path | None = None) -> list[Path]:
    """Write the reports; all appear, or none.

    Args:
        results: of the run.
        folder: where to; made if missing.
        training: folder of a training, for Figure 4-9; or None.

    Returns:
        The files.

    Raises:
        RequestError: if a file exists already and may not be replaced.
        InputError: if ``training`` is no folder of a training.
    """
    blocks = blocks_of(results, training=training)
    contents = {
        "report.html": to_html(blocks, title=_TITLE),
        "report.md": to_markdown(blocks),
        "report.json": json.dumps(to_json(results), indent=1, allow_nan=False) + "\n",
    }
    folder.mkdir(parents=True, exist_ok=True)
    with Staging(overwrite=results.options.overwrite) as staging:
        for name, content in contents.items():
            staging.path(folder / name).write_text(content, "utf-8")
    return [folder / name for name in contents]


def main_section(results: Results) -> Section | None:
    """The one that most is said of: x4 at full size, or the first that hides slices."""
    hiding = [s for s in results.sections if isinstance(s.protocol, Factor | GapMm)]
    for section in hiding:
        if section.protocol == Factor(factor=_MAIN_FACTOR):
            return section
    return next((s for s in hiding if not getattr(s.protocol, "size", None)), None)


def blocks_of(results: Results, *, training: Path | None = None) -> list[Block]:
    """The whole report as data."""
    main = main_section(results)
    hiding = [s for s in results.sections if isinstance(s.protocol, Factor | GapMm)]
    plain = [s for s in hiding if s.name in ("large-gap", "factors", "gaps-mm")]
    blocks: list[Block] = [Heading(level=1, text=_TITLE), *_introduction(results, main, plain)]
    if main is not None:
        blocks += _main(results, main)
    factors = [s for s in hiding if s.name in ("factors", "gaps-mm") and s is not main]
    if factors:
        blocks.append(Heading(level=2, text="Narrower and wider gaps"))
        for section in factors:
            blocks.append(
                method_table(
                    results,
                    section,
                    ("psnr", "psnr_soft", "ssim", "mae", "noise", "ssim_coronal"),
                    title=_case_title(section),
                    with_difference=("psnr",),
                )
            )
    gaps = splits.by_gap_table(results, plain)
    if gaps is not None:
        blocks += [Heading(level=2, text="By width of the gap"), gaps]
    blocks += _thesis(results, training)
    blocks += _end(results)
    return blocks


def _introduction(results: Results, main: Section | None, plain: Sequence[Section]) -> list[Block]:
    blocks: list[Block] = [
        paragraph(
            "A CT scan has gaps between its slices. A method fills them with slices that were "
            "never measured. To see how good they are, real slices of a scan are hidden, every "
            "method makes them again from the slices that are left, and the two are compared, "
            "voxel by voxel. Only such made slices are scored; slices that were kept are not."
        ),
        paragraph(
            "The rows nearest (repeat), linear and cubic are what software does without any "
            "learning. A method is worth its cost only where it beats them."
        ),
        Heading(level=2, text="The scans"),
        bullets([f"{info.name}: {info.sentence}." for info in results.infos]),
    ]
    lines = [] if main is None else words.verdict(results, main)
    family = words.bottlenecks(results, _once(plain))
    if lines:
        blocks += [Heading(level=2, text="What was found"), bullets(lines)]
    if family:
        blocks += [
            Heading(level=2, text="Bottleneck autoencoders against cubic"),
            paragraph(
                "A generator of the family squeezes a slice through a bottleneck and draws it "
                "anew, which loses detail that interpolation keeps. In PSNR:"
            ),
            bullets(family),
        ]
    if main is not None:
        caution = words.cautions(results, main)
        if caution:
            blocks += [Heading(level=2, text="What PSNR hides"), bullets(caution)]
        blocks.append(paragraph(words.scope_words(results, main)))
    refused = list(dict.fromkeys(r for s in results.sections for r in refusals_of(results, s)))
    if refused:
        blocks += [Heading(level=2, text="What could not be done"), bullets(refused)]
    return blocks


def _once(sections: Sequence[Section]) -> list[Section]:
    """Without sections whose protocol stands under another name already."""
    return list({section.protocol.key: section for section in sections}.values())


def _main(results: Results, section: Section) -> list[Block]:
    blocks: list[Block] = [Heading(level=2, text=f"In detail: {_case_title(section)}")]
    for title, keys in GROUPS.items():
        table = method_table(
            results,
            section,
            keys,
            title=title,
            with_difference=("psnr", "mae") if "psnr" in keys else (),
        )
        if len(table.head) > 1:
            blocks.append(table)
    blocks += [
        splits.by_series_table(results, section),
        splits.by_kernel_table(results, section),
        splits.by_region_table(results, section),
    ]
    return blocks


def _thesis(results: Results, training: Path | None) -> list[Block]:
    by_name: dict[str, list[Section]] = {}
    for section in results.sections:
        by_name.setdefault(section.name, []).append(section)
    blocks: list[Block] = []
    shown = [subject for subject in results.subjects if subject.may_be_shown][:1]
    if "large-gap" in by_name:
        sections = by_name["large-gap"]
        blocks += [Heading(level=2, text="Large gaps"), thesis_tables.table_4_1(results, sections)]
        for subject in shown:
            strips = figures.strips_of(results, sections[0], subject)
            for number, strip in enumerate(strips, 1):
                blocks.append(figures.strip_figure(strip, sections[0], subject, f"4-{number}"))
            if strips:
                middle = strips[len(strips) // 2]
                blocks += _some(
                    figures.enlarged_figure(middle, sections[0], subject),
                    figures.error_figure(middle, sections[0], subject),
                )
    if "adjacent" in by_name:
        sections = by_name["adjacent"]
        blocks += [
            Heading(level=2, text="Between neighbouring slices"),
            paragraph(
                "This is what the methods are for, and what nobody can check: no slice was "
                "measured there. NIQE asks only whether a slice looks like a CT slice."
            ),
            thesis_tables.table_4_2(results, sections),
        ]
        for subject in shown:
            strips = figures.strips_of(results, sections[0], subject)
            for number, strip in zip(
                (5, 6), (strips[:1] + strips[-1:])[: len(strips)], strict=False
            ):
                blocks.append(figures.strip_figure(strip, sections[0], subject, f"4-{number}"))
    if "reconstruction" in by_name:
        section = by_name["reconstruction"][0]
        blocks += [
            Heading(level=2, text="Reconstruction"),
            thesis_tables.table_4_3(results, section),
        ]
        for subject in shown:
            blocks += _some(
                network_figures.reconstruction_figure(results, section, subject),
                network_figures.samples_figure(section, subject),
            )
    if training is not None:
        blocks.append(network_figures.progress_figure(training))
    if "ablation" in by_name:
        section = by_name["ablation"][0]
        blocks += [Heading(level=2, text="Ablation"), thesis_tables.table_4_4(results, section)]
    if "receptive-field" in by_name:
        section = by_name["receptive-field"][0]
        blocks += [
            Heading(level=2, text="Receptive fields and histograms"),
            thesis_tables.table_4_5(results, section),
            *_some(network_figures.histogram_figure(results, section)),
        ]
    return blocks


def _some(*found: Figure | None) -> list[Block]:
    return [figure for figure in found if figure is not None]


def _end(results: Results) -> list[Block]:
    used = _used_keys(results)
    ran = f"Command: {results.options.command}. " if results.options.command else ""
    return [
        Heading(level=2, text="What the measures mean"),
        bullets(words.measure_words(used)),
        Heading(level=2, text="How it was run"),
        paragraph(f"{ran}hrinet {hrinet.__version__}."),
        paragraph(" ".join(words.time_words(results))),
        paragraph(
            "Synthetic slices are computed, not measured. Nothing here is for diagnosis, and no "
            "patient is named: scans bear the names that the command or the manifest gave them."
        ),
    ]


def _used_keys(results: Results) -> list[str]:
    used = set()
    for outcome in results.outcomes.values():
        used |= {key for key, value in outcome.whole.items() if value is not None}
        for score in outcome.scores:
            used |= {key for key, value in score.values.items() if value is not None}
    return [measure.key for measure in MEASURES if measure.key in used]


def _case_title(section: Section) -> str:
    protocol = section.protocol
    if isinstance(protocol, GapMm):
        return f"Gaps of about {protocol.gap_mm:g} mm"
    if isinstance(protocol, Factor):
        size = f" at {protocol.size} x {protocol.size}" if protocol.size else ""
        return f"x{protocol.factor}: every {ordinal(protocol.factor)} slice kept{size}"
    return section.protocol.key


def spoken(results: Results) -> list[str]:
    """What the command prints: the findings, and what could not be done."""
    main = main_section(results)
    lines = [] if main is None else words.verdict(results, main)
    plain = [s for s in results.sections if isinstance(s.protocol, Factor | GapMm)]
    lines += words.bottlenecks(results, _once(plain))
    lines += dict.fromkeys(r for s in results.sections for r in refusals_of(results, s))
    return [*lines, *words.time_words(results)]


def to_json(results: Results) -> dict[str, Any]:
    """The figures, for programs: per series, means, intervals, paired differences."""
    sections = []
    for section in results.sections:
        methods: dict[str, Any] = {}
        for name in (TRUTH, *(c.name for c in section.candidates)):
            found = {}
            for measure in MEASURES:
                one = summary(results, section, name, measure.key)
                if not one.series:
                    continue
                entry: dict[str, Any] = {
                    "mean": _rounded(one.mean),
                    "by_series": {scan: _rounded(v) for scan, v in one.by_series.items()},
                }
                if one.interval is not None:
                    entry["interval_95"] = [_rounded(one.interval.low), _rounded(one.interval.high)]
                change = difference(results, section, name, measure.key)
                if name != TRUTH and change.mean is not None:
                    entry["minus_cubic"] = _rounded(change.mean)
                    if change.interval is not None:
                        entry["minus_cubic_interval_95"] = [
                            _rounded(change.interval.low),
                            _rounded(change.interval.high),
                        ]
                found[measure.key] = entry
            methods[name] = found
        sections.append(
            {
                "section": section.name,
                "protocol": section.protocol.key,
                "settings": asdict(section.protocol),
                "words": protocol_words(results, section),
                "weights": {c.name: c.sha256 for c in section.candidates if c.sha256},
                "missing": {c.name: c.missing for c in section.candidates if c.missing},
                "refusals": refusals_of(results, section),
                "methods": methods,
            }
        )
    return {
        "schema": REPORT_SCHEMA,
        "hrinet": hrinet.__version__,
        "command": results.options.command,
        "scans": [{**asdict(info), "sentence": info.sentence} for info in results.infos],
        "measures": {
            key: {"unit": BY_KEY[key].unit, "better": BY_KEY[key].better}
            for key in _used_keys(results)
        },
        "sections": sections,
        "processor_seconds": {k: round(v, 1) for k, v in words.seconds_of(results).items()},
        "wall_seconds": round(results.wall_s, 1),
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")

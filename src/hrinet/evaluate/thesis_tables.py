"""Tables 4-1 to 4-5, laid out as in the thesis, with the baselines added and its figures beside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from hrinet.evaluate import thesis
from hrinet.evaluate.candidates import title_of
from hrinet.evaluate.document import Cell, Table, cells
from hrinet.evaluate.measures import BY_KEY, DASH
from hrinet.evaluate.run import Results, Section
from hrinet.evaluate.statistics import interval_words
from hrinet.evaluate.tables import (
    direction_words,
    marks,
    protocol_words,
    series_count,
    summary,
    text_of,
)
from hrinet.evaluate.work import TRUTH, Candidate

_THESIS_NOTE = (
    f"Rows in italics: the thesis's own figures, {thesis.MARK}, with other weights; they cannot be "
    "compared with ours. The thesis has no row for nearest, linear or cubic interpolation."
)
_NO_MA = "Ma et al.: not available, no model file; give the authors' model with --ma-model."
_PERFECT = {"psnr": "∞", "ssim": "1", "rmse_255": "0"}


def table_4_1(results: Results, sections: Sequence[Section]) -> Table:
    """Large gaps: PSNR, SSIM, RMSE, Ma et al. at both sizes."""
    return _by_size(
        results,
        sections,
        ("psnr", "ssim", "rmse_255", "ma"),
        thesis.TABLE_4_1,
        title="Table 4-1. Large gaps: of seven slices in a row, the five between are hidden",
    )


def table_4_2(results: Results, sections: Sequence[Section]) -> Table:
    """Adjacent slices: NIQE, Ma et al. at both sizes."""
    return _by_size(
        results,
        sections,
        ("niqe", "ma"),
        thesis.TABLE_4_2,
        title="Table 4-2. Between neighbouring slices, where there is no ground truth",
    )


def _by_size(
    results: Results,
    sections: Sequence[Section],
    keys: Sequence[str],
    reported: Mapping[tuple[str, int], Mapping[str, float]],
    *,
    title: str,
) -> Table:
    # Small first, as in the thesis.
    ordered = sorted(sections, key=lambda s: getattr(s.protocol, "size", None) or 10**6)
    candidates = ordered[0].candidates
    names = [candidate.name for candidate in candidates]
    rows = []
    for key in keys:
        for section in ordered:
            size = getattr(section.protocol, "size", None)
            label = f"{size} x {size}" if size else "full size"
            rows.append(
                (
                    *cells((BY_KEY[key].head, label)),
                    *_cells(results, section, key),
                    *_own(key, results, section),
                )
            )
            old = reported[key, size or 512]
            rows.append(
                (
                    Cell(f"{BY_KEY[key].title}, thesis", "thesis"),
                    Cell(f"{size or 512} x {size or 512}", "thesis"),
                    *(_reported(old.get(name)) for name in names),
                    _reported(old.get(TRUTH)),
                )
            )
    notes = [direction_words(keys), _THESIS_NOTE]
    if "niqe" in keys:
        notes.append(
            "NIQE was fitted on CT slices at full size: at 256 x 256 even true slices are far from "
            "what it knows, so compare within a row."
        )
    if results.options.ma_model is None:
        notes.append(_NO_MA)
    notes.append(interval_words(max(series_count(results, section) for section in ordered)))
    return Table(
        title=title,
        head=("Metrics", "Size", *map(title_of, names), title_of(TRUTH)),
        rows=tuple(rows),
        protocol=_joined(results, ordered, keys),
        notes=tuple(notes),
    )


def table_4_3(results: Results, section: Section) -> Table:
    """Feature reconstruction: PSNR, SSIM, L1, L2."""
    keys = ("psnr", "ssim", "l1_255", "l2_255")
    names = [candidate.name for candidate in section.candidates]
    rows = []
    for key in keys:
        rows.append((Cell(BY_KEY[key].head), *_cells(results, section, key)))
        old = thesis.TABLE_4_3[key]
        rows.append(
            (
                Cell(f"{BY_KEY[key].title}, thesis", "thesis"),
                *(_reported(old.get(name)) for name in names),
            )
        )
    return Table(
        title="Table 4-3. Reconstruction: real slices encoded and decoded again",
        head=("Metrics", *map(title_of, names)),
        rows=tuple(rows),
        protocol=protocol_words(results, section, keys=keys),
        notes=(
            direction_words(keys),
            _THESIS_NOTE,
            "Only methods with a generator can reconstruct; repeat, linear and cubic return a "
            "given slice unchanged (PSNR infinite). Our L2 is the mean squared error of equation "
            "2-4; in the thesis's table every L2 is the square of the L1 above it, so that neither "
            "its scale nor its definition is known.",
            interval_words(series_count(results, section)),
        ),
    )


def table_4_4(results: Results, section: Section) -> Table:
    """The ablation: six configurations, and the baselines."""
    rows = []
    for candidate in section.candidates:
        name = candidate.name
        known = thesis.TABLE_4_4.get(name)
        settings = known[0] if known else (DASH,) * 5
        if candidate.missing:
            ours = (Cell(candidate.missing, "absent"), Cell("", "absent"))
        else:
            psnr = text_of(summary(results, section, name, "psnr"), BY_KEY["psnr"])
            ssim = text_of(summary(results, section, name, "ssim"), BY_KEY["ssim"])
            ma = summary(results, section, name, "ma")
            ours = (
                Cell(f"{psnr} / {ssim}"),
                Cell(text_of(ma, BY_KEY["ma"]) if ma.series else "not available"),
            )
        old = cells((DASH, DASH))
        if known:
            old = (
                Cell(f"{known[1]:.3f} / {known[2]:.3f}", "thesis"),
                Cell(f"{known[3]:.3f}", "thesis"),
            )
        rows.append((Cell(title_of(name)), *cells(settings), *ours, *old))
    notes = [direction_words(("psnr", "ssim", "ma")), _THESIS_NOTE]
    if results.options.ma_model is None:
        notes.append(_NO_MA)
    notes.append(
        "A configuration without weights is trained with hrinet train NAME and given with "
        "--weights."
    )
    notes.append(interval_words(series_count(results, section)))
    return Table(
        title="Table 4-4. What each part of the network contributes (large gap)",
        head=(
            *("method", "MSE / perceptual", "Feature maps mixing", "D1", "D2"),
            *("Alternating training", "PSNR / SSIM", "Ma et al."),
            *("PSNR / SSIM, thesis", "Ma et al., thesis"),
        ),
        rows=tuple(rows),
        protocol=protocol_words(results, section, keys=("psnr", "ssim", "ma")),
        notes=tuple(notes),
    )


def table_4_5(results: Results, section: Section) -> Table:
    """Histogram intersection by receptive field of D2, then of every other method."""
    measure = BY_KEY["histogram"]
    rows = []
    ordered = [c for c in section.candidates if c.name in thesis.TABLE_4_5]
    ordered += [c for c in section.candidates if c.name not in thesis.TABLE_4_5]
    for candidate in ordered:
        known = thesis.TABLE_4_5.get(candidate.name)
        ours = _cell(results, section, candidate, "histogram", {})
        label = f"receptive field {known[0]}" if known else title_of(candidate.name)
        rows.append((Cell(label), ours, _reported(known[1] if known else None, digits=2)))
    return Table(
        title="Table 4-5. Histogram intersection with the ground truth",
        head=("Receptive field size, or method", measure.title, f"{measure.title}, thesis"),
        rows=tuple(rows),
        protocol=protocol_words(results, section, keys=("histogram",)),
        notes=(
            "Higher is better; 1 means equal histograms (200 bins of 10 HU). It says nothing about "
            "where in the slice a value lies: a copy of the neighbour scores high.",
            _THESIS_NOTE,
            interval_words(series_count(results, section)),
        ),
    )


def _cells(results: Results, section: Section, key: str) -> tuple[Cell, ...]:
    means = {
        c.name: summary(results, section, c.name, key).mean
        for c in section.candidates
        if not c.missing
    }
    best = marks(means, BY_KEY[key])
    return tuple(_cell(results, section, c, key, best) for c in section.candidates)


def _cell(
    results: Results, section: Section, candidate: Candidate, key: str, best: Mapping[str, str]
) -> Cell:
    if candidate.missing:
        return Cell(candidate.missing, "absent")
    found = summary(results, section, candidate.name, key)
    if key == "ma" and not found.series:
        return Cell("not available", "absent")
    return Cell(text_of(found, BY_KEY[key]), best.get(candidate.name, ""))  # type: ignore[arg-type]


def _own(key: str, results: Results, section: Section) -> tuple[Cell, ...]:
    """The column of the true slices."""
    if key in _PERFECT:
        return (Cell(_PERFECT[key]),)
    found = summary(results, section, TRUTH, key)
    if key == "ma" and not found.series:
        return (Cell("not available", "absent"),)
    return (Cell(text_of(found, BY_KEY[key])),)


def _reported(value: float | None, *, digits: int = 3) -> Cell:
    if value is None:
        return Cell(DASH, "thesis")
    return Cell(f"{value:.{digits}f}", "thesis")


def _joined(results: Results, sections: Sequence[Section], keys: Sequence[str]) -> str:
    return " And: ".join(protocol_words(results, section, keys=keys) for section in sections)

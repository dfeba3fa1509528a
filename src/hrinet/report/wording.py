"""Reports in plain words."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrinet.train.manifest import Manifest
    from hrinet.verify.derived import Verification

_WIDTH = 96
_MOST_LISTED = 20


def describe_result(result: Mapping[str, Any]) -> str:
    """What ``hrinet interpolate`` did.

    Args:
        result: the report of :func:`hrinet.pipeline.interpolate_file`.
    """
    plan, source = result["plan"], result["input"]
    seconds = result["seconds"]
    kept = "moved in their plane" if result["request"]["untilt"] else "unchanged"
    lines = [
        f"{_used(source)} every {_apart(source['gaps_mm'])} -> "
        f"{_slices(plan['slices'])} every {_mm(plan['spacing_mm'])}: {plan['original']} original "
        f"and {kept}, {plan['synthetic']} synthetic"
        + (
            f" by {result['method']} ({seconds:.1f} s, {_rate(plan['synthetic'], seconds)})"
            if plan["synthetic"]
            else ""
        ),
    ]
    if plan["synthetic"] == 0 and not plan["dropped_originals"]:
        lines.append(
            "Nothing to fill: the slices are already as near as asked for; see --spacing and "
            "--factor."
        )
    if error := result.get("uncertainty"):
        lines.append(_error_sentence(error))
    lines += _notes(result["notes"])
    lines += _alternatives(result["alternatives"])
    if plan["flagged"]:
        lines += _notes([f"{plan['flagged']} synthetic slices are flagged in the sidecar"])
    lines.append(f"Written: {result['output']}")
    lines.append(f"Sidecar: {result['sidecar']} (which slice is original, which synthetic)")
    if result.get("expected_error"):
        lines.append(f"Error map: {result['expected_error']} (expected absolute error, HU)")
        lines.append(
            f"Interval map: {result['half_width_90']} (half width of the 90 % interval, HU)"
        )
    if result.get("preview"):
        lines.append(f"Preview: {result['preview']}")
    if plan["synthetic"]:
        lines.append("Synthetic slices are computed, not measured. Not for diagnosis.")
    return "\n".join(lines)


def _slices(count: int) -> str:
    return "1 slice" if count == 1 else f"{count} slices"


def _used(source: Mapping[str, Any]) -> str:
    used, count = source["used"], source["slices"]
    return _slices(count) if used == count else f"{used} of {_slices(count)}"


def _apart(gaps: Mapping[str, Any]) -> str:
    low, high = (_mm(gaps[name] or gaps["median"]) for name in ("smallest", "largest"))
    return _mm(gaps["median"]) if gaps["even"] or low == high else f"{low} to {high}"


def _rate(slices: int, seconds: float) -> str:
    rate = slices / max(seconds, 1e-9)
    return f"{rate:.0f} slices/s" if rate >= 1.5 else f"{seconds / slices:.1f} s a slice"


def _error_sentence(error: Mapping[str, Any]) -> str:
    return (
        f"Expected error {_hu(error['expected_error_hu'])} on average, "
        f"{_hu(error['worst_expected_error_hu'])} in the worst slice (#{error['worst_slice']})."
    )


def describe_summary(summary: Mapping[str, Any]) -> str:
    """What ``hrinet info`` found.

    Args:
        summary: of :func:`hrinet.report.summary.summarize`.
    """
    volume = summary["volume"]
    gaps = volume["gaps_mm"]
    rows = [
        ("input", f"{summary['input']} ({volume['format']})"),
        ("series", volume["series_uid"]),
        (
            "description",
            ", ".join(v for v in (volume["modality"], volume["description"]) if v),
        ),
        ("kernel", volume["kernel"]),
        (
            "voxels",
            f"{volume['columns']} x {volume['rows']} x {volume['slices']} "
            f"({volume['dtype']}), {volume['plane']}, {volume['orientation']}",
        ),
        (
            "spacing",
            f"{volume['pixel_spacing_mm'][1]:.4g} x {volume['pixel_spacing_mm'][0]:.4g} mm "
            "in plane, "
            f"slices every {_apart(gaps)}"
            + (f" (median {_mm(gaps['median'])})" if " to " in _apart(gaps) else ""),
        ),
        (
            "thickness",
            "not stated (--thickness MM tells it to hrinet interpolate)"
            if volume["slice_thickness_mm"] is None
            else _mm(volume["slice_thickness_mm"]),
        ),
        ("tilt", f"{volume['tilt_deg']:.2f} degrees" if volume["tilt_deg"] > 0.05 else ""),
    ]
    lines = [f"{name:<12} {text}" for name, text in rows if text]
    lines += _notes(volume["notes"])
    lines += _alternatives(summary["others"])
    lines.append("")
    outcome = summary["would_do"]
    if "refused" in outcome:
        lines.append(f"'hrinet interpolate' would refuse: {outcome['refused']}")
        return "\n".join(lines)
    lines.append(
        f"'hrinet interpolate' would make {outcome['slices']} slices every "
        f"{_mm(outcome['spacing_mm'])} ({outcome['synthetic']} synthetic, by {outcome['method']}) "
        f"in about {_duration(outcome['estimated_seconds'])}, using about "
        f"{outcome['estimated_peak_mb']:.0f} MB of memory and {outcome['output_mb']:.0f} MB "
        "of disk."
    )
    lines += _notes(outcome["notes"])
    return "\n".join(lines)


def describe_verification(found: Verification) -> str:
    """What ``hrinet verify`` found, a check a line."""
    signs = {"passed": "ok", "failed": "FAILED", "skipped": "-"}
    width = max(len(check.name) for check in found.checks)
    lines = [
        f"{signs[check.outcome]:<7} {check.name:<{width}}  {check.detail}" for check in found.checks
    ]
    failed = sum(check.outcome == "failed" for check in found.checks)
    left = sum(check.outcome == "skipped" for check in found.checks)
    what = f"{found.originals} original and {found.synthetic} synthetic images"
    verdict = f"{failed} checks FAILED" if failed else "verified"
    more = f", {left} checks not made" if left else ""
    return "\n".join([*lines, f"{what}: {verdict}{more}."])


def describe_manifest(manifest: Manifest) -> str:
    """What ``hrinet manifest`` found."""
    lines = []
    for split in ("train", "validation", "test"):
        entries = manifest.of_split(split)
        patients = len({entry.patient for entry in entries})
        slices = sum(entry.slices or 0 for entry in entries)
        if entries:
            lines.append(f"{split:<11} patients {patients}, scans {len(entries)}, slices {slices}")
    lines += _notes(f"left out: {skipped.reason}" for skipped in manifest.skipped)
    return "\n".join(lines)


def _alternatives(others: Sequence[str]) -> list[str]:
    lines = [f"      {other}" for other in others[:_MOST_LISTED]]
    if len(others) > _MOST_LISTED:
        lines.append(f"      and {len(others) - _MOST_LISTED} more")
    return ["    Also in this input:", *lines] if lines else []


def _mm(value: float) -> str:
    return f"{value:.4g} mm"


def _hu(value: float) -> str:
    return f"{value:.2g} HU" if value < 10 else f"{value:.0f} HU"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(seconds, 1):.0f} s"
    return f"{seconds / 60:.0f} min"


def _notes(notes: Iterable[str]) -> list[str]:
    return [
        textwrap.fill(
            f"{note[:1].upper()}{note[1:]}.",
            _WIDTH,
            initial_indent="  * ",
            subsequent_indent="    ",
            break_long_words=False,
            break_on_hyphens=False,
        )
        for note in notes
    ]

"""How far hrinet-flow's estimate of its errors holds, and what it does to HU and noise.

Slices are hidden and synthesized as in quality.py. Run: python benchmarks/trust.py
"""

from __future__ import annotations

import argparse
import json
from typing import Any

import numpy as np
from common import RESULTS, ct, machine, publish, table
from quality import thinned

import hrinet
from hrinet.evaluate.thickened import thickened
from hrinet.metrics.noise import noise_ratio
from hrinet.metrics.tissues import TISSUES, tissue_masks
from hrinet.pipeline import interpolate

SERIES = ("validation/lidc_0002", "test/lidc_0001", "test/aapm_L291")
FACTORS = (2, 3, 4, 6)
SLABS = ((2, 2), (3, 3), (3, 2))
"""Slices averaged, and one slab in how many kept: gaps as wide as the slices, or narrower."""


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's, for values without ties."""
    ranks = (np.argsort(np.argsort(values)).astype(float) for values in (a, b))
    return float(np.corrcoef(*ranks)[0, 1])


def mean_with_doubt(sums: np.ndarray) -> list[float] | None:
    """Mean error and its standard error, by leaving out one gap after the other.

    Args:
        sums: shape (gap, 2), number of voxels and sum of their errors.
    """
    total, shown = sums.sum(0), sums[:, 0] > 0
    if total[0] <= 10000 or shown.sum() < 2:
        return None
    rest = total - sums[shown]
    means = rest[:, 1] / rest[:, 0]
    doubt = np.sqrt((len(means) - 1) * np.square(means - means.mean()).mean())
    return [float(total[1] / total[0]), float(doubt)]


def score(volume: hrinet.Volume, factor: int) -> dict[str, Any]:
    thin, count = thinned(volume, factor)
    made = interpolate(thin, factor=factor, method="hrinet-flow", max_gap_mm=1000, uncertainty=True)
    assert made.uncertainty is not None
    cubic = interpolate(thin, factor=factor, method="cubic", max_gap_mm=1000).array
    numbers = [i for i, entry in enumerate(made.provenance) if entry.is_synthetic]
    inside = total = 0
    tissues: dict[str, list[float]] = {name: [0.0, 0.0, 0.0] for name in TISSUES}
    between = {name: np.zeros((len(thin), 2)) for name in TISSUES}
    of_cubic = np.zeros((len(thin), 2))
    expected, found, ratios = [], [], []
    for number in numbers:
        truth = volume.array[:count][number].astype(np.float32)
        value = made.array[number].astype(np.float32)
        error = value - truth
        holds = np.abs(error) <= made.uncertainty.half_width_90[number]
        inside += int(holds.sum())
        total += holds.size
        for name, mask in tissue_masks(truth).items():
            sums = tissues[name]
            sums[0] += int(mask.sum())
            sums[1] += int(holds[mask].sum())
            sums[2] += float(error[mask].sum())
        given = [volume.array[number // factor * factor + step] for step in (0, factor)]
        below, above = (tissue_masks(values.astype(np.float32)) for values in given)
        for name, sums in between.items():
            mask = below[name] & above[name]
            sums[number // factor] += mask.sum(), error[mask].sum(dtype=float)
        bone = below["bone"] & above["bone"]
        off = cubic[number].astype(np.float32)[bone] - truth[bone]
        of_cubic[number // factor] += bone.sum(), off.sum(dtype=float)
        expected.append(float(made.uncertainty.expected_error[number].mean()))
        found.append(float(np.abs(error).mean()))
        ratios.append(noise_ratio(value, truth))
    return {
        "covered": inside / total,
        "tissues": {
            name: {"covered": held / n, "bias": off / n} if n > 10000 else None
            for name, (n, held, off) in tissues.items()
        },
        "between": {name: mean_with_doubt(sums) for name, sums in between.items()},
        "bone_of_cubic": mean_with_doubt(of_cubic),
        "expected": float(np.mean(expected)),
        "found": float(np.mean(found)),
        "rank": rank_correlation(np.array(expected), np.array(found)),
        "noise_ratio": float(np.nanmean(ratios)) if np.isfinite(ratios).any() else None,
    }


def cover_row(head: str, found: dict[str, Any]) -> list[str]:
    tissues = found["tissues"].values()
    return [
        head,
        f"{100 * found['covered']:.1f}",
        *(f"{100 * t['covered']:.1f}" if t else "" for t in tissues),
        f"{found['expected']:.1f}",
        f"{found['found']:.1f}",
        f"{found['rank']:.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=SERIES)
    parser.add_argument("--factors", nargs="*", type=int, default=FACTORS)
    arguments = parser.parse_args()
    cover_rows, thick_rows, bias_rows, between_rows = [], [], [], []
    results: dict[str, Any] = {}
    for name in arguments.series:
        volume = hrinet.read(ct(name))
        spacing = volume.geometry.spacing_mm
        for factor in arguments.factors:
            found = score(volume, factor)
            results[f"{name} x{factor}"] = found
            head = f"{name} x{factor} ({factor * spacing:g} mm)"
            tissues = found["tissues"]
            cover_rows.append(cover_row(head, found))
            ratio = found["noise_ratio"]
            bias_rows.append(
                [
                    head,
                    *(f"{t['bias']:+.2f}" if t else "" for t in tissues.values()),
                    "" if ratio is None else f"{ratio:.2f}",
                ]
            )
            between = (*found["between"].values(), found["bone_of_cubic"])
            between_rows.append(
                [head, *("" if b is None else f"{b[0]:+.2f} ± {b[1]:.2f}" for b in between)]
            )
        for count, factor in SLABS:
            thick = thickened(volume, count)
            found = score(thick, factor)
            results[f"{name} x{factor}, {count} averaged"] = found
            head = f"{name}, {thick.geometry.slice_thickness:g} mm every {factor * spacing:g} mm"
            thick_rows.append(cover_row(head, found))
    names = tuple(TISSUES)
    cover_head = ("scan, factor (gap)", "90 % interval covers, %", *names)
    text = "\n".join(
        [
            "# Trust: estimated errors, HU and noise of hrinet-flow",
            "",
            f"Machine: {machine()}. Command: `python benchmarks/trust.py`.",
            "",
            "Protocol: every r-th slice kept, the others hidden and synthesized; synthetic slices "
            "only; whole 512 x 512 slices. Tissues by the true slice, smoothed by a 5 x 5 mean: "
            + ", ".join(f"{name} {low:g} to {high:g} HU" for name, (low, high) in TISSUES.items())
            + ". The estimates were calibrated on validation/lidc_0002 alone; what tells slices "
            "of one scan apart (`tools/fit_slice_trust.py`), and how much more hidden slices err "
            "than gaps (`tools/fit_transfer.py`), was fitted on training scans too. Air "
            "includes what lies outside the round field of view, which is easy to predict.",
            "",
            "## How often the truth lies within the interval",
            "",
            "Expected and found: mean absolute error, HU. Rank: Spearman's correlation over the "
            "slices of a series between the two.",
            "",
            table((*cover_head, "expected, HU", "found, HU", "rank"), cover_rows),
            "",
            "Scans as they are taken have gaps as wide as their slices are thick, or narrower, "
            "which hiding slices never leaves. Means of neighbouring slices simulate them:",
            "",
            table(
                ("scan, thickness and gap", *cover_head[1:], "expected, HU", "found, HU", "rank"),
                thick_rows,
            ),
            "",
            "## Mean error by tissue, HU, and noise",
            "",
            "Noise: SD of what a 5 x 5 mean leaves in even soft tissue, synthetic over measured.",
            "",
            table(("scan, factor (gap)", *names, "noise ratio"), bias_rows),
            "",
            "## Mean error between two slices of the same tissue, HU",
            "",
            "Where both given slices beside the gap show the tissue in the same place, whatever "
            "the hidden one shows. The table above sorts voxels by the truth, and then every "
            "estimate that errs at all is too low where the truth is high (regression to the "
            "mean); this one sorts them by what was known, so that an unbiased estimate has 0, but "
            "for the few places that a scan has: ± is the standard error, by leaving out one gap "
            "after the other (neighbouring gaps share a slice, so that it is rather more).",
            "",
            table(("scan, factor (gap)", *names, "bone, cubic"), between_rows),
        ]
    )
    publish("trust", text)
    (RESULTS / "trust.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

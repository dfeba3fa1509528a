"""A finished run of projections, for programs and for readers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import hrinet
from hrinet.io.sidecar import NOTICE
from hrinet.project.options import Options, Shown
from hrinet.project.projector import UNITS
from hrinet.project.shear import AIR_HU, NOTHING_HU
from hrinet.volume import SliceSource

_PASSING = {
    False: {
        "sums": "planes of voxels moved by whole voxels along the ray's main axis (Joseph 1982, as "
        "a shear) and summed apart for every sixteenth of a voxel, quarters where they slide in "
        "two directions; the sums are joined by a cubic spline, or by boxes where gaps are empty"
    },
    True: {
        "extremes": "planes of voxels moved linearly between voxels along the ray's main axis "
        "(Joseph 1982, as a shear)"
    },
}
"""How rays pass voxels, for sums and for extremes."""


def describe(
    source: SliceSource,
    outputs: Sequence[Path],
    options: Options,
    shown: Sequence[Shown],
    command: str,
) -> dict[str, Any]:
    """The sidecar of the pictures, as a JSON object; lengths in mm, vectors LPS.

    Args:
        source: the scan.
        outputs: the files.
        options: what was asked for.
        shown: the projections, at least one.
        command: the command line.
    """
    first = shown[0].projection
    rows, columns = first.values.shape
    fills = {one.filled.asked: one.filled for one in shown}
    beam = {
        "kev": options.beam.kev,
        "mu_water_per_mm": round(options.beam.water_per_mm, 7),
        "bone_excess": round(options.beam.bone_excess, 4),
    }
    return {
        "schema": "hrinet-projection-1",
        "notice": NOTICE,
        "hrinet": hrinet.__version__,
        "command": command,
        "outputs": [path.name for path in outputs],
        "source": {
            "format": source.info.format,
            "name": Path(source.info.path).name,
            "series_uid": source.info.series_uid,
            "slices": len(source.geometry),
            "spacing_mm": round(source.geometry.spacing_mm, 6),
            "pixel_spacing_mm": list(source.geometry.pixel_spacing),
            "tilt_deg": round(source.geometry.tilt_deg, 4),
        },
        "mode": options.mode,
        "unit": UNITS[options.mode],
        **({"beam": beam} if options.mode == "attenuation" else {}),
        "protocol": {
            "rays": "parallel, in patient coordinates (LPS, mm)",
            "euler": "intrinsic z, x', y'' of LPS axes, degrees; (0, 0, 0) is coronal with rays "
            "from anterior to posterior, (90, 0, 0) sagittal seen from the patient's left",
            **_PASSING[options.mode in ("maximum", "minimum")],
            "outside_hu": AIR_HU,
            "taken_for_air": f"voxels at {NOTHING_HU:g} HU or less, and padding",
            "mean_divides_by": "the integral of the weights over the ray from k = 0 to n",
        },
        "fill": [
            {
                "asked": fill.asked,
                "method": fill.method,
                "slices": fill.slices,
                "original": fill.originals,
                "spacing_mm": round(fill.spacing_mm, 6),
                "notes": list(fill.notes),
            }
            for fill in fills.values()
        ],
        "rows": rows,
        "columns": columns,
        "pixel_mm": first.pixel_mm,
        "grey": "stored = (value - black) / (white - black) * (2^bits - 1), saturated",
        "projections": [_describe_one(one) for one in shown],
    }


def _describe_one(one: Shown) -> dict[str, Any]:
    projection = one.projection
    view, frame = projection.view, projection.frame

    def rounded(vector: Any) -> list[float]:
        return [round(float(v), 9) + 0.0 for v in vector]

    return {
        "view": view.caption,
        "euler_deg": list(view.angles),
        "right_lps": rounded(view.right),
        "down_lps": rounded(-view.up),
        "ray_lps": rounded(view.ray),
        "letters": dict(zip(("left", "right", "top", "bottom"), view.letters, strict=True)),
        "first_pixel_lps_mm": rounded(projection.origin),
        "ray_start_mm": round(frame.start_mm, 6),
        "ray_length_mm": round(frame.length_mm, 6),
        "weight": projection.weight.name,
        "fill": one.filled.method or one.filled.asked,
        "black": one.window.low,
        "white": one.window.high,
        "lowest": float(projection.values.min()),
        "highest": float(projection.values.max()),
    }


def describe_run(result: dict[str, Any]) -> str:
    """The result in words, for the terminal."""
    views = result["projections"]
    fills = ", ".join(
        f"{fill['method'] or 'no gaps to fill'} ({fill['original']} of {fill['slices']} slices "
        "original)"
        for fill in result["fill"]
    )
    lines = [
        f"Projected: {result['source']['name']}, {result['mode']} in {result['unit']}, "
        f"{len(views)} of {result['columns']} x {result['rows']} pixels of "
        f"{result['pixel_mm']:.4g} mm",
        f"Gaps: {fills}",
    ]
    lines += [
        f"Note: {note}" for note in dict.fromkeys(n for f in result["fill"] for n in f["notes"])
    ]
    lines += [f"Written: {name}" for name in result["outputs"]]
    return "\n".join([*lines, f"Done in {result['seconds']:.1f} s"])

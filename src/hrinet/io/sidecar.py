"""The JSON file beside an output: what each slice is and how it came about."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import hrinet
from hrinet.errors import InputError
from hrinet.geometry import Geometry
from hrinet.volume import Provenance, SourceInfo

SCHEMA_VERSION = 1

NOTICE = "Synthetic slices are computed from their neighbours, not measured. Not for diagnosis."


def sidecar_path(output: Path) -> Path:
    """``scan.nii.gz`` -> ``scan.json``, in the same folder."""
    stem, _ = _parts(output)
    return output.with_name(f"{stem}.json")


def half_width_path(expected_error: Path) -> Path:
    """``error.nii.gz`` -> ``error-half-width-90.nii.gz``, in the same folder."""
    stem, suffix = _parts(expected_error)
    return expected_error.with_name(f"{stem}-half-width-90{suffix}")


def _parts(path: Path) -> tuple[str, str]:
    """Name without suffix, and the suffix (``.nii.gz`` whole) as it is written."""
    from hrinet.io.formats import volume_suffix

    length = len(volume_suffix(path) or path.suffix)
    return path.name[: len(path.name) - length], path.name[len(path.name) - length :]


def schema() -> dict[str, Any]:
    """The JSON Schema that every sidecar satisfies."""
    text = files("hrinet").joinpath("schemas/sidecar.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def sidecar(
    *,
    output: Path,
    geometry: Geometry,
    provenance: Sequence[Provenance],
    info: SourceInfo,
    run: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Describe an output.

    Args:
        output: the volume file.
        geometry: of the output.
        provenance: one entry an output slice.
        info: what the reader found out about the source.
        run: request, method, engine and timings, where the output came from a command.

    Returns:
        A JSON object that satisfies :func:`schema`.
    """
    return {
        "schema": f"hrinet-sidecar-{SCHEMA_VERSION}",
        "notice": NOTICE,
        "output": output.name,
        "source": {
            "format": info.format,
            "name": Path(info.path).name,
            "series_uid": info.series_uid,
            "modality": info.modality,
            "kernel": info.kernel,
            "notes": list(info.notes),
            "dropped": list(info.dropped),
        },
        "geometry": {
            "slices": len(geometry),
            "rows": geometry.rows,
            "columns": geometry.columns,
            "pixel_spacing_mm": list(geometry.pixel_spacing),
            "slice_thickness_mm": geometry.slice_thickness,
            "tilt_deg": round(geometry.tilt_deg, 6),
            "is_uniform": geometry.is_uniform,
            "orientation": geometry.orientation,
        },
        "versions": {
            "hrinet": hrinet.__version__,
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
        },
        "run": dict(run or {}),
        "slices": [
            _slice_entry(index, float(position), entry)
            for index, (position, entry) in enumerate(
                zip(geometry.positions_mm, provenance, strict=True)
            )
        ],
    }


def _slice_entry(index: int, position_mm: float, entry: Provenance) -> dict[str, Any]:
    common = {"index": index, "position_mm": round(position_mm, 6)}
    error = _error_entry(entry)
    if not entry.is_synthetic:
        kept = {"kind": "original", "source": entry.source, "source_id": entry.source_id}
        return {**common, **kept, **error}
    described: dict[str, Any] = {
        **common,
        "kind": "synthetic",
        "method": entry.method,
        "t": round(entry.t, 9),
        "neighbours": list(entry.neighbours or ()),
        **error,
    }
    if entry.flag:
        described["flag"] = entry.flag
    return described


def _error_entry(entry: Provenance) -> dict[str, float]:
    if entry.expected_error_hu is None or entry.half_width_90_hu is None:
        return {}
    return {
        "expected_error_hu": round(entry.expected_error_hu, 3),
        "half_width_90_hu": round(entry.half_width_90_hu, 3),
    }


def write_sidecar(
    path: Path,
    *,
    output: Path,
    geometry: Geometry,
    provenance: Sequence[Provenance],
    info: SourceInfo,
    run: Mapping[str, Any] | None = None,
) -> None:
    """Write :func:`sidecar` as UTF-8 JSON, a slice a line so that it can be read and compared."""
    content = sidecar(output=output, geometry=geometry, provenance=provenance, info=info, run=run)
    slices = content.pop("slices")
    head = json.dumps(content, indent=2, ensure_ascii=False)[:-2]
    rows = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in slices)
    path.write_text(f'{head},\n  "slices": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def read_kinds(output: Path) -> tuple[str, ...]:
    """``original`` or ``synthetic`` for every slice of an output that has its sidecar beside it.

    Raises:
        InputError: if the sidecar is missing or not one of ours.
    """
    path = sidecar_path(output)
    try:
        content = json.loads(path.read_text("utf-8"))
        return tuple(str(entry["kind"]) for entry in content["slices"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not a readable HRINet sidecar") from error

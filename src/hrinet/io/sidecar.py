"""The JSON file beside an output: what each slice is and how it came about."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hrinet
from hrinet.errors import InputError
from hrinet.geometry import Geometry
from hrinet.volume import Provenance, SourceInfo

if TYPE_CHECKING:
    from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice

SCHEMA_VERSION = 1

NOTICE = "Synthetic slices are computed from their neighbours, not measured. Not for diagnosis."


def sidecar_path(output: Path) -> Path:
    """``scan.nii.gz`` -> ``scan.json``, in the same folder; ``series/`` -> ``series.json``.

    It lies beside a DICOM folder, not in it, so that an archive can import the folder as it is.
    """
    stem, _ = _parts(output)
    return output.with_name(f"{stem}.json")


def half_width_path(expected_error: Path) -> Path:
    """``error.nii.gz`` -> ``error-half-width-90.nii.gz``, in the same folder."""
    stem, suffix = _parts(expected_error)
    return expected_error.with_name(f"{stem}-half-width-90{suffix}")


def _parts(path: Path) -> tuple[str, str]:
    """Name without suffix, and the suffix (``.nii.gz`` whole) as it is written.

    A DICOM folder has none, whatever dots are in its name.
    """
    from hrinet.io.formats import is_folder, volume_suffix

    length = 0 if is_folder(path) else len(volume_suffix(path) or path.suffix)
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
    series: DerivedSeries | None = None,
) -> dict[str, Any]:
    """Describe an output.

    Args:
        output: the volume file.
        geometry: of the output.
        provenance: one entry an output slice.
        info: what the reader found out about the source.
        run: request, method, engine and timings, where the output came from a command.
        series: for DICOM: its UIDs and files; and its geometry, which is exact.

    Returns:
        A JSON object that satisfies :func:`schema`.
    """
    written: Sequence[DerivedSlice | None] = [None] * len(provenance)
    dicom: dict[str, Any] = {}
    if series is not None:
        geometry, written = series.geometry, series.slices
        dicom = {"dicom": {"series_uid": series.uid, "enhanced": series.options.enhanced}}
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
        **dicom,
        "run": dict(run or {}),
        "slices": [
            {**_slice_entry(index, float(position), entry), **_instance_entry(series, one)}
            for index, (position, entry, one) in enumerate(
                zip(geometry.positions_mm, provenance, written, strict=True)
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


def _instance_entry(series: DerivedSeries | None, one: DerivedSlice | None) -> dict[str, Any]:
    """Where a slice is found in a DICOM output."""
    if series is None or one is None:
        return {}
    file, uid = series.place_of(one)
    return {"file": file, "uid": uid}


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
    series: DerivedSeries | None = None,
) -> None:
    """Write :func:`sidecar` as UTF-8 JSON, a slice a line so that it can be read and compared."""
    content = sidecar(
        output=output,
        geometry=geometry,
        provenance=provenance,
        info=info,
        run=run,
        series=series,
    )
    slices = content.pop("slices")
    head = json.dumps(content, indent=2, ensure_ascii=False)[:-2]
    rows = ",\n".join("    " + json.dumps(entry, ensure_ascii=False) for entry in slices)
    path.write_text(f'{head},\n  "slices": [\n{rows}\n  ]\n}}\n', encoding="utf-8")


def read_sidecar(output: Path) -> dict[str, Any]:
    """The sidecar of an output.

    Raises:
        InputError: if it is missing or not one of ours.
    """
    path = sidecar_path(output)
    try:
        content = json.loads(path.read_text("utf-8"))
        if content["schema"] == f"hrinet-sidecar-{SCHEMA_VERSION}":
            return dict(content)
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{path}: is not a readable HRINet sidecar")


def read_kinds(output: Path) -> tuple[str, ...]:
    """``original`` or ``synthetic`` for every slice of an output that has its sidecar beside it.

    Raises:
        InputError: if the sidecar is missing or not one of ours.
    """
    try:
        return tuple(str(entry["kind"]) for entry in read_sidecar(output)["slices"])
    except (KeyError, TypeError) as error:
        raise InputError(f"{sidecar_path(output)}: is not a readable HRINet sidecar") from error

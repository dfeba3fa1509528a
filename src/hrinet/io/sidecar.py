"""The JSON file beside an output: what each slice is and how it came about."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hrinet
from hrinet.errors import InputError, RequestError
from hrinet.geometry import Geometry
from hrinet.volume import Provenance, SourceInfo

if TYPE_CHECKING:
    from hrinet.io.dicom.derive.series import DerivedSeries, DerivedSlice

SCHEMA_VERSION = 1

_PREFIX = "hrinet-"
"""Of the schemas of all sidecars: volumes and projections."""

NOTICE = "Synthetic slices are computed from their neighbours, not measured. Not for diagnosis."


def sidecar_path(output: Path) -> Path:
    """``scan.nii.gz`` -> ``scan.json``, in the same folder; ``series/`` -> ``series.json``.

    It lies beside a DICOM folder, not in it, so that an archive can import the folder as it is.
    """
    stem, _ = _parts(output)
    return output.with_name(f"{stem}.json")


def own_sidecar(output: Path, *, together: Iterable[Path] = ()) -> Path:
    """Where the sidecar of an output goes, unless the file there is somebody else's.

    Outputs that differ in their suffix alone share a place, and other programs put a ``.json``
    beside a volume, too.

    Args:
        output: what will be written.
        together: other outputs of the same run, which may be described in the same file.

    Raises:
        RequestError: if the file there describes another output that exists, or is no sidecar of
            this program.
    """
    from hrinet.io.formats import VOLUME_SUFFIXES

    path = sidecar_path(output)
    if not path.exists():
        return path
    owners = _owners(path)
    if owners is None:
        raise RequestError(
            f"{path}: is no sidecar of HRINet and would be lost if that of {output.name} took its "
            "place; choose another name"
        )
    ours = {output.name, *(one.name for one in together)}
    if not any(path.with_name(name).exists() for name in owners):
        # What it describes is gone, or has been unpacked.
        owners |= {f"{path.stem}{suffix}" for suffix in VOLUME_SUFFIXES}
    others = sorted(name for name in owners - ours if path.with_name(name).exists())
    if others:
        raise RequestError(f"{path}: is the sidecar of {others[0]}; choose another name")
    return path


def refuse_sidecars(outputs: Iterable[Path | None]) -> None:
    """Refuse outputs that would replace a sidecar and are none.

    Raises:
        RequestError: naming the first such output.
    """
    for path in outputs:
        owners = _owners(path) if path is not None and path.is_file() else None
        if owners:
            raise RequestError(
                f"{path}: is the sidecar of {sorted(owners)[0]}; choose another name"
            )


def is_own_schema(name: object) -> bool:
    """Whether a JSON that names this as its schema is a sidecar of this program."""
    return str(name).startswith(_PREFIX)


def _owners(path: Path) -> set[str] | None:
    """Names of the outputs that a file describes, or None if it is no sidecar of this program."""
    try:
        content = json.loads(path.read_text("utf-8"))
        if not is_own_schema(content["schema"]):
            return None
        names = content["outputs"] if "outputs" in content else [content["output"]]
        # Every output of several has a sidecar of its own, and all of them name all outputs.
        return {name for name in map(str, names) if _is_described_in(path, name)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_described_in(path: Path, name: str) -> bool:
    """Whether ``name``, which a sidecar states, is that of a file which it belongs to."""
    return _is_name(name) and sidecar_path(path.with_name(name)).name == path.name


def _is_name(text: str) -> bool:
    """Whether a text is a name without a folder, as sidecars state them."""
    return text != "" and Path(text).name == text


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
    between: dict[str, Any] = {}
    if entry.neighbours is not None:
        between = {"t": round(entry.t, 9), "neighbours": list(entry.neighbours)}
    described: dict[str, Any] = {
        **common,
        "kind": "synthetic",
        "method": entry.method,
        **between,
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
    # A name that is no UTF-8 holds surrogates: as \udcxx they are valid JSON, and come back so.
    path.write_text(
        f'{head},\n  "slices": [\n{rows}\n  ]\n}}\n', encoding="utf-8", errors="backslashreplace"
    )


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
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
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


def known_provenance(path: Path, geometry: Geometry) -> tuple[Provenance, ...] | None:
    """What the sidecar beside a volume file tells of its slices.

    Args:
        path: of the volume.
        geometry: of the volume as it was read.

    Returns:
        One record a slice, which counts the slices of this volume: ``source`` is the place of an
        original in it, and the neighbours of a synthetic slice are those of another scan, so left
        out. None if there is no sidecar, or it is damaged or describes another file.
    """
    try:
        content = read_sidecar(path)
        size = tuple(content["geometry"][name] for name in ("slices", "rows", "columns"))
        entries = content["slices"]
        if (
            _names_a_neighbour(path, str(content["output"]))
            or size != geometry.shape
            or len(entries) != len(geometry)
        ):
            return None
        return tuple(_provenance(index, entry) for index, entry in enumerate(entries))
    except (InputError, LookupError, RecursionError, TypeError, ValueError):
        return None


def _names_a_neighbour(path: Path, name: str) -> bool:
    """Whether the sidecar beside a volume is of another file there, which has the same stem.

    A file that was renamed or converted, and its sidecar with it, is still the one described, even
    if another one has taken its old name: that one has a sidecar of its own.
    """
    if name == path.name:
        return False
    try:
        return _is_described_in(sidecar_path(path), name) and path.with_name(name).exists()
    except (OSError, ValueError):  # such as a name that no file can have
        return False


def _provenance(index: int, entry: Mapping[str, Any]) -> Provenance:
    is_original = entry["kind"] == "original"
    return Provenance(
        source=index if is_original else None,
        source_id=str(entry["source_id"]) if is_original else "",
        method=None if is_original else str(entry["method"]),
        t=0.0 if is_original else _number(entry.get("t")) or 0.0,
        flag=str(entry.get("flag", "")),
        expected_error_hu=_number(entry.get("expected_error_hu")),
        half_width_90_hu=_number(entry.get("half_width_90_hu")),
    )


def _number(value: Any) -> float | None:
    """A finite number, or None: a damaged detail must not hide which slices are synthetic."""
    try:
        number = float(value)
    except (OverflowError, TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None

"""The whole way: a scan in, a mesh file out."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hrinet.errors import RequestError
from hrinet.io.formats import read
from hrinet.io.guard import refuse_inputs
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import refuse_sidecars
from hrinet.io.staging import Staging
from hrinet.job import gap_limits
from hrinet.surface.compare import Panel, draw_comparison
from hrinet.surface.extract import Shaping, Surface, extract_surface
from hrinet.surface.files import Part, check_mesh_path, write_meshes
from hrinet.surface.fill import Progress, filled_to_isotropic
from hrinet.surface.measure import staircase
from hrinet.surface.mesh import Coordinates
from hrinet.surface.structures import BONE, Structure
from hrinet.synthesize.registry import AUTO, find_method
from hrinet.volume import Volume

NO_FILL = "none"
"""Instead of a method: the surface of the slices as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The files to write.

    Attributes:
        mesh: the surfaces.
        compare: a PNG that shows them beside those of the slices as they are, or None.
        report: a JSON report, or None.
        overwrite: whether existing files may be replaced.
    """

    mesh: Path
    compare: Path | None = None
    report: Path | None = None
    overwrite: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        structures: what to draw surfaces around.
        fill: the method that fills the gaps first, or :data:`NO_FILL`.
        max_gap_mm: see :func:`hrinet.pipeline.interpolate`.
        coordinates: of the mesh file.
        shaping: what else is done to the surfaces.
        threads: cores to use; by default all.
    """

    structures: Sequence[Structure] = (BONE,)
    fill: str = AUTO
    max_gap_mm: float | None = None
    coordinates: Coordinates = "lps"
    shaping: Shaping = field(default_factory=Shaping)
    threads: int | None = None


def surface_file(
    input_path: str | Path,
    outputs: Outputs,
    options: Options,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Make a mesh file of the structures of a scan.

    Args:
        input_path: see :func:`hrinet.io.formats.open_scan`.
        outputs: the files to write; all of them appear, or none.
        options: what is wanted.
        series: Series Instance UID of the DICOM volume to take.
        limits: bounds on what the input may declare.
        progress: called while gaps are filled.
        command: for the report.

    Returns:
        The report: what was made, measured in mm.

    Raises:
        InputError: if the input cannot be read.
        RequestError: if the request cannot be fulfilled.
        RunError: if writing fails.
    """
    started = time.perf_counter()
    suffix = check_mesh_path(outputs.mesh, structures=len(options.structures))
    _check(outputs, options)
    files = (outputs.mesh, outputs.compare, outputs.report)
    refuse_inputs([path for path in files if path], [input_path])
    refuse_sidecars(files)
    with Staging(overwrite=outputs.overwrite) as staging:
        mesh_path = staging.path(outputs.mesh)
        compare_path = staging.path(outputs.compare) if outputs.compare else None
        report_path = staging.path(outputs.report) if outputs.report else None
        scan = read(input_path, series=series, limits=limits)
        volume, method, notes = _filled(scan, options, progress)
        surfaces = _extract(volume, options)
        plain = (
            _extract(scan, options) if compare_path is not None and volume is not scan else surfaces
        )
        parts = [
            Part(one.structure.name, one.mesh.in_coordinates(options.coordinates), colour)
            for one, colour in zip(surfaces, _colours(options.structures), strict=True)
        ]
        write_meshes(mesh_path, parts, suffix=suffix, coordinates=options.coordinates)
        del parts
        result = {
            "command": command,
            "input": {
                "path": str(input_path),
                "slices": len(scan),
                "spacing_mm": round(scan.geometry.spacing_mm, 6),
                "tilt_deg": round(scan.geometry.tilt_deg, 3),
            },
            "fill": method,
            "slices": len(volume),
            "coordinates": options.coordinates.upper(),
            "unit": "mm",
            "surfaces": [_described(one, scan) for one in surfaces],
            "notes": list(notes),
            "output": str(outputs.mesh),
            "compare": str(outputs.compare) if outputs.compare else None,
        }
        if compare_path is not None:
            result["unfilled"] = [_described(one, scan) for one in plain]
            _compare(compare_path, options, scan, plain, surfaces, result)
        result["seconds"] = round(time.perf_counter() - started, 3)
        if report_path is not None:
            report_path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def parse_coordinates(text: str) -> Coordinates:
    """``lps`` or ``ras``.

    Raises:
        RequestError: if it is neither.
    """
    if text.lower() in ("lps", "ras"):
        return text.lower()  # type: ignore[return-value]
    raise RequestError(f"--coordinates is {text!r}, expected lps or ras")


def _check(outputs: Outputs, options: Options) -> None:
    """Refuse what cannot work before anything is read."""
    gap_limits(options.max_gap_mm)
    if options.fill != NO_FILL:
        method = find_method(options.fill)
        if method.missing:
            raise RequestError(f"method {method.name!r} {method.missing}")
    if outputs.compare is None:
        return
    if outputs.compare.suffix.lower() != ".png":
        raise RequestError(f"{outputs.compare}: --compare draws a PNG; end its name in .png")
    if options.fill == NO_FILL:
        raise RequestError(
            "--compare shows surfaces with and without filled gaps; leave out --fill none"
        )


def _filled(
    scan: Volume, options: Options, progress: Progress | None
) -> tuple[Volume, str, tuple[str, ...]]:
    if options.fill == NO_FILL or len(scan) < 2:
        return scan, NO_FILL, scan.info.notes
    return filled_to_isotropic(
        scan,
        method=options.fill,
        max_gap_mm=options.max_gap_mm,
        threads=options.threads,
        progress=progress,
    )


def _extract(volume: Volume, options: Options) -> list[Surface]:
    return [
        extract_surface(volume, structure, shaping=options.shaping, threads=options.threads)
        for structure in options.structures
    ]


def _colours(structures: Sequence[Structure]) -> list[tuple[float, float, float]]:
    """Of every structure, several ranges told apart."""
    shades = ((0.78, 0.45, 0.42), (0.45, 0.70, 0.55), (0.60, 0.50, 0.75), (0.80, 0.70, 0.35))
    ranges = 0
    colours = []
    for structure in structures:
        if structure.kind == "range":
            colours.append(shades[ranges % len(shades)])
            ranges += 1
        else:
            colours.append(structure.colour)
    return colours


def _described(surface: Surface, scan: Volume) -> dict[str, Any]:
    mesh, structure, geometry = surface.mesh, surface.structure, scan.geometry
    found = staircase(mesh, geometry)
    low, high = (
        value if abs(value) != float("inf") else None for value in (structure.low, structure.high)
    )
    return {
        "structure": structure.name,
        "hu": [low, high],
        "triangles": len(mesh.triangles),
        "points": len(mesh.points),
        "volume_cm3": round(mesh.volume_mm3 / 1000, 3),
        "area_cm2": round(mesh.area_mm2 / 100, 3),
        "is_closed": mesh.is_closed,
        "staircase_index": round(found.index, 4) if found else None,
        "deviation_mm": _rounded(asdict(surface.deviation)) if surface.deviation else None,
    }


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name.removesuffix("_mm"): round(value, 4) for name, value in values.items()}


def _compare(
    path: Path,
    options: Options,
    scan: Volume,
    plain: Sequence[Surface],
    filled: Sequence[Surface],
    result: Mapping[str, Any],
) -> None:
    colours = _colours(options.structures)

    def panel(surfaces: Sequence[Surface], key: str, title: str) -> Panel:
        found = ", ".join(
            f"{one['structure']} {one['staircase_index']:.3f}"
            for one in result[key]
            if one["staircase_index"] is not None
        )
        return Panel(
            title=title,
            caption=f"staircase index: {found}" if found else "",
            parts=[
                Part(one.structure.name, one.mesh, colour)
                for one, colour in zip(surfaces, colours, strict=True)
            ],
        )

    spacing = scan.geometry.spacing_mm
    draw_comparison(
        path,
        [
            panel(plain, "unfilled", f"{len(scan)} slices, {spacing:.4g} mm apart"),
            panel(filled, "surfaces", f"filled with {result['fill']}: {result['slices']} slices"),
        ],
    )

"""How near surfaces of filled volumes come to those of the full scan, and how fast they are.

Every r-th slice is kept, the gaps are filled, and the surfaces of bone and skin are compared with
those of the full scan. Run: python benchmarks/surface.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import astuple

import cv2
import numpy as np
from common import RESULTS, ct, machine, peak_mb, publish, table
from quality import thinned

import hrinet
from hrinet.geometry import Geometry
from hrinet.pipeline import interpolate
from hrinet.surface.contour import contour
from hrinet.surface.distance import surface_distance
from hrinet.surface.extract import extract_surface
from hrinet.surface.field import level_field
from hrinet.surface.measure import staircase
from hrinet.surface.mesh import Mesh
from hrinet.surface.selection import Selection
from hrinet.surface.structures import BONE, NAMED, Structure
from hrinet.volume import Volume

SERIES = ("test/lidc_0001", "test/aapm_L291")
METHODS = ("repeat", "linear", "cubic", "flow", "hrinet-flow")
STRUCTURES = ("bone", "skin")
SPEED_SHAPE = (500, 512, 512)
SPEED_SERIES = "test/lidc_0001"


def surface_of(volume: Volume, structure: Structure, end_mm: float) -> Mesh:
    """A surface without what closes it at the ends, where a filled stack may be shorter."""
    mesh = extract_surface(volume, structure).mesh
    geometry = volume.geometry
    start_mm = float(geometry.positions_mm[0])
    along = mesh.points @ geometry.normal
    inside = ((along > start_mm) & (along < end_mm))[mesh.triangles].all(axis=1)
    return Mesh(mesh.points, mesh.triangles[inside])


def compare(volume: Volume, factor: int) -> dict[str, dict[str, list[float]]]:
    """For every structure and method: distances, mm, volume error, %, and staircase index."""
    thin, count = thinned(volume, factor)
    truth = Volume(
        array=volume.array[:count],
        geometry=volume.geometry.at_positions(volume.geometry.positions_mm[:count].tolist()),
    )
    end_mm = float(truth.geometry.positions_mm[-1])
    references = {}
    found: dict[str, dict[str, list[float]]] = {name: {} for name in STRUCTURES}
    for name in STRUCTURES:
        whole = extract_surface(truth, NAMED[name]).mesh
        references[name] = (surface_of(truth, NAMED[name], end_mm), whole.volume_mm3)
        index = staircase(whole, thin.geometry)
        found[name]["full scan"] = [0.0, 0.0, 0.0, 0.0, index.index if index else np.nan]
    for method in METHODS:
        filled = interpolate(thin, factor=factor, method=method, max_gap_mm=1000)
        for name in STRUCTURES:
            reference, volume_mm3 = references[name]
            whole = extract_surface(filled, NAMED[name]).mesh
            mesh = surface_of(filled, NAMED[name], end_mm)
            index = staircase(whole, thin.geometry)
            found[name][method] = [
                *astuple(surface_distance(mesh, reference)),
                100 * (whole.volume_mm3 / volume_mm3 - 1),
                index.index if index else np.nan,
            ]
            print(factor, name, method, found[name][method], file=sys.stderr, flush=True)
    return found


def tall_volume() -> Volume:
    """512 x 512 x 500 voxels of about 0.7 mm: a real scan, filled and continued by its mirror."""
    scan = hrinet.read(ct(SPEED_SERIES))
    filled = interpolate(scan, method="linear")
    array = np.concatenate([filled.array, filled.array[::-1]])[: SPEED_SHAPE[0]]
    affine = filled.geometry.affine_lps
    return Volume(
        array=np.ascontiguousarray(array),
        geometry=Geometry.from_affine(affine, shape=array.shape),
    )


def measure_speed(what: str) -> None:
    """Print seconds, MB beyond the volume, triangles of one way, as JSON, in this process."""
    volume = tall_volume()
    array = volume.array.copy() if what.startswith("scikit") else volume.array  # Writable.
    before = peak_mb()
    started = time.perf_counter()
    if what == "hrinet":
        count = len(extract_surface(volume, BONE).mesh.triangles)
    elif what == "hrinet, contour only":
        every = Selection(lambda index: volume.array[index] >= BONE.low)
        field = level_field(volume, BONE, every)
        count = len(contour(field, volume.geometry).triangles)
    else:
        from skimage.measure import marching_cubes

        spacing = (volume.geometry.spacing_mm, *volume.geometry.pixel_spacing)
        _, triangles, _, _ = marching_cubes(array, BONE.low, spacing=spacing)
        count = len(triangles)
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, peak_mb() - before, count]))


def speed() -> str:
    """The table of times, each in a process of its own, the best of three."""
    ways = ("hrinet", "hrinet, contour only", "scikit-image marching_cubes")
    figures = {}
    for way in ways:
        runs = [
            json.loads(
                subprocess.run(
                    [sys.executable, __file__, "--one", way],
                    check=True,
                    capture_output=True,
                    text=True,
                ).stdout.splitlines()[-1]
            )
            for _ in range(3)
        ]
        figures[way] = min(runs)
    base = figures[ways[-1]][0]
    rows = [
        [way, f"{s:.2f}", f"{base / s:.1f}", f"{mb:.0f}", f"{count / 1e6:.2f}"]
        for way, (s, mb, count) in figures.items()
    ]
    head = ("way", "time, s", "times as fast", "memory beyond the volume, MB", "triangles, million")
    return table(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=SERIES)
    parser.add_argument("--factors", nargs="*", type=int, default=(4, 6))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--no-speed", action="store_true")
    parser.add_argument("--no-quality", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    if arguments.one:
        measure_speed(arguments.one)
        return
    kept = RESULTS / "surface.json"
    found = json.loads(kept.read_text("utf-8")) if kept.exists() else {}
    if not arguments.no_speed:
        found["speed"] = speed()
    if not arguments.no_quality:
        for name in arguments.series:
            volume = hrinet.read(ct(name))
            for factor in arguments.factors:
                gap = factor * volume.geometry.spacing_mm
                found.setdefault("quality", {})[f"{name}, x{factor} ({gap:g} mm)"] = compare(
                    volume, factor
                )
    RESULTS.mkdir(exist_ok=True)
    kept.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    publish("surface", report(found))


def report(found: dict) -> str:
    """All that was measured so far, in Markdown."""
    parts = [
        "# Surfaces",
        "",
        f"Machine: {machine()}. Command: `python benchmarks/surface.py`.",
        "",
        "Protocol: every r-th slice kept, gaps filled by r, surfaces of bone (from 250 HU) and "
        "skin (from -300 HU) compared with those of the full scan on the same grid, without "
        "smoothing, between the first and the last slice. Distances run from points spread over "
        "one surface to the nearest point of the other, both ways: the mean of both means, the "
        "larger 95th percentile, the largest. The staircase index is explained in "
        "`docs/surface.md`. In brackets: difference from cubic. Methods were fitted on other "
        "patients; nothing was tuned on these.",
    ]
    head = (
        "method",
        "mean distance, mm",
        "95 % Hausdorff, mm",
        "Hausdorff, mm",
        "volume error, %",
        "staircase index",
    )
    for case, structures in found.get("quality", {}).items():
        for structure, methods in structures.items():
            cubic = methods["cubic"]
            rows = [
                [
                    method,
                    f"{v[0]:.3f} ({v[0] - cubic[0]:+.3f})",
                    f"{v[1]:.2f} ({v[1] - cubic[1]:+.2f})",
                    f"{v[2]:.1f}",
                    f"{v[3]:+.2f}",
                    f"{v[4]:.3f}",
                ]
                for method, v in methods.items()
            ]
            parts += ["", f"## {case}: {structure}", "", table(head, rows)]
    if "speed" in found:
        parts += [
            "",
            "## Speed",
            "",
            "Bone surface of 512 x 512 x 500 voxels (a real scan, filled, continued by its "
            "mirror image), best of three, each in a process of its own. 'hrinet' removes the "
            "table and small pieces, closes the surface and places it in the patient; 'contour "
            "only' does the last two, for a comparison like with like.",
            "",
            found["speed"],
        ]
    return "\n".join(parts)


if __name__ == "__main__":
    main()

"""The whole path on a built-in phantom: thick slices in, isotropic volume out, error measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hrinet.demo.phantom import TorsoPhantom
from hrinet.errors import RequestError
from hrinet.io.formats import open_scan, read, write
from hrinet.io.sidecar import read_kinds, sidecar_path
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.synthesize.registry import ranked_methods

_SPACING_MM = 5.0
_SLICES = 56
_NOISE_HU = 12.0
_DATA_RANGE = 2000.0  # PSNR on [-1000, 1000] HU.


def run_demo(
    folder: Path,
    *,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Make a phantom in 5 mm slices, fill its gaps with every method, compare with the truth.

    The truth is the phantom itself, evaluated without noise at the positions and the thickness of
    the synthetic slices; it never passes through a file or a method.

    Args:
        folder: created if need be.
        overwrite: whether files of the demo's names that are in it may be replaced.
        progress: called after every output slice of the best method.

    Returns:
        A JSON object: the paths, and error of every method on synthetic slices only.

    Raises:
        RequestError: if the folder is a file, or holds a file of the demo's names that may not be
            replaced; nothing is written then.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: is a file, expected a folder to put the demo's results in")
    methods = ranked_methods()
    scan, preview = folder / "thick.nii.gz", folder / "preview.png"
    outputs = {method.name: folder / f"{method.name}.nii.gz" for method in methods}
    if not overwrite:
        _refuse_existing(scan, *outputs.values(), preview=preview)
    folder.mkdir(parents=True, exist_ok=True)
    phantom = TorsoPhantom()
    positions = [_SPACING_MM * index for index in range(_SLICES)]
    thick = phantom.volume(positions, thickness_mm=_SPACING_MM, noise_hu=_NOISE_HU)
    write(thick, scan, overwrite=overwrite)

    results: dict[str, Any] = {}
    truth: dict[float, np.ndarray] = {}
    for method in methods:
        is_best = method is methods[-1]
        output = outputs[method.name]
        report = interpolate_file(
            scan,
            Outputs(volume=output, preview=preview if is_best else None, overwrite=overwrite),
            Options(method=method.name),
            progress=progress if is_best else None,
            command=f"hrinet interpolate {scan} {output} --method {method.name}",
        )
        results[method.name] = {
            **_errors(output, phantom, truth),
            "seconds": report["seconds"],
            "output": str(output),
        }
    source = open_scan(scan).geometry
    return {
        "folder": str(folder),
        "input": str(scan),
        "preview": str(preview),
        "spacing_mm": [source.spacing_mm, report["plan"]["spacing_mm"]],
        "slices": [len(source), report["plan"]["slices"]],
        "noise_hu": _NOISE_HU,
        "methods": results,
    }


def _refuse_existing(*volumes: Path, preview: Path) -> None:
    """Refuse to replace anything, before the first file is written.

    Raises:
        RequestError: naming the first file that is there.
    """
    beside = (sidecar_path(volume) for volume in volumes)
    for path in (*volumes, *beside, preview):
        if path.exists():
            raise RequestError(
                f"{path}: exists already; pass --overwrite (in Python overwrite=True) to replace "
                "it and what else an earlier demo left there, or choose another folder"
            )


def _errors(
    output: Path, phantom: TorsoPhantom, truth: dict[float, np.ndarray]
) -> dict[str, float]:
    """Error of the synthetic slices (every third, to stay quick) against the analytic phantom."""
    volume = read(output)
    kinds = read_kinds(output)
    synthetic = [index for index, kind in enumerate(kinds) if kind == "synthetic"][::3]
    squares, absolutes, count = 0.0, 0.0, 0
    for index in synthetic:
        position = float(volume.geometry.positions_mm[index])
        if position not in truth:
            slab = phantom.volume([position], thickness_mm=_SPACING_MM, noise_hu=0.0)
            truth[position] = slab.array[0].astype(np.float32)
        difference = np.clip(volume.array[index], -1000, 1000) - np.clip(
            truth[position], -1000, 1000
        )
        squares += float(np.square(difference, dtype=np.float64).sum())
        absolutes += float(np.abs(difference).sum())
        count += difference.size
    return {
        "psnr_db": round(10 * math.log10(_DATA_RANGE**2 * count / squares), 2),
        "mae_hu": round(absolutes / count, 2),
    }


def describe_demo(result: Mapping[str, Any]) -> str:
    """The outcome of :func:`run_demo` in plain words."""
    before, after = result["spacing_mm"]
    lines = [
        f"A torso phantom in {result['slices'][0]} slices every {before:.4g} mm "
        f"(noise {result['noise_hu']:.0f} HU) was filled to {result['slices'][1]} slices every "
        f"{after:.4g} mm.",
        "Error of the synthetic slices against the noise-free analytic phantom, [-1000, 1000] HU:",
        "",
        f"  {'method':<12} {'PSNR':>9}  {'MAE':>9}  {'time':>7}",
    ]
    lines += [
        f"  {name:<12} {row['psnr_db']:6.2f} dB  {row['mae_hu']:6.2f} HU  {row['seconds']:5.1f} s"
        for name, row in result["methods"].items()
    ]
    best = list(result["methods"].values())[-1]
    lines += [
        "",
        f"Picture: {result['preview']}",
        f"Volumes: {result['input']} (thick), {best['output']} (filled)",
        "On your own scan: hrinet interpolate SCAN OUTPUT.nii.gz --preview OUTPUT.png",
    ]
    return "\n".join(lines)

"""From a scan on disk to pictures of its projections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import hrinet
from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import NOTICE, sidecar_path
from hrinet.io.staging import Staging
from hrinet.project import files
from hrinet.project.beam import Beam
from hrinet.project.fill import NONE, Filled, fill_gaps
from hrinet.project.projector import UNITS, Mode, Projection, check_pixel, project
from hrinet.project.shear import AIR_HU, NOTHING_HU
from hrinet.project.sheet import Panel, draw_frame, draw_sheet
from hrinet.project.views import View
from hrinet.project.weights import UNIFORM, Weight
from hrinet.project.window import Window, choose_window
from hrinet.synthesize.registry import AUTO, Device
from hrinet.volume import SliceSource

COMPARED = ("repeat", "linear", NONE)
"""Beside the method itself, in the picture of ``--compare`` (Fig. 5-2 of the thesis)."""

_EMPTY = 0.005  # Columns and rows below this fraction of the brightest value show nothing.
_RIM_MM = 4.0  # Kept around what shows something.

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the user can choose.

    Attributes:
        views: from where.
        weights: by which weights; several are drawn beside each other.
        mode: see :func:`hrinet.project.projector.project`.
        fill: see :func:`hrinet.project.fill.fill_gaps`.
        compare: draw what repeat, linear and no filling give, beside ``fill``.
        beam: of the attenuation.
        window: width of the window, in the unit of the mode.
        level: its middle.
        pixel_mm: of the pictures; by default that of the slices.
        bits: of a PNG, 8 or 16; 16 has no drawing in it.
        plain: leave the drawing out of a PNG of 8 bits, too.
        whole: keep empty margins.
        frames_a_second: of films.
        max_gap_mm: see :func:`hrinet.pipeline.interpolate`.
        threads: cores to use; by default all.
        device: what projects; gaps are filled on the processor.
        overwrite: whether existing files may be replaced.
    """

    views: tuple[View, ...] = field(default_factory=lambda: (View.turned(0),))
    weights: tuple[Weight, ...] = (UNIFORM,)
    mode: Mode = "mean"
    fill: str = AUTO
    compare: bool = False
    beam: Beam = field(default_factory=Beam)
    window: float | None = None
    level: float | None = None
    pixel_mm: float | None = None
    bits: int = 8
    plain: bool = False
    whole: bool = False
    frames_a_second: float = 12.0
    max_gap_mm: float | None = None
    threads: int | None = None
    device: Device = "cpu"
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class _Shown:
    """A projection and what to say about it."""

    projection: Projection
    filled: _Fill
    window: Window


@dataclass(frozen=True, slots=True)
class _Fill:
    """What is remembered of a filled volume, without the volume."""

    asked: str
    method: str
    slices: int
    originals: int
    spacing_mm: float
    notes: tuple[str, ...]

    @property
    def words(self) -> str:
        names = {"repeat": "repeated slices", "linear": "linear", NONE: "gaps not filled"}
        return names.get(self.method, self.method) if self.method else "no gaps to fill"


def project_file(
    input_path: str | Path,
    outputs: Sequence[Path],
    options: Options,
    *,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress | None = None,
    command: str = "",
) -> dict[str, Any]:
    """Project a scan and write the pictures.

    Args:
        input_path: see :func:`hrinet.io.formats.open_scan`.
        outputs: files to write, see :data:`hrinet.project.files.SUFFIXES`; all of them appear, or
            none. Beside each goes a JSON.
        options: what the user wants.
        series: see :func:`hrinet.io.formats.open_scan`.
        limits: bounds on the input.
        progress: called after every slice that is filled in.
        command: the command line, for the JSON.

    Returns:
        The JSON object.

    Raises:
        InputError: if the input is damaged.
        RequestError: if the request cannot be fulfilled.
        RunError: if writing fails.
    """
    started = time.perf_counter()
    suffixes = {path: files.output_suffix(path) for path in outputs}
    _check(suffixes, options)
    source = open_scan(input_path, series=series, limits=limits)
    with Staging(overwrite=options.overwrite) as staging:
        sidecars = {sidecar_path(path): None for path in outputs}
        staged = {path: staging.path(path) for path in (*sidecars, *outputs)}
        shown = _compute(source, options, progress)
        title = _title(options, shown)
        for path, suffix in suffixes.items():
            _write(staged[path], suffix, shown, title, options)
        result = _describe(source, outputs, options, shown, command)
        result["seconds"] = round(time.perf_counter() - started, 3)
        for path in sidecars:
            text = json.dumps(result, indent=2) + "\n"
            staged[path].write_text(text, encoding="utf-8")
    return result


def _check(suffixes: dict[Path, str], options: Options) -> None:
    """Refuse what the files cannot hold, before any work is done.

    Raises:
        RequestError: if there is such a thing.
    """
    if not suffixes:
        raise RequestError("no output was given; name at least one file")
    if options.bits not in (8, 16):
        raise RequestError(f"--bits is {options.bits}, expected 8 or 16")
    _check_window(options)
    check_pixel(options.pixel_mm)
    if options.compare and len(options.views) * len(options.weights) > 1:
        raise RequestError("--compare shows one view with one weight; leave out the others")
    if not 0.1 <= options.frames_a_second <= 60:
        raise RequestError(f"--fps is {options.frames_a_second:g}, expected 0.1 to 60")
    count = len(options.views) * len(options.weights) * (4 if options.compare else 1)
    for path, suffix in suffixes.items():
        is_raw = suffix == ".png" and (options.plain or options.bits == 16)
        if is_raw and count > 1:
            raise RequestError(
                f"{path}: a PNG without drawing holds one projection, not {count}; choose .tif "
                "(one a page) or .nii.gz (one a slice)"
            )
        if suffix in files.FILMS and (len(options.views) < 2 or count > len(options.views)):
            raise RequestError(
                f"{path}: a film turns through several views with one weight and one filling; pass "
                "--angles FROM:TO:STEP"
            )


def _check_window(options: Options) -> None:
    """Refuse half a window before any work is done."""
    if (options.window is None) != (options.level is None):
        choose_window((), width=options.window, level=options.level)
    if options.window is not None:
        choose_window((), width=options.window, level=options.level)


def _compute(source: SliceSource, options: Options, progress: Progress | None) -> list[_Shown]:
    found: list[tuple[Projection, _Fill]] = []
    fills = [*COMPARED, options.fill] if options.compare else [options.fill]
    for fill in dict.fromkeys(fills):
        filled = fill_gaps(
            source,
            fill,
            max_gap_mm=options.max_gap_mm,
            threads=options.threads,
            progress=progress,
        )
        remembered = _remember(fill, filled)
        for weight in options.weights:
            for one in project(
                filled.volume,
                options.views,
                mode=options.mode,
                weight=weight,
                beam=options.beam,
                pixel_mm=options.pixel_mm,
                blank=filled.is_blank,
                threads=options.threads,
                device=options.device,
            ):
                found.append((one, remembered))
        del filled
    if not options.whole:
        found = _without_margins(found)
    return [
        _Shown(projection, fill, window)
        for (projection, fill), window in zip(found, _windows(found, options), strict=True)
    ]


def _remember(asked: str, filled: Filled) -> _Fill:
    return _Fill(
        asked=asked,
        method=filled.method,
        slices=len(filled.volume),
        originals=filled.originals,
        spacing_mm=filled.volume.geometry.spacing_mm,
        notes=filled.notes,
    )


def _windows(found: Sequence[tuple[Projection, _Fill]], options: Options) -> list[Window]:
    """Pictures with the same weights are shown alike; empty slices do not count."""
    windows = {}
    for weight in options.weights:
        alike = [one for one, fill in found if one.weight is weight and fill.method != NONE]
        alike = alike or [one for one, _ in found]
        windows[id(weight)] = choose_window(alike, width=options.window, level=options.level)
    return [windows[id(projection.weight)] for projection, _ in found]


def _without_margins(found: list[tuple[Projection, _Fill]]) -> list[tuple[Projection, _Fill]]:
    """Cut off what is empty in all pictures."""
    occupied = np.zeros(found[0][0].values.shape, bool)
    for one, _ in found:
        above = np.abs(one.values - one.outside)
        occupied |= above > _EMPTY * float(above.max())
    rim = round(_RIM_MM / found[0][0].pixel_mm)

    def extent(axis: int) -> slice:
        filled = np.flatnonzero(occupied.any(axis=axis))
        if len(filled) == 0:
            return slice(None)
        return slice(max(int(filled[0]) - rim, 0), int(filled[-1]) + 1 + rim)

    columns, rows = extent(0), extent(1)
    return [(one.cropped(columns, rows), fill) for one, fill in found]


def _title(options: Options, shown: Sequence[_Shown]) -> str:
    names = {
        "mean": "Mean projection",
        "maximum": "Maximum projection",
        "minimum": "Minimum projection",
        "sum": "Sum projection",
        "attenuation": f"Attenuation at {options.beam.kev:g} keV",
    }
    words = names[options.mode]
    if options.compare:
        return f"{words}, {options.views[0].caption}: what fills the gaps"
    if len(options.views) == 1:
        words = f"{words}, {options.views[0].caption}"
    if len(options.weights) == 1 and not options.weights[0].is_uniform:
        words = f"{words}, weight {options.weights[0].name}"
    return f"{words} ({shown[0].filled.words})"


def _panels(shown: Sequence[_Shown], options: Options) -> list[Panel]:
    panels = []
    for one in shown:
        words = [one.projection.view.caption] if len(options.views) > 1 else []
        if len(options.weights) > 1:
            words.append(f"weight {one.projection.weight.name}")
        if options.compare:
            words = [one.filled.words]
        panels.append(
            Panel(
                one.projection,
                one.window,
                ", ".join(words) or one.projection.view.caption,
                has_curve=not one.projection.weight.is_uniform or len(options.weights) > 1,
            )
        )
    return panels


def _write(path: Path, suffix: str, shown: Sequence[_Shown], title: str, options: Options) -> None:
    pixel_mm = shown[0].projection.pixel_mm
    if suffix == ".png" and (options.plain or options.bits == 16):
        grey = shown[0].window.grey(shown[0].projection.values, bits=options.bits)
        files.write_png(path, grey, pixel_mm=pixel_mm)
    elif suffix == ".png":
        panels = _panels(shown, options)
        image, shown_mm = draw_sheet(
            panels,
            title=title,
        )
        files.write_png(path, image, pixel_mm=shown_mm)
    elif suffix in (".tif", ".tiff"):
        pages = [one.window.grey(one.projection.values, bits=16) for one in shown]
        files.write_tiff(path, pages, pixel_mm=pixel_mm)
    elif suffix in files.VOLUMES:
        files.write_nifti(path, [one.projection for one in shown], compress=suffix.endswith(".gz"))
    else:
        frames = [draw_frame(panel) for panel in _panels(shown, options)]
        write = files.write_gif if suffix == ".gif" else files.write_mp4
        write(path, frames, frames_a_second=options.frames_a_second)


def _describe(
    source: SliceSource,
    outputs: Sequence[Path],
    options: Options,
    shown: Sequence[_Shown],
    command: str,
) -> dict[str, Any]:
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
            "sums": "planes of voxels sheared linearly along the ray's main axis (Joseph 1982)",
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


def _describe_one(one: _Shown) -> dict[str, Any]:
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

"""From a scan on disk to pictures of its projections."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrinet.errors import RequestError
from hrinet.io.formats import open_scan
from hrinet.io.guard import refuse_inputs
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import own_sidecar
from hrinet.io.staging import Staging
from hrinet.project import files
from hrinet.project.describe import describe
from hrinet.project.fill import NONE, Filled, fill_gaps
from hrinet.project.options import FillRecord, Options, Shown
from hrinet.project.projector import Projection, check_pixel, project
from hrinet.project.sheet import Panel, draw_frame, draw_sheet
from hrinet.project.window import Window, choose_window
from hrinet.volume import SliceSource

COMPARED = ("repeat", "linear", NONE)
"""Beside the method itself, in the picture of ``--compare`` (Fig. 5-2 of the thesis)."""

_EMPTY = 0.005  # Columns and rows below this fraction of the brightest value show nothing.
_RIM_MM = 4.0  # Kept around what shows something.

Progress = Callable[[int, int], None]


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
        The JSON object, with the whole paths of the outputs, of which the file has the names.

    Raises:
        InputError: if the input is damaged.
        RequestError: if the request cannot be fulfilled.
        RunError: if writing fails.
    """
    started = time.perf_counter()
    suffixes = {path: files.output_suffix(path) for path in outputs}
    _check(suffixes, options)
    sidecars = {own_sidecar(path, together=outputs): None for path in outputs}
    refuse_inputs((*outputs, *sidecars), [input_path])
    source = open_scan(input_path, series=series, limits=limits)
    with Staging(overwrite=options.overwrite) as staging:
        staged = {path: staging.path(path) for path in (*sidecars, *outputs)}
        shown = _compute(source, options, progress)
        title = _title(options, shown)
        for path, suffix in suffixes.items():
            _write(staged[path], suffix, shown, title, options)
        result = describe(source, outputs, options, shown, command)
        result["seconds"] = round(time.perf_counter() - started, 3)
        for path in sidecars:
            text = json.dumps(result, indent=2) + "\n"
            staged[path].write_text(text, encoding="utf-8")
    return result | {"outputs": [str(path) for path in outputs]}


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
    count = len(options.views) * len(options.weights) * len(_fills(options))
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


def _compute(source: SliceSource, options: Options, progress: Progress | None) -> list[Shown]:
    found: list[tuple[Projection, FillRecord]] = []
    for fill in _fills(options):
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
        Shown(projection, fill, window)
        for (projection, fill), window in zip(found, _windows(found, options), strict=True)
    ]


def _fills(options: Options) -> tuple[str, ...]:
    """What fills the gaps, one after the other, each once."""
    return tuple(dict.fromkeys([*COMPARED, options.fill])) if options.compare else (options.fill,)


def _remember(asked: str, filled: Filled) -> FillRecord:
    return FillRecord(
        asked=asked,
        method=filled.method,
        slices=len(filled.volume),
        originals=filled.originals,
        spacing_mm=filled.volume.geometry.spacing_mm,
        notes=filled.notes,
    )


def _windows(found: Sequence[tuple[Projection, FillRecord]], options: Options) -> list[Window]:
    """Pictures with the same weights are shown alike; empty slices do not count."""
    windows = {}
    for weight in options.weights:
        alike = [one for one, fill in found if one.weight is weight and fill.method != NONE]
        alike = alike or [one for one, _ in found]
        windows[id(weight)] = choose_window(alike, width=options.window, level=options.level)
    return [windows[id(projection.weight)] for projection, _ in found]


def _without_margins(
    found: list[tuple[Projection, FillRecord]],
) -> list[tuple[Projection, FillRecord]]:
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


def _title(options: Options, shown: Sequence[Shown]) -> str:
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


def _panels(shown: Sequence[Shown], options: Options) -> list[Panel]:
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


def _write(path: Path, suffix: str, shown: Sequence[Shown], title: str, options: Options) -> None:
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

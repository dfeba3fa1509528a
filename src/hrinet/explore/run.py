"""All figures of a model: which there are, and from weights and input to files."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from PIL import Image

import hrinet
from hrinet.errors import RequestError
from hrinet.explore.cases import Case
from hrinet.explore.features import draw_features, draw_latent, feature_maps, size_table
from hrinet.explore.latent import corner_grid, latent_samples
from hrinet.explore.material import Material, open_material
from hrinet.explore.sheet import Sheet, gray_of_hu
from hrinet.explore.strips import draw_progress, draw_rows, has_strips, model_rows, rows_table
from hrinet.io.staging import Staging
from hrinet.networks.family import ModelConfig
from hrinet.networks.generator import Generator
from hrinet.report.drawing import Pixels
from hrinet.train import UnitArray, Window, to_hu
from hrinet.train.folders import new_folder
from hrinet.weights.description import Description
from hrinet.weights.find import find_weights
from hrinet.weights.generator import load_generator

EXPLORE_SCHEMA = "hrinet-explore-1"

_GRID_SIDE = 7
_SAMPLE_ROWS, _SAMPLE_COLUMNS = 4, 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What to draw.

    Attributes:
        cases: which figures; empty for all that there is something for.
        beside: further weights, for the strips; named likewise.
        at: index of the slice to show; the middle one if None.
        seed: of the latent samples.
        overwrite: whether existing files may be replaced.
    """

    cases: tuple[Case, ...] = ()
    beside: tuple[Path, ...] = ()
    at: int | None = None
    seed: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Model:
    """Trained weights.

    Attributes:
        name: of the model.
        generator: on the CPU.
        window: HU of 0 and 1.
        description: what lies beside the weights.
    """

    name: str
    generator: Generator
    window: Window
    description: Description


@dataclass(eq=False)
class _Results:
    """What will be written; nothing is until everything is there."""

    pictures: dict[str, Image.Image] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def explore(weights: Path, input_path: Path, folder: Path, options: Options) -> list[Path]:
    """Draw the figures of a model on the slices of a scan or cache.

    Args:
        weights: a ``.safetensors`` file with its JSON beside it, the folder of a training, or the
            name of a method whose weights are installed.
        input_path: a scan, or the folder of a cache.
        folder: where to; made if missing. All files appear, or none.
        options: what to draw.

    Returns:
        The files, in order.

    Raises:
        InputError: if weights or input cannot be used.
        RequestError: if a case cannot be drawn, or a file exists already.
    """
    if folder.exists() and not folder.is_dir():
        raise RequestError(f"{folder}: is a file, expected a folder for the pictures")
    if not -(2**63) <= options.seed < 2**63:
        raise RequestError(f"--seed is {options.seed}, expected a number of 64 bits")
    run_folder = weights if weights.is_dir() else None
    cases = options.cases or tuple(
        case
        for case in get_args(Case)
        if case != "progress" or (run_folder is not None and has_strips(run_folder))
    )
    if options.beside and "strips" not in cases:
        raise RequestError("--beside adds rows to the strips, which --cases leaves out")
    results = _Results()
    if "progress" in cases:
        if run_folder is None:
            raise RequestError(
                f"{weights}: is no folder; the case 'progress' needs that of a training, with its "
                "strips"
            )
        results.pictures["progress"] = draw_progress(run_folder).draw()
    if set(cases) - {"progress"}:
        model = _load(weights)
        material = open_material(
            input_path,
            size=_size(model),
            window=model.window,
            at=options.at,
        )
        if not options.cases:
            cases = _drawable(cases, material, options)
        others = [_load(path) for path in options.beside] if "strips" in cases else []
        results.facts |= {"model": _identity(model), "input": input_path.name}
        _draw(cases, model, others, material, options, results)
    facts = {
        "schema": EXPLORE_SCHEMA,
        "hrinet_version": hrinet.__version__,
        "cases": list(cases),
        **results.facts,
    }
    results.texts["explore.json"] = json.dumps(facts, indent=1) + "\n"
    return _write(folder, results, overwrite=options.overwrite)


def _drawable(cases: Sequence[Case], material: Material, options: Options) -> tuple[Case, ...]:
    """Those of the cases that a short scan has enough slices for."""
    lacking: set[Case] = set()
    if len(material.corners) < 4:
        lacking.add("grid")
    if len(material.reference) < 2:
        lacking.add("samples")
    if material.run is None and not options.beside:  # which asks for strips
        lacking.add("strips")
    return tuple(case for case in cases if case not in lacking)


def _draw(
    cases: Sequence[Case],
    model: Model,
    others: Sequence[Model],
    material: Material,
    options: Options,
    results: _Results,
) -> None:
    generator, window = model.generator, model.window
    if "grid" in cases:
        grid = corner_grid(generator, material.corners, side=_GRID_SIDE)
        results.pictures["grid"] = _grid_sheet(grid, model, material).draw()
        results.facts["grid"] = {"corners": list(material.corner_labels)}
    if "samples" in cases:
        count = _SAMPLE_ROWS * _SAMPLE_COLUMNS
        samples = latent_samples(generator, material.reference, count=count, seed=options.seed)
        number = len(material.reference)
        results.pictures["samples"] = _samples_sheet(samples, model, number).draw()
        results.facts["samples"] = {"seed": options.seed, "reference_slices": number}
    if "features" in cases:
        maps = feature_maps(generator, material.subject)
        subtitle = f"{model.name}, {material.subject_label}"
        results.pictures["features"] = draw_features(maps, subtitle=subtitle).draw()
        results.pictures["mixed"] = draw_latent(
            maps, material.subject, window=window, subtitle=subtitle
        ).draw()
        results.texts["features.md"] = f"# Feature maps\n\n{subtitle}\n\n{size_table(maps)}\n"
        results.facts["features"] = {
            "slice": material.subject_label,
            "shapes": {one.name: list(one.values.shape) for one in maps},
        }
    if "strips" in cases:
        run = material.run
        if run is None:
            raise RequestError(
                "Strips need three slices in a row without a missing one, which the input does not "
                "have; leave the case out with --cases."
            )
        named = {name: (m.generator, m.window) for name, m in _named([model, *others]).items()}
        rows = model_rows(run, named, window)
        step = (run.positions_mm[-1] - run.positions_mm[0]) / (len(run.positions_mm) - 1)
        subtitle = f"{run.label}, every {step:.3g} mm; PSNR and SSIM on -1000 to 1000 HU"
        results.pictures["strips"] = draw_rows(rows, run, subtitle=subtitle).draw()
        results.texts["strips.md"] = f"# Strips\n\n{subtitle}\n\n{rows_table(rows)}\n"
        results.facts["strips"] = {
            "slices": run.label,
            "positions_mm": list(run.positions_mm),
            "models": {name: _identity(m) for name, m in _named([model, *others]).items()},
            "psnr_db": {r.name: r.psnr_db for r in rows if r.psnr_db is not None},
            "ssim": {r.name: r.ssim for r in rows if r.ssim is not None},
        }


def _grid_sheet(grid: UnitArray, model: Model, material: Material) -> Sheet:
    last = _GRID_SIDE - 1
    corners = [(0, 0), (0, last), (last, 0), (last, last)]
    top_left, top_right, bottom_left, bottom_right = material.corner_labels
    rows: list[list[Pixels | None]] = [
        [gray_of_hu(to_hu(cell, model.window)) for cell in row] for row in grid
    ]
    return Sheet(
        title="Between the encodings of four unrelated slices",
        subtitle=f"{model.name}; the corners are the reconstructions",
        rows=rows,
        side=144,
        framed=corners,
        note=f"Corners: {top_left}, {top_right}; {bottom_left}, {bottom_right}. "
        "Everything is computed, not measured. Not for diagnosis.",
    )


def _samples_sheet(samples: UnitArray, model: Model, number: int) -> Sheet:
    gray = [gray_of_hu(to_hu(sample, model.window)) for sample in samples]
    starts = range(0, len(gray), _SAMPLE_COLUMNS)
    return Sheet(
        title="Random samples of the latent space",
        subtitle=f"{model.name}; normal with mean and covariance of {number} encodings",
        rows=[gray[start : start + _SAMPLE_COLUMNS] for start in starts],
        side=160,
        note="No slice of any patient. Not for diagnosis.",
    )


def _load(given: Path) -> Model:
    file = find_weights(given)
    trained = load_generator(file)
    if trained.network.in_channels != 1:
        raise RequestError(
            f"{file}: is a model of {trained.network.in_channels} channels; the figures are made "
            "of gray CT slices"
        )
    return Model(
        name=trained.description.name,
        generator=trained.network,
        window=trained.window_hu,
        description=trained.description,
    )


def _size(model: Model) -> int:
    return ModelConfig(**model.description.model).size


def _identity(model: Model) -> dict[str, Any]:
    told = model.description
    return {
        "name": model.name,
        "sha256": told.sha256,
        "steps": told.steps,
        "size": _size(model),
    }


def _named(models: Sequence[Model]) -> dict[str, Model]:
    """By name, made different where two have the same."""
    named: dict[str, Model] = {}
    for model in models:
        name, number = model.name, 1
        while name in named:
            number += 1
            name = f"{model.name} ({number})"
        named[name] = model
    return named


def _write(folder: Path, results: _Results, *, overwrite: bool) -> list[Path]:
    contents = {f"{name}.png": _png(image) for name, image in results.pictures.items()}
    contents |= {name: text.encode() for name, text in results.texts.items()}
    with new_folder(folder), Staging(overwrite=overwrite) as staging:
        for name, content in contents.items():
            staging.path(folder / name).write_bytes(content)
    return [folder / name for name in contents]


def _png(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format="PNG")
    return stream.getvalue()

"""The models of the thesis at n = 7: five slices hidden between two given ones.

Of a test series every 6th slice is given, and the five between are synthesized and scored. The
models see the two given slices; the other methods see four, as in ``hrinet interpolate``. Weights
that do not exist are no row. Run: python benchmarks/family.py [--weights NAME=PATH ...]
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import re
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import RESULTS, ct, machine, publish, table
from quality import WIDE, psnr_of, thinned

import hrinet
from hrinet.errors import HrinetError
from hrinet.geometry import Geometry
from hrinet.metrics.niqe import niqe, packaged_model
from hrinet.metrics.ssim import ssim_map
from hrinet.pipeline import interpolate
from hrinet.synthesize.registry import ranked_methods
from hrinet.train import DEFAULT_WINDOW, prepare_slice, to_hu, to_unit

SERIES = ("test/lidc_0001", "test/aapm_L291")
INTERVALS = 6
SMALL = 256
GAPS_AT_ONCE = {256: 4, 512: 1}
MEASURES = ("PSNR wide, dB", "PSNR window, dB", "SSIM", "gradient ratio", "NIQE")
NO_NIQE = "-"


def resampled(volume: hrinet.Volume, size: int) -> hrinet.Volume:
    """The volume with square slices of ``size`` pixels, as training sees them; float32, HU."""
    images = [
        to_hu(
            prepare_slice(values, size=size, window=DEFAULT_WINDOW, padding_hu=volume.padding_hu),
            DEFAULT_WINDOW,
        )
        for values in volume.array
    ]
    geometry = volume.geometry
    factor = max(geometry.rows, geometry.columns) / size
    row_mm, column_mm = geometry.pixel_spacing
    smaller = Geometry(
        origins=geometry.origins,
        row_direction=geometry.row_direction,
        column_direction=geometry.column_direction,
        pixel_spacing=(row_mm * factor, column_mm * factor),
        rows=size,
        columns=size,
        slice_thickness=geometry.slice_thickness,
    )
    return hrinet.Volume(array=np.stack(images).astype(np.float32), geometry=smaller)


def by_method(volume: hrinet.Volume, method: str) -> Iterator[np.ndarray]:
    """The hidden slices as a method of the registry makes them, in order."""
    thin, _ = thinned(volume, INTERVALS)
    result = interpolate(thin, factor=INTERVALS, method=method, max_gap_mm=1000)
    for entry, image in zip(result.provenance, result.array, strict=True):
        if entry.is_synthetic:
            yield image


def by_model(volume: hrinet.Volume, path: Path) -> Iterator[np.ndarray]:
    """The hidden slices as trained weights make them, in order; several gaps at once."""
    import torch

    from hrinet.losses.supervised_loss import supervised_alphas

    network, window, device = loaded(path)
    given = as_input(volume, volume.array[::INTERVALS], window)  # (given, 1, row, column)
    step = GAPS_AT_ONCE.get(volume.array.shape[-1], 1)
    a = supervised_alphas(INTERVALS + 1).to(device)  # (5,)
    for start in range(0, len(given) - 1, step):
        ends = given[start : start + step + 1].to(device)  # (gap + 1, 1, row, column)
        with torch.inference_mode():
            made = network.interpolate(ends[:-1], ends[1:], a.expand(len(ends) - 1, -1))
        yield from to_hu(made.flatten(0, 2).cpu().numpy(), window)


def by_own_code(volume: hrinet.Volume, path: Path) -> Iterator[np.ndarray]:
    """The hidden slices, shown to the model after all, encoded and decoded, in order."""
    import torch

    network, window, device = loaded(path)
    images = as_input(volume, np.stack(hidden_slices(volume)), window)
    for part in torch.split(images, GAPS_AT_ONCE.get(volume.array.shape[-1], 1) * 4):
        with torch.inference_mode():
            made = network.reconstruct(part.to(device))
        yield from to_hu(made.flatten(0, 1).cpu().numpy(), window)


def loaded(path: Path) -> tuple[Any, tuple[float, float], Any]:
    """Generator, window in HU, and the device that both are for."""
    import torch

    from hrinet.weights.generator import load_generator

    trained = load_generator(path)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return trained.network.to(device), trained.window_hu, device


def as_input(volume: hrinet.Volume, slices: np.ndarray, window: tuple[float, float]) -> Any:
    """Shape (slice, 1, row, column), [0, 1]; padding is air."""
    import torch

    if volume.padding_hu is not None:
        slices = np.where(slices == volume.padding_hu, DEFAULT_WINDOW[0], slices)
    return torch.from_numpy(to_unit(slices, window))[:, None]


def last_given(volume: hrinet.Volume) -> int:
    """Index of the last slice that is given."""
    return (len(volume) - 1) // INTERVALS * INTERVALS


def gradient(image: np.ndarray) -> float:
    """Mean length of the gradient by forward differences, HU a pixel, on [-1000, 1000] HU."""
    clipped = np.clip(image, *WIDE).astype(np.float32)
    down = clipped[1:, :-1] - clipped[:-1, :-1]
    right = clipped[:-1, 1:] - clipped[:-1, :-1]
    return float(np.sqrt(down * down + right * right).mean())


def niqe_of(image: np.ndarray) -> float:
    """By the package's model of CT; nan if too little of the slice shows tissue."""
    return niqe(image, value_range=packaged_model().value_range)


def has_niqe(number: int) -> bool:
    """Whether NIQE is taken of a hidden slice: of the middle one of every gap, for it is slow."""
    return number % (INTERVALS - 1) == (INTERVALS - 1) // 2


def scores_of(image: np.ndarray, truth: np.ndarray, number: int) -> list[float]:
    """See :data:`MEASURES`; nan for NIQE if it is not taken of the slice of this number."""
    image, truth = image.astype(np.float32), truth.astype(np.float32)
    a, b = (np.clip(values, *WIDE).astype(np.float64) for values in (image, truth))
    return [
        psnr_of(image, truth, WIDE),
        psnr_of(image, truth, DEFAULT_WINDOW),
        float(ssim_map(a, b, data_range=WIDE[1] - WIDE[0]).mean()),
        gradient(image) / gradient(truth),
        niqe_of(image) if has_niqe(number) else math.nan,
    ]


def score(volume: hrinet.Volume, made: Iterator[np.ndarray]) -> list[float]:
    """Means over the hidden slices."""
    truth = hidden_slices(volume)
    with ThreadPoolExecutor() as pool:
        found = list(pool.map(scores_of, made, truth, itertools.count()))
    if len(found) != len(truth):
        raise AssertionError(f"{len(found)} synthetic slices, {len(truth)} hidden ones")
    return [mean_of(values) for values in zip(*found, strict=True)]


def mean_of(values: Iterable[float]) -> float:
    """Of those that are numbers; nan if none is."""
    numbers = [value for value in values if not math.isnan(value)]
    return float(np.mean(numbers)) if numbers else math.nan


def hidden_slices(volume: hrinet.Volume) -> list[np.ndarray]:
    """The true slices that are hidden, in order."""
    return [volume.array[k] for k in range(last_given(volume)) if k % INTERVALS]


def named_weights(given: list[str] | None) -> dict[str, Path]:
    """``NAME=PATH`` as a dictionary; by default what the package ships of the family."""
    if given is None:
        from hrinet.networks.family import FAMILY
        from hrinet.weights import packaged_weights

        shipped = {name: packaged_weights(name) for name in FAMILY}
        return {name: path for name, path in shipped.items() if path.exists()}
    found = {}
    for item in given:
        name, equals, path = item.partition("=")
        if not equals or not Path(path).is_file():
            sys.exit(f"--weights {item!r}: expected NAME=PATH of a .safetensors file")
        found[name] = Path(path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", nargs="*", default=SERIES)
    parser.add_argument("--sizes", nargs="*", type=int, default=(SMALL, 512))
    parser.add_argument("--weights", nargs="*", metavar="NAME=PATH")
    parser.add_argument("--slices", type=int, help="only the first N of each series")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    ranked = [method.name for method in ranked_methods() if method.name != "repeat"]
    weights = named_weights(arguments.weights)
    shown_words = [re.sub(r"=.*/", "=", word) for word in sys.argv[1:]]  # no machine's folders
    command = " ".join(["python benchmarks/family.py", *shown_words])
    baselines = [name for name in ranked if name not in weights]
    device = ""
    if weights:
        import torch

        device = f", torch {torch.__version__}"
        if torch.cuda.is_available():
            device += f" on {torch.cuda.get_device_name()}"
    parts = [
        "# The models of the thesis, five slices hidden (n = 7)",
        "",
        f"Machine: {machine()}{device}. Command: `{command}`.",
        "",
        "Protocol: of a series every 6th slice is given, the five between two given ones are "
        "hidden and synthesized: windows of 7 slices over the whole series, each sharing its ends "
        "with its neighbours, so that every hidden slice is scored once. Synthetic slices only, "
        "means over slices. The models see the two given slices; the other methods see four, as in "
        "`hrinet interpolate`. The models are the bare networks, without the cubic that "
        "`hrinet interpolate` puts where a given slice leaves the training window. 256 x 256: "
        "slices resampled by area, as in training; 512 x 512: whole "
        "slices as they are. PSNR wide clips to [-1000, 1000] HU, PSNR window to the "
        f"training window [{DEFAULT_WINDOW[0]:g}, {DEFAULT_WINDOW[1]:g}] HU; SSIM (Gaussian "
        "window) on [-1000, 1000] HU; gradient ratio is the mean length of the gradient of a "
        "synthetic slice over that of the true one: 1 is as sharp, less is smoother. NIQE, by "
        "the package's model of CT, is of every 5th hidden slice, the middle one of each gap, as a "
        "whole: lower is nearer to natural, whether or not the anatomy is right. Nothing was "
        "trained, fitted or tuned on these patients. In brackets: difference from cubic.",
    ]
    if not weights:
        parts += ["", "No trained weights of the family were given or ship with the package."]
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    coded: dict[str, dict[str, dict[str, list[float]]]] = {}
    losses: list[list[str]] = []
    for name in arguments.series:
        volume = hrinet.read(ct(name))
        if arguments.slices:
            volume = volume.subset(range(min(arguments.slices, len(volume))))
        geometry = volume.geometry
        gap = INTERVALS * geometry.spacing_mm
        hidden = len(hidden_slices(volume))
        for size in arguments.sizes:
            native = geometry.rows == geometry.columns == size
            shown = volume if native else resampled(volume, size)
            rows: dict[str, list[float]] = {}
            for method in [*baselines, *weights]:
                started = time.perf_counter()
                made = (
                    by_model(shown, weights[method])
                    if method in weights
                    else by_method(shown, method)
                )
                try:
                    rows[method] = score(shown, made)
                except HrinetError as error:
                    sys.exit(f"{method}: {error}")
                seconds = time.perf_counter() - started
                print(f"{name} {size} {method}: {seconds:.0f} s", file=sys.stderr)
            found.setdefault(name, {})[str(size)] = rows
            taken = [s for k, s in enumerate(hidden_slices(shown)) if has_niqe(k)]
            lines = [line(method, values, rows["cubic"]) for method, values in rows.items()]
            lines.append(["true slices", *[""] * 4, shown_niqe(mean_of(map(niqe_of, taken)))])
            parts += [
                "",
                f"## {name}, {size} x {size} ({hidden} hidden slices, given ones {gap:g} mm apart)",
                "",
                table(("method", *MEASURES), lines),
            ]
            codes = {model: score(shown, by_own_code(shown, weights[model])) for model in weights}
            coded.setdefault(name, {})[str(size)] = codes
            losses += [share(f"{name}, {size}", m, v, rows[m]) for m, v in codes.items()]
    if losses:
        parts += [
            "",
            "## What interpolation costs a model, and what its code costs",
            "",
            "The same hidden slices, shown to the model after all, encoded and decoded: what it "
            "would make if the mixed code were that of the true slice. The difference is what "
            "interpolating costs; the rest of its errors is those of its autoencoder.",
            "",
            table(
                (
                    "series, size, model",
                    "PSNR of the code, dB",
                    "PSNR interpolated, dB",
                    "SSIM of the code",
                    "SSIM interpolated",
                ),
                losses,
            ),
        ]
    publish("family", "\n".join(parts))
    facts = {
        "command": command,
        "machine": machine() + device,
        "measures": MEASURES,
        "weights": {name: identity(path) for name, path in weights.items()},
        "scores": found,
        "scores_of_code": coded,
    }
    (RESULTS / "family.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def line(method: str, values: list[float], cubic: list[float]) -> list[str]:
    wide, window, similarity, ratio, natural = values
    return [
        method,
        f"{wide:.2f} ({wide - cubic[0]:+.2f})",
        f"{window:.2f} ({window - cubic[1]:+.2f})",
        f"{similarity:.4f}",
        f"{ratio:.3f}",
        shown_niqe(natural),
    ]


def shown_niqe(value: float) -> str:
    return NO_NIQE if math.isnan(value) else f"{value:.2f}"


def share(where: str, model: str, code: list[float], made: list[float]) -> list[str]:
    """A row of what interpolation costs."""
    return [
        f"{where}, {model}",
        f"{code[0]:.2f}",
        f"{made[0]:.2f} ({made[0] - code[0]:+.2f})",
        f"{code[2]:.4f}",
        f"{made[2]:.4f} ({made[2] - code[2]:+.4f})",
    ]


def identity(path: Path) -> dict[str, object]:
    from hrinet.weights.description import read_description

    told = read_description(path)
    return {"sha256": told.sha256, "steps": told.steps, "model": dict(told.model)}


if __name__ == "__main__":
    main()

"""Quality may not fall unnoticed: a small fixed evaluation against stored figures.

After a change that is meant to change quality, store the new figures and say why in the commit:

    python tests/test_regression_guard.py
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.io.formats import open_scan
from hrinet.metrics.psnr import psnr
from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.registry import find_method
from hrinet.volume import Volume
from real_data import ct

STORED = Path(__file__).parents[1] / "benchmarks" / "results" / "regression_guard.json"

METHODS = ("linear", "cubic", "flow", "hrinet-flow", "ae", "acai")
FACTORS = (2, 4)
SERIES = "validation/lidc_0002"
SLICES = range(48, 61)
ROWS, COLUMNS = slice(128, 384), slice(128, 384)
LOW, HIGH = -1000.0, 1000.0
TOLERANCE_DB = 0.1


def guarded_scan() -> Volume:
    """The fixed part of the fixed scan; skips where there is none."""
    source = open_scan(ct(SERIES))
    values = [source.read_slice(index)[ROWS, COLUMNS] for index in SLICES]
    geometry = replace(
        source.geometry,
        origins=source.geometry.origins[list(SLICES)],
        rows=values[0].shape[0],
        columns=values[0].shape[1],
    )
    return Volume(array=np.stack(values), geometry=geometry)


def figures(volume: Volume, method: str) -> dict[str, float]:
    """PSNR of the synthetic slices, dB: mean over slices, for every factor."""
    found = {}
    for factor in FACTORS:
        thin = Volume(
            array=volume.array[::factor],
            geometry=replace(volume.geometry, origins=volume.geometry.origins[::factor]),
        )
        made = hrinet.interpolate(
            thin, factor=factor, method=method, precision="f32", max_gap_mm=1000
        )
        per_slice = [
            psnr(
                np.clip(made.array[index], LOW, HIGH),
                np.clip(volume.array[index], LOW, HIGH),
                data_range=HIGH - LOW,
            )
            for index, entry in enumerate(made.provenance)
            if entry.is_synthetic
        ]
        found[f"{method} x{factor}"] = round(float(np.mean(per_slice)), 3)
    return found


def guard(found: Mapping[str, float], stored: Mapping[str, float]) -> None:
    """Fail if a figure fell; ask to store it if it rose or is new."""
    fallen, to_store = [], []
    for name, value in found.items():
        if name not in stored:
            to_store.append(f"{name}: {value:.2f} dB, not stored yet")
        elif value < stored[name] - TOLERANCE_DB:
            fallen.append(f"{name}: {value:.2f} dB, was {stored[name]:.2f} dB")
        elif value > stored[name] + TOLERANCE_DB:
            to_store.append(f"{name}: {value:.2f} dB, was {stored[name]:.2f} dB")
    if to_store:
        warnings.warn(
            f"better or new, store it with `python tests/{Path(__file__).name}`: "
            + "; ".join(to_store),
            stacklevel=2,
        )
    assert not fallen, f"quality fell by more than {TOLERANCE_DB} dB: {'; '.join(fallen)}"


@pytest.fixture(scope="module")
def scan() -> Volume:
    return guarded_scan()


@pytest.mark.parametrize("method", METHODS)
def test_no_method_has_become_worse(scan: Volume, method: str) -> None:
    if missing := find_method(method).missing:
        pytest.skip(f"{method} {missing}")
    guard(figures(scan, method), json.loads(STORED.read_text("utf-8")))


def test_every_figure_is_stored() -> None:
    stored = json.loads(STORED.read_text("utf-8"))
    assert set(stored) == {f"{method} x{factor}" for method in METHODS for factor in FACTORS}


def blurred(self, gap, t):
    """The cubic, its result slightly blurred."""
    for values in HEALTHY(self, gap, t):
        yield cv2.GaussianBlur(values, (0, 0), 0.8)


HEALTHY = Cubic.synthesize


def test_a_degraded_method_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    smooth = cv2.GaussianBlur(rng.normal(0, 900, (64, 64)).astype(np.float32), (0, 0), 1.5)
    array = np.stack([np.roll(smooth, n // 2, axis=0) + n for n in range(9)]).astype(np.int16)
    volume = Volume(array=array, geometry=make_geometry(2.0 * np.arange(9), rows=64, columns=64))
    before = figures(volume, "cubic")
    guard(before, before)
    monkeypatch.setattr(Cubic, "synthesize", blurred)
    with pytest.raises(AssertionError, match=r"fell by more than 0.1 dB: cubic x"):
        guard(figures(volume, "cubic"), before)


def test_a_degraded_method_fails_on_the_scan(scan: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Cubic, "synthesize", lambda self, gap, t: iter(gap.slices[:1] * len(t)))
    with pytest.raises(AssertionError, match="cubic x4"):
        guard(figures(scan, "cubic"), json.loads(STORED.read_text("utf-8")))


def test_just_within_the_tolerance_is_no_fall() -> None:
    guard({"linear x2": 30.0}, {"linear x2": 30.099})
    with pytest.raises(AssertionError, match=r"linear x2: 30.00 dB, was 30.11 dB"):
        guard({"linear x2": 30.0, "flow x2": 31.0}, {"linear x2": 30.11, "flow x2": 31.0})


def test_a_rise_asks_to_store_it_and_does_not_fail() -> None:
    with pytest.warns(UserWarning, match=r"store it with .*flow x2: 31.00 dB, was 30.80 dB"):
        guard({"flow x2": 31.0}, {"flow x2": 30.8})
    with pytest.warns(UserWarning, match="not stored yet"):
        guard({"new x2": 31.0}, {})


if __name__ == "__main__":
    measured = guarded_scan()
    content = {key: value for name in METHODS for key, value in figures(measured, name).items()}
    STORED.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    sys.stdout.write(STORED.read_text("utf-8"))

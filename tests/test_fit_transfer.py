from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from hrinet.synthesize.transfer import Transfer
from test_readme import ROOT

sys.path.append(str(ROOT / "tools"))  # of which one imports another
import fit_transfer


def cells(error, half_width, *, scans=12, seed=0):
    rng = np.random.default_rng(seed)
    made = []
    for scan in range(scans):
        noise, thick = rng.normal(0, 0.4), rng.uniform(0.3, 2.6)
        for factor in (2, 3, 4)[: 1 + scan % 3]:
            signs = np.array([1.0, max(thick / factor - 0.4, 0.0), noise])
            shares = np.linspace(0, 1 / 0.9, 20_001) * np.exp(signs @ half_width)
            made.append(
                fit_transfer.Cell(
                    scan=str(scan),
                    averaged=1,
                    factor=factor,
                    thickness=thick / factor,
                    noise=noise,
                    found=20 * float(np.exp(signs @ error)),
                    expected=20.0,
                    shares=shares,
                )
            )
    return made


def test_known_weights_are_found_again():
    error, half_width = [-0.3, -0.5, 0.1], [-0.1, -0.7, 0.05]
    made = cells(error, half_width)
    found = fit_transfer.fitted(made)
    assert found["error"] == pytest.approx(error, abs=0.02)
    assert found["half_width"] == pytest.approx(half_width, abs=0.02)
    for cell in made:
        held, ratio = fit_transfer.judge(cell, Transfer.of(found))
        assert held == pytest.approx(90, abs=1)
        assert ratio == pytest.approx(1, abs=0.02)


def test_without_thickness_the_fit_is_of_its_own():
    found = fit_transfer.fitted(cells([-0.3, 0.0, 0.1], [-0.1, 0.0, 0.05]))
    assert found["error_alone"] == pytest.approx([-0.3, 0.1], abs=0.02)
    assert found["half_width_alone"] == pytest.approx([-0.1, 0.05], abs=0.02)


def test_simulated_slabs_tell_nothing_of_unknown_thickness():
    thin = cells([-0.3, 0.0, 0.1], [-0.1, 0.0, 0.05])
    slabs = [replace(cell, averaged=3, found=cell.found / 2) for cell in thin]
    alone = fit_transfer.fitted(thin)
    both = fit_transfer.fitted([*thin, *slabs])
    assert both["error_alone"] == alone["error_alone"]
    assert both["half_width_alone"] == alone["half_width_alone"]
    assert both["error"] != alone["error"]

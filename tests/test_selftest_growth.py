from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hrinet
from hrinet.io.formats import open_scan
from hrinet.selftest.growth import (
    COEFFICIENTS,
    Growth,
    Law,
    accuracy,
    growth_of,
    has_own_law,
    saturated,
)
from hrinet.selftest.run import SelftestOptions, selftest
from hrinet.synthesize.registry import ranked_methods
from real_data import ct

FLAT = Growth(Law(0.0, 0.0, 1.0, 0.1), Law(1.0, 0.0, 0.0, 0.2))


@pytest.fixture(scope="module")
def tool():
    path = Path(__file__).parents[1] / "tools" / "fit_selftest.py"
    spec = importlib.util.spec_from_file_location("fit_selftest", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_scan_that_tells_its_growth_follows_it():
    found = FLAT.expect(20.0, gap_mm=5.0, thickness_mm=0.001, own=0.5)
    assert found.hu == pytest.approx(20 / math.sqrt(2))
    assert found.low_hu == pytest.approx(found.hu / math.exp(0.1645))
    assert found.high_hu == pytest.approx(found.hu * math.exp(0.1645))


def test_one_that_does_not_follows_others():
    found = FLAT.expect(20.0, gap_mm=5.0, thickness_mm=5.0, own=None)
    assert found.hu == pytest.approx(10.0)
    assert found.high_hu / found.hu == pytest.approx(math.exp(0.329))


@given(st.floats(-5, 5), st.floats(0, 50), st.floats(0.1, 20))
def test_errors_never_grow_towards_narrow_gaps_nor_fall_by_more_than_four(own, thickness, gap):
    for method in ("linear", "flow", "hrinet-flow"):
        found = growth_of(method).expect(12.0, gap_mm=gap, thickness_mm=thickness, own=own)
        assert 3.0 <= found.hu <= 12.0
        assert found.low_hu <= found.hu <= found.high_hu


def test_nothing_off_stays_nothing():
    assert growth_of("cubic").expect(0.0, gap_mm=1, thickness_mm=None, own=None).hu == 0


@given(st.floats(0, 3), st.floats(0, 3))
def test_overlap_rises_from_nothing_to_one(a, b):
    assert saturated(0) == 0
    assert 0 <= saturated(min(a, b)) <= saturated(max(a, b)) < 1


def test_thicker_slices_are_easier_the_nearer_they_are():
    def exponent(thickness):
        found = growth_of("cubic").expect(1.0, gap_mm=5.0, thickness_mm=thickness, own=None)
        return -math.log2(found.hu)

    assert exponent(1.0) < exponent(5.0) < exponent(8.0)
    assert growth_of("cubic").expect(1.0, gap_mm=5.0, thickness_mm=None, own=None).hu == (
        growth_of("cubic").expect(1.0, gap_mm=5.0, thickness_mm=5.0, own=None).hu
    )


def test_every_method_of_auto_has_coefficients_and_others_share_some():
    assert all(has_own_law(method.name) for method in ranked_methods())
    assert not has_own_law("acai")
    assert growth_of("acai") == growth_of("other")


def test_no_test_patient_was_fitted_and_the_accuracy_is_of_test_patients_alone():
    fitted = json.loads(COEFFICIENTS.read_text("utf-8"))["fitted_on"]
    assert not any("lidc_0001" in name or "L291" in name for name in fitted)
    assert all(name.startswith("test/") for name in accuracy()["series"])
    assert accuracy()["patients"] == len(accuracy()["series"])
    assert 0 < accuracy()["median_percent"] < accuracy()["largest_percent"]


def law_made(tool, *, a, b, c, with_own):
    rng = np.random.default_rng(2)
    data = []
    for patient in range(6):
        for _ in range(4):
            u, q = rng.uniform(0.1, 2), rng.uniform(0.3, 1.2)
            overlap = saturated(u) - saturated(u / 2) if with_own else saturated(u)
            p = a + b * overlap + c * q
            data.append({"patient": str(patient), "u": u, "q": q, "p": p})
    return tool.law(data, with_own=with_own)


def test_the_fit_finds_the_law_that_made_the_data(tool):
    found = law_made(tool, a=0.2, b=1.3, c=0.7, with_own=True)
    assert found == {"constant": 0.2, "overlap": 1.3, "own": 0.7, "spread": 0.0}
    found = law_made(tool, a=0.4, b=0.9, c=0.0, with_own=False)
    assert found == {"constant": 0.4, "overlap": 0.9, "own": 0.0, "spread": 0.0}


def test_growth_is_measured_on_shared_slices(tool):
    narrow, wide = {"1": 4.0, "2": 5.0, "3": 6.0, "9": 99.0}, {"1": 8.0, "2": 10.0, "3": 12.0}
    assert tool.growth(narrow, wide) == pytest.approx(1.0)
    assert tool.growth(narrow, {"1": 8.0}) is None


def test_on_a_scan_that_was_not_fitted_the_error_to_expect_is_found():
    source = open_scan(ct("test/lidc_0001"))
    numbers = list(range(30, 91))
    array = np.stack([source.read_slice(n)[128:352, 128:352] for n in numbers])
    geometry = replace(source.geometry, origins=source.geometry.origins[numbers])
    geometry = replace(geometry, rows=224, columns=224)
    thin = hrinet.Volume(
        array=array[::2], geometry=replace(geometry, origins=geometry.origins[::2])
    )
    report = selftest(thin, SelftestOptions(methods=("linear", "cubic", "flow")))
    for row in report["methods"]:
        made = hrinet.interpolate(thin, factor=2, method=row["name"])
        truth = np.abs(made.array[1::2].astype(int) - array[1::2]).mean()
        assert row["mae_hu"] > 1.2 * truth  # What was found in wider gaps would mislead.
        assert row["expected_mae_hu"] == pytest.approx(truth, rel=0.2)


def test_the_documentation_states_the_accuracy_that_was_measured():
    text = (Path(__file__).parents[1] / "docs" / "selftest.md").read_text("utf-8")
    known = accuracy()
    assert (
        f"{known['predictions']} predictions for linear, cubic, flow and hrinet-flow on "
        f"{known['patients']} test patients" in text
    )
    assert f"off by {known['median_percent']:g} % in the median" in text
    assert f"{known['largest_percent']:g} % at most; {known['within_interval_percent']:g} %" in text

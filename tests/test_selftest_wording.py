from __future__ import annotations

import pytest

from hrinet.selftest.wording import describe_selftest

ACCURACY = {"patients": 2, "median_percent": 6.2, "largest_percent": 15.4, "series": []}


def method(name, errors, expected, **more):
    mean = sum(errors) / len(errors)
    return {
        "name": name,
        "mae_hu": mean,
        "psnr_db": 31.256 if mean else None,
        "ssim": 0.91234,
        "expected_mae_hu": expected,
        "expected_low_hu": 0.9 * expected,
        "expected_high_hu": 1.1 * expected,
        "slices": [{"index": n, "mae_hu": error} for n, error in enumerate(errors)],
        **more,
    }


def text(*methods, auto="hrinet-flow", width=200, **more):
    best = min(methods, key=lambda entry: entry["mae_hu"])["name"]
    result = {
        "scan": {
            "rows": 512,
            "columns": 512,
            "slices": 35,
            "kernel": "LUNG",
            "slice_thickness_mm": 5.0,
        },
        "protocol": {
            "hidden": 17,
            "scored": 17,
            "tested_gap_mm": 10.0,
            "own_gap_mm": 5.0,
            "hu_range": [-1000.0, 1000.0],
        },
        "methods": list(methods),
        "best": best,
        "auto": auto,
        "extrapolation": ACCURACY,
        "notes": ["the slices are tilted"],
        **more,
    }
    return describe_selftest(result, width=width)


REPEAT = method("repeat", [35, 36, 37], 20)
LINEAR = method("linear", [22, 23, 24], 10)
CUBIC = method("cubic", [20, 21, 22], 9.8)
FLOW = method("flow", [16, 17, 18], 9.5)
NETWORK = method("hrinet-flow", [13, 14, 15], 9.04)


def sentences(page):
    """The page without its line breaks."""
    return " ".join(page.split())


def test_a_usual_result():
    page = text(REPEAT, LINEAR, CUBIC, FLOW, NETWORK)
    found = sentences(page)
    assert "512 x 512 x 35 voxels, slices every 5 mm, 5 mm thick, kernel LUNG" in found
    assert (
        "On this scan linear errs by 23 HU, cubic by 21, flow by 17, hrinet-flow by 14; expect "
        "about 9.0 HU of hrinet-flow half-way across your gaps of 5 mm" in found
    )
    assert (
        "Best here is hrinet-flow: 9.0 HU (39 %) less than linear. hrinet-flow is what auto takes."
        in found
    )
    assert "gaps of 10 mm, twice as wide as they are; 17 of 17 hidden slices scored" in found
    assert "On 2 test patients it was off by 6 % in the median, 15 % at most." in found
    assert "  * The slices are tilted." in page
    assert page.endswith("Scores are of synthetic slices only. Not for diagnosis.")
    assert "Caution" not in page
    table = [line for line in page.splitlines() if line.startswith("hrinet-flow (auto)")]
    assert " ".join(table[0].split()) == (
        "hrinet-flow (auto) 14.0 -39 % 31.26 0.9123 9.0 (8.1 to 9.9)"
    )


def test_a_plain_formula_that_wins_is_a_caution():
    found = sentences(text(LINEAR, method("cubic", [10, 11, 12], 6), FLOW, NETWORK))
    assert "Best here is cubic: 12.0 HU (52 %) less than linear." in found
    assert "Caution: a plain formula wins" in found
    assert "take --method cubic" in found
    found = sentences(text(method("linear", [10, 11, 12], 6), CUBIC, FLOW, NETWORK))
    assert "Best here is linear. Caution" in found


def test_plain_formulas_among_themselves_are_no_caution():
    found = sentences(text(LINEAR, CUBIC))
    assert "Caution" not in found
    assert "Best here is cubic" in found


def test_another_method_than_auto_takes_is_named():
    found = sentences(text(LINEAR, method("flow", [10, 11, 12], 6), NETWORK))
    assert "auto takes hrinet-flow; pass --method flow." in found


def test_what_does_not_differ_is_not_told_apart():
    alike = method("flow", [12, 16, 13], 9.1)
    found = sentences(text(LINEAR, alike, method("hrinet-flow", [16, 12, 14], 9)))
    assert "hrinet-flow cannot be told from it by these slices" in found
    assert "auto takes hrinet-flow, which is as good." in found
    found = sentences(
        text(method("linear", [12.1, 15, 14], 9), method("hrinet-flow", [13, 14, 13], 9))
    )
    assert "A plain formula does as well here" in found


def test_an_order_that_turns_in_narrow_gaps_is_said():
    found = sentences(text(LINEAR, method("cubic", [20, 21, 22], 5.0), NETWORK))
    assert "In gaps of 5 mm cubic may be better: 5.0 HU are expected of it" in found


def test_one_method_alone_and_nothing_off():
    assert "Only cubic was tested." in text(CUBIC)
    found = sentences(text(method("linear", [0, 0], 0), method("cubic", [0, 0], 0)))
    assert "Every method is exact here" in found
    assert "exact" in found


def test_what_the_method_itself_expected_is_set_against_what_was_found():
    told = method(
        "hrinet-flow", [13, 14, 15], 9, own_estimate={"expected_hu": 33.4, "found_hu": 36.6}
    )
    found = sentences(text(LINEAR, told))
    assert "hrinet-flow itself expected 33 HU within the body in these slices; 37 HU were" in found


@pytest.mark.parametrize("width", [60, 80, 200])
def test_it_fits_the_terminal(width):
    page = text(REPEAT, LINEAR, CUBIC, FLOW, NETWORK, width=width)
    assert max(map(len, page.splitlines())) <= max(width, 97)

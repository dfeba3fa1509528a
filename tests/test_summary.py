from __future__ import annotations

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.errors import RequestError
from hrinet.job import Options
from hrinet.plan.plan import Request
from hrinet.report.summary import summarize
from hrinet.report.wording import describe_summary
from hrinet.synthesize.registry import ranked_methods
from hrinet.volume import Volume
from real_data import ct


def test_a_regular_scan(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    summary = summarize(tmp_path / "in.nii", Options(request=Request(factor=4)))
    assert summary["volume"]["gaps_mm"]["even"]
    assert summary["would_do"]["slices"] == 25
    assert summary["would_do"]["output_mb"] == pytest.approx(25 * 12 * 10 * 2 / 1e6)
    text = describe_summary(summary)
    assert "slices every 5 mm" in text
    best = ranked_methods()[-1].name
    assert f"25 slices every 1.25 mm (18 synthetic, by {best})" in text


def test_what_would_be_refused_is_said_before_any_work(tmp_path):
    geometry = make_geometry([0.0, 40.0])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    hrinet.write(volume, tmp_path / "in.nii")
    summary = summarize(tmp_path / "in.nii", Options())
    assert "--max-gap 41" in summary["would_do"]["refused"]
    assert "would refuse: the gap between slices 0 and 1" in describe_summary(summary)


def test_the_estimate_holds_for_a_real_scan(tmp_path):
    summary = summarize(ct("cases/ge_variable_tilt_and_spacing"), Options())
    text = describe_summary(summary)
    assert summary["volume"]["tilt_deg"] == pytest.approx(18.5, abs=0.01)
    assert "slices every 1.081 mm to 6.999 mm (median 4.002 mm)" in text
    assert 100 < summary["would_do"]["estimated_peak_mb"] < 600
    assert summary["would_do"]["synthetic"] == 270


def test_the_best_quality_takes_longer(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    if ranked_methods()[-1].name != "hrinet-flow":
        pytest.skip("hrinet-flow is not here")
    standard, best = (
        summarize(
            tmp_path / "in.nii",
            Options(request=Request(factor=100), quality=quality),
        )["would_do"]["estimated_seconds"]
        for quality in ("standard", "best")
    )
    assert 5 < best / standard < 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Options(method="foo"), "no method 'foo'"),
        (Options(request=Request(spacing=-3.0)), "spacing must be a positive number of mm"),
        (Options(request=Request(spacing=float("nan"))), "spacing must be a positive number"),
        (Options(request=Request(spacing=10**400)), "spacing must be a positive number"),
        (Options(request=Request(factor=0)), "factor must be 1 to 256, got 0"),
        (Options(request=Request(factor=3, spacing=1.5)), "factor 3 and spacing 1.5 mm contradict"),
    ],
)
def test_wrong_options_are_an_error_and_no_finding(tmp_path, thick, options, message):
    hrinet.write(thick, tmp_path / "in.nii")
    with pytest.raises(RequestError, match=message):
        summarize(tmp_path / "in.nii", options)

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import hrinet
from conftest import make_geometry
from hrinet.job import Options, prepare
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
from hrinet.report.description import describe
from hrinet.report.wording import describe_result


@pytest.fixture
def report(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    options = Options(method="linear", request=Request(spacing=1.2))
    return interpolate_file(tmp_path / "in.nii", Outputs(volume=tmp_path / "o.nii"), options)


def test_a_grid_off_the_originals_is_explained(report):
    text = describe_result(report)
    assert "2 original and unchanged, 24 synthetic by linear" in text
    assert "2 of 7 original slices lie on the uniform 1.2 mm grid" in " ".join(text.split())
    assert all(len(line) <= 130 for line in text.splitlines())


def test_a_single_original_on_the_grid_is_one(tmp_path, thick):
    hrinet.write(thick, tmp_path / "in.nii")
    options = Options(method="linear", request=Request(spacing=6.7))
    report = interpolate_file(tmp_path / "in.nii", Outputs(volume=tmp_path / "o.nii"), options)
    text = " ".join(describe_result(report).split())
    assert "1 of 7 original slices lies on the uniform 6.7 mm grid and is kept exactly" in text


@pytest.mark.parametrize(
    ("start", "stop", "expected"),
    [
        (0, None, "5 slices every 5 mm to 10 mm -> "),
        (0, 3, "3 of 5 slices every 5 mm -> "),
        (1, None, "4 of 5 slices every 5 mm to 10 mm -> "),
    ],
)
def test_the_first_line_tells_the_slices_that_were_used(start, stop, expected):
    geometry = make_geometry([0.0, 5.0, 10.0, 17.0, 27.0])
    volume = hrinet.Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    job = prepare(volume, Options(method="linear", request=Request(start=start, stop=stop)))
    report = {**describe(job), "seconds": 1.0, "output": "o", "sidecar": "o.json"}
    assert describe_result(report).startswith(expected)


def test_slices_that_slide_are_not_called_uneven():
    geometry = make_geometry([0.0, 5.0, 10.0, 15.0])
    origins = geometry.origins.copy()
    origins[2, 0] += 1.0
    geometry = replace(geometry, origins=origins)
    assert not geometry.is_uniform
    volume = hrinet.Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    job = prepare(volume, Options(method="linear"))
    report = {**describe(job), "seconds": 1.0, "output": "o", "sidecar": "o.json"}
    assert describe_result(report).startswith("4 slices every 5 mm -> ")


def test_what_was_moved_is_not_called_unchanged(report):
    report["request"]["untilt"] = True
    assert "2 original and moved in their plane" in describe_result(report)


def test_nothing_to_fill_and_other_volumes(report):
    report["plan"]["synthetic"] = 0
    report["alternatives"] = [f"1.2.{k}: 5 slices" for k in range(30)]
    assert "Nothing to fill" not in describe_result(report)  # Originals were left out.
    report["plan"]["dropped_originals"] = []
    text = describe_result(report)
    assert "Nothing to fill" in text
    assert "1.2.19: 5 slices" in text
    assert "and 10 more" in text

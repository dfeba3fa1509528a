from __future__ import annotations

import pytest

import hrinet
from hrinet.job import Options
from hrinet.pipeline import Outputs, interpolate_file
from hrinet.plan.plan import Request
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

from __future__ import annotations

import numpy as np
import pytest

from hrinet.errors import RequestError
from hrinet.plan.gaps import GapLimits, inspect_gaps

REGULAR = [5.0 * k for k in range(20)]


def test_regular_slices_give_no_remarks():
    report = inspect_gaps(REGULAR, GapLimits())
    assert report.is_even
    assert report.median_mm == 5
    assert not report.flags
    assert not report.notes


@pytest.mark.parametrize("missing", [1, 2, 3])
def test_missing_slices_are_counted(missing):
    positions = np.delete(REGULAR, range(8, 8 + missing)).tolist()
    report = inspect_gaps(positions, GapLimits())
    assert report.missing == {7: missing}
    assert f"{missing} slice" in report.flags[7]
    assert "between slices 7 and 8" in report.flags[7]


def test_slice_numbers_count_from_the_whole_input():
    report = inspect_gaps([0, 5, 15, 20], GapLimits(), first_index=10)
    assert "between slices 11 and 12" in report.flags[1]


def test_a_change_of_spacing_half_way_is_no_defect():
    positions = np.cumsum([0.0, *[4.0] * 10, *[7.0] * 10]).tolist()
    report = inspect_gaps(positions, GapLimits())
    assert not report.flags
    assert not report.is_even
    assert report.notes == ("slices lie at uneven distances: 10 x 4.000 mm, 10 x 7.000 mm",)


def test_wide_gaps_are_flagged_and_wider_ones_refused():
    report = inspect_gaps([0, 15, 30, 45], GapLimits())
    assert len(report.flags) == 3
    report.refuse(strict=False)
    with pytest.raises(RequestError, match=r"--strict: the gap between slices 0 and 1 is 15 mm"):
        report.refuse(strict=True)
    report = inspect_gaps([0, 30, 60], GapLimits())
    with pytest.raises(RequestError, match=r"30 mm wide, the limit is 25 mm .* --max-gap 31"):
        report.refuse(strict=False)


def test_a_limit_in_mm_alone_is_named_alone():
    limits = GapLimits(refuse_mm=8, refuse_ratio=float("inf"))
    with pytest.raises(RequestError, match=r"the limit is 8 mm; choose .* --max-gap 11"):
        inspect_gaps([0, 10, 20], limits).refuse(strict=False)
    with pytest.raises(RequestError, match=r"the limit is 25 mm and 5 times; choose"):
        inspect_gaps([0, 30, 60], GapLimits()).refuse(strict=False)


def test_a_gap_many_times_its_surroundings_is_refused():
    positions = [0, 1, 2, 3, 9.5, 10.5, 11.5]
    with pytest.raises(RequestError, match=r"6\.5 times those around it"):
        inspect_gaps(positions, GapLimits()).refuse(strict=False)


def test_many_flags_are_summed_up():
    report = inspect_gaps([15.0 * k for k in range(30)], GapLimits())
    assert len(report.notes) == 5
    assert report.notes[-1] == "and 25 more such gaps, flagged likewise"

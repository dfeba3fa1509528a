from __future__ import annotations

import pytest

from hrinet.commands.progress import progress_bar


def test_nothing_is_shown_to_nobody(capsys):
    for options in ({}, {"hidden": True, "forced": True}):
        with progress_bar("slices", unit="slices", **options) as update:
            assert update is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("start", [0, 40])
def test_the_bar_counts_and_names_its_unit(capsys, start):
    with progress_bar("slices", unit="slices", forced=True) as update:
        for done in range(start + 1, 51):
            update(done, 50, "stage 2")
    shown = capsys.readouterr().err
    assert "50/50" in shown
    assert "slices/s" in shown or "s/slices" in shown
    assert "stage 2" in shown

"""Resampling, marks and orientation of pictures."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.geometry import Geometry
from hrinet.report import drawing


def test_letters_of_the_three_views() -> None:
    geometry = Geometry(
        origins=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),
        row_direction=np.array([1.0, 0.0, 0.0]),
        column_direction=np.array([0.0, 1.0, 0.0]),
        pixel_spacing=(1.0, 1.0),
        rows=4,
        columns=4,
    )
    letters = {view.plane: view.letters for view in drawing.views_of(geometry)}
    assert letters == {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "H", "F"),
        "sagittal": ("A", "P", "H", "F"),
    }


@pytest.mark.parametrize(
    ("at_most", "expected"), [(1.0, 1), (4.9, 2), (73, 50), (0.3, 0.2), (199, 100), (5, 5)]
)
def test_scale_bars_have_round_lengths(at_most: float, expected: float) -> None:
    assert drawing.round_length(at_most) == pytest.approx(expected)


def test_cells_meet_half_way_and_reach_as_far_beyond() -> None:
    edges = drawing.cell_edges(np.array([0.0, 2.0, 8.0]), 1.0)
    assert edges.tolist() == [-1.0, 1.0, 5.0, 11.0]
    assert drawing.cell_edges(np.array([3.0]), 4.0).tolist() == [1.0, 5.0]


def test_slices_fill_their_cells() -> None:
    profiles = np.array([[10], [200]], np.uint8)
    picture = drawing.stacked(profiles, np.array([0.0, 2.0, 8.0]), (-2.0, 8.0), 10, 1)
    assert picture[:, 0].tolist() == [0] * 2 + [10] * 2 + [200] * 6


def test_many_slices_a_pixel_are_averaged() -> None:
    profiles = np.tile(np.array([[0], [200]], np.uint8), (50, 1))
    picture = drawing.stacked(profiles, np.arange(101.0), (0.0, 100.0), 10, 1)
    assert picture[:, 0].tolist() == [100] * 10


def test_displaced_lines_keep_their_length_and_are_black_outside() -> None:
    lines = np.full((3, 20), 200, np.uint8)
    starts = np.array([0.0, 2.5, 10.0])
    picture = drawing.displaced(lines, starts, 10.0, 20.0, 40)
    assert picture.shape == (3, 40)
    for start, row in zip(starts, picture, strict=True):
        first = int(start * 2)
        assert (row[first : first + 20] == 200).all()
        assert row.sum() == 20 * 200


@pytest.mark.parametrize("width", [25, 60, 100, 333])
@pytest.mark.parametrize("start", [0.0, 1.3, 7.77, 12.0])
def test_displaced_lines_lie_where_they_should(width: int, start: float) -> None:
    pixels = np.arange(60)
    line = np.rint(250 * np.exp(-((pixels - 21.0) ** 2) / 18)).astype(np.uint8)
    row = drawing.displaced(line[None], np.array([start]), 30.0, 42.0, width)[0].astype(float)
    centre = (np.arange(width) + 0.5) @ row / row.sum() / width * 42.0
    assert centre == pytest.approx(start + 21.5 / 60 * 30.0, abs=0.06)


def test_displaced_lines_that_shrink_are_averaged() -> None:
    line = np.tile(np.array([0, 200], np.uint8), 200)
    row = drawing.displaced(line[None], np.array([0.0]), 40.0, 40.0, 40)[0]
    np.testing.assert_allclose(row[1:-1], 100, atol=1)


def test_displaced_lines_that_grow_are_smooth() -> None:
    line = np.array([0, 100, 200], np.uint8)
    row = drawing.displaced(line[None], np.array([0.0]), 30.0, 30.0, 30)[0].astype(int)
    assert np.all(np.diff(row) >= 0)
    assert np.diff(row).max() <= 11

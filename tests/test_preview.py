"""The before-and-after picture."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.report import drawing
from hrinet.report.drawing import Colour, Rect, views_of
from hrinet.report.preview import MAX_HEIGHT, MAX_WIDTH, Preview

Picture = NDArray[np.uint8]
X, Y, Z = np.eye(3)


def stack(
    positions: NDArray[np.float64] | list[float],
    *,
    rows: int = 60,
    columns: int = 80,
    spacing: tuple[float, float] = (2.0, 1.5),
    row_direction: NDArray[np.float64] = X,
    column_direction: NDArray[np.float64] = Y,
    advance: NDArray[np.float64] | None = None,
) -> Geometry:
    normal = np.cross(row_direction, column_direction) if advance is None else advance
    return Geometry(
        origins=np.array([position * normal for position in positions]),
        row_direction=row_direction,
        column_direction=column_direction,
        pixel_spacing=spacing,
        rows=rows,
        columns=columns,
    )


def ball(geometry: Geometry, radius: float) -> NDArray[np.int16]:
    """A ball in the middle of the stack, 200 HU in air."""
    row = (np.arange(geometry.rows) - (geometry.rows - 1) / 2) * geometry.pixel_spacing[0]
    column = (np.arange(geometry.columns) - (geometry.columns - 1) / 2) * geometry.pixel_spacing[1]
    position = geometry.positions_mm - geometry.positions_mm[[0, -1]].mean()
    square = position[:, None, None] ** 2 + row[:, None] ** 2 + column**2
    return np.where(square <= radius**2, 200, -1000).astype(np.int16)


def draw(
    path: Path,
    geometry: Geometry,
    array: NDArray[np.int16],
    *,
    synthetic: set[int] | None = None,
    flagged: set[int] | None = None,
    **options: object,
) -> tuple[Preview, Picture]:
    preview = Preview(geometry=geometry, **options)  # type: ignore[arg-type]
    for index, values in enumerate(array):
        preview.add(
            values,
            position_mm=float(geometry.positions_mm[index]),
            is_synthetic=index in (synthetic or set()),
            flagged=index in (flagged or set()),
        )
    preview.save(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        return preview, np.asarray(image.convert("RGB"))


def inside(picture: Picture, rect: Rect) -> Picture:
    return picture[rect.top : rect.bottom, rect.left : rect.right]


def bright_box(picture: Picture, rect: Rect) -> tuple[float, float, float, float]:
    """Bounding box of what is bright in a panel (letters are thinner than it): x, y, w, h."""
    bright = inside(picture, rect)[..., 0] > 128
    rows = np.flatnonzero(bright.sum(axis=1) > 0.12 * rect.width)
    columns = np.flatnonzero(bright.sum(axis=0) > 0.12 * rect.height)
    return columns[0], rows[0], np.ptp(columns) + 1, np.ptp(rows) + 1


def marks(picture: Picture, rect: Rect, colour: Colour) -> NDArray[np.intp]:
    """Rows of the panel at whose right edge there is a mark of a colour."""
    beside = picture[rect.top : rect.bottom, rect.right + 3 : rect.right + 26]
    return np.flatnonzero((beside == colour).all(axis=2).any(axis=1))


def every(step: int, count: int) -> set[int]:
    return {index for index in range(count) if index % step}


def test_the_picture_has_six_panels_inside_it(tmp_path: Path) -> None:
    geometry = stack(np.arange(31.0))
    preview, picture = draw(
        tmp_path / "p.png", geometry, ball(geometry, 12), synthetic=every(5, 31)
    )
    height, width = picture.shape[:2]
    planes = ("axial", "coronal", "sagittal")
    assert list(preview.layout) == [(side, p) for p in planes for side in ("before", "after")]
    for rect in preview.layout.values():
        assert 0 <= rect.left < rect.right <= width
        assert 0 <= rect.top < rect.bottom <= height


def test_a_ball_is_round_in_every_panel(tmp_path: Path) -> None:
    geometry = stack(np.arange(0, 120.5, 0.5), rows=100, columns=220, spacing=(1.6, 0.7))
    array = ball(geometry, 35)
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=every(2, len(array)))
    sizes = []
    for rect in preview.layout.values():
        _, _, width, height = bright_box(picture, rect)
        assert width == pytest.approx(height, rel=0.12)
        sizes.append(width)
    assert np.ptp(sizes) < 0.15 * np.mean(sizes)  # One scale in all panels.


def test_uneven_slices_are_drawn_at_their_true_positions(tmp_path: Path) -> None:
    positions = np.sort(np.r_[np.arange(0, 60, 1.0), np.arange(60, 121, 5.0)])
    geometry = stack(positions, rows=100, columns=100, spacing=(1.2, 1.2))
    preview, picture = draw(tmp_path / "p.png", geometry, ball(geometry, 40))
    _, _, width, height = bright_box(picture, preview.layout["after", "coronal"])
    assert width == pytest.approx(height, rel=0.1)


def test_marks_are_at_the_right_rows(tmp_path: Path) -> None:
    positions = np.arange(0, 62.0, 2.0)
    geometry = stack(positions)
    synthetic = every(5, 31)
    preview, picture = draw(
        tmp_path / "p.png", geometry, ball(geometry, 12), synthetic=synthetic, flagged={6, 7, 10}
    )
    for plane in ("coronal", "sagittal"):
        after = preview.layout["after", plane]
        scale = after.height / (positions[-1] + 10)  # Thick cells reach 5 mm beyond both ends.

        def expected(
            indices: set[int], scale: float = scale, height: int = after.height
        ) -> NDArray[np.float64]:
            return np.sort(height - (positions[sorted(indices)] + 5) * scale)

        for colour, indices in (
            (drawing.SYNTHETIC, synthetic - {6, 7}),
            (drawing.FLAGGED, {6, 7}),
            (drawing.ORIGINAL, set(range(0, 31, 5))),  # An original is never flagged.
        ):
            found = marks(picture, after, colour)
            assert len(found) == len(indices)
            np.testing.assert_allclose(found, expected(indices), atol=1.5)
        before = preview.layout["before", plane]
        assert len(marks(picture, before, drawing.SYNTHETIC)) == 0
        assert len(marks(picture, before, drawing.ORIGINAL)) == 7


@pytest.mark.parametrize("way", [1, -1])
def test_superior_is_on_top_whichever_way_slices_count(tmp_path: Path, way: int) -> None:
    # A bright slab at the head end; the in-plane axes stay as they are.
    geometry = stack(np.arange(20.0) * 3, advance=way * Z)
    array = np.full(geometry.shape, -1000, np.int16)
    head = geometry.origins[:, 2] > geometry.origins[:, 2].mean() + 12
    array[head] = 240
    preview, picture = draw(tmp_path / "p.png", geometry, array)
    for plane in ("coronal", "sagittal"):
        rect = preview.layout["after", plane]
        panel = inside(picture, rect)[..., 0]
        assert panel[: rect.height // 4].mean() > 200
        assert panel[-rect.height // 3 :].mean() < 20


@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
def test_right_is_left_and_anterior_is_up(tmp_path: Path, flip: tuple[int, int]) -> None:
    geometry = stack(
        np.arange(30.0) * 2, row_direction=flip[0] * X, column_direction=flip[1] * Y, advance=Z
    )
    row, column = np.mgrid[: geometry.rows, : geometry.columns]
    to_left = (column - 39.5) * flip[0] * 1.5
    to_back = (row - 29.5) * flip[1] * 2
    # Bright at the patient's right and front.
    array = np.broadcast_to(
        np.where((to_left < -5) & (to_back < -5), 240, -1000).astype(np.int16), geometry.shape
    )
    preview, picture = draw(tmp_path / "p.png", geometry, array, centre=(30 - flip[1] * 15, 40))
    axial = preview.layout["after", "axial"]
    x, y, width, height = bright_box(picture, axial)
    assert x + width / 2 < 0.35 * axial.width
    assert y + height / 2 < 0.35 * axial.height
    coronal = preview.layout["after", "coronal"]
    x, _, width, _ = bright_box(picture, coronal)
    assert x + width / 2 < 0.35 * coronal.width


def test_the_front_is_on_the_left_of_sagittal_views(tmp_path: Path) -> None:
    geometry = stack(np.arange(30.0) * 2)
    array = np.full(geometry.shape, -1000, np.int16)
    array[:, :20] = 240
    preview, picture = draw(tmp_path / "p.png", geometry, array)
    x, _, width, _ = bright_box(picture, preview.layout["after", "sagittal"])
    assert x + width / 2 < 0.3 * preview.layout["after", "sagittal"].width


def test_letters_of_the_three_views() -> None:
    letters = {view.plane: view.letters for view in views_of(stack([0.0, 1.0]))}
    assert letters == {
        "axial": ("R", "L", "A", "P"),
        "coronal": ("R", "L", "H", "F"),
        "sagittal": ("A", "P", "H", "F"),
    }


@pytest.mark.parametrize(
    ("row_direction", "column_direction", "order"),
    [
        (X, Y, ("axial", "coronal", "sagittal")),
        (X, -Z, ("coronal", "axial", "sagittal")),
        (Y, -Z, ("sagittal", "axial", "coronal")),
        (-Y, Z, ("sagittal", "axial", "coronal")),
    ],
)
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_other_planes_show_the_same_corner_of_the_patient(
    tmp_path: Path,
    row_direction: NDArray[np.float64],
    column_direction: NDArray[np.float64],
    order: tuple[str, ...],
    degrees: float,
) -> None:
    angle = np.radians(degrees)
    turn = np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )
    geometry = stack(
        np.arange(48.0),
        rows=48,
        columns=48,
        spacing=(1.0, 1.0),
        row_direction=turn @ row_direction,
        column_direction=turn @ column_direction,
    )
    index = np.stack(np.meshgrid(*[np.arange(48.0) - 23.5] * 3, indexing="ij"), axis=-1)
    axes = np.stack([geometry.normal, geometry.column_direction, geometry.row_direction])
    point = index @ axes @ turn
    # Bright at the right, front and top of the patient, with the centre planes within.
    array = np.where(
        (point[..., 0] < 2) & (point[..., 1] < 2) & (point[..., 2] > -2), 240, -1000
    ).astype(np.int16)
    preview, picture = draw(tmp_path / "p.png", geometry, array, middle_mm=24.0)
    assert tuple(plane for _, plane in list(preview.layout)[::2]) == order
    for plane in order:
        rect = preview.layout["after", plane]
        panel = inside(picture, rect)[..., 0]
        corner = panel[: rect.height // 2, : rect.width // 2]
        # Axial and coronal: right front or right top; sagittal: front top.
        assert corner.mean() > 150
        assert panel[rect.height * 3 // 4 :, rect.width * 3 // 4 :].mean() < 60


def test_stacks_across_the_picture_are_marked_below(tmp_path: Path) -> None:
    geometry = stack(np.arange(40.0), row_direction=Y, column_direction=-Z)
    array = np.zeros(geometry.shape, np.int16)
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=every(2, 40))
    rect = preview.layout["after", "coronal"]
    below = picture[rect.bottom + 3 : rect.bottom + 14, rect.left : rect.right]
    marked = (below == drawing.SYNTHETIC).all(axis=2).any(axis=0)
    assert marked.sum() == 20


def test_the_synthetic_slice_shown_is_in_the_middle_of_the_middle_gap(tmp_path: Path) -> None:
    geometry = stack(np.arange(0, 41.0))
    array = np.full(geometry.shape, -1000, np.int16)
    array[20], array[22] = 40, 240  # The middle original, and between it and the one at 25.
    preview, picture = draw(
        tmp_path / "p.png", geometry, array, synthetic=every(5, 41), source_spacing_mm=5.0
    )
    for side, expected in (("before", 128), ("after", 255)):
        assert np.median(inside(picture, preview.layout[side, "axial"])) == pytest.approx(
            expected, abs=1
        )


def test_synthetic_slices_do_not_enter_the_left_column(tmp_path: Path) -> None:
    geometry = stack(np.arange(0, 41.0))
    array = np.full(geometry.shape, -1000, np.int16)
    array[sorted(every(5, 41))] = 240
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=every(5, 41))
    for plane in ("axial", "coronal", "sagittal"):
        rect = preview.layout["before", plane]
        panel = inside(picture, rect)
        assert panel[30:-30, 30:-30].max() == 0  # Within the letters.
    assert inside(picture, preview.layout["after", "coronal"]).mean() > 128


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (8, 8)])
def test_few_slices_and_tiny_images(tmp_path: Path, count: int, shape: tuple[int, int]) -> None:
    geometry = stack(np.arange(count) * 5.0, rows=shape[0], columns=shape[1])
    array = np.zeros(geometry.shape, np.int16)
    _, picture = draw(tmp_path / "p.png", geometry, array, synthetic={1}, flagged={1})
    assert picture.shape[1] <= MAX_WIDTH
    assert picture.shape[0] <= MAX_HEIGHT


@pytest.mark.parametrize("synthetic", [set(), set(range(12))])
def test_all_or_nothing_synthetic(tmp_path: Path, synthetic: set[int]) -> None:
    geometry = stack(np.arange(12.0))
    array = np.full(geometry.shape, 240, np.int16)
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=synthetic)
    assert inside(picture, preview.layout["after", "axial"]).mean() > 200
    before = inside(picture, preview.layout["before", "coronal"]).mean()
    assert before < 30 if synthetic else before > 200


def test_one_original_among_synthetic_slices(tmp_path: Path) -> None:
    geometry = stack(np.arange(12.0))
    array = np.zeros(geometry.shape, np.int16)
    preview, _ = draw(tmp_path / "p.png", geometry, array, synthetic=set(range(1, 12)))
    assert preview.layout


def test_a_huge_stack_gives_a_bounded_picture_in_bounded_memory(tmp_path: Path) -> None:
    geometry = stack(np.arange(2500) * 0.5, rows=1024, columns=1024, spacing=(0.5, 0.5))
    values = np.zeros((1024, 1024), np.int16)
    preview = Preview(geometry=geometry, source_spacing_mm=1.0)
    tracemalloc.start()
    for index, position in enumerate(geometry.positions_mm):
        preview.add(values, position_mm=float(position), is_synthetic=index % 2 == 1)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 2500 * 2 * (1024 + 300) + 4 * 2**20  # Two lines a slice and three slices.
    assert peak < kept + 16 * 2**20
    preview.save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        assert image.width <= MAX_WIDTH
        assert image.height <= MAX_HEIGHT


def test_the_values_are_not_kept(tmp_path: Path) -> None:
    geometry = stack(np.arange(5.0))
    preview = Preview(geometry=geometry)
    buffer = np.full((60, 80), 240, np.int16)
    for position in range(5):
        preview.add(buffer, position_mm=float(position), is_synthetic=False)
    buffer[:] = -1000
    preview.save(tmp_path / "p.png")
    with Image.open(tmp_path / "p.png") as image:
        picture = np.asarray(image)
    for rect in preview.layout.values():
        assert inside(picture, rect).mean() > 200


def test_the_window_is_applied_and_float_with_nan_is_fine(tmp_path: Path) -> None:
    geometry = stack(np.arange(6.0))
    array = np.full(geometry.shape, 25.0, np.float32)
    array[:, :4, :4] = np.nan
    preview, picture = draw(tmp_path / "p.png", geometry, array, window=(0.0, 100.0))  # type: ignore[arg-type]
    assert np.median(inside(picture, preview.layout["after", "coronal"])) == pytest.approx(
        64, abs=1
    )


def test_the_same_slices_give_the_same_bytes(tmp_path: Path) -> None:
    geometry = stack(np.arange(12.0))
    for name in ("a", "b"):
        draw(tmp_path / f"{name}.png", geometry, ball(geometry, 5), synthetic=every(3, 12))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_long_texts_stay_inside(tmp_path: Path) -> None:
    geometry = stack(np.arange(12.0))
    preview, picture = draw(
        tmp_path / "p.png",
        geometry,
        ball(geometry, 5),
        synthetic=every(3, 12),
        source_spacing_mm=3.0,
        method="some method with a long name",
        title="A title that is somewhat longer than what usually stands here",
    )
    assert preview.layout
    assert (picture[:, -30:] == drawing.BACKGROUND).all()


def test_bad_arguments_are_refused(tmp_path: Path) -> None:
    geometry = stack(np.arange(3.0))
    with pytest.raises(RequestError, match="centre"):
        Preview(geometry=geometry, centre=(60, 0))
    with pytest.raises(RequestError, match="window"):
        Preview(geometry=geometry, window=(5.0, 5.0))
    with pytest.raises(RequestError, match="at least one"):
        Preview(geometry=geometry).save(tmp_path / "p.png")


@pytest.mark.parametrize(
    ("at_most", "expected"), [(1.0, 1), (4.9, 2), (73, 50), (0.3, 0.2), (199, 100), (5, 5)]
)
def test_scale_bars_have_round_lengths(at_most: float, expected: float) -> None:
    assert drawing.round_length(at_most) == pytest.approx(expected)

"""The before-and-after picture."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.report import drawing
from hrinet.report.drawing import Colour, Pen, Rect
from hrinet.report.panels import MAX_HEIGHT, MAX_WIDTH, spacing_words
from hrinet.report.preview import Preview

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
    shear: tuple[float, float] = (0.0, 0.0),
) -> Geometry:
    normal = np.cross(row_direction, column_direction) if advance is None else advance
    normal = normal + shear[0] * row_direction + shear[1] * column_direction
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
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=every(5, 41))
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
    preview = Preview(geometry=geometry, source_geometry=stack(geometry.positions_mm[::2]))
    tracemalloc.start()
    for index, position in enumerate(geometry.positions_mm):
        if index % 2 == 0:
            preview.add_source(values, position_mm=float(position))
        preview.add(values, position_mm=float(position), is_synthetic=index % 2 == 1)
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Two lines of every slice, and four slices.
    assert kept < (2500 + 1250) * 2 * (1024 + 300) + 5 * 2**20
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


# Source slices

UNEVEN = np.r_[np.arange(0.0, 40.0, 4.0), 37.1, np.arange(44.1, 90.0, 7.0)]


def fill(
    source: Geometry,
    values: NDArray[np.int16],
    *,
    step: float = 1.5,
    order: Iterable[int] | None = None,
    threads: int = 0,
    **options: object,
) -> Preview:
    """A preview of every source slice and of grey output slices on a uniform grid."""
    positions = np.arange(0.0, source.positions_mm[-1] + 1e-9, step)
    options = {"geometry": source.at_positions(positions.tolist()), **options}
    preview = Preview(source_geometry=source, **options)  # type: ignore[arg-type]

    def give(index: int) -> None:
        preview.add_source(values[index], position_mm=float(source.positions_mm[index]))

    indices = range(len(source)) if order is None else order
    if threads:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(give, indices))
    else:
        for index in indices:
            give(index)
    for position in positions:
        is_original = bool(np.any(np.abs(source.positions_mm - position) < 1e-6))
        grey = np.full((source.rows, source.columns), 40, np.int16)
        preview.add(grey, position_mm=float(position), is_synthetic=not is_original)
    return preview


def saved(preview: Preview, path: Path) -> Picture:
    preview.save(path)
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_originals_that_are_not_in_the_output_appear_before(tmp_path: Path) -> None:
    source = stack(UNEVEN)
    array = np.full(source.shape, -1000, np.int16)
    array[12] = 240  # At 51.1 mm, off the grid of 1.5 mm.
    preview = fill(source, array)
    picture = saved(preview, tmp_path / "p.png")
    for plane in ("coronal", "sagittal"):
        rect = preview.layout["before", plane]
        scale = preview.layout["before", "axial"].width / (80 * 1.5)
        bright = inside(picture, rect)[:, 30 : rect.width // 3, 0].mean(axis=1) > 128
        rows = np.flatnonzero(bright)
        # Its cell reaches half-way to 44.1 and 58.1 mm; the picture ends half a gap above the last.
        top = UNEVEN[-1] + 3.5
        assert rows[0] == pytest.approx((top - 54.6) * scale, abs=1.5)
        assert rows[-1] == pytest.approx((top - 47.6) * scale, abs=1.5)
        ticks = marks(picture, rect, drawing.ORIGINAL)
        assert len(ticks) == len(UNEVEN)
        np.testing.assert_allclose(ticks, np.sort((top - UNEVEN) * scale), atol=1.5)
        assert len(marks(picture, rect, drawing.SYNTHETIC)) == 0
        after = preview.layout["after", plane]
        assert (after.width, after.height) == (rect.width, rect.height)
        assert len(marks(picture, after, drawing.ORIGINAL)) < len(UNEVEN) - 2


def test_the_source_slice_nearest_the_middle_is_shown_before(tmp_path: Path) -> None:
    source = stack(UNEVEN)
    array = np.full(source.shape, -1000, np.int16)
    array[11] = 40  # At 44.1 mm; the middle is at 43 mm.
    preview = fill(source, array)
    picture = saved(preview, tmp_path / "p.png")
    assert np.median(inside(picture, preview.layout["before", "axial"])) == 128


def test_the_order_and_the_threads_of_source_slices_do_not_matter(tmp_path: Path) -> None:
    source = stack(UNEVEN, shear=(0.1, 0.3))
    array = np.random.default_rng(5).integers(-300, 400, source.shape).astype(np.int16)
    names = []

    def keep(preview: Preview) -> None:
        names.append(tmp_path / f"{len(names)}.png")
        preview.save(names[-1])

    keep(fill(source, array))
    keep(fill(source, array, order=range(len(source) - 1, -1, -1)))
    for seed in range(4):
        order = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(source)), 3))
        keep(fill(source, array, order=order.tolist(), threads=8))
    assert len({name.read_bytes() for name in names}) == 1


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 1, 0, 3)])
def test_of_two_slices_as_near_to_the_middle_the_lower_is_shown(
    tmp_path: Path, order: tuple[int, ...]
) -> None:
    source = stack([0.0, 3.0, 6.0, 9.0])
    array = np.full(source.shape, -1000, np.int16)
    array[1], array[2] = 40, 240
    preview = fill(source, array, order=order)
    picture = saved(preview, tmp_path / "p.png")
    assert np.median(inside(picture, preview.layout["before", "axial"])) == 128


def test_a_source_slice_given_again_changes_nothing(tmp_path: Path) -> None:
    source = stack(UNEVEN)
    array = np.full(source.shape, 40, np.int16)
    preview = fill(source, array)
    for position in UNEVEN:
        preview.add_source(np.full((60, 80), 240, np.int16), position_mm=float(position))
    preview.save(tmp_path / "twice.png")
    fill(source, array).save(tmp_path / "once.png")
    assert (tmp_path / "once.png").read_bytes() == (tmp_path / "twice.png").read_bytes()


def test_without_source_slices_the_originals_of_the_output_are_shown(tmp_path: Path) -> None:
    source = stack(UNEVEN)
    preview = fill(source, np.zeros(source.shape, np.int16), order=())
    picture = saved(preview, tmp_path / "p.png")
    kept = int(np.sum(UNEVEN % 1.5 == 0))
    assert 0 < kept < len(UNEVEN)
    ticks = marks(picture, preview.layout["before", "coronal"], drawing.ORIGINAL)
    assert len(ticks) == kept


def test_source_slices_without_their_geometry(tmp_path: Path) -> None:
    geometry = stack(np.arange(0.0, 31.0))
    preview = Preview(geometry=geometry)
    for position in (0.0, 15.0, 30.0):
        preview.add_source(np.full((60, 80), 240, np.int16), position_mm=position)
    for position in geometry.positions_mm:
        preview.add(np.zeros((60, 80), np.int16), position_mm=float(position), is_synthetic=True)
    picture = saved(preview, tmp_path / "p.png")
    rect = preview.layout["before", "coronal"]
    assert len(marks(picture, rect, drawing.ORIGINAL)) == 3
    assert inside(picture, rect)[..., 0].mean() > 200


def test_texts_speak_of_the_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts: list[str] = []
    monkeypatch.setattr(Pen, "text", lambda self, x, y, text, **_: texts.append(text))
    source = stack(UNEVEN)
    fill(source, np.zeros(source.shape, np.int16)).save(tmp_path / "p.png")
    assert "18 slices, 1.1 to 7.0 mm apart" in texts
    assert "axial, original slice at 44.10 mm" in texts
    # Between 44.1 and 51.1 mm; neither is in the output.
    assert "axial, synthetic slice at 48.00 mm, t = 0.56" in texts
    texts.clear()
    source = stack(np.arange(28) * 4.0)
    fill(source, np.zeros(source.shape, np.int16), step=1.0).save(tmp_path / "p.png")
    assert "28 slices every 4.0 mm" in texts
    assert "axial, original slice at 52.00 mm" in texts
    assert "axial, synthetic slice at 54.00 mm, t = 0.50" in texts


@pytest.mark.parametrize(
    ("positions", "expected"),
    [
        ([5.0], ("", True)),
        ([0, 2.5], ("2.5 mm", True)),
        ([0, 0.625, 1.25], ("0.62 mm", True)),
        ([0, 3.001, 5.999, 9], ("3.0 mm", True)),
        ([0, 1.08, 8.08], ("1.1 to 7.0 mm", False)),
        ([0, 0.5, 1.5], ("0.50 to 1.00 mm", False)),
        ([0, 2.0, 4.04, 6.09], ("2.00 to 2.05 mm", False)),
    ],
)
def test_words_for_the_spacing(positions: list[float], expected: tuple[str, bool]) -> None:
    assert spacing_words(np.array(positions)) == expected


# Tilted stacks

TILT = float(np.tan(np.radians(18.5)))


def plate(
    geometry: Geometry, across: NDArray[np.float64], along: NDArray[np.float64]
) -> NDArray[np.int16]:
    """A plate 24 mm thick, 240 HU in air: across ``across``, running along ``along``.

    It goes through the middle of the stack and is evaluated at every voxel's place in the patient.
    """
    index = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape], indexing="ij"), axis=-1)
    row, column = (np.asarray(geometry.pixel_spacing)[k] * index[..., k + 1] for k in (0, 1))
    points = (
        geometry.origins[index[..., 0]]
        + row[..., None] * geometry.column_direction
        + column[..., None] * geometry.row_direction
    )
    normal = across - (across @ along) / (along @ along) * along
    normal /= np.linalg.norm(normal)
    middle = geometry.point(
        (len(geometry) - 1) / 2, (geometry.rows - 1) / 2, (geometry.columns - 1) / 2
    )
    # Voxels partly within are partly grey, or edges would be jagged by a voxel.
    cover = np.clip((12 - np.abs((points - middle) @ normal)) / 2 + 0.5, 0, 1)
    return np.rint(400 * cover - 160).astype(np.int16)


def centre_line(picture: Picture, rect: Rect) -> NDArray[np.float64]:
    """(row, column) of the middle of what is bright in rows of a panel, clear of the letters."""
    panel = inside(picture, rect)[..., 0].astype(float)
    rows = np.array([r for r in range(35, rect.height - 35) if abs(r - rect.height / 2) > 15])
    return np.stack([rows, panel[rows] @ np.arange(rect.width) / panel[rows].sum(axis=1)], axis=1)


@pytest.mark.parametrize("way", [1, -1])
@pytest.mark.parametrize("advance", [1, -1])
@pytest.mark.parametrize("plane", ["coronal", "sagittal"])
def test_a_rod_along_the_normal_of_a_tilted_stack_is_vertical(
    tmp_path: Path, plane: str, way: int, advance: int
) -> None:
    shear = (way * TILT, 0.0) if plane == "coronal" else (0.0, way * TILT)
    geometry = stack(
        np.arange(0.0, 100.5, 0.5),
        rows=90,
        columns=110,
        shear=shear,
        advance=advance * Z,
    )
    assert geometry.tilt_deg == pytest.approx(18.5)
    axis = X if plane == "coronal" else Y
    for along, degrees in ((geometry.normal, 0.0), (geometry.step, 18.5)):
        array = plate(geometry, axis, along)
        preview = fill(geometry, array, order=range(len(geometry)))
        picture = saved(preview, tmp_path / "p.png")
        line = centre_line(picture, preview.layout["before", plane])
        if degrees == 0:
            assert np.ptp(line[:, 1]) < 1.5
        slope, offset = np.polyfit(line[:, 0], line[:, 1], 1)
        assert np.degrees(np.arctan(abs(slope))) == pytest.approx(degrees, abs=0.2)
        assert np.abs(line[:, 1] - slope * line[:, 0] - offset).max() < 1.5
        if degrees:
            # Left to right is right to left of the patient, or front to back; up is to the head.
            assert np.sign(-slope) == np.sign(along @ axis) * np.sign(along[2])
        # The other view is not displaced at all.
        other = preview.layout["before", "sagittal" if plane == "coronal" else "coronal"]
        assert inside(picture, other)[10:-10, 40:-40, 0].size > 0
        scale = preview.layout["before", "axial"].width / (110 * 1.5)
        width = 90 * 2.0 if plane == "coronal" else 110 * 1.5
        assert other.width == pytest.approx(width * scale, abs=1)


def test_a_rod_is_level_where_the_stack_runs_across_the_picture(tmp_path: Path) -> None:
    geometry = stack(
        np.arange(0.0, 120.0, 0.5),
        rows=90,
        columns=100,
        row_direction=Y,
        column_direction=-Z,
        shear=(0.0, TILT),
    )
    array = plate(geometry, Z, geometry.normal)
    preview, picture = draw(tmp_path / "p.png", geometry, array)
    rect = preview.layout["after", "coronal"]
    turned = np.ascontiguousarray(picture.swapaxes(0, 1))
    line = centre_line(turned, Rect(rect.top, rect.left, rect.bottom, rect.right))
    assert np.ptp(line[:, 1]) < 1.5


def test_a_tilted_stack_is_widened_so_that_nothing_is_cut_off(tmp_path: Path) -> None:
    geometry = stack(np.arange(0.0, 100.5, 2.0), rows=90, columns=110, shear=(-0.2, TILT))
    preview, picture = draw(tmp_path / "p.png", geometry, np.full(geometry.shape, 240, np.int16))
    scale = preview.layout["after", "axial"].width / (110 * 1.5)
    height = preview.layout["after", "coronal"].height
    assert height == pytest.approx(102 * scale, abs=1)
    for plane, own, slide in (
        ("coronal", 110 * 1.5, 0.2 * 100),
        ("sagittal", 90 * 2, TILT * 100),
    ):
        rect = preview.layout["after", plane]
        assert rect.width == pytest.approx((own + slide) * scale, abs=1)
        panel = inside(picture, rect)[..., 0] > 128
        # Every slice keeps its length, the first and the last touch the borders.
        lengths = panel[[3, rect.height // 3, -4]].sum(axis=1)
        np.testing.assert_allclose(lengths, own * scale, atol=2)
        assert panel[-4 if plane == "sagittal" else 3, 0]
        assert panel[3 if plane == "sagittal" else -4, -1]
        assert not panel[3 if plane == "sagittal" else -4, : int(0.9 * slide * scale)].any()


def test_a_ball_is_round_in_a_tilted_stack(tmp_path: Path) -> None:
    geometry = stack(
        np.arange(0.0, 120.5, 0.5), rows=110, columns=220, spacing=(1.6, 0.7), shear=(0.0, TILT)
    )
    row, column = np.mgrid[:110, :220]
    array = np.empty(geometry.shape, np.int16)
    middle = geometry.point(120, 54.5, 109.5)
    for index, origin in enumerate(geometry.origins):
        x, y = origin[0] + column * 0.7 - middle[0], origin[1] + row * 1.6 - middle[1]
        square = x**2 + y**2 + (origin[2] - middle[2]) ** 2
        array[index] = np.where(square <= 35**2, 200, -1000)
    # Through the middle of the ball in all views but the coronal one, which follows its voxel.
    preview, picture = draw(tmp_path / "p.png", geometry, array, synthetic=every(2, len(array)))
    for side in ("before", "after"):
        for plane in ("axial", "sagittal"):
            _, _, width, height = bright_box(picture, preview.layout[side, plane])
            assert width == pytest.approx(height, rel=0.1)


def test_rounded_positions_do_not_make_a_stack_tilted(tmp_path: Path) -> None:
    straight = stack(np.arange(0.0, 41.0))
    origins = straight.origins.copy()
    origins[:, :2] += np.random.default_rng(2).uniform(-0.01, 0.01, (41, 2))
    rounded = Geometry(
        origins=origins, row_direction=X, column_direction=Y, pixel_spacing=(2.0, 1.5),
        rows=60, columns=80,
    )  # fmt: skip
    for name, geometry in (("a", straight), ("b", rounded)):
        draw(tmp_path / f"{name}.png", geometry, ball(geometry, 15), synthetic=every(5, 41))
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()

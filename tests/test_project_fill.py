"""What lies in the gaps of a projection."""

from __future__ import annotations

import numpy as np
import pytest

from hrinet.errors import RequestError
from hrinet.project.fill import fill_gaps
from hrinet.project.views import View, _rotation
from project_phantoms import ball, rasterized, stack
from test_project import only, places, width_and_height

TILT = float(np.tan(np.radians(18.5)))
UNEVEN = np.r_[np.arange(-36.0, 0.0, 3.0), np.arange(0.0, 37.0, 2.0)]


@pytest.mark.parametrize("view", [View.turned(0), View.turned(90), View.turned(50)])
@pytest.mark.parametrize(
    "geometry",
    [
        stack((17, 72, 72), spacing=(4.0, 1.0, 1.0)),
        stack((len(UNEVEN), 72, 72), positions=UNEVEN),
        stack((25, 100, 72), spacing=(3.0, 1.0, 1.0), shear=(TILT, 0.0)),
        stack(
            (len(UNEVEN), 100, 72),
            positions=UNEVEN,
            slides=UNEVEN * TILT + 1.5 * (np.abs(UNEVEN) > 10),
        ),
        stack((25, 72, 72), spacing=(3.0, 1.0, 1.0), turn=_rotation(0, 25)),
    ],
    ids=["even", "uneven", "tilted", "sliding", "oblique"],
)
def test_a_ball_stays_round(geometry: object, view: View) -> None:
    # Thin slices, so that linear interpolation between them is not blurred by their thickness.
    source = rasterized(geometry, ball(24), fine=2, slab=0.1)  # type: ignore[arg-type]
    filled = fill_gaps(source, "linear")
    assert filled.method == "linear"
    assert filled.volume.geometry.is_uniform
    assert filled.volume.geometry.spacing_mm == pytest.approx(1, rel=0.1)
    one = only(filled.volume, view)
    width, height = width_and_height(one)
    assert width == pytest.approx(height, rel=0.01)
    right, up = places(one)
    weights = one.values / one.values.sum()
    assert float((weights * right).sum()) == pytest.approx(0, abs=0.1)
    assert float((weights * up).sum()) == pytest.approx(0, abs=0.1)


def test_gaps_that_are_not_filled_are_empty() -> None:
    source = rasterized(stack((8, 20, 20), spacing=(3.0, 1.0, 1.0)), ball(50))
    filled = fill_gaps(source, "none")
    assert (filled.method, filled.originals, filled.is_blank) == ("none", 8, True)
    has_tissue = (filled.volume.array > -1000).any(axis=(1, 2))
    assert has_tissue.tolist() == [index % 3 == 0 for index in range(22)]
    np.testing.assert_array_equal(filled.volume.array[::3], source.array)


def test_uneven_originals_go_to_the_nearest_places() -> None:
    source = rasterized(stack((len(UNEVEN), 20, 20), positions=UNEVEN), ball(90))
    filled = fill_gaps(source, "none")
    positions = filled.volume.geometry.positions_mm
    has_tissue = (filled.volume.array > -1000).any(axis=(1, 2))
    nearest = np.abs(positions[:, None] - UNEVEN).min(axis=1)
    assert nearest[has_tissue].max() <= 0.5 * filled.volume.geometry.spacing_mm + 1e-6
    assert filled.originals == has_tissue.sum()


def test_nothing_is_done_to_voxels_that_are_cubes() -> None:
    source = rasterized(stack((12, 20, 20)), ball(8))
    for fill in ("auto", "none", "repeat"):
        filled = fill_gaps(source, fill)
        assert (filled.method, filled.originals, filled.is_blank) == ("", 12, False)
        np.testing.assert_array_equal(filled.volume.array, source.array)


def test_a_linear_fill_is_what_lines_between_slices_give() -> None:
    # Rays lie in the slices, so that interpolating before or after the sum is the same.
    rng = np.random.default_rng(4)
    geometry = stack((5, 16, 18), spacing=(4.0, 1.0, 1.0))
    source = rasterized(geometry, ball(3))
    source = type(source)(rng.integers(-900, 900, geometry.shape).astype(np.float32), geometry)
    one = only(fill_gaps(source, "linear").volume, View.turned(0))
    lines = (source.array.astype(float) + 1000).sum(axis=1)
    at = np.arange(17) / 4
    expected = np.stack([np.interp(at, np.arange(5), line) for line in lines.T], axis=1)[::-1]
    top, left = ((a - b) // 2 for a, b in zip(one.values.shape, expected.shape, strict=True))
    inner = one.values[top : top + 17, left : left + 18]
    np.testing.assert_allclose(inner, expected, rtol=1e-4)


def test_what_cannot_be_filled_is_refused() -> None:
    single = rasterized(stack((1, 8, 8)), ball(3))
    with pytest.raises(RequestError, match="single slice"):
        fill_gaps(single, "linear")
    wide = rasterized(stack((3, 8, 8), spacing=(60.0, 1.0, 1.0)), ball(3))
    with pytest.raises(RequestError, match="60"):
        fill_gaps(wide, "linear")
    assert len(fill_gaps(wide, "linear", max_gap_mm=80).volume) == 121
    with pytest.raises(RequestError, match="no method"):
        fill_gaps(wide, "nonsense", max_gap_mm=80)

"""From where projections are seen."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.errors import RequestError
from hrinet.project.views import View, direction_letters, parse_angles, parse_euler

X, Y, Z = np.eye(3)
DEGREES = st.floats(-720, 720, allow_nan=False)


@pytest.mark.parametrize(
    ("view", "right", "up", "ray", "letters", "plane"),
    [
        (View.turned(0), X, Z, Y, ("R", "L", "H", "F"), "coronal"),
        (View.turned(90), Y, Z, -X, ("A", "P", "H", "F"), "sagittal"),
        (View.turned(180), -X, Z, -Y, ("L", "R", "H", "F"), "coronal"),
        (View.turned(-90), -Y, Z, X, ("P", "A", "H", "F"), "sagittal"),
        (View.turned(0, 90), X, -Y, Z, ("R", "L", "A", "P"), "axial"),
        (View.turned(0, -90), X, Y, -Z, ("R", "L", "P", "A"), "axial"),
        (View.turned(0, 0, 90), -Z, X, Y, ("H", "F", "L", "R"), "coronal"),
    ],
)
def test_right_angles_are_exact(
    view: View,
    right: np.ndarray,
    up: np.ndarray,
    ray: np.ndarray,
    letters: tuple[str, ...],
    plane: str,
) -> None:
    np.testing.assert_array_equal(view.right, right)
    np.testing.assert_array_equal(view.up, up)
    np.testing.assert_array_equal(view.ray, ray)
    assert view.letters == letters
    assert view.plane == plane


@pytest.mark.parametrize(
    ("angle", "left", "right"),
    [(10, "R", "L"), (30, "RA", "LP"), (45, "RA", "LP"), (60, "AR", "PL"), (135, "LA", "RP")],
)
def test_between_them_two_letters_name_the_edges(angle: float, left: str, right: str) -> None:
    assert View.turned(angle).letters == (left, right, "H", "F")
    assert View.turned(angle).plane == ""


@settings(deadline=None)
@given(DEGREES, DEGREES, DEGREES)
def test_directions_are_orthonormal_and_not_mirrored(a: float, b: float, c: float) -> None:
    view = View.turned(a, b, c)
    frame = np.stack([view.right, view.ray, view.up])  # As x, y and z of the coronal view.
    np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(frame) == pytest.approx(1)


@settings(deadline=None)
@given(DEGREES, DEGREES, DEGREES)
def test_euler_angles_are_those_of_scipy(a: float, b: float, c: float) -> None:
    rotation = pytest.importorskip("scipy.spatial.transform").Rotation
    matrix = rotation.from_euler("ZXY", [a, b, c], degrees=True).as_matrix()
    view = View.turned(a, b, c)
    np.testing.assert_allclose(np.stack([view.right, view.ray, view.up]).T, matrix, atol=1e-9)


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1), st.floats(-1, 1))
def test_letters_name_what_a_direction_has_most_of(x: float, y: float, z: float) -> None:
    vector = np.array([x, y, z])
    if np.linalg.norm(vector) < 0.1:
        return
    vector /= np.linalg.norm(vector)
    letters = direction_letters(vector)
    assert letters
    values = {"L": x, "R": -x, "P": y, "A": -y, "H": z, "F": -z}
    assert all(values[letter] > 0 for letter in letters)
    sizes = [values[letter] for letter in letters]
    assert all(one >= other - 1e-9 for one, other in pairwise(sizes))


def test_angles_are_read() -> None:
    assert parse_angles("0:180:45") == (0, 45, 90, 135)
    assert parse_angles("90:-90:-60") == (90, 30, -30)
    assert len(parse_angles("0:1:0.1")) == 10
    assert parse_euler("30,-15,5").angles == (30, -15, 5)


@pytest.mark.parametrize("text", ["", "0:180", "a:b:c", "0:180:0", "0:nan:1", "0:inf:1"])
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="FROM:TO:STEP"):
        parse_angles(text)


@pytest.mark.parametrize("text", ["0:-10:5", "0:360:0.1"])
def test_no_view_or_too_many_are_refused(text: str) -> None:
    with pytest.raises(RequestError, match="expected 1 to 720"):
        parse_angles(text)


@pytest.mark.parametrize("text", ["", "1,2", "1,2,3,4", "1,2,x", "1,2,inf"])
def test_what_is_no_triple_is_refused(text: str) -> None:
    with pytest.raises(RequestError, match="A,B,C"):
        parse_euler(text)

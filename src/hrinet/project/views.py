"""From where a projection is seen: the directions of its picture in the patient."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hrinet.errors import RequestError
from hrinet.types import Float64Array

MAX_ANGLES = 720
"""More views than that in one run are a slip of the keyboard."""

_LETTERS = (("R", "L"), ("A", "P"), ("F", "H"))
_NAMED = 0.25  # Directions within 14.5 degrees of an axis are named by that axis alone.


@dataclass(frozen=True, eq=False)
class View:
    """An orthographic view: parallel rays, and which way up the picture is.

    The picture of the identity is the coronal one: the viewer faces the patient, rays run from
    anterior to posterior, the patient's left is at the right edge and the head on top. Euler angles
    (a, b, c) turn the viewer by the intrinsic right-handed rotations z, x', y'' of LPS axes, that
    is R = Rz(a) Rx(b) Ry(c): ``a`` about the patient's long axis (90: sagittal, the viewer stands
    at the patient's left), then ``b`` about the picture's horizontal axis (90 after a = 0: axial,
    seen from the feet), then ``c`` about the ray, which rolls the picture.

    Attributes:
        name: for captions, such as ``45°``.
        right: unit vector to the right in the picture, LPS.
        up: unit vector upwards in the picture, LPS.
        angles: (a, b, c), degrees.

    Raises:
        RequestError: if an angle is not a finite number.
    """

    name: str
    right: Float64Array
    up: Float64Array
    angles: tuple[float, float, float]

    @classmethod
    def turned(cls, a: float, b: float = 0.0, c: float = 0.0) -> View:
        """The view after Euler angles in degrees; see the class."""
        angles = (float(a), float(b), float(c))
        if not all(math.isfinite(angle) for angle in angles):
            raise RequestError(f"angles must be finite numbers of degrees, got {angles}")
        matrix = _rotation(2, angles[0]) @ _rotation(0, angles[1]) @ _rotation(1, angles[2])
        plain = f"{angles[0]:g}°"
        name = (
            plain if angles[1:] == (0.0, 0.0) else f"({angles[0]:g}, {angles[1]:g}, {angles[2]:g})°"
        )
        return cls(name=name, right=matrix[:, 0], up=matrix[:, 2], angles=angles)

    @property
    def ray(self) -> Float64Array:
        """Unit vector along the rays, away from the viewer, LPS."""
        return np.cross(self.up, self.right)

    @property
    def letters(self) -> tuple[str, str, str, str]:
        """Where the left, right, top and bottom edge of the picture lie in the patient."""
        return (
            direction_letters(-self.right),
            direction_letters(self.right),
            direction_letters(self.up),
            direction_letters(-self.up),
        )

    @property
    def plane(self) -> str:
        """``coronal``, ``sagittal`` or ``axial`` if rays run along a patient axis, or nothing."""
        main = int(np.argmax(np.abs(self.ray)))
        exact = abs(self.ray[main]) > math.cos(math.radians(0.5))
        return ("sagittal", "coronal", "axial")[main] if exact else ""

    @property
    def caption(self) -> str:
        """The angle, and what it shows."""
        return f"{self.name} {self.plane}" if self.plane else self.name


def direction_letters(direction: ArrayLike) -> str:
    """A direction in letters, the nearest patient axis first: ``L``, ``LP``, ``HAR``.

    Args:
        direction: unit vector, LPS; R/L, A/P and F/H name its components as DICOM's Patient
            Orientation does (PS3.3 C.7.6.1.1.1).
    """
    vector = np.asarray(direction, np.float64)
    axes = sorted(range(3), key=lambda axis: -round(abs(float(vector[axis])), 9))
    return "".join(
        _LETTERS[axis][int(vector[axis] > 0)] for axis in axes if abs(vector[axis]) > _NAMED
    )


def parse_angles(text: str) -> tuple[float, ...]:
    """``FROM:TO:STEP`` in degrees, up to but without TO, as Python counts.

    Raises:
        RequestError: if it is not that, or gives no angle or more than :data:`MAX_ANGLES`.
    """
    try:
        start, stop, step = (float(part) for part in text.split(":"))
        count = math.ceil((stop - start) / step - 1e-9)
    except (ValueError, ZeroDivisionError, OverflowError):
        raise RequestError(
            f"--angles is {text!r}, expected FROM:TO:STEP in degrees, as in 0:180:5"
        ) from None
    if not 1 <= count <= MAX_ANGLES:
        raise RequestError(
            f"--angles {text} gives {max(count, 0)} views, expected 1 to {MAX_ANGLES}"
        )
    return tuple(start + step * index for index in range(count))


def parse_euler(text: str) -> View:
    """``A,B,C`` in degrees.

    Raises:
        RequestError: if it is not that.
    """
    return View.turned(*parse_numbers(text, option="--euler", names="A,B,C", example="30,-15,0"))


def parse_numbers(text: str, *, option: str, names: str, example: str) -> tuple[float, ...]:
    """Numbers divided by commas, as many as ``names`` has.

    Raises:
        RequestError: if it is not that.
    """
    try:
        values = tuple(float(part) for part in text.split(","))
        if len(values) != len(names.split(",")) or not all(map(math.isfinite, values)):
            raise ValueError
    except ValueError:
        raise RequestError(
            f"{option} is {text!r}, expected {names} as numbers, as in {example}"
        ) from None
    return values


def _rotation(axis: int, degrees: float) -> Float64Array:
    """Right-handed rotation about an axis; exact at multiples of 90 degrees."""
    quarter, rest = divmod(degrees, 90.0)
    cosine, sine = math.cos(math.radians(rest)), math.sin(math.radians(rest))
    if rest == 0.0:
        cosine, sine = 1.0, 0.0
    for _ in range(int(quarter) % 4):
        cosine, sine = -sine, cosine
    one, two = (axis + 1) % 3, (axis + 2) % 3
    matrix = np.eye(3)
    matrix[one, one], matrix[one, two] = cosine, -sine
    matrix[two, one], matrix[two, two] = sine, cosine
    return matrix

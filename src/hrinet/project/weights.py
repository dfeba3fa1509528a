"""How much every place along a ray counts: the weights of Algorithm 3."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.project.views import View
from hrinet.types import Float64Array

FORMS = "uniform, 1/k, k, gaussian:MU,SIGMA, polynomial:C0,C1,..., or the name of a .csv file"
"""What :func:`parse_weight` understands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """Where a ray begins and how long it is.

    Attributes:
        start_mm: coordinate along the ray of k = 0, LPS projected on the ray.
        length_mm: from k = 0 to k = n.
        pixel_mm: of the picture; n = length / pixel.
    """

    start_mm: float
    length_mm: float
    pixel_mm: float

    @property
    def n(self) -> float:
        """Length of the ray in pixels."""
        return self.length_mm / self.pixel_mm


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """A distribution of weights along the ray, at most 1 on the ray and never negative.

    Attributes:
        name: for captions and the sidecar, as it was asked for.
        function: from fractions of the ray k/n, shape (m,), and n, the length of the ray in
            pixels, to weights before they are scaled to at most 1. Voxels may lie outside 0..1,
            in corners of the volume.
        sigma: of a Gaussian about a point of the patient, as a fraction of the ray; None for
            others. ``function`` is not used then.
        centre_mm: that point, LPS, mm.
        is_uniform: whether everything counts 1.
    """

    name: str
    function: Callable[[Float64Array, float], Float64Array]
    sigma: float | None = None
    centre_mm: tuple[float, float, float] | None = None
    is_uniform: bool = False

    def along(self, view: View, frame: Frame) -> Callable[[Float64Array], Float64Array]:
        """The weights in one view, scaled to at most 1 on the ray.

        Args:
            view: gives the direction of the ray.
            frame: gives its beginning and its length.

        Returns:
            From fractions of the ray to weights; both of any shape, float64.

        Raises:
            RequestError: if weights are negative, not finite or zero throughout, or if the centre
                lies outside the ray.
        """
        if self.is_uniform:
            return np.ones_like
        function = self.function
        if self.centre_mm is not None and self.sigma is not None:
            middle = (float(np.dot(self.centre_mm, view.ray)) - frame.start_mm) / frame.length_mm
            if not -0.05 <= middle <= 1.05:
                raise RequestError(
                    f"--centre-mm {','.join(f'{v:g}' for v in self.centre_mm)} lies outside the "
                    f"volume: at {100 * middle:.0f} % of the ray in the view {view.name}; "
                    "coordinates are LPS in mm, as in the scan's positions"
                )
            function = gaussian(middle, self.sigma).function
        inside = function(np.linspace(0.0, 1.0, 4097), frame.n)
        if not np.all(np.isfinite(inside)) or inside.min() < 0:
            raise RequestError(
                f"weight {self.name}: some weights on the ray are negative or not finite (from "
                f"{inside.min():.4g} to {inside.max():.4g}), expected 0 or more"
            )
        highest = float(inside.max())
        if not highest > 0:
            raise RequestError(f"weight {self.name}: all weights on the ray are zero")

        def scaled(fractions: Float64Array) -> Float64Array:
            # What lies off the ray, in corners of the volume, may not count more than the ray.
            return np.clip(function(fractions, frame.n) / highest, 0.0, 1.0)

        return scaled


UNIFORM = Weight(name="uniform", function=lambda x, n: np.ones_like(x), is_uniform=True)
"""Everything counts the same: Algorithm 2, the orthogonal projection."""

RISING = Weight(name="k", function=lambda x, n: np.clip(x, 0.0, 1.0))
"""In proportion to the depth: what is far from the viewer counts most."""

FALLING = Weight(name="1/k", function=lambda x, n: 1.0 / np.maximum(x * n, 1.0))
"""In inverse proportion to the depth in pixels, 1 within the first pixel."""


def gaussian(mu: float, sigma: float) -> Weight:
    """A normal distribution about one depth.

    Args:
        mu: its middle, as a fraction of the ray.
        sigma: its standard deviation, as a fraction of the ray; 1/11 in the thesis (Fig. 5-4).
    """
    return Weight(
        name=f"gaussian:{mu:g},{sigma:g}",
        function=lambda x, n: np.exp(-0.5 * ((x - mu) / sigma) ** 2),
    )


def gaussian_about(point_mm: tuple[float, float, float], sigma: float) -> Weight:
    """A normal distribution about the depth of a point of the patient, LPS, mm."""
    point = ",".join(f"{v:g}" for v in point_mm)
    return Weight(
        name=f"gaussian:{sigma:g} about {point} mm",
        function=lambda x, n: np.ones_like(x),
        sigma=sigma,
        centre_mm=point_mm,
    )


def polynomial(coefficients: tuple[float, ...]) -> Weight:
    """c0 + c1 x + c2 x^2 + ... of the fraction x of the ray; constant beyond its ends."""
    values = np.array(coefficients)
    return Weight(
        name="polynomial:" + ",".join(f"{c:g}" for c in coefficients),
        function=lambda x, n: np.asarray(
            np.polynomial.polynomial.polyval(np.clip(x, 0.0, 1.0), values)
        ),
    )


def tabulated(fractions: Float64Array, values: Float64Array, *, name: str) -> Weight:
    """Linear between given points, constant beyond them.

    Args:
        fractions: of the ray, increasing.
        values: weights there.
        name: for captions.
    """
    return Weight(name=name, function=lambda x, n: np.interp(x, fractions, values))


def parse_weight(text: str, *, centre_mm: tuple[float, float, float] | None = None) -> Weight:
    """A distribution in words: one of :data:`FORMS`.

    Args:
        text: the words.
        centre_mm: a point about which the Gaussian lies, LPS, mm; it is ``gaussian:SIGMA`` then.

    Raises:
        RequestError: if there is no such distribution, or its numbers make none.
        InputError: if the CSV file cannot be read.
    """
    kind, _, rest = text.partition(":")
    kind = kind.strip().lower()
    if centre_mm is not None:
        if kind != "gaussian":
            raise RequestError(f"--centre-mm goes with --weight gaussian:SIGMA, not with {text!r}")
        (sigma,) = _numbers(text, rest, "gaussian:SIGMA (its middle is --centre-mm)", count=1)
        return gaussian_about(centre_mm, _positive(text, sigma))
    if kind == "uniform" and not rest:
        return UNIFORM
    if kind == "k" and not rest:
        return RISING
    if kind == "1/k" and not rest:
        return FALLING
    if kind == "gaussian":
        mu, sigma = _numbers(text, rest, "gaussian:MU,SIGMA as fractions of the ray", count=2)
        return gaussian(mu, _positive(text, sigma))
    if kind == "polynomial":
        return polynomial(_numbers(text, rest, "polynomial:C0,C1,..."))
    if text.lower().endswith(".csv"):
        return read_weight(Path(text))
    raise RequestError(f"--weight is {text!r}, expected {FORMS}")


def read_weight(path: Path) -> Weight:
    """Weights from a CSV file.

    Args:
        path: two columns, fraction of the ray and weight, with fractions increasing within 0..1; or
            one column of weights at equal distances from the first to the last. A heading is
            skipped.

    Raises:
        InputError: if it cannot be read as that.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            lines = [row for row in csv.reader(file) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "is no CSV text"
        raise InputError(f"{path}: cannot be read as weights: {reason}") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines):
        try:
            rows.append([float(cell) for cell in line])
        except ValueError:
            if number:
                raise InputError(
                    f"{path}: line {number + 1} is {','.join(line)!r}, expected numbers"
                ) from None
    columns = {len(row) for row in rows}
    if len(rows) < 2 or columns not in ({1}, {2}):
        raise InputError(
            f"{path}: expected two or more lines of one column (weights) or two (fraction of the "
            f"ray, weight), found {len(rows)} lines of {sorted(columns)} columns"
        )
    table = np.array(rows)
    fractions = table[:, 0] if columns == {2} else np.linspace(0.0, 1.0, len(rows))
    values = table[:, -1]
    if not np.all(np.isfinite(table)) or np.any(values < 0):
        raise InputError(f"{path}: weights must be finite and 0 or more")
    if np.any(np.diff(fractions) <= 0) or fractions[0] < 0 or fractions[-1] > 1:
        raise InputError(f"{path}: fractions of the ray must increase and lie within 0..1")
    return tabulated(fractions, values, name=path.name)


def _numbers(text: str, rest: str, form: str, *, count: int | None = None) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in rest.split(","))
        if not all(map(math.isfinite, values)) or count not in (None, len(values)):
            raise ValueError
    except ValueError:
        raise RequestError(f"--weight is {text!r}, expected {form}") from None
    return values


def _positive(text: str, sigma: float) -> float:
    if not sigma > 0:
        raise RequestError(f"--weight is {text!r}: sigma must be above 0")
    return sigma

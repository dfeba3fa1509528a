"""From the error found in gaps of twice the width to the error to expect in the gaps themselves.

Errors grow with the width w of the gap as a power of it, at least nearby: e(2w) = 2^p e(w). How
fast depends on three things. Noise, which no method can know, is there at any width and makes p
small. Anatomy that changes along the scan makes it larger. And where slices are thick compared
with their distance, the slice half-way shares tissue with both neighbours and is easy to predict,
the more so the nearer they are: p rises with the overlap u = thickness / w. The scan itself tells
its own growth q from gaps of twice to gaps of four times the width, so that

    p = a + b (f(u) - f(u / 2)) + c q,    f(u) = 1 - exp(-u^2).

f(u) - f(u / 2) is by how much more the overlap does in the gaps themselves than in the tested ones.
Where the scan is too short or its gaps too wide to tell its growth, p = a' + b' f(u). The
coefficients are fitted by ``tools/fit_selftest.py`` for every method on patients other than those
on which the error of the extrapolation is measured; f was chosen among other curves that rise from
0 to 1 by how well it did on patients left out of the fit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

COEFFICIENTS = Path(__file__).with_name("growth.json")

_LEAST, _MOST = 0.0, 2.0
"""Bounds of p: errors do not fall with the gap, and a smooth curve's error grows by its square."""

WIDEST_MM = 31.0
"""Of the gaps that the laws were fitted on. How errors grow beyond says nothing of narrower gaps:
slices that far apart have little in common, and errors level off."""

_THICKEST = 2.0
"""A larger overlap was never looked at and counts as this."""

_NINE_OF_TEN = 1.645
"""Standard deviations to either side that hold 90 % of a normal distribution."""

OTHER = "other"
"""Coefficients for methods that have none of their own."""


@dataclass(frozen=True, slots=True)
class Law:
    """One way to predict p.

    Attributes:
        constant: a.
        overlap: b.
        own: c; 0 where the scan's own growth is not used.
        spread: standard deviation of the logarithm of predicted over true error, on patients that
            were not fitted.
    """

    constant: float
    overlap: float
    own: float
    spread: float

    def exponent(self, overlap: float, own: float | None) -> float:
        """p, for the overlap's term and the scan's own growth."""
        p = self.constant + self.overlap * overlap + self.own * (own or 0.0)
        return min(max(p, _LEAST), _MOST)


@dataclass(frozen=True, slots=True)
class Growth:
    """Both laws of one method.

    Attributes:
        with_own: for scans that tell their own growth.
        without: for others.
    """

    with_own: Law
    without: Law

    def expect(
        self, tested_hu: float, *, gap_mm: float, thickness_mm: float | None, own: float | None
    ) -> Expected:
        """The error to expect half-way across the scan's own gaps.

        Args:
            tested_hu: mean absolute error found in gaps of twice the width, HU.
            gap_mm: width of the scan's own gaps, mm.
            thickness_mm: of the slab that a slice averages, mm; if unknown, slices are taken to
                touch.
            own: log2 of the error in gaps of four times the width over ``tested_hu`` on the same
                slices, or None if it is not known.
        """
        u = 1.0 if thickness_mm is None else min(thickness_mm / gap_mm, _THICKEST)
        if own is None:
            law, overlap = self.without, saturated(u)
        else:
            law, overlap = self.with_own, saturated(u) - saturated(u / 2)
        hu = tested_hu * 2 ** -law.exponent(overlap, own)
        factor = math.exp(_NINE_OF_TEN * law.spread)
        return Expected(hu, hu / factor, hu * factor)


@dataclass(frozen=True, slots=True)
class Expected:
    """An error that was not measured.

    Attributes:
        hu: mean absolute error, HU.
        low_hu: lower end of the interval that holds it in about nine scans of ten, HU.
        high_hu: upper end, HU.
    """

    hu: float
    low_hu: float
    high_hu: float


def saturated(u: float) -> float:
    """How much overlap does: nothing for thin slices, no more than 1 for thick ones."""
    return 1 - math.exp(-u * u)


@cache
def _coefficients() -> Mapping[str, Any]:
    content: Mapping[str, Any] = json.loads(COEFFICIENTS.read_text("utf-8"))
    return content


def growth_of(method: str) -> Growth:
    """The laws of a method; for one without its own, those fitted on all methods together."""
    methods = _coefficients()["methods"]
    values = methods.get(method, methods[OTHER])
    return Growth(Law(**values["with_own"]), Law(**values["without"]))


def has_own_law(method: str) -> bool:
    """Whether the growth was fitted for this very method."""
    return method in _coefficients()["methods"]


def accuracy() -> Mapping[str, Any]:
    """How far off the extrapolation was on patients that were not fitted, as a JSON object."""
    found: Mapping[str, Any] = _coefficients().get("accuracy", {})
    return found

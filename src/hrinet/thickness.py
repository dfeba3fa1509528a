"""Slice thickness that is told by the user, where the input does not state it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.volume import WrappedSource

MOST_MM = 100.0


def plausible_mm(value: object) -> float | None:
    """A number as a thickness, mm; None unless above 0 and up to :data:`MOST_MM`."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 < value <= MOST_MM else None


@dataclass(frozen=True, eq=False)
class Restated(WrappedSource):
    """A source whose slice thickness is told by somebody who knows better than its header.

    Attributes:
        thickness_mm: of its slices, mm.

    Raises:
        RequestError: if that is no thickness.
    """

    thickness_mm: float
    _geometry: Geometry = field(init=False)

    def __post_init__(self) -> None:
        if plausible_mm(self.thickness_mm) is None:
            raise RequestError(
                f"slice thickness must be a number of mm above 0 and up to {MOST_MM:g}, got "
                f"{self.thickness_mm!r}"
            )
        told = replace(self.source.geometry, slice_thickness=float(self.thickness_mm))
        object.__setattr__(self, "_geometry", told)

    @property
    def geometry(self) -> Geometry:
        """That of the source with the thickness told."""
        return self._geometry

"""What every method of synthesis sees and returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from hrinet.types import SliceArray


@dataclass(frozen=True, slots=True, eq=False)
class Gap:
    """The neighbourhood of one gap between two slices.

    Attributes:
        slices: two to four slices in order of increasing position, shape (row, column), HU, all
            int16 or all float32; not to be written to.
        positions_mm: position of each of them along the normal, strictly increasing, mm.
        left: index into ``slices`` of the one just before the gap; ``left + 1`` is just after it.
        pixel_spacing_mm: distance between rows and between columns, mm.
        slice_thickness_mm: thickness of the slab that a slice averages, mm, or None.
    """

    slices: tuple[SliceArray, ...]
    positions_mm: tuple[float, ...]
    left: int
    pixel_spacing_mm: tuple[float, float]
    slice_thickness_mm: float | None = None

    @property
    def width_mm(self) -> float:
        """Distance between the two slices on either side, mm."""
        return self.positions_mm[self.left + 1] - self.positions_mm[self.left]

    def position_at(self, t: float) -> float:
        """Position of ``t``, mm."""
        return self.positions_mm[self.left] + t * self.width_mm


class Interpolator(Protocol):
    """A method that synthesizes the slices of a gap.

    Implementations hold no state that a call changes, so that gaps can be computed in parallel.
    Originals never pass through them.
    """

    @property
    def name(self) -> str:
        """What the user calls it, and what the sidecar records."""
        ...

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Synthesize slices inside a gap.

        Args:
            gap: the neighbourhood.
            t: positions in (0, 1), increasing; 0 is ``gap.slices[gap.left]``.

        Yields:
            One slice for every t, shape (row, column), HU; float32, or the dtype of the inputs if
            the method rounds by itself. The caller rounds, casts and copies: a method may use one
            buffer for all of them.
        """
        ...

"""What every method of synthesis sees and returns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol, runtime_checkable

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


@runtime_checkable
class Multithreaded(Protocol):
    """What an :class:`Interpolator` has besides if it spreads one gap over several cores.

    Others use one core a gap, and as many gaps are computed at the same time as there are cores.
    """

    def gaps_at_once(self, threads: int) -> int:
        """How many gaps to compute at the same time, from 1 to ``threads``.

        Args:
            threads: cores to use in all.
        """
        ...

    def using(self, *, gaps: int, threads: int) -> AbstractContextManager[Interpolator]:
        """Prepare for one job; what that changes is undone at the end of the context.

        Args:
            gaps: computed at the same time, at the most.
            threads: cores to use inside each gap.

        Returns:
            A context that gives the interpolator to use; often this one. It estimates its error
            (see :class:`Estimating`) if this one does.
        """
        ...


class Estimated(NamedTuple):
    """A synthetic slice, and how far each of its voxels can be trusted.

    Attributes:
        values: shape (row, column), HU, float32.
        expected_error: absolute error to expect, of the same shape, HU, float32, not negative.
        half_width: half the width of the interval around the value that holds the truth in 90 % of
            all cases, of the same shape, HU, float32, not negative.
    """

    values: SliceArray
    expected_error: SliceArray
    half_width: SliceArray


@runtime_checkable
class Estimating(Protocol):
    """What an :class:`Interpolator` has besides if it estimates its own error."""

    def synthesize_with_error(self, gap: Gap, t: Sequence[float]) -> Iterator[Estimated]:
        """Synthesize slices inside a gap, each with an estimate of its error.

        Called instead of :meth:`Interpolator.synthesize`, and gives the same values.

        Args:
            gap: the neighbourhood.
            t: positions in (0, 1), increasing; 0 is ``gap.slices[gap.left]``.

        Yields:
            One slice for every t. The caller copies: a method may use the same buffers for all.
        """
        ...


@runtime_checkable
class Cautious(Protocol):
    """What an :class:`Interpolator` has besides if it knows what it was validated on."""

    def caution(self, gaps_mm: Sequence[float]) -> str | None:
        """Warn where a job goes beyond what was validated.

        Args:
            gaps_mm: widths of the gaps that get synthetic slices, in order of position, mm.

        Returns:
            One sentence for the user, beginning in lower case and without a full stop, or None.
        """
        ...


@runtime_checkable
class Described(Protocol):
    """What an :class:`Interpolator` has besides if it does not compute on the CPU in float32."""

    @property
    def engine(self) -> str:
        """What computes, for the sidecar; ``cpu`` for others."""
        ...

    @property
    def precision(self) -> str:
        """What numbers it computes with, for the sidecar; ``f32`` for others."""
        ...


@dataclass(frozen=True, slots=True)
class WeightsId:
    """Which trained weights.

    Attributes:
        name: of the method that they make.
        sha256: of their file.
    """

    name: str
    sha256: str


@runtime_checkable
class Trained(Protocol):
    """What an :class:`Interpolator` has besides if it runs a trained network."""

    @property
    def weights(self) -> WeightsId:
        """The weights, for the sidecar."""
        ...

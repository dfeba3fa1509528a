"""How much less a scan's gaps err than its hidden slices, which lie in gaps of twice the width.

By how much depends on the scan: where slices are thick and overlap, half the gap is worth more;
where noise makes up most of the error, it is worth less, for noise is there at any width. Two
numbers, each free of units, tell; their weights were fitted by ``tools/fit_transfer.py`` on scans
with known slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

LEAST, MOST = 0.35, 1.25
"""Scans unlike those of the fit are not believed beyond these factors."""

_LEAST_HU = 0.1
"""Less is no error; a phantom without any must not divide by zero."""


APART = 0.4
"""Thickness over the width of the gap up to which slices have nothing to do with one another."""


def overlap_sign(thickness: float) -> float:
    """How much slices overlap; 0 where they are apart.

    Args:
        thickness: of the slices over the width of the gap.
    """
    return max(thickness - APART, 0.0)


def noise_sign(*, roughness: float, found: float) -> float:
    """How much of the error is noise, as a logarithm.

    Args:
        roughness: mean over the measured slices beside the hidden ones, HU; see
            :func:`hrinet.synthesize.slice_trust.roughness`.
        found: mean absolute error of the hidden slices, HU.
    """
    return math.log(max(roughness, _LEAST_HU) / max(found, _LEAST_HU))


@dataclass(frozen=True, slots=True)
class TransferWeights:
    """A logarithm of a factor, linear in both signs.

    Attributes:
        offset: where both signs are 0.
        overlap: weight of :func:`overlap_sign`.
        noise: weight of :func:`noise_sign`.
    """

    offset: float = 0.0
    overlap: float = 0.0
    noise: float = 0.0

    def factor(self, *, thickness: float, noise: float) -> float:
        """Of a scan and a gap, from :data:`LEAST` to :data:`MOST`."""
        log = self.offset + self.overlap * overlap_sign(thickness) + self.noise * noise
        return math.exp(min(max(log, math.log(LEAST)), math.log(MOST)))


@dataclass(frozen=True, slots=True)
class Transfer:
    """Factors on a :class:`hrinet.synthesize.trust.Correction`; 1 by default.

    Attributes:
        error: on the expected error.
        half_width: on the interval.
        error_alone: on the expected error where no thickness is known.
        half_width_alone: on the interval where no thickness is known.
    """

    error: TransferWeights = TransferWeights()
    half_width: TransferWeights = TransferWeights()
    error_alone: TransferWeights = TransferWeights()
    half_width_alone: TransferWeights = TransferWeights()

    @classmethod
    def of(cls, values: Mapping[str, Any] | Sequence[Any]) -> Transfer:
        """From plain values, as in the description of weights.

        Args:
            values: ``error`` and ``half_width``, each of offset, weight of the overlap and weight
                of the noise; ``error_alone`` and ``half_width_alone``, each of offset and weight of
                the noise. Two numbers are factors for all scans, as older weights have them.

        Raises:
            KeyError, TypeError, ValueError: if they are damaged.
        """
        if not isinstance(values, Mapping):
            error, half_width = (TransferWeights(_log(float(factor))) for factor in values)
            return cls(error, half_width, error, half_width)
        return cls(
            **{name: TransferWeights(*_numbers(values, name, 3)) for name in _WITH},
            **{
                name: TransferWeights(offset, 0.0, noise)
                for name in _ALONE
                for offset, noise in [_numbers(values, name, 2)]
            },
        )

    def factors(self, *, thickness: float | None, noise: float) -> tuple[float, float]:
        """On the expected error, and on the interval.

        Args:
            thickness: of the slices over the width of the gap to be filled; None if unknown.
            noise: of the scan; see :func:`noise_sign`.
        """
        if thickness is None or not 0 < thickness < math.inf:
            pair, thickness = (self.error_alone, self.half_width_alone), 0.0
        else:
            pair = self.error, self.half_width
        error, half_width = (one.factor(thickness=thickness, noise=noise) for one in pair)
        return error, half_width


_WITH, _ALONE = ("error", "half_width"), ("error_alone", "half_width_alone")


def _log(factor: float) -> float:
    if not 0 < factor < math.inf:
        raise ValueError("the calibration's transfer is not positive")
    return math.log(factor)


def _numbers(values: Mapping[str, Any], name: str, count: int) -> list[float]:
    numbers = [float(value) for value in values[name]]
    if len(numbers) != count or not all(map(math.isfinite, numbers)):
        raise ValueError(f"the calibration's transfer: {name} is not {count} numbers")
    return numbers

"""From HU to the attenuation of one photon energy, as for a radiograph."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from hrinet.errors import RequestError
from hrinet.types import Float64Array

Float32Array = NDArray[np.float32]

# Mass attenuation coefficients, cm^2/g: Hubbell and Seltzer, NISTIR 5632, tables 4.
_KEV = np.array([30.0, 40.0, 50.0, 60.0, 80.0, 100.0, 150.0])
_WATER = np.array([0.3756, 0.2683, 0.2269, 0.2059, 0.1837, 0.1707, 0.1505])
_CORTICAL_BONE = np.array([1.331, 0.6655, 0.4242, 0.3148, 0.2229, 0.1855, 0.1480])
_BONE_DENSITY = 1.92  # g/cm^3, ICRU 44.

SCANNER_KEV = 70.0
"""Effective energy of a CT beam at 120 kV, at which HU are taken to be measured."""


@dataclass(frozen=True, slots=True)
class Beam:
    """A parallel beam of photons of one energy.

    HU become attenuation by two straight lines, as for the attenuation correction of PET (Burger et
    al., Eur J Nucl Med 29, 2002): mixtures of air and water below 0 HU, of water and cortical bone
    above.

    Attributes:
        kev: energy of the photons, keV, 30 to 150.

    Raises:
        RequestError: if the energy is outside that range.
    """

    kev: float = 60.0

    def __post_init__(self) -> None:
        if not _KEV[0] <= self.kev <= _KEV[-1]:
            raise RequestError(
                f"--kev is {self.kev:g}, expected an energy from {_KEV[0]:g} to {_KEV[-1]:g} keV"
            )

    @property
    def water_per_mm(self) -> float:
        """Attenuation coefficient of water, 1/mm."""
        return _at(self.kev, _WATER) / 10

    @property
    def bone_excess(self) -> float:
        """Attenuation above that of water for each HU above 0, as a fraction of water's per HU.

        It is 1 where the beam has the scanner's energy and water's share of the scale is kept;
        bone shows the more, the lower the energy.
        """
        bone_hu = 1000 * (
            _at(SCANNER_KEV, _CORTICAL_BONE) * _BONE_DENSITY / _at(SCANNER_KEV, _WATER) - 1
        )
        relative = _at(self.kev, _CORTICAL_BONE) * _BONE_DENSITY / _at(self.kev, _WATER)
        return (relative - 1) * 1000 / bone_hu

    def above_air(self, values: Float32Array, spare: Float32Array) -> None:
        """Turn HU above air (HU + 1000) into 1000 mu/mu_water, in place.

        Args:
            values: shape (m, n), float32.
            spare: of the same shape; overwritten. Memory of its own for every plane costs more than
                the sums do.
        """
        cv2.threshold(values, 0.0, 0.0, cv2.THRESH_TOZERO, dst=values)
        slope = self.bone_excess
        if abs(slope - 1) > 1e-9:
            cv2.threshold(values, 1000.0, 0.0, cv2.THRESH_TRUNC, dst=spare)
            cv2.addWeighted(values, slope, spare, 1 - slope, 0.0, dst=values)


def _at(kev: float, table: Float64Array) -> float:
    """Log-log interpolation, as such tables are meant to be read."""
    return float(np.exp(np.interp(np.log(kev), np.log(_KEV), np.log(table))))

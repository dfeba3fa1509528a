"""What a surface is drawn around."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from hrinet.errors import RequestError

Kind = Literal["bone", "skin", "lung", "range"]

BONE_HU = 250.0
"""Above contrast medium in veins, below the cortex of ribs and vertebrae at 5 mm slices."""

SKIN_HU = -300.0
"""Between air and skin, on the side that leaves clothes and foam out."""

LUNG_HU = -400.0
"""Half-way between lung (about -850 HU) and soft tissue (about 50 HU)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Structure:
    """A structure: the voxels between two HU values, and which of them belong together.

    Attributes:
        name: for files and reports.
        kind: how voxels are selected; see :mod:`hrinet.surface.selection`.
        low: lowest value that belongs to it, HU; -inf if there is none.
        high: highest value that belongs to it, HU; inf if there is none.
        smallest_mm3: connected pieces of less volume are left out, mm^3.
        colour: red, green and blue, 0 to 1.
    """

    name: str
    kind: Kind = "range"
    low: float = -math.inf
    high: float = math.inf
    smallest_mm3: float = 0.0
    colour: tuple[float, float, float] = (0.78, 0.45, 0.42)

    def __post_init__(self) -> None:
        if math.isnan(self.low) or math.isnan(self.high) or not self.low < self.high:
            raise RequestError(
                f"the structure {self.name!r} holds the values {self.low:g} to {self.high:g} HU, "
                "expected the lower one first"
            )
        if math.isinf(self.low) and math.isinf(self.high):
            raise RequestError(
                f"the structure {self.name!r} has no limit; give a lower or an upper HU value"
            )


BONE = Structure(
    name="bone", kind="bone", low=BONE_HU, smallest_mm3=500.0, colour=(0.93, 0.88, 0.77)
)
SKIN = Structure(name="skin", kind="skin", low=SKIN_HU, colour=(0.87, 0.68, 0.58))
LUNG = Structure(
    name="lung", kind="lung", high=LUNG_HU, smallest_mm3=20_000.0, colour=(0.55, 0.67, 0.80)
)

NAMED = {structure.name: structure for structure in (BONE, SKIN, LUNG)}


def parse_structure(text: str) -> Structure:
    """The structure that an argument names.

    Args:
        text: ``bone``, ``skin``, ``lung``, or LOW:HIGH in HU, where one side may be left out.

    Raises:
        RequestError: if it is none of these.
    """
    if text in NAMED:
        return NAMED[text]
    low, colon, high = text.partition(":")
    try:
        if not colon:
            raise ValueError
        return Structure(
            name=text,
            low=float(low) if low.strip() else -math.inf,
            high=float(high) if high.strip() else math.inf,
        )
    except ValueError:
        raise RequestError(
            f"--structure is {text!r}, expected {', '.join(NAMED)}, or LOW:HIGH in HU such as "
            "300:2000 or 300:"
        ) from None

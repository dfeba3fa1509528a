"""Bone: dense voxels near a cortex, which contrast medium in vessels and bowel does not have."""

from __future__ import annotations

import numpy as np

from hrinet.surface.body import slice_widths
from hrinet.surface.components import Components, Mask, find_components
from hrinet.volume import Volume

_CORTEX_HU = 500.0
"""Reached by the cortex of bones; contrast medium seldom is so dense."""

_CORTEX_SHARE = 0.05
"""Of a cut through a bone, at least so much is cortex; noise in contrast medium makes less."""

_REACH_MM = 12.0
"""How far along the patient from such a cut others still belong to the bone, if they touch.

Thin and sparse bone has cuts without cortex. Over longer ways vessels that touch a bone would
count too.
"""

_SHARE_IN_BODY = 0.5
"""Of its voxels, less than which a piece is part of the table, which can be as dense as bone."""


def bone_components(
    volume: Volume, body: Mask, *, low: float, smallest_mm3: float, threads: int | None = None
) -> tuple[Components, Mask]:
    """Find the pieces of bone.

    In every slice the voxels from ``low`` fall into cuts. A cut is bone if enough of it is as
    dense as cortex, or if such a cut is near along touching cuts of the slices between. What
    remains (bowel, heart and vessels with contrast medium) is left out, even where it touches a
    bone far away. Vessels that touch a bone in the same slice stay, and so does metal.

    Args:
        volume: the scan.
        body: of :func:`hrinet.surface.body.body_mask`.
        low: lowest HU of bone.
        smallest_mm3: connected pieces of less volume are left out, mm^3.
        threads: by default all cores.

    Returns:
        The components, and for each, by rank, whether it is bone.
    """
    found = find_components(
        lambda index: volume.array[index] >= low,
        slice_widths(volume),
        others=(body.__getitem__, lambda index: volume.array[index] >= _CORTEX_HU),
        threads=threads,
    )
    cortex = found.counts[1]
    bone = found.reached(
        (cortex > 0) & (cortex >= _CORTEX_SHARE * found.areas),
        steps=np.abs(np.diff(volume.geometry.positions_mm)),
        reach=_REACH_MM,
    )
    pieces = found.of_labels(bone)
    return pieces, pieces.wanted(smallest=smallest_mm3) & (pieces.shares()[0] >= _SHARE_IN_BODY)

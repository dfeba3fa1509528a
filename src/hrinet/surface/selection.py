"""Which voxels belong to a structure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from hrinet.surface.body import body_mask, slice_widths
from hrinet.surface.bones import bone_components
from hrinet.surface.components import Components, Mask, find_components
from hrinet.surface.lungs import lung_mask
from hrinet.surface.structures import SKIN_HU, Structure
from hrinet.volume import Volume

_TISSUE_HU = 40.0
_LUNG_TISSUE_HU = -850.0


@dataclass(frozen=True, slots=True)
class Selection:
    """The voxels of a structure, and what stands in where they are not the thresholded ones.

    Attributes:
        mask_of: gives the mask of a slice, shape (row, column); called from several threads.
        contrast_hu: how far from the threshold the value lies that a voxel gets which is added to
            the thresholded ones (a hole that is filled) or taken from them (a table), HU; None if
            those taken away touch none that stay, so that any value does.
    """

    mask_of: Callable[[int], Mask]
    contrast_hu: float | None = None


def select(
    volume: Volume,
    structure: Structure,
    *,
    largest: int | None = None,
    threads: int | None = None,
) -> Selection:
    """Decide which voxels belong to a structure.

    Ranges are the voxels of the range, connected pieces below the structure's smallest volume
    left out; of ``bone`` see :func:`hrinet.surface.bones.bone_components`. ``skin`` is
    :func:`hrinet.surface.body.body_mask`, ``lung`` :func:`hrinet.surface.lungs.lung_mask`.

    Args:
        volume: the scan.
        structure: what is wanted.
        largest: keep only so many connected pieces, the largest.
        threads: by default all cores.
    """
    low, high = structure.low, structure.high
    if structure.kind == "skin":
        body = body_mask(volume, low=low, threads=threads)
        chosen = Selection(body.__getitem__, _TISSUE_HU - low)
        return _connected(volume, chosen, 0.0, largest, threads) if largest else chosen
    if structure.kind == "lung":
        body = body_mask(volume, low=max(SKIN_HU, high), threads=threads)
        lungs = lung_mask(
            volume,
            body,
            high=high,
            smallest_mm3=structure.smallest_mm3,
            largest=largest,
            threads=threads,
        )
        return Selection(lungs.__getitem__, high - _LUNG_TISSUE_HU)

    def in_range(index: int) -> Mask:
        values = volume.array[index]
        mask: Mask = values >= low
        if np.isfinite(high):
            mask &= values <= high
        return mask

    chosen = Selection(in_range)
    if structure.kind == "bone":
        body = body_mask(volume, low=SKIN_HU, threads=threads)
        bones, is_bone = bone_components(
            volume, body, low=low, smallest_mm3=structure.smallest_mm3, threads=threads
        )
        return Selection(_largest(bones, is_bone, largest), low - _TISSUE_HU)
    if not (largest or structure.smallest_mm3):
        return chosen
    return _connected(volume, chosen, structure.smallest_mm3, largest, threads)


def _connected(
    volume: Volume,
    chosen: Selection,
    smallest_mm3: float,
    largest: int | None,
    threads: int | None,
) -> Selection:
    found = find_components(chosen.mask_of, slice_widths(volume), threads=threads)
    wanted = found.wanted(smallest=smallest_mm3)
    return replace(chosen, mask_of=_largest(found, wanted, largest))


def _largest(found: Components, wanted: Mask, largest: int | None) -> Callable[[int], Mask]:
    """The mask of the components that are wanted, or of the largest of them."""
    if largest is not None:
        wanted[np.flatnonzero(wanted)[largest:]] = False
    return lambda index: found.kept(index, wanted)

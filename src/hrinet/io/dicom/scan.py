"""A DICOM volume as a source of slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrinet.errors import GeometryError
from hrinet.geometry import Geometry
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.pixels import decode_frame
from hrinet.io.dicom.volumes import VolumeCandidate, describe_gaps
from hrinet.io.limits import Limits
from hrinet.types import FLOAT32, INT16, SliceArray
from hrinet.volume import SourceInfo


@dataclass(frozen=True, eq=False)
class DicomScan:
    """See :class:`hrinet.volume.SliceSource`.

    Attributes:
        frames: the slices, in order.
        geometry: of all slices.
        dtype: of the slices.
        padding_hu: Pixel Padding Value in HU, or None.
        info: what was found out.
        others: the volumes of the input that were not chosen.
        limits: bounds on what decoding may allocate.
    """

    frames: tuple[Frame, ...]
    geometry: Geometry
    dtype: np.dtype[Any]
    padding_hu: float | None
    info: SourceInfo
    others: tuple[VolumeCandidate, ...]
    limits: Limits

    @property
    def source_ids(self) -> Sequence[str]:
        """SOP Instance UIDs, with ``#frame`` for multi-frame objects."""
        return tuple(frame.source_id for frame in self.frames)

    @property
    def is_sequential(self) -> bool:
        """Files are random access."""
        return False

    def read_slice(self, index: int) -> SliceArray:
        """Decode slice ``index``; see :class:`hrinet.volume.SliceSource`."""
        return decode_frame(self.frames[index], dtype=self.dtype, limits=self.limits)

    def widened(self) -> DicomScan:
        """The same volume with float32 slices."""
        return replace(self, dtype=FLOAT32)


def build_scan(
    candidate: VolumeCandidate,
    *,
    path: str,
    others: Sequence[VolumeCandidate],
    notes: Sequence[str],
    limits: Limits,
) -> DicomScan:
    """Make the source for a chosen volume.

    Args:
        candidate: the volume.
        path: of the input as the user gave it.
        others: volumes that were not chosen.
        notes: findings about the input as a whole.
        limits: bounds.

    Raises:
        GeometryError: if the positions cannot form a stack.
    """
    frames = candidate.frames
    first = frames[0]
    if len(frames) == 1 and candidate.doubles:
        raise GeometryError(
            f"{path}: all {candidate.doubles + 1} slices of series {candidate.uid or 'no UID'} lie "
            "at one position, expected ImagePositionPatient to advance along their normal"
        )
    stated = [frame.thickness for frame in frames if frame.thickness is not None]
    thickness = _usual(stated) if stated else None
    thicknesses = sorted(set(stated))
    orientation = np.array(first.orientation).reshape(2, 3)
    orientation /= np.linalg.norm(orientation, axis=1, keepdims=True).clip(1e-12)
    geometry = Geometry(
        origins=np.array([frame.position for frame in frames]),
        row_direction=orientation[0],
        column_direction=orientation[1],
        pixel_spacing=first.pixel_spacing,
        rows=first.pixels.rows,
        columns=first.pixels.columns,
        slice_thickness=thickness,
    )
    paddings = {
        None if frame.padding is None else frame.padding * frame.slope + frame.intercept
        for frame in frames
    }
    whole = all(
        frame.slope == int(frame.slope) and frame.intercept == int(frame.intercept)
        for frame in frames
    )
    return DicomScan(
        frames=frames,
        geometry=geometry,
        dtype=INT16 if whole else FLOAT32,
        padding_hu=next(iter(paddings)) if len(paddings) == 1 else None,
        info=SourceInfo(
            format="DICOM",
            path=path,
            series_uid=candidate.uid,
            modality=first.modality,
            description=first.description,
            kernel=first.kernel,
            notes=(*notes, *_findings(candidate, geometry, thicknesses)),
            dropped=candidate.dropped,
            alternatives=tuple(list_candidate(other) for other in others),
        ),
        others=tuple(others),
        limits=limits,
    )


def _usual(values: Sequence[float]) -> float:
    """The lower median: of an even number, too, a value that one of them has."""
    return sorted(values)[(len(values) - 1) // 2]


def _findings(
    candidate: VolumeCandidate, geometry: Geometry, thicknesses: Sequence[float]
) -> list[str]:
    frames = candidate.frames
    first = frames[0]
    notes = []
    if candidate.dropped:
        shown = "; ".join(candidate.dropped[:3])
        more = f"; and {len(candidate.dropped) - 3} more" if len(candidate.dropped) > 3 else ""
        notes.append(f"left out {counted(len(candidate.dropped), 'slice')}: {shown}{more}")
    if geometry.tilt_deg > 0.05:
        notes.append(
            f"the gantry is tilted by {geometry.tilt_deg:.2f} degrees (from the positions)"
        )
    if len(thicknesses) > 1:
        notes.append(
            f"slice thickness varies from {thicknesses[0]:.4g} to {thicknesses[-1]:.4g} mm"
        )
    elif thicknesses and len(frames) > 1 and thicknesses[0] > 1.05 * geometry.spacing_mm:
        overlap = 1 - geometry.spacing_mm / thicknesses[0]
        notes.append(
            f"slices are {thicknesses[0]:.4g} mm thick every {geometry.spacing_mm:.4g} mm: "
            f"neighbours share {overlap:.0%} of their tissue"
        )
    if first.modality not in ("CT", ""):
        notes.append(f"the modality is {first.modality}, not CT: its values are not HU")
    if not first.has_rescale:
        notes.append("no rescale is stated: stored values are taken as HU")
    elif first.rescale_type not in ("", "HU"):
        notes.append(f"the rescale type is {first.rescale_type!r}: its values may not be HU")
    return notes


def list_candidate(candidate: VolumeCandidate) -> str:
    """One line about a volume, for messages and ``hrinet info``."""
    first = candidate.frames[0]
    parts = [
        f"{counted(len(candidate.frames), 'slice')} of {first.pixels.columns} x {first.pixels.rows}"
    ]
    if len(candidate.frames) > 1:
        parts.append(describe_gaps(candidate.frames))
    if candidate.is_localizer:
        parts.append("localizer")
    if candidate.label:
        parts.append(candidate.label)
    if first.description:
        parts.append(first.description)
    return f"{candidate.uid or 'no UID'}: {', '.join(parts)}"


def counted(count: int, noun: str) -> str:
    """``1 slice``, ``2 slices``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

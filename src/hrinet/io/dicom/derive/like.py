"""Taking patient, study and frame of reference from a series that shows the same patient."""

from __future__ import annotations

import numpy as np

from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.scan import DicomScan

_SAME_PLACE = 0.02
"""Of a gap: slices nearer than this show the same plane."""


def match_slices(geometry: Geometry, like: DicomScan, *, subject: str) -> tuple[Frame | None, ...]:
    """Find the image of a series that each slice of a volume was made from.

    Args:
        geometry: of the volume.
        like: the series.
        subject: the volume's file, for the message.

    Returns:
        For every slice the image in the same plane, or None where there is none.

    Raises:
        RequestError: if the volume does not lie within the series, so that it hardly shows the
            same patient in the same frame of reference.
    """
    series = like.geometry
    points = np.array([_centre(geometry, k) for k in range(len(geometry))])
    along = (points - series.origins[0]) @ series.normal
    inside = np.array([_centre(series, k) for k in range(len(series))])
    reach = series.positions_mm - series.positions_mm[0]
    slack = series.spacing_mm
    off = _in_plane_distance(points, inside, series)
    extent = 0.5 * max(
        series.rows * series.pixel_spacing[0], series.columns * series.pixel_spacing[1]
    )
    if along.min() < reach[0] - slack or along.max() > reach[-1] + slack or off > extent:
        raise RequestError(
            f"{subject}: does not lie where the series {like.info.path} of --like lies: its "
            f"slices reach from {along.min():.1f} to {along.max():.1f} mm of a stack of "
            f"{reach[-1]:.1f} mm, and their centres are up to {off:.1f} mm off; give the series "
            "that the volume was made from"
        )
    if abs(float(geometry.normal @ series.normal)) < 1 - 1e-4:
        return (None,) * len(geometry)
    nearest = np.abs(along[:, None] - reach[None, :])
    best = nearest.argmin(axis=1)
    return tuple(
        like.frames[index] if nearest[k, index] <= _SAME_PLACE * slack else None
        for k, index in enumerate(best.tolist())
    )


def _centre(geometry: Geometry, index: int) -> np.ndarray:
    return geometry.point(index, (geometry.rows - 1) / 2, (geometry.columns - 1) / 2)


def _in_plane_distance(points: np.ndarray, inside: np.ndarray, series: Geometry) -> float:
    axes = np.stack([series.row_direction, series.column_direction])
    centre = inside.mean(axis=0)
    slide = np.max(np.linalg.norm((inside - centre) @ axes.T, axis=1))
    return float(max(0.0, np.max(np.linalg.norm((points - centre) @ axes.T, axis=1)) - slide))

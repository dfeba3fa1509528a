"""From loose frames to volumes: group, order, split phases, drop doubles, choose."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from hrinet.io.dicom.frames import Frame

_ORIENTATION_TOLERANCE = 1e-3
_SPACING_TOLERANCE = 1e-3
_DOUBLE_FRACTION = 0.02
"""Slices nearer than this fraction of the usual gap show the same place twice."""

_NO_GAP_PIXELS = 0.05
"""Gaps below this fraction of a pixel are no slice spacing, whatever the usual gap is."""

_FEW_DOUBLES = 0.1
"""Up to this fraction of doubled positions is an accident; more are phases of one volume."""

_LEAST_COVERAGE = 0.5
"""A phase covers at least this fraction of the positions of the stack."""

_SIDESTEP_PIXELS = 0.5
"""Slices displaced sideways by more than this do not belong to one stack."""


@dataclass(frozen=True, slots=True)
class VolumeCandidate:
    """Frames that form one stack.

    Attributes:
        uid: Series Instance UID, with ``#n`` where one series holds several stacks.
        frames: ordered by position along the normal.
        is_localizer: whether the frames are scout images.
        label: what sets this stack apart from others of its series, or an empty string.
        dropped: frames that were left out, one sentence each.
        doubles: how many of them lie at the position of one that was kept.
    """

    uid: str
    frames: tuple[Frame, ...]
    is_localizer: bool
    label: str = ""
    dropped: tuple[str, ...] = ()
    doubles: int = 0

    @property
    def rank(self) -> tuple[bool, bool, bool, int]:
        """Sorts the volume that a user most likely means last."""
        first = self.frames[0]
        return (
            not self.is_localizer,
            len(self.frames) > 1,
            first.modality in ("CT", ""),
            len(self.frames),
        )


def normal_of(frame: Frame) -> np.ndarray:
    """Row direction x column direction, of unit length (PS3.3 C.7.6.2.1.1)."""
    cross = np.cross(frame.orientation[:3], frame.orientation[3:])
    length = float(np.linalg.norm(cross))
    return np.asarray(cross / length) if length > 0 else cross


def group_volumes(frames: Iterable[Frame]) -> list[VolumeCandidate]:
    """Sort frames into stacks, the most likely volume first.

    Frames belong together if they share series, size, kernel, pixel spacing and orientation. Order
    and distance come from Image Position (Patient) along the normal alone; Instance Number, Slice
    Location and Spacing Between Slices play no part. A series with several frames at most positions
    is split into phases; a few doubled positions are dropped; copies of one instance count once.
    """
    by_series: dict[str, list[VolumeCandidate]] = {}
    for group in _groups(frames):
        series = group[0].series_uid
        by_series.setdefault(series, []).extend(_stacks(group))
    candidates = []
    for series, stacks in by_series.items():
        stacks.sort(key=lambda stack: stack.rank, reverse=True)
        if len(stacks) > 1:
            stacks = [
                replace(stack, uid=f"{series}#{number}") for number, stack in enumerate(stacks, 1)
            ]
        candidates += stacks
    # Ties go by UID, so that the choice does not depend on file names.
    candidates.sort(key=lambda candidate: candidate.uid)
    candidates.sort(key=lambda candidate: candidate.rank, reverse=True)
    return candidates


def _groups(frames: Iterable[Frame]) -> list[list[Frame]]:
    """Frames with the same series, size and kernel and (nearly) the same spacing and orientation.

    Thickness and rescale may vary within a volume, kernels do not: two reconstructions of one scan
    may lie at different positions and would interleave.
    """
    groups: dict[Hashable, list[list[Frame]]] = {}
    for frame in frames:
        key = (
            frame.series_uid,
            frame.is_localizer,
            frame.pixels.rows,
            frame.pixels.columns,
            frame.kernel,
            frame.stack,
        )
        for group in groups.setdefault(key, []):
            if _matches(group[0], frame):
                group.append(frame)
                break
        else:
            groups[key].append([frame])
    return [group for same_key in groups.values() for group in same_key]


def _matches(first: Frame, frame: Frame) -> bool:
    turn = np.subtract(first.orientation, frame.orientation)
    ratio = np.divide(first.pixel_spacing, frame.pixel_spacing)
    return bool(
        np.max(np.abs(turn)) <= _ORIENTATION_TOLERANCE
        and np.max(np.abs(ratio - 1)) <= _SPACING_TOLERANCE
    )


def _stacks(group: Sequence[Frame]) -> list[VolumeCandidate]:
    unique, copies = _without_copies(group)
    ordered = _ordered(unique)
    clusters = _clusters(ordered)
    doubled = sum(len(cluster) > 1 for cluster in clusters)
    if doubled > _FEW_DOUBLES * len(clusters) and doubled > 1:
        label, phases = _phases(ordered, clusters)
    else:
        label, phases = "", {"": ordered}
    stacks = []
    for value, frames in phases.items():
        kept, doubles = _without_doubles(_clusters(_ordered(frames)))
        runs = _straight_runs(kept)
        for number, run in enumerate(runs, 1):
            names = [f"{label} {value}".strip()] if label else []
            if len(runs) > 1:
                names.append(f"part {number} of {len(runs)}, displaced sideways")
            members = {id(frame) for frame in run}
            ids = {frame.source_id for frame in run}
            reasons = [reason for best, reason in doubles if id(best) in members]
            stacks.append(
                VolumeCandidate(
                    uid=run[0].series_uid,
                    frames=tuple(run),
                    is_localizer=run[0].is_localizer,
                    label=", ".join(names),
                    dropped=(
                        *(
                            f"{frame.file.name}: a second copy of an instance"
                            for frame in copies
                            if frame.source_id in ids
                        ),
                        *reasons,
                    ),
                    doubles=len(reasons),
                )
            )
    return stacks


def _without_copies(frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
    """Frames with one instance UID at one place are copies; bad exports reuse UIDs elsewhere."""
    seen: set[tuple[str, tuple[float, ...]]] = set()
    unique: list[Frame] = []
    copies: list[Frame] = []
    for frame in frames:
        key = frame.source_id, frame.position
        (copies if frame.source_id and key in seen else unique).append(frame)
        seen.add(key)
    return unique, copies


def _positions(frames: Sequence[Frame]) -> np.ndarray:
    return np.asarray(np.array([frame.position for frame in frames]) @ normal_of(frames[0]))


def _ordered(frames: Sequence[Frame]) -> list[Frame]:
    positions = _positions(frames)
    order = sorted(
        range(len(frames)),
        key=lambda i: (positions[i], frames[i].order, frames[i].source_id, frames[i].file.name),
    )
    return [frames[i] for i in order]


def _clusters(ordered: Sequence[Frame]) -> list[list[Frame]]:
    """Frames at (nearly) the same position together."""
    positions = _positions(ordered)
    gaps = np.diff(positions)
    least = _NO_GAP_PIXELS * min(ordered[0].pixel_spacing)
    wide = gaps[gaps > least]
    tolerance = _DOUBLE_FRACTION * float(np.median(wide)) if len(wide) else least
    clusters = [[ordered[0]]]
    anchor = positions[0]
    for frame, position in zip(ordered[1:], positions[1:], strict=True):
        if position - anchor <= tolerance:
            clusters[-1].append(frame)
        else:
            clusters.append([frame])
            anchor = position
    return clusters


def _phases(
    ordered: Sequence[Frame], clusters: Sequence[Sequence[Frame]]
) -> tuple[str, dict[str, list[Frame]]]:
    """Split frames at repeated positions by the attribute that tells them apart best.

    Falls back to the order of Instance Number within each position.
    """
    keywords = list(dict.fromkeys(key for frame in ordered for key, _ in frame.phase))
    values = {id(frame): dict(frame.phase) for frame in ordered}
    best: tuple[str, dict[str, list[Frame]]] | None = None
    for keyword in keywords:
        split: dict[str, list[Frame]] = {}
        for frame in ordered:
            split.setdefault(values[id(frame)].get(keyword, ""), []).append(frame)
        if len(split) < 2 or (best is not None and len(split) >= len(best[1])):
            continue
        together = sum(
            len({values[id(frame)].get(keyword, "") for frame in cluster}) < len(cluster)
            for cluster in clusters
        )
        widest = max(map(len, split.values()))
        # A time that differs for every image separates too, and is useless.
        if together <= _FEW_DOUBLES * len(clusters) and widest >= _LEAST_COVERAGE * len(clusters):
            best = keyword, split
    if best is not None:
        return best
    by_occurrence: dict[str, list[Frame]] = {}
    for cluster in clusters:
        for number, frame in enumerate(sorted(cluster, key=lambda frame: frame.order), 1):
            by_occurrence.setdefault(str(number), []).append(frame)
    return "occurrence", by_occurrence


def _without_doubles(
    clusters: Sequence[Sequence[Frame]],
) -> tuple[list[Frame], list[tuple[Frame, str]]]:
    """One frame a position: of each cluster the one that spaces its neighbours most evenly.

    Returns:
        The frames kept, and for every other one the frame it doubles with a sentence.
    """
    kept: list[Frame] = []
    dropped: list[tuple[Frame, str]] = []
    normal = normal_of(clusters[0][0])
    places = [[float(np.dot(frame.position, normal)) for frame in cluster] for cluster in clusters]
    centres = [float(np.mean(positions)) for positions in places]
    usual = float(np.median(np.diff(centres))) if len(centres) > 1 else 1.0
    for index, (cluster, positions) in enumerate(zip(clusters, places, strict=True)):
        around = centres[max(index - 1, 0) : index] + centres[index + 1 : index + 2]
        unevenness = [
            sum(abs(abs(position - other) - usual) for other in around) for position in positions
        ]
        # Rounded, so that exact doubles keep their order rather than follow rounding errors.
        chosen = min(range(len(cluster)), key=lambda i: round(unevenness[i], 9))
        best = cluster[chosen]
        kept.append(best)
        for frame, position in zip(cluster, positions, strict=True):
            if frame is best:
                continue
            distance = abs(position - positions[chosen])
            where = f"{distance:.2g} mm from" if distance > 1e-6 else "at the position of"
            dropped.append(
                (best, f"{frame.file.name}: lies {where} {best.file.name}, a doubled slice")
            )
    return kept, dropped


def _straight_runs(frames: Sequence[Frame]) -> list[list[Frame]]:
    """Split where slices jump sideways against the direction in which the stack advances.

    A constant gantry tilt makes every slice slide by the same amount per mm, which is no jump.
    """
    if len(frames) < 3:
        return [list(frames)]
    origins = np.array([frame.position for frame in frames])
    normal = normal_of(frames[0])
    distances = np.diff(origins @ normal)
    axes = np.array([frames[0].orientation[:3], frames[0].orientation[3:]])
    slides = np.diff(origins @ axes.T, axis=0)
    usual = np.median(slides / distances[:, None], axis=0)
    excess = np.abs(slides - usual * distances[:, None])
    pixel = np.array(frames[0].pixel_spacing[::-1])
    runs = [[frames[0]]]
    for frame, jump in zip(frames[1:], np.max(excess / pixel, axis=1), strict=True):
        if jump > _SIDESTEP_PIXELS:
            runs.append([])
        runs[-1].append(frame)
    return runs


def describe_gaps(frames: Sequence[Frame]) -> str:
    """The distances between slices in a few words, for listings."""
    gaps = np.array([b - a for a, b in pairwise(_positions(frames).tolist())])
    if len(gaps) == 0:
        return "single slice"
    low, high = float(gaps.min()), float(gaps.max())
    if high - low <= 0.01 * float(np.median(gaps)):
        return f"every {np.median(gaps):.4g} mm"
    return f"every {low:.4g} to {high:.4g} mm"

"""Checks of a derived DICOM series, by itself and against its source."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hrinet.errors import InputError, RequestError
from hrinet.io.dicom.derive.classic import number
from hrinet.io.dicom.derive.headers import Headers, value_of
from hrinet.io.dicom.derive.layout import usual_layout
from hrinet.io.dicom.derive.uids import UID_ROOT, derived_uid
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.pixels import decode_frame, stored_values
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.formats import open_scan
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.sidecar import read_sidecar, sidecar_path
from hrinet.types import FLOAT32
from hrinet.verify.check import Check, judged, skipped
from hrinet.verify.images import DerivedImage, read_images
from hrinet.volume import SliceSource

_PLACE_MM = 1e-4
_SIDECAR_MM = 1e-3
_NO_SOURCE = "needs the scan it was derived from; pass --source"
_RESAMPLING = "113085"


@dataclass(frozen=True, slots=True)
class Verification:
    """The outcome of all checks.

    Attributes:
        checks: in the order in which they were made.
        originals: how many images are copies of source images.
        synthetic: how many were computed.
    """

    checks: tuple[Check, ...]
    originals: int
    synthetic: int

    @property
    def passed(self) -> bool:
        """Whether no check failed."""
        return all(check.outcome != "failed" for check in self.checks)

    def as_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return {
            "passed": self.passed,
            "originals": self.originals,
            "synthetic": self.synthetic,
            "checks": [
                {"name": check.name, "outcome": check.outcome, "detail": check.detail}
                for check in self.checks
            ],
        }


@dataclass(frozen=True)
class _Case:
    """What is compared."""

    scan: DicomScan
    images: list[DerivedImage]
    source: SliceSource | None
    sidecar: dict[str, Any] | None
    by_id: dict[str, tuple[int, Frame]] = field(default_factory=dict)

    @property
    def dicom_source(self) -> DicomScan | None:
        return self.source if isinstance(self.source, DicomScan) else None

    def sources_of(self, image: DerivedImage) -> list[tuple[int, Frame]]:
        """Index and frame of the source images that an image refers to, as far as they exist."""
        return [self.by_id[uid] for uid in image.references if uid in self.by_id]


def verify(
    path: str | Path,
    *,
    source: str | Path | None = None,
    series: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Verification:
    """Check a derived DICOM series.

    Args:
        path: its folder, zip or file.
        source: the scan that it was derived from, for the checks that need it.
        series: which DICOM series of the source, see :func:`hrinet.io.formats.open_scan`.
        limits: bounds on both inputs.

    Raises:
        RequestError: if ``series`` is given without ``source``.
        InputError: if either cannot be read, or the first is no DICOM series.
    """
    if series is not None and source is None:
        raise RequestError("--series chooses among the series of --source; pass --source as well")
    path = Path(path)
    scan = open_scan(path, limits=limits)
    if not isinstance(scan, DicomScan):
        raise InputError(f"{path}: is no DICOM series, which 'hrinet verify' checks")
    origin = None if source is None else open_scan(source, series=series, limits=limits)
    frames = origin.frames if isinstance(origin, DicomScan) else ()
    case = _Case(
        scan=scan,
        images=read_images(scan),
        source=origin,
        sidecar=read_sidecar(path) if sidecar_path(path).is_file() else None,
        by_id={frame.source_id: (index, frame) for index, frame in enumerate(frames)},
    )
    synthetic = sum(image.is_synthetic for image in case.images)
    return Verification(
        checks=tuple(_checks(case)),
        originals=len(case.images) - synthetic,
        synthetic=synthetic,
    )


def _checks(case: _Case) -> Iterator[Check]:
    yield _one_series(case)
    yield _uids(case)
    yield _numbers(case)
    yield _marks(case)
    yield _private(case)
    yield _spacing(case)
    yield _sidecar(case)
    if case.source is None:
        for name in ("references", "study", "originals", "geometry"):
            yield skipped(name, _NO_SOURCE)
        return
    if case.dicom_source is None:
        for name in ("references", "study"):
            yield skipped(name, "the source is no DICOM")
        yield _volume_originals(case, case.source)
        return
    yield _references(case, case.dicom_source)
    yield _study(case, case.dicom_source)
    yield _originals(case, case.dicom_source)
    yield _geometry(case, case.dicom_source)


def _one_series(case: _Case) -> Check:
    problems = [f"also holds {other}" for other in case.scan.info.alternatives]
    problems += case.scan.info.dropped
    count = len(case.images)
    return judged("one series", problems, f"{count} images that form one stack")


def _uids(case: _Case) -> Check:
    problems = []
    series = case.scan.frames[0].series_uid
    ids = [frame.source_id for frame in case.scan.frames]
    if not series.startswith(UID_ROOT):
        problems.append(f"the Series Instance UID does not begin with {UID_ROOT}")
    if len(set(ids)) < len(ids):
        problems.append(f"{len(ids) - len(set(ids))} SOP Instance UIDs occur twice")
    problems += [
        f"{image.name}: its SOP Instance UID does not follow from series and number"
        for image in case.images
        if image.frame.pixels.frames == 1
        and image.frame.source_id != derived_uid("image", [series, image.number])
    ]
    old = set(case.by_id) | {name.partition("#")[0] for name in case.by_id}
    problems += [f"{uid} is one of the source" for uid in ids if uid.partition("#")[0] in old]
    if case.dicom_source is not None and series == case.dicom_source.frames[0].series_uid:
        problems.append("the Series Instance UID is that of the source")
    against = "" if case.dicom_source is None else ", none of them of the source"
    return judged("UIDs", problems, f"unique and reproducible{against}")


def _numbers(case: _Case) -> Check:
    numbers = [image.number for image in case.images]
    wanted = list(range(1, len(numbers) + 1))
    problems = []
    if numbers not in (wanted, wanted[::-1]):
        problems.append("Instance Numbers do not count 1 to n along the stack")
    return judged("order", problems, f"Instance Number 1 to {len(numbers)} along the stack")


def _marks(case: _Case) -> Check:
    problems = []
    for image in case.images:
        if image.image_type[:1] != ("DERIVED",):
            problems.append(f"{image.name}: Image Type does not begin with DERIVED")
        if image.is_synthetic and _RESAMPLING not in image.derivation_codes:
            problems.append(f"{image.name}: is synthetic without Derivation Code {_RESAMPLING}")
        if not image.description:
            problems.append(f"{image.name}: has no Derivation Description")
        wanted = 2 if image.is_synthetic else 1
        if image.references and len(image.references) != wanted:
            problems.append(
                f"{image.name}: refers to {len(image.references)} source images, expected {wanted}"
            )
    synthetic = sum(image.is_synthetic for image in case.images)
    return judged(
        "marks",
        problems,
        f"{synthetic} images marked synthetic, {len(case.images) - synthetic} not",
    )


def _private(case: _Case) -> Check:
    problems = [f"{image.name}: holds some" for image in case.images if image.has_private]
    return judged("private attributes", problems, "none")


def _spacing(case: _Case) -> Check:
    geometry = case.scan.geometry
    problems = []
    stated: set[float] = set()
    for image in case.images:
        if value_of(image.header, "SpacingBetweenSlices") is None:
            continue
        value = number(image.header, "SpacingBetweenSlices")
        if value is None:
            problems.append(f"{image.name}: Spacing Between Slices is no number")
        else:
            stated.add(value)
    if len(geometry) > 1 and stated:
        spacing = float(np.mean(geometry.gaps_mm))
        problems += [
            f"Spacing Between Slices is {value:.6g} mm, slices lie every {spacing:.6g} mm"
            for value in sorted(stated)
            if abs(value - spacing) > _PLACE_MM or not geometry.is_uniform
        ]
    told = (
        f"{next(iter(stated)):.6g} mm, as the positions say"
        if stated
        else f"uneven, {geometry.gaps_mm.min():.4g} to {geometry.gaps_mm.max():.4g} mm, not stated"
        if len(geometry) > 1
        else "a single slice"
    )
    return judged("spacing", problems, told)


def _sidecar(case: _Case) -> Check:
    if case.sidecar is None:
        return skipped("sidecar", "there is none beside the series")
    try:
        entries = case.sidecar["slices"]
        positions = case.scan.geometry.positions_mm - case.scan.geometry.positions_mm[0]
        by_uid = {entry["uid"]: entry for entry in entries}
        start = min(entry["position_mm"] for entry in entries)
        problems = []
        if len(entries) != len(case.images):
            problems.append(f"lists {len(entries)} slices, there are {len(case.images)}")
        for image, position in zip(case.images, positions, strict=True):
            entry = by_uid.get(image.frame.source_id)
            if entry is None:
                problems.append(f"{image.name}: is not listed")
                continue
            if (entry["kind"] == "synthetic") != image.is_synthetic:
                problems.append(f"{image.name}: is {entry['kind']} there")
            if entry.get("source_id") and image.references[:1] != (entry["source_id"],):
                problems.append(f"{image.name}: comes from another source image there")
            there = entry["position_mm"] - start
            # A volume file may count against the normal by which the reader sorts.
            if min(abs(there - position), abs(positions[-1] - there - position)) > _SIDECAR_MM:
                problems.append(f"{image.name}: lies at another position there")
        return judged("sidecar", problems, f"agrees on all {len(entries)} slices")
    except (KeyError, TypeError, ValueError):
        return Check("sidecar", "failed", "is not one of a DICOM series")


def _references(case: _Case, source: DicomScan) -> Check:
    problems = []
    for image in case.images:
        found = [index for index, _ in case.sources_of(image)]
        if not image.references or len(found) < len(image.references):
            problems.append(f"{image.name}: refers to images that are not in the source")
        elif image.is_synthetic:
            places = source.geometry.positions_mm[found]
            place = float(np.array(image.frame.position) @ source.geometry.normal)
            if not places.min() < place < places.max():
                problems.append(f"{image.name}: does not lie between its two source images")
    return judged("references", problems, "all resolve to images of the source")


def _study(case: _Case, source: DicomScan) -> Check:
    header = Headers(limits=source.limits).of(source.frames[0])
    problems = []
    for keyword, name in (
        ("StudyInstanceUID", "Study Instance UID"),
        ("FrameOfReferenceUID", "Frame of Reference UID"),
        ("PatientID", "Patient ID"),
        ("PatientName", "Patient's Name"),
    ):
        wanted = value_of(header, keyword)
        found = {str(value_of(image.header, keyword) or "") for image in case.images}
        if len(found) > 1 or (wanted is not None and found != {str(wanted)}):
            problems.append(f"{name} is not that of the source")
    return judged(
        "study", problems, "patient, study and frame of reference are those of the source"
    )


def _originals(case: _Case, source: DicomScan) -> Check:
    problems = []
    count = 0
    for image in case.images:
        sources = case.sources_of(image)
        if image.is_synthetic or len(sources) != 1:
            continue
        count += 1
        frame = sources[0][1]
        stored = stored_values(image.frame, limits=case.scan.limits)
        wanted = stored_values(frame, limits=source.limits)
        if stored.shape != wanted.shape or not np.array_equal(
            stored.astype(np.int64), wanted.astype(np.int64)
        ):
            problems.append(f"{image.name}: stored values differ from {frame.file.name}")
        elif (image.frame.slope, image.frame.intercept) != (frame.slope, frame.intercept):
            problems.append(f"{image.name}: its rescale differs, so that HU do")
        elif not np.array_equal(
            decode_frame(image.frame, dtype=FLOAT32, limits=case.scan.limits),
            decode_frame(frame, dtype=FLOAT32, limits=source.limits),
        ):
            problems.append(f"{image.name}: HU differ from {frame.file.name}")
    if not count:
        problems.append("no image is a copy of one of the source")
    return judged(
        "originals",
        problems,
        f"{count} of {len(source.frames)} source images, identical bit by bit",
    )


def _geometry(case: _Case, source: DicomScan) -> Check:
    problems: list[str] = []
    wanted, found = source.geometry, case.scan.geometry
    if (found.rows, found.columns) != (wanted.rows, wanted.columns):
        problems.append(f"{found.rows} x {found.columns} pixels, {wanted.rows} x {wanted.columns}")
    for name in ("row_direction", "column_direction", "pixel_spacing"):
        if not np.allclose(getattr(found, name), getattr(wanted, name), rtol=0, atol=1e-6):
            problems.append(f"{name.replace('_', ' ')} differs from the source")
    worst = 0.0
    for image in case.images:
        expected = _place(image, case.sources_of(image), wanted.origins)
        if expected is None:
            continue
        off = float(np.linalg.norm(np.array(image.frame.position) - expected))
        worst = max(worst, off)
        if off > _PLACE_MM:
            problems.append(f"{image.name}: lies {off:.3g} mm off its place")
    return judged(
        "geometry", problems, f"every image within {max(worst, 1e-9):.1g} mm of its place"
    )


def _place(
    image: DerivedImage, sources: Sequence[tuple[int, Frame]], origins: np.ndarray
) -> np.ndarray | None:
    """An original lies where its source does, a synthetic slice on the line between both."""
    if not image.is_synthetic and len(sources) == 1:
        return np.asarray(origins[sources[0][0]])
    if not image.is_synthetic or len(sources) != 2:
        return None
    first, second = (origins[index] for index, _ in sources)
    step = second - first
    t = float((np.array(image.frame.position) - first) @ step / (step @ step))
    return np.asarray(first + t * step)


def _volume_originals(case: _Case, source: SliceSource) -> Check:
    """Compare originals with a volume file, as the sidecar says where they come from."""
    if case.sidecar is None:
        return skipped("originals", "needs the sidecar beside the series")
    layout = usual_layout(source.geometry, like=case.scan.geometry)
    entries = {entry.get("uid"): entry for entry in case.sidecar["slices"]}
    problems, count = [], 0
    for index, image in enumerate(case.images):
        entry = entries.get(image.frame.source_id, {})
        if entry.get("kind") != "original":
            continue
        count += 1
        wanted = np.rint(layout.values(source.read_slice(entry["source"])))
        if not np.array_equal(case.scan.read_slice(index), wanted):
            problems.append(f"{image.name}: HU differ from slice {entry['source']} of the source")
    return judged(
        "originals", problems, f"{count} of {len(source.geometry)} source slices, same HU"
    )

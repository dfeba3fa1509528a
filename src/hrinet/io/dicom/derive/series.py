"""A derived series before its pixels are known: identity, order, places, and what it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from pydicom.dataset import Dataset

import hrinet
from hrinet.errors import RequestError
from hrinet.geometry import Geometry
from hrinet.io.dicom.derive.generated import file_name, generated_header
from hrinet.io.dicom.derive.layout import Layout, usual_layout
from hrinet.io.dicom.derive.like import match_slices
from hrinet.io.dicom.derive.made import ENHANCED_NAME, refuse_made
from hrinet.io.dicom.derive.uids import derived_uid
from hrinet.io.dicom.frames import Frame
from hrinet.io.dicom.scan import DicomScan
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.limits import Limits
from hrinet.types import Float64Array
from hrinet.volume import Provenance, SliceSource, WrappedSource

_SERIES_NUMBER_OFFSET = 1000

Quantity = Literal["image", "expected_error", "half_width_90"]
"""What the voxels of a series are: HU, or how far they can be trusted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the synthetic slices of a series are computed.

    Attributes:
        method: name.
        weights: name of the trained weights, or an empty string.
        sha256: of their file, or an empty string.
        settings: of the method, where it leaves a choice.
        is_moved: whether originals were moved in their plane too (gantry tilt removed).
    """

    method: str
    weights: str = ""
    sha256: str = ""
    settings: tuple[str, ...] = ()
    is_moved: bool = False

    @property
    def sentence(self) -> str:
        """What computes, for Derivation Description."""
        trained = f", weights {self.weights} sha256 {self.sha256}" if self.sha256 else ""
        return f"HRINet {hrinet.__version__}, method {self.method}{trained}"


@dataclass(frozen=True, slots=True)
class DerivedSlice:
    """One image of a derived series.

    Attributes:
        index: in order of position, from 0.
        number: Instance Number, or number of the frame in an Enhanced object, from 1.
        uid: SOP Instance UID.
        provenance: where it comes from.
        frames: the source frames: one for an original, both neighbours for a synthetic slice; none
            if no DICOM image is known to be the source.
        origin: Image Position (Patient), mm.
    """

    index: int
    number: int
    uid: str
    provenance: Provenance
    frames: tuple[Frame, ...]
    origin: tuple[float, float, float]

    @property
    def nearest(self) -> Frame:
        """The nearer source frame, the first of two at the same distance."""
        return self.frames[-1] if self.provenance.t > 0.5 else self.frames[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class DerivedSeries:
    """A series to be written.

    Attributes:
        uid: Series Instance UID.
        slices: in order of position.
        geometry: of the slices, with the places that are written.
        recipe: how synthetic slices are computed.
        options: how to write.
        quantity: what the voxels are.
        template: the image whose patient, study and scanner the series shows, or a dataset with
            generated ones.
        is_copy: whether originals are copies of their source frames, pixels and all; if not, they
            come from a volume file, and frames are references only.
        layout: how slices are turned before they are written.
        limits: bounds on reading the source's headers again.
    """

    uid: str
    slices: tuple[DerivedSlice, ...]
    geometry: Geometry
    recipe: Recipe
    options: DicomOptions
    quantity: Quantity = "image"
    template: Frame | Dataset
    is_copy: bool = True
    layout: Layout = field(default_factory=Layout)
    limits: Limits = field(default_factory=Limits)

    @property
    def spacing_mm(self) -> float | None:
        """Spacing Between Slices if one number is true throughout, else None."""
        if len(self.slices) < 2 or not self.geometry.is_uniform:
            return None
        return float(np.mean(self.geometry.gaps_mm))

    @property
    def template_uid(self) -> str:
        """Series Instance UID of the template."""
        return _name_of(self.template)

    def place_of(self, one: DerivedSlice) -> tuple[str, str]:
        """File name and SOP Instance UID of a slice, the latter with ``#frame`` in one object."""
        if self.options.enhanced:
            return ENHANCED_NAME, f"{self.slices[0].uid}#{one.number}"
        # By Instance Number, so that files sort as the series counts.
        return f"{one.number:0{max(4, len(str(len(self.slices))))}d}.dcm", one.uid

    @property
    def synthetic_count(self) -> int:
        """How many of the slices were computed."""
        return sum(one.provenance.is_synthetic for one in self.slices)


def dicom_scan(source: SliceSource) -> DicomScan | None:
    """The DICOM scan that a source reads from, through whatever wraps it, or None."""
    while isinstance(source, WrappedSource):
        source = source.source
    return source if isinstance(source, DicomScan) else None


def plan_series(
    source: SliceSource,
    *,
    geometry: Geometry,
    provenance: Sequence[Provenance],
    recipe: Recipe,
    options: DicomOptions,
    quantity: Quantity = "image",
    like: DicomScan | None = None,
    origins: Float64Array | None = None,
) -> DerivedSeries:
    """Decide on everything but the pixels of a derived series.

    Args:
        source: the slices that the output lies between: DICOM, perhaps straightened, or not DICOM.
        geometry: of the output as planned.
        provenance: of the output slices.
        recipe: how synthetic slices are computed.
        options: how to write.
        quantity: what the voxels are.
        like: a series of the same patient, for a source that is not DICOM.
        origins: of the output slices, if not between those of the source.

    Raises:
        RequestError: if nothing can be derived from the source.
    """
    scan = dicom_scan(source)
    if origins is None:
        origins = exact_origins(source.geometry, provenance)
    geometry = replace(geometry, origins=origins)
    layout = Layout()
    template: Frame | Dataset
    images: Sequence[Frame | None]
    if scan is not None:
        check_source(scan)
        images, template = scan.frames, scan.frames[0]
    else:
        layout = usual_layout(geometry, like=like.geometry if like else None)
        images = (None,) * len(source.geometry)
        if like is None:
            template = generated_header(source.info, source.geometry)
        else:
            check_source(like)
            images = match_slices(source.geometry, like, subject=source.info.path)
            template = like.frames[0]
    uid = derived_uid(
        "series",
        {
            "quantity": quantity,
            "source": [frame.source_id if frame else "" for frame in images],
            "series": scan.info.series_uid if scan else _name_of(template),
            "file": "" if scan else file_name(source.info),
            "version": hrinet.__version__,
            "recipe": [recipe.method, recipe.sha256, list(recipe.settings), recipe.is_moved],
            "slices": [[one.source, one.neighbours, round(one.t, 9)] for one in provenance],
            "form": "enhanced" if options.enhanced else "classic",
            "mark": options.burn_in,
        },
    )
    frames = [_frames_of(images, one) for one in provenance]
    # The frames of one object are written as they come, and number as they lie in it.
    numbers = _instance_numbers([()] * len(frames) if options.enhanced else frames)
    geometry = layout.geometry(geometry)
    return DerivedSeries(
        uid=uid,
        slices=tuple(
            DerivedSlice(
                index=index,
                number=number,
                uid=derived_uid("image", [uid, number]),
                provenance=one,
                frames=used,
                origin=(float(origin[0]), float(origin[1]), float(origin[2])),
            )
            for index, (one, used, number, origin) in enumerate(
                zip(provenance, frames, numbers, geometry.origins, strict=True)
            )
        ),
        geometry=geometry,
        recipe=recipe,
        options=options,
        quantity=quantity,
        template=template,
        is_copy=scan is not None,
        layout=layout,
        limits=scan.limits if scan else like.limits if like else Limits(),
    )


def _name_of(template: Frame | Dataset) -> str:
    uid = template.SeriesInstanceUID if isinstance(template, Dataset) else template.series_uid
    return str(uid)


def check_source(scan: DicomScan) -> None:
    """Refuse a source from which no CT series can be derived.

    Raises:
        RequestError: saying why.
    """
    first = scan.frames[0]
    if first.modality not in ("CT", ""):
        raise RequestError(
            f"{scan.info.path}: its modality is {first.modality}, and a derived DICOM series can "
            "only be CT; write .nii.gz or .nrrd instead"
        )
    if first.is_localizer:
        raise RequestError(
            f"{scan.info.path}: is a localizer, from which no series of slices can be derived"
        )
    refuse_made(scan)


def exact_origins(source: Geometry, provenance: Sequence[Provenance]) -> Float64Array:
    """Image Position (Patient) of every output slice, shape (slice, 3), mm.

    Originals lie where they were measured, synthetic slices on the line between their neighbours;
    a plan may have moved either by up to 1 % of a gap to make the spacing one number, which a
    series of single images does not need.
    """
    return np.stack([
        source.origins[one.source]
        if one.source is not None
        else source.origin_at(_left(one) + one.t)
        for one in provenance
    ])  # fmt: skip


def _left(one: Provenance) -> int:
    assert one.neighbours is not None
    return one.neighbours[0]


def _frames_of(images: Sequence[Frame | None], one: Provenance) -> tuple[Frame, ...]:
    """The images a slice comes from; none unless all of them are known."""
    indices = (one.source,) if one.source is not None else one.neighbours or ()
    found = [images[index] for index in indices]
    known = tuple(frame for frame in found if frame is not None)
    return known if len(known) == len(found) else ()


def _instance_numbers(frames: Sequence[tuple[Frame, ...]]) -> list[int]:
    """1 to n, in the direction in which the source counts."""
    count = len(frames)
    orders = [used[0].order for used in frames if used]
    if orders and orders[0] > orders[-1]:
        return list(range(count, 0, -1))
    return list(range(1, count + 1))


def derived_series_number(number: object, *, quantity: Quantity = "image") -> int:
    """A Series Number that tells where a series came from: 1005, and for its maps 2005 and 3005.

    Args:
        number: of the source, if it has one.
        quantity: what the voxels are.
    """
    kind = get_args(Quantity).index(quantity) + 1
    try:
        base = int(str(number))
    except ValueError:
        base = 0
    offset = _SERIES_NUMBER_OFFSET * kind
    return offset + base if 0 <= base < 2**31 - 1 - offset else offset

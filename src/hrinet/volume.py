"""The volume: slices of HU, their geometry, and where each slice came from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from hrinet.errors import InputError
from hrinet.geometry import Geometry
from hrinet.types import FLOAT32, INT16, SliceArray, VolumeArray


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where one slice came from.

    Attributes:
        source: index of the source slice this is an exact copy of; None for a synthetic slice.
        source_id: what names the source slice in its file (DICOM SOP Instance UID, with ``#frame``
            for multi-frame objects), or an empty string.
        method: the method that made a synthetic slice; None for an original.
        neighbours: indices of the source slices on both sides of a synthetic slice.
        t: position of a synthetic slice between its neighbours, 0 at the first, 1 at the second.
        flag: why a synthetic slice deserves distrust (a missing slice, an unusually wide gap), or
            an empty string.
        expected_error_hu: mean of the absolute error to expect, HU, 0 for an original; None if
            the method estimates nothing. Which voxels count:
            :func:`hrinet.synthesize.synthesized.mean_error`.
        half_width_90_hu: mean of the half width of the interval around a voxel's value that holds
            the truth in 90 % of all cases, HU; likewise.
    """

    source: int | None = None
    source_id: str = ""
    method: str | None = None
    neighbours: tuple[int, int] | None = None
    t: float = 0.0
    flag: str = ""
    expected_error_hu: float | None = None
    half_width_90_hu: float | None = None

    @property
    def is_synthetic(self) -> bool:
        """Whether the slice was computed rather than measured."""
        return self.source is None


def _current_folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""  # It was deleted: nothing can be found from it any more.


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What a reader found out about an input, besides voxels and geometry.

    Attributes:
        format: ``DICOM``, ``NIfTI``, ``NRRD``, ``MetaImage`` or ``memory``.
        path: the path as the user gave it.
        series_uid: DICOM Series Instance UID of the chosen volume (with ``#n`` where one series
            holds several volumes), or an empty string.
        modality: DICOM Modality, or an empty string.
        description: DICOM Series Description, or an empty string.
        kernel: DICOM Convolution Kernel, or an empty string.
        notes: findings in plain words, one sentence each.
        dropped: input slices that were left out, one sentence each.
        alternatives: other volumes of the same input, one line each, beginning with their UID.
        file_axes: which axis of the file (0 slowest) each of (slice, row, column) is, so that a
            writer can restore the order.
        folder: the current folder when the input was opened, from which a relative ``path`` leads.
    """

    format: str = "memory"
    path: str = ""
    series_uid: str = ""
    modality: str = ""
    description: str = ""
    kernel: str = ""
    notes: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    alternatives: tuple[str, ...] = ()
    file_axes: tuple[int, int, int] = (0, 1, 2)
    folder: str = field(default_factory=_current_folder, repr=False, compare=False)

    @property
    def location(self) -> str:
        """Where the input lies, whatever the current folder is by now; empty if nowhere."""
        return str(Path(self.folder, self.path)) if self.path else ""


class SliceSource(Protocol):
    """Anything that hands out slices one at a time: a volume in memory or a scan on disk.

    Attributes:
        geometry: of all slices.
        dtype: int16 where the values are whole HU that fit, else float32.
        padding_hu: the value of voxels outside the reconstructed field of view, or None.
        source_ids: what names each slice in its file; empty strings where nothing does.
        info: what the reader found out.
        is_sequential: whether slices can only be read forwards (a compressed stream).
    """

    @property
    def geometry(self) -> Geometry:
        """See the class."""
        ...

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """See the class."""
        ...

    @property
    def padding_hu(self) -> float | None:
        """See the class."""
        ...

    @property
    def source_ids(self) -> Sequence[str]:
        """See the class."""
        ...

    @property
    def info(self) -> SourceInfo:
        """See the class."""
        ...

    @property
    def is_sequential(self) -> bool:
        """See the class."""
        ...

    def read_slice(self, index: int) -> SliceArray:
        """Slice ``index``, shape (row, column), HU, of :attr:`dtype`; do not write to it.

        Raises:
            InputError: if the slice cannot be decoded.
            RangeExceededError: if its values do not fit :attr:`dtype`.
        """
        ...

    def widened(self) -> SliceSource:
        """The same source with float32 slices, for values beyond int16."""
        ...


@dataclass(frozen=True, eq=False)
class WrappedSource:
    """A source that passes on what another one says, for those that change a part of it.

    Attributes:
        source: the other one.
    """

    source: SliceSource

    @property
    def geometry(self) -> Geometry:
        """That of the source."""
        return self.source.geometry

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """That of the source."""
        return self.source.dtype

    @property
    def padding_hu(self) -> float | None:
        """That of the source."""
        return self.source.padding_hu

    @property
    def source_ids(self) -> Sequence[str]:
        """Those of the source."""
        return self.source.source_ids

    @property
    def info(self) -> SourceInfo:
        """That of the source."""
        return self.source.info

    @property
    def is_sequential(self) -> bool:
        """Whether the source is."""
        return self.source.is_sequential

    def read_slice(self, index: int) -> SliceArray:
        """A slice of the source."""
        return self.source.read_slice(index)

    def widened(self) -> SliceSource:
        """The source with float32 slices."""
        return self.source.widened()


@dataclass(frozen=True, eq=False)
class ObservedSource(WrappedSource):
    """A source that shows every slice it hands out to somebody else, too.

    Attributes:
        observer: called with (index, values) from whichever thread reads.
    """

    observer: Callable[[int, SliceArray], None]

    def read_slice(self, index: int) -> SliceArray:
        """A slice of the source."""
        values = self.source.read_slice(index)
        self.observer(index, values)
        return values


@dataclass(frozen=True, eq=False)
class Uncertainty:
    """How far each voxel of a volume can be trusted; zero in original slices.

    Attributes:
        expected_error: expected absolute error, shape (slice, row, column), HU, float32; read-only.
        half_width_90: half width of the interval around a voxel's value that holds the truth in
            90 % of all cases, of the same shape, HU, float32; read-only.

    Raises:
        InputError: if shapes or dtypes are others.
    """

    expected_error: VolumeArray
    half_width_90: VolumeArray

    def __post_init__(self) -> None:
        for name in ("expected_error", "half_width_90"):
            array = np.asarray(getattr(self, name)).view()
            if array.ndim != 3 or array.dtype != FLOAT32:
                raise InputError(f"{name} is float32 in three axes, got {array.dtype}")
            array.setflags(write=False)
            object.__setattr__(self, name, array)
        if self.expected_error.shape != self.half_width_90.shape:
            raise InputError(
                f"expected_error has shape {self.expected_error.shape}, half_width_90 "
                f"{self.half_width_90.shape}"
            )


@dataclass(frozen=True, eq=False)
class Volume:
    """A CT volume in memory.

    Attributes:
        array: shape (slice, row, column), HU, int16 where lossless, else float32; read-only.
        geometry: where the voxels lie.
        provenance: one entry a slice.
        padding_hu: the value of voxels outside the field of view, or None.
        info: what the reader found out.
        uncertainty: how far each voxel can be trusted, or None if nothing was asked or is known.

    Raises:
        InputError: if shape, dtype and number of provenance entries contradict each other.
    """

    array: VolumeArray
    geometry: Geometry
    provenance: tuple[Provenance, ...] = ()
    padding_hu: float | None = None
    info: SourceInfo = field(default_factory=SourceInfo)
    uncertainty: Uncertainty | None = None

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 3 or array.shape != self.geometry.shape:
            raise InputError(
                f"the array's shape is {array.shape}, its geometry describes {self.geometry.shape}"
            )
        if array.dtype not in (INT16, FLOAT32):
            raise InputError(f"a volume holds int16 or float32 HU, got {array.dtype}")
        array = array.view()
        array.setflags(write=False)
        object.__setattr__(self, "array", array)
        if not self.provenance:
            originals = tuple(Provenance(source=k) for k in range(len(array)))
            object.__setattr__(self, "provenance", originals)
        if len(self.provenance) != len(array):
            raise InputError(f"{len(self.provenance)} provenance entries for {len(array)} slices")
        if self.uncertainty and self.uncertainty.expected_error.shape != array.shape:
            raise InputError(
                f"the uncertainty's shape is {self.uncertainty.expected_error.shape}, the array's "
                f"{array.shape}"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return self.geometry.shape

    def __len__(self) -> int:
        return len(self.array)

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """int16 or float32."""
        return self.array.dtype

    @property
    def source_ids(self) -> tuple[str, ...]:
        """What names each slice in its file."""
        return tuple(entry.source_id for entry in self.provenance)

    @property
    def is_sequential(self) -> bool:
        """Memory is random access."""
        return False

    def read_slice(self, index: int) -> SliceArray:
        """Slice ``index``, shape (row, column), HU, read-only."""
        view: SliceArray = self.array[index]
        return view

    def subset(self, indices: Sequence[int]) -> Volume:
        """Some of the slices; their provenance still names the slices of the first input.

        Args:
            indices: in order, from either end.

        Raises:
            GeometryError: if they are in no order.
        """
        kept = list(indices)
        return Volume(
            array=self.array[kept],
            geometry=self.geometry.subset(kept),
            provenance=tuple(self.provenance[k] for k in kept),
            padding_hu=self.padding_hu,
            info=self.info,
            uncertainty=(
                Uncertainty(
                    self.uncertainty.expected_error[kept], self.uncertainty.half_width_90[kept]
                )
                if self.uncertainty
                else None
            ),
        )

    def widened(self) -> Volume:
        """The same volume as float32."""
        return Volume(
            array=self.array.astype(np.float32),
            geometry=self.geometry,
            provenance=self.provenance,
            padding_hu=self.padding_hu,
            info=self.info,
            uncertainty=self.uncertainty,
        )

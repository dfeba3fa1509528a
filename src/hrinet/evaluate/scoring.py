"""Taking the measures: slices in, figures out. Every measure itself is in ``hrinet.metrics``."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hrinet.evaluate.protocols import Hiding, spread
from hrinet.evaluate.subject import without_padding
from hrinet.metrics.absolute_error import l1, l2, mean_absolute_error
from hrinet.metrics.bone import bone_volume_error
from hrinet.metrics.edges import edge_displacement_mm
from hrinet.metrics.emphysema import laa950_bias, perc15_bias
from hrinet.metrics.histogram import histogram, histogram_intersection
from hrinet.metrics.ms_ssim import ms_ssim
from hrinet.metrics.niqe import niqe
from hrinet.metrics.noise import noise_ratio
from hrinet.metrics.psnr import psnr
from hrinet.metrics.reformats import Axis, plane_ssim, through_plane_gradient_ratio
from hrinet.metrics.sharpness import gradient_energy, spectral_sharpness
from hrinet.metrics.slabs import slab_consistency
from hrinet.metrics.ssim import ssim
from hrinet.metrics.tissues import hu_bias
from hrinet.types import SliceArray, VolumeArray
from hrinet.volume import Volume

WIDE_HU = (-1000.0, 1000.0)
"""Window to which slices are clipped for measures without a window of their own."""

SOFT_HU = (-160.0, 240.0)

COSTLY_SLICES = 6
"""Slices of a scan and protocol on which the costly measures are taken, evenly spread."""

HISTOGRAM_BINS = 200
"""Bins over :data:`WIDE_HU`: 10 HU each."""

Values = dict[str, float | None]

PLANE_STEP = 32
"""Every so-manieth coronal and sagittal plane is scored."""

SLAB_STEP = 2
"""Every so-manieth kept slice is compared with the slab around it."""

LUNG_STEP = 3
"""Densitometry is done on every so-manieth synthetic slice."""

_LEAST_SIDE = 176
"""Of a slice for MS-SSIM, pixels: five scales of an 11 x 11 window."""

_LEAST_NIQE = 96
_LEAST_PLANES = 11
_LEAST_SSIM = 11
_LEAST_VOXELS = 1000
_PLANES: tuple[tuple[str, Axis], ...] = (("ssim_coronal", 1), ("ssim_sagittal", 2))
_TISSUES = {"lung": "lung", "fat": "fat", "soft tissue": "soft", "bone": "bone"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scorer:
    """Scores synthetic slices of one scan.

    Attributes:
        pixel_mm: distance between rows and between columns, mm.
        padding_hu: value of voxels outside the field of view, which count as air; or None.
        ma_model: the model of Ma et al., or None.
        is_reconstruction: whether L1 and L2 are wanted instead of what concerns gaps.
    """

    pixel_mm: tuple[float, float]
    padding_hu: float | None = None
    ma_model: Path | None = None
    is_reconstruction: bool = False

    def sampled(self, count: int) -> tuple[int, ...]:
        """Which of so many slices the costly measures are taken of."""
        return spread(count, COSTLY_SLICES)

    def compared(self, hiding: Hiding) -> tuple[int, ...]:
        """Which slices SSIM is taken of: every second or third.

        The step has no divisor in common with the number of slices in a gap, so that every place
        in a gap is looked at as often as any other.
        """
        if self.is_reconstruction:
            return tuple(range(len(hiding.targets)))
        inner = max(1, hiding.kept[1] - hiding.kept[0] - 1) if len(hiding.kept) > 1 else 1
        step = next(k for k in (2, 3, 5, 7, 11) if math.gcd(k, inner) == 1)
        return tuple(range(0, len(hiding.targets), step))

    def score(
        self,
        made: SliceArray,
        truth: SliceArray | None,
        *,
        is_compared: bool = True,
        is_costly: bool = True,
    ) -> Values:
        """The measures of one slice.

        Args:
            made: shape (row, column), HU.
            truth: of the same shape, or None where there is none.
            is_compared: whether SSIM is taken too.
            is_costly: whether those that cost much are taken too.
        """
        image = without_padding(made, self.padding_hu)
        values: Values = {}
        if truth is not None:
            true = without_padding(truth, self.padding_hu)
            values |= self._cheap(image, true, is_compared=is_compared)
            if is_costly and not self.is_reconstruction:
                values |= self._costly(image, true)
        if is_costly and not self.is_reconstruction:
            values |= self._without_truth(image)
        return {key: _finite(value) for key, value in values.items()}

    def _cheap(self, image: SliceArray, truth: SliceArray, *, is_compared: bool) -> Values:
        wide, true_wide = _clipped(image, WIDE_HU), _clipped(truth, WIDE_HU)
        span = WIDE_HU[1] - WIDE_HU[0]
        decibel = psnr(wide, true_wide, data_range=span)
        # The same error on another scale, see hrinet.metrics.rmse: not worth computing again.
        values: Values = {"psnr": decibel, "rmse_255": 255 / 10 ** (decibel / 20)}
        if is_compared and min(wide.shape) >= _LEAST_SSIM:
            values["ssim"] = ssim(wide, true_wide, data_range=span)
        if self.is_reconstruction:
            gray, true_gray = ((part - WIDE_HU[0]) * (255 / span) for part in (wide, true_wide))
            return values | {"l1_255": l1(gray, true_gray), "l2_255": l2(gray, true_gray)}
        soft = psnr(
            _clipped(image, SOFT_HU),
            _clipped(truth, SOFT_HU),
            data_range=SOFT_HU[1] - SOFT_HU[0],
        )
        return values | {"psnr_soft": soft, "mae": mean_absolute_error(wide, true_wide)}

    def _costly(self, image: SliceArray, truth: SliceArray) -> Values:
        wide, true_wide = _clipped(image, WIDE_HU), _clipped(truth, WIDE_HU)
        span = WIDE_HU[1] - WIDE_HU[0]
        values: Values = {
            "histogram": histogram_intersection(
                wide, true_wide, bins=HISTOGRAM_BINS, value_range=WIDE_HU
            ),
            "sharpness": _ratio(
                gradient_energy(wide, pixel_spacing=self.pixel_mm),
                gradient_energy(true_wide, pixel_spacing=self.pixel_mm),
            ),
            "spectral": _ratio(spectral_sharpness(wide), spectral_sharpness(true_wide)),
        }
        if min(wide.shape) >= _LEAST_SIDE:
            values["ms_ssim"] = ms_ssim(wide, true_wide, data_range=span)
        values["noise"] = noise_ratio(image, truth)
        values["edge"] = edge_displacement_mm(image, truth, pixel_spacing=self.pixel_mm)
        for tissue, found in hu_bias(image, truth).items():
            if tissue in _TISSUES and found.voxels >= _LEAST_VOXELS:
                values[f"bias_{_TISSUES[tissue]}"] = found.bias_hu
                values[f"width_{_TISSUES[tissue]}"] = found.width_ratio
        return values

    def _without_truth(self, image: SliceArray) -> Values:
        values: Values = {}
        if min(image.shape) >= _LEAST_NIQE:
            values["niqe"] = niqe(image, value_range=WIDE_HU)
        if self.ma_model is not None:
            from hrinet.metrics.ma import ma

            values["ma"] = ma(image, value_range=WIDE_HU, model=self.ma_model)
        return values

    def score_whole(
        self,
        volume: Volume,
        hiding: Hiding,
        made: VolumeArray,
        *,
        lung: NDArray[np.bool_],
        is_truth: bool = False,
    ) -> Values:
        """The measures that need all synthetic slices at once, or how they follow one another.

        Args:
            volume: the whole scan.
            hiding: what was hidden.
            made: the synthetic slices, shape (target, row, column), HU.
            lung: where every :data:`LUNG_STEP`-th of the true ones shows lung.
            is_truth: whether they are the true ones, which only some measures are taken of.
        """
        positions = volume.geometry.positions_mm
        first, last = hiding.kept[0], hiding.kept[-1] + 1
        filled = volume.array[first:last].copy()
        synthetic = np.zeros(len(filled), bool)
        for number, target in enumerate(hiding.targets):
            if target.truth is not None:
                filled[target.truth - first] = made[number]
                synthetic[target.truth - first] = True
        values: Values = {}
        thickness = volume.geometry.slice_thickness
        if thickness is not None and hiding.gap_mm > thickness > 0:
            originals = list(hiding.kept)[::SLAB_STEP]
            values["slab"] = slab_consistency(
                filled,
                volume.array[originals],
                positions_mm=positions[first:last],
                original_positions_mm=positions[originals],
                thickness_mm=thickness,
            ).rmse_hu
        if is_truth:
            return {key: _finite(value) for key, value in values.items()}
        truth = volume.array[hiding.truths]
        values["bone_volume"] = bone_volume_error(made, truth, spacing=(1.0, *self.pixel_mm))
        part = slice(None, None, LUNG_STEP)
        values["laa950"] = laa950_bias(made[part], truth[part], mask=lung)
        values["perc15"] = perc15_bias(made[part], truth[part], mask=lung)
        complete = volume.array[first:last]
        values["through_plane"] = through_plane_gradient_ratio(
            filled, complete, synthetic, positions_mm=positions[first:last]
        )
        if min(filled.shape) >= _LEAST_PLANES:
            for name, axis in _PLANES:
                values[name] = plane_ssim(
                    *(filled, complete, synthetic),
                    axis=axis,
                    value_range=WIDE_HU,
                    step=PLANE_STEP,
                )
        return {key: _finite(value) for key, value in values.items()}

    def histograms(self, made: VolumeArray, truth: VolumeArray | None) -> Mapping[str, list[float]]:
        """Share of voxels by HU over the slices of :meth:`sampled`, for the figure."""
        chosen = list(self.sampled(len(made)))
        found = {}
        for name, stack in (("made", made), ("truth", truth)):
            if stack is not None and chosen:
                values = _clipped(without_padding(stack[chosen], self.padding_hu), WIDE_HU)
                shares = histogram(values, bins=HISTOGRAM_BINS, value_range=WIDE_HU)
                found[name] = [round(float(share), 7) for share in shares]
        return found


def _clipped(values: SliceArray, window: tuple[float, float]) -> SliceArray:
    return np.clip(values, *window).astype(np.float32, copy=False)


def _ratio(value: float, truth: float) -> float | None:
    return value / truth if truth > 0 else None


def _finite(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else float(value)

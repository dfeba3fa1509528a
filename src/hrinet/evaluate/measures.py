"""What is measured of synthetic slices, what each figure means, and which direction is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

DASH = "\N{EN DASH}"
"""Where there is no figure."""

Better: TypeAlias = Literal["higher", "lower", "zero", "one", "truth"]
"""Which values are better: zero and one mean nearer to it, truth to that of the true slices."""

_ARROWS: Mapping[Better, str] = {
    "higher": "higher is better",
    "lower": "lower is better",
    "zero": "nearer to 0 is better",
    "one": "nearer to 1 is better",
    "truth": "nearer to the true slices' own is better",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measure:
    """One figure.

    Attributes:
        key: in the JSON.
        title: at the head of a column.
        unit: such as HU; may be empty.
        better: which values are better.
        digits: after the point.
        meaning: one sentence for a reader who never heard of it.
        costly: whether it is taken of some slices only; see
            :data:`hrinet.evaluate.scoring.COSTLY_SLICES`.
    """

    key: str
    title: str
    unit: str
    better: Better
    digits: int
    meaning: str
    costly: bool = False

    @property
    def head(self) -> str:
        """Title and unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title

    @property
    def direction(self) -> str:
        """Which direction is better, in words."""
        return _ARROWS[self.better]

    def badness(self, value: float) -> float:
        """A number that is lower for better values."""
        if self.better == "higher":
            return -value
        if self.better == "lower":
            return value
        if self.better == "truth":
            return math.nan  # Not known here, so that no method is marked.
        return abs(value - (1.0 if self.better == "one" else 0.0))

    def text(self, value: float | None, *, signed: bool = False) -> str:
        """The value as it stands in a table."""
        if value is None or not math.isfinite(value):
            return DASH
        return f"{value:{'+' if signed else ''}.{self.digits}f}"


def _measure(
    key: str,
    title: str,
    unit: str,
    better: Better,
    digits: int,
    meaning: str,
    *,
    costly: bool = False,
) -> Measure:
    return Measure(
        key=key,
        title=title,
        unit=unit,
        better=better,
        digits=digits,
        meaning=meaning,
        costly=costly,
    )


_TISSUES = {"lung": "lung", "fat": "fat", "soft": "soft tissue", "bone": "bone"}

MEASURES: tuple[Measure, ...] = (
    _measure(
        *("psnr", "PSNR", "dB", "higher", 2),
        "Peak signal-to-noise ratio over -1000 to 1000 HU: 6 dB more is half the error.",
    ),
    _measure(
        *("psnr_soft", "PSNR soft", "dB", "higher", 2),
        "The same over -160 to 240 HU, the window in which soft tissue is read.",
    ),
    _measure(
        *("ssim", "SSIM", "", "higher", 4),
        "Structural similarity: 1 where local mean, contrast and pattern agree with the truth.",
    ),
    _measure(
        *("mae", "MAE", "HU", "lower", 2),
        "Mean absolute error of a voxel, clipped to -1000 to 1000 HU.",
    ),
    _measure(
        *("rmse_255", "RMSE", "of 255", "lower", 3),
        "Root mean square error on gray levels 0 to 255 for -1000 to 1000 HU, as in the thesis.",
    ),
    _measure(
        *("ms_ssim", "MS-SSIM", "", "higher", 4),
        "SSIM over five scales: also judges what is coarse.",
        costly=True,
    ),
    _measure(
        *("niqe", "NIQE", "", "lower", 3),
        "Distance of local statistics from those of real CT slices; needs no truth. It rewards "
        "sharpness and natural noise, not correctness.",
        costly=True,
    ),
    _measure(
        *("ma", "Ma et al.", "", "higher", 3),
        "Learned score of perceived quality; needs no truth, and a model file of one's own.",
        costly=True,
    ),
    _measure(
        *("histogram", "Histogram intersection", "", "higher", 4),
        "Overlap of the histograms of synthetic and true slice, 0 to 1.",
        costly=True,
    ),
    _measure(
        *("sharpness", "Gradient energy ratio", "", "one", 3),
        "Gradient energy, synthetic to true: below 1 is blurred, above 1 sharper or noisier.",
        costly=True,
    ),
    _measure(
        *("spectral", "High frequencies ratio", "", "one", 3),
        "Share of high spatial frequencies, synthetic to true: below 1 is blurred.",
        costly=True,
    ),
    *(
        _measure(
            *(f"bias_{key}", f"Bias {name}", "HU", "zero", 2),
            f"Mean HU of {name} (voxels that are {name} in the true slice), synthetic less true.",
            costly=True,
        )
        for key, name in _TISSUES.items()
    ),
    *(
        _measure(
            *(f"width_{key}", f"Width {name}", "", "one", 3),
            f"Width of the HU histogram of {name}, synthetic to true: below 1, values are drawn "
            "together, which spoils densitometry.",
            costly=True,
        )
        for key, name in _TISSUES.items()
    ),
    _measure(
        *("noise", "Noise ratio", "", "one", 3),
        "Standard deviation in homogeneous soft tissue, synthetic to true: below 1, the slice "
        "looks smoother than its neighbours.",
        costly=True,
    ),
    _measure(
        *("laa950", "LAA-950 bias", "points", "zero", 2),
        "Share of lung below -950 HU (emphysema index), percentage points, synthetic less true; on "
        "every third slice.",
    ),
    _measure(
        *("perc15", "Perc15 bias", "HU", "zero", 1),
        "15th percentile of lung density, synthetic less true; on every third slice.",
    ),
    _measure(
        *("edge", "Edge displacement", "mm", "lower", 2),
        "How far the edge of bone and body lies from where it truly is.",
        costly=True,
    ),
    _measure(
        *("bone_volume", "Bone volume error", "%", "zero", 1),
        "Volume of a bone mask over the synthetic slices, synthetic less true, of the true.",
    ),
    _measure(
        *("ssim_coronal", "SSIM coronal", "", "higher", 4),
        "SSIM in coronal planes: whether slices follow one another smoothly and rightly.",
    ),
    _measure(*("ssim_sagittal", "SSIM sagittal", "", "higher", 4), "The same in sagittal planes."),
    _measure(
        *("slab", "Slab consistency", "HU", "truth", 2),
        "Root mean square difference between a kept slice and the mean of the filled stack over "
        "its thickness; 0 for repeated slices, which shows that 0 is not the aim.",
    ),
    _measure(
        *("through_plane", "Through-plane gradient ratio", "", "one", 3),
        "Change from slice to slice, filled stack to true: below 1 too smooth, above 1 jumpy. "
        "Where made slices differ in style from kept ones, the jumps between them raise it too.",
    ),
    _measure(
        *("l1_255", "L1", "of 255", "lower", 3),
        "Mean absolute error on gray levels 0 to 255 for -1000 to 1000 HU.",
    ),
    _measure(
        *("l2_255", "L2", "of 255²", "lower", 2),
        "Mean squared error on gray levels 0 to 255 (the thesis's equation 2-4; its own table does "
        "not state a scale).",
    ),
)

BY_KEY: Mapping[str, Measure] = {measure.key: measure for measure in MEASURES}

"""The figures of the thesis's tables (chapter 4), to stand beside ours.

They were measured on other data with other weights, and its tables have no row for linear or cubic
interpolation; they are not comparable with ours and are marked so.

Reference: J. Li: HRINet, 2020, Tables 4-1 to 4-5.
"""

from __future__ import annotations

from collections.abc import Mapping

MARK = "reported on other data"

COLUMNS = ("ae", "acai", "hrinet-patchgan", "hrinet-mse", "hrinet-perceptual")

_Row = Mapping[str, float]


def _row(*values: float) -> _Row:
    return dict(zip((*COLUMNS, "truth"), values, strict=False))


TABLE_4_1: Mapping[tuple[str, int], _Row] = {
    ("psnr", 256): _row(22.730, 22.800, 22.130, 25.576, 22.654),
    ("psnr", 512): _row(21.937, 21.968, 20.141, 21.824, 20.826),
    ("ssim", 256): _row(0.957, 0.957, 0.951, 0.977, 0.958, 1.0),
    ("ssim", 512): _row(0.907, 0.909, 0.872, 0.909, 0.894, 1.0),
    ("rmse_255", 256): _row(16.985, 16.845, 18.072, 12.059, 16.6326, 0.0),
    ("rmse_255", 512): _row(18.394, 18.290, 22.435, 18.305, 20.4879, 0.0),
    ("ma", 256): _row(2.811, 2.843, 2.882, 2.856, 2.883, 2.950),
    ("ma", 512): _row(2.601, 2.577, 2.893, 2.934, 2.961, 2.911),
}

TABLE_4_2: Mapping[tuple[str, int], _Row] = {
    ("niqe", 256): _row(2.440, 2.425, 2.254, 2.258, 2.237),
    ("niqe", 512): _row(2.445, 2.417, 2.359, 2.364, 2.351),
    ("ma", 256): _row(2.815, 2.852, 2.878, 2.859, 2.891),
    ("ma", 512): _row(2.550, 2.562, 2.891, 2.918, 2.937),
}

_COLUMNS_4_3 = ("ae", "acai", "hrinet-mse", "hrinet-perceptual")

TABLE_4_3: Mapping[str, _Row] = {
    "psnr": dict(zip(_COLUMNS_4_3, (23.469, 23.860, 25.748, 23.478), strict=True)),
    "ssim": dict(zip(_COLUMNS_4_3, (0.942, 0.961, 0.982, 0.953), strict=True)),
    "l1_255": dict(zip(_COLUMNS_4_3, (3.837, 3.513, 3.234, 3.802), strict=True)),
    "l2_255": dict(zip(_COLUMNS_4_3, (14.723, 12.340, 10.458, 14.455), strict=True)),
}

TABLE_4_4: Mapping[str, tuple[tuple[str, str, str, str, str], float, float, float]] = {
    "ae": (("MSE", "no", "no", "no", "no"), 22.730, 0.957, 2.811),
    "ae-mixing": (("MSE", "yes", "no", "no", "no"), 22.478, 0.945, 2.817),
    "ae-mixing-d1": (("MSE", "yes", "yes", "no", "no"), 22.883, 0.962, 2.840),
    "hrinet-patchgan": (("MSE", "yes", "yes", "yes", "no"), 22.130, 0.951, 2.882),
    "hrinet-mse": (("MSE", "yes", "yes", "yes", "yes"), 25.576, 0.977, 2.856),
    "hrinet-perceptual": (("Perceptual", "yes", "yes", "yes", "yes"), 22.654, 0.958, 2.883),
}
"""By method: content loss, feature map mixing, D1, D2, alternating training; PSNR, SSIM, Ma."""

TABLE_4_5: Mapping[str, tuple[str, float]] = {
    "receptive-field-1": ("1 x 1 (PixelGAN)", 0.62),
    "receptive-field-16": ("16 x 16", 0.73),
    "receptive-field-70": ("70 x 70", 0.84),
    "receptive-field-142": ("142 x 142", 0.71),
    "receptive-field-full": ("256 x 256 (ImageGAN)", 0.79),
}
"""By name of the weights: receptive field of D2, histogram intersection with the truth."""

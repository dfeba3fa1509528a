"""The no-reference measure of Ma et al., with the model of its authors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from hrinet.metrics.ma_features import ma_features
from hrinet.metrics.ma_model import load_ma_model
from hrinet.metrics.pairs import checked_range

NOT_AVAILABLE = "not available: no model file"
"""What to print where :func:`ma` returns None."""


def ma(image: ArrayLike, *, value_range: tuple[float, float], model: Path | None) -> float | None:
    """Perceived quality, learned from what people thought of enlarged photographs.

    The features are computed here; the trained forests are the authors' and have to be given.
    Without them there is no score: numbers from other forests would not be this measure. The
    forests never saw CT.

    Args:
        image: shape (row, column), at least 128 x 128.
        value_range: HU that become 0 and 255; values are clipped to it and rounded to whole grey
            levels, as the forests were trained on 8-bit images.
        model: ``model.mat`` of the authors' release (github.com/chaoma99/sr-metric), or None.

    Returns:
        About 0 (worst) to 10, higher is better; None without a model.

    Raises:
        RequestError: if SciPy, which reads MATLAB files, is not installed.
        InputError: if the file is not such a model.
        ValueError: if the image is too small or the range empty.

    References:
        C. Ma, C.-Y. Yang, X. Yang, M.-H. Yang: Learning a no-reference quality metric for
        single-image super-resolution. Computer Vision and Image Understanding 158 (2017), 1.
    """
    if model is None:
        return None
    forests = load_ma_model(model)
    low, high = checked_range(value_range)
    grey = np.rint((np.clip(np.asarray(image, np.float64), low, high) - low) * (255 / (high - low)))
    return forests.score(ma_features(grey))

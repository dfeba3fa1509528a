"""The authors' trained forests for the measure of Ma et al., from the MATLAB file they publish."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hrinet.errors import InputError, RequestError
from hrinet.metrics.ma_features import FEATURE_COUNTS, MaFeatures
from hrinet.types import Float64Array

_ARRAYS = ("lDau", "rDau", "mbest", "upper", "avnode")


@dataclass(frozen=True, slots=True, eq=False)
class Forest:
    """A random forest for regression, as randomforest-matlab stores it.

    Attributes:
        left: node to the left, counted from 1, 0 at leaves; shape (node, tree).
        right: node to the right; likewise.
        feature: that a node asks for, counted from 1; likewise.
        limit: features up to it go left; likewise.
        value: what a leaf answers; likewise.
        correction: offset and slope applied to the mean of the trees.
    """

    left: NDArray[np.int64]
    right: NDArray[np.int64]
    feature: NDArray[np.int64]
    limit: Float64Array
    value: Float64Array
    correction: tuple[float, float] = (0.0, 1.0)

    def predict(self, features: Float64Array) -> float:
        """Mean of what the trees answer.

        Args:
            features: shape (feature,).
        """
        trees = np.arange(self.left.shape[1])
        node = np.zeros(len(trees), np.int64)
        for _ in range(self.left.shape[0]):
            inside = self.left[node, trees] > 0
            if not inside.any():
                break
            goes_left = features[self.feature[node, trees] - 1] <= self.limit[node, trees]
            child = np.where(goes_left, self.left[node, trees], self.right[node, trees]) - 1
            node = np.where(inside, child, node)
        offset, slope = self.correction
        return offset + slope * float(self.value[node, trees].mean())


@dataclass(frozen=True, slots=True, eq=False)
class MaModel:
    """Three forests, one a group of features, and the straight line through their answers.

    Attributes:
        forests: for block cosines, wavelets and patches.
        weights: constant and the three forests' weights, shape (4,).
    """

    forests: tuple[Forest, Forest, Forest]
    weights: Float64Array

    def score(self, features: MaFeatures) -> float:
        """Of an image, from about 0 (worst) to 10."""
        answers = [
            forest.predict(values) for forest, values in zip(self.forests, features, strict=True)
        ]
        return float(np.array([1.0, *answers]) @ self.weights)


def load_ma_model(path: Path) -> MaModel:
    """Read ``model.mat`` of the authors' release; a file that has not changed is read once.

    Args:
        path: of the file: a struct ``model`` with a cell ``rf`` of three forests and ``linear``.

    Raises:
        RequestError: if SciPy, which reads MATLAB files, is not installed.
        InputError: if the file cannot be read or is not what the authors' code saves.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    return _load(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=1)
def _load(path: Path, _changed: int, _size: int) -> MaModel:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise RequestError(
            f"{path}: SciPy, which reads MATLAB files, is not installed; run: pip install "
            "'hrinet[ma]'"
        ) from None
    try:
        content = loadmat(path, squeeze_me=True, struct_as_record=False)
    except NotImplementedError:
        raise InputError(
            f"{path}: is a MATLAB file of version 7.3; save it as version 7 (-v7)"
        ) from None
    except Exception as error:  # SciPy raises nearly anything on damaged files.
        raise InputError(f"{path}: is no MATLAB file, or it is damaged ({error})") from error
    try:
        return _model(content["model"])
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: is not the model of Ma et al. ({error}); expected a struct 'model' with "
            "three forests 'rf' and four numbers 'linear', as in model.mat of the authors' release"
        ) from error


def _model(model: Any) -> MaModel:
    forests: Sequence[Any] = list(np.atleast_1d(model.rf))
    weights = np.asarray(model.linear, np.float64).ravel()
    if len(forests) != 3 or weights.shape != (4,) or not np.isfinite(weights).all():
        raise ValueError(f"{len(forests)} forests and {weights.size} weights")
    first, second, third = (
        _forest(forest, count) for forest, count in zip(forests, FEATURE_COUNTS, strict=True)
    )
    return MaModel((first, second, third), weights)


def _forest(stored: Any, features: int) -> Forest:
    arrays = [np.asarray(getattr(stored, name)) for name in _ARRAYS]
    # Squeezing drops the axis of a single tree.
    arrays = [array[:, np.newaxis] if array.ndim == 1 else array for array in arrays]
    left, right, feature = (array.astype(np.int64) for array in arrays[:3])
    limit, value = (array.astype(np.float64) for array in arrays[3:])
    if left.ndim != 2 or any(array.shape != left.shape for array in (right, feature, limit, value)):
        raise ValueError("the arrays of a forest differ in shape")
    inside = left > 0
    nodes = len(left)
    if left.min() < 0 or max(left.max(), right.max()) > nodes:
        raise ValueError("a tree points beyond its nodes")
    if inside.any() and not (feature[inside].min() >= 1 and feature[inside].max() <= features):
        raise ValueError(f"a tree asks for a feature beyond {features}")
    # Children follow their parents, so that every way down ends.
    own = np.arange(1, nodes + 1)[:, np.newaxis]
    if (np.minimum(left, right)[inside] <= np.broadcast_to(own, left.shape)[inside]).any():
        raise ValueError("a tree turns back on itself")
    stored_correction = np.atleast_1d(np.asarray(getattr(stored, "coef", ()), np.float64))
    correction = (0.0, 1.0)
    if stored_correction.size == 2 and stored_correction.any():
        correction = (float(stored_correction[0]), float(stored_correction[1]))
    return Forest(left, right, feature, limit, value, correction)

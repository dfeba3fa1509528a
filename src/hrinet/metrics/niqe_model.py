"""The statistics of real CT slices that NIQE compares with, and the file that holds them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from hrinet.errors import InputError
from hrinet.io.staging import Staging
from hrinet.types import Float64Array

NIQE_SCHEMA = "hrinet-niqe-1"

PATCH = 96
"""Side of a patch, pixels."""

FEATURES = 36

SHARPEST_SHARE = 0.75
"""Fitted are patches at least this share as sharp as the sharpest of their slice."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NiqeModel:
    """A multivariate Gaussian over the features of real slices.

    Attributes:
        mean: shape (36,).
        covariance: shape (36, 36).
        value_range: HU that became 0 and 255.
        provenance: patients, collections, licences, numbers of slices and patches.
    """

    mean: Float64Array
    covariance: Float64Array
    value_range: tuple[float, float]
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.mean.shape != (FEATURES,) or self.covariance.shape != (FEATURES, FEATURES):
            raise ValueError(
                f"a NIQE model has {FEATURES} features, got {self.mean.shape} and "
                f"{self.covariance.shape}"
            )
        if not (np.isfinite(self.mean).all() and np.isfinite(self.covariance).all()):
            raise ValueError("a NIQE model consists of finite numbers")

    @property
    def sha256(self) -> str:
        """Of mean and covariance, as little-endian double precision numbers row by row."""
        numbers = np.concatenate([self.mean, self.covariance.ravel()]).astype("<f8")
        return hashlib.sha256(numbers.tobytes()).hexdigest()

    @classmethod
    def fitted(
        cls,
        features: Float64Array,
        *,
        value_range: tuple[float, float],
        provenance: Mapping[str, Any],
    ) -> NiqeModel:
        """From the features of many patches, shape (patch, 36).

        Raises:
            ValueError: if there are too few patches for a covariance of full rank.
        """
        good = features[np.isfinite(features).all(axis=1)]
        if len(good) <= FEATURES:
            raise ValueError(f"{len(good)} patches are too few; more than {FEATURES} are needed")
        return cls(
            mean=good.mean(axis=0),
            covariance=np.cov(good, rowvar=False),
            value_range=value_range,
            provenance=provenance,
        )


def packaged_model_path() -> Path:
    """Where the packaged model lies."""
    return Path(__file__).with_name("niqe-ct.json")


@cache
def packaged_model() -> NiqeModel:
    """The model that comes with the package, fitted on CT of patients who may be shipped.

    Raises:
        InputError: if the file is missing or damaged.
    """
    return load_model(packaged_model_path())


def load_model(path: Path) -> NiqeModel:
    """Read a model.

    Args:
        path: of a file that :func:`save_model` wrote.

    Raises:
        InputError: if it cannot be read, is of another kind, or its numbers were changed.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"{path}: is no JSON; expected a NIQE model") from None
    if not isinstance(values, dict) or values.get("schema") != NIQE_SCHEMA:
        raise InputError(f"{path}: is no NIQE model of version {NIQE_SCHEMA}")
    try:
        low, high = (float(value) for value in values["value_range"])
        model = NiqeModel(
            mean=np.array(values["mean"], np.float64),
            covariance=np.array(values["covariance"], np.float64),
            value_range=(low, high),
            provenance=dict(values["provenance"]),
        )
        told = values["sha256"]
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the NIQE model is damaged ({error})") from error
    if model.sha256 != told:
        raise InputError(
            f"{path}: its numbers have SHA-256 {model.sha256}, but it says {told}; fetch it again"
        )
    return model


def save_model(model: NiqeModel, path: Path) -> None:
    """Write a model as JSON; it appears whole or not at all, replacing another.

    Args:
        model: to write.
        path: of the file.
    """
    values = {
        "schema": NIQE_SCHEMA,
        "value_range": list(model.value_range),
        "sha256": model.sha256,
        "provenance": dict(model.provenance),
        "mean": model.mean.tolist(),
        "covariance": model.covariance.tolist(),
    }
    with Staging(overwrite=True) as staging:
        staging.path(path).write_text(_json(values), "utf-8")


def _json(values: Mapping[str, Any]) -> str:
    """Indented, with rows of numbers on one line each."""
    parts = []
    for key, value in values.items():
        if key == "covariance":
            text = "[\n  " + ",\n  ".join(json.dumps(row) for row in value) + "\n ]"
        elif key in ("mean", "value_range"):
            text = json.dumps(value)
        else:
            text = json.dumps(value, indent=1).replace("\n", "\n ")
        parts.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(parts) + "\n}\n"

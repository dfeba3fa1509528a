"""The JSON beside a file of weights, and the header of the file; needs no torch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from hrinet.errors import InputError

WEIGHTS_SCHEMA = "hrinet-weights-1"

Precision: TypeAlias = Literal["float32", "float16"]
"""How the numbers are stored; computed with is always float32."""

_HEADER_LIMIT = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingCollection:
    """Scans of one source that took part in a training.

    Attributes:
        collection: its name.
        licence: of the scans.
        scans: number of them.
    """

    collection: str
    licence: str
    scans: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a set of weights is.

    Attributes:
        name: of the method that they make.
        sha256: of the file of weights.
        model: fields of the network's configuration.
        steps: training steps done.
        steps_planned: training steps that were configured.
        scans: number of scans trained on.
        patients: number of patients trained on.
        collections: where the scans came from; empty if unknown.
        licence: of the weights; empty if not stated.
        precision: how the numbers are stored.
        values: the whole JSON object, with what only one kind of network has.
    """

    name: str
    sha256: str
    model: Mapping[str, Any]
    steps: int
    steps_planned: int
    scans: int
    patients: int
    collections: tuple[TrainingCollection, ...]
    licence: str
    precision: Precision
    values: Mapping[str, Any]


def description_path(weights: Path) -> Path:
    """Where the description of a file of weights lies."""
    return weights.with_suffix(".json")


def read_description(weights: Path) -> Description:
    """Read the JSON beside a file of weights.

    Args:
        weights: path of the safetensors file, which is not opened.

    Raises:
        InputError: if it is missing, damaged, or of another kind.
    """
    path = description_path(weights)
    try:
        values = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError:
        raise InputError(f"{path}: is no JSON; expected a description of weights") from None
    if not isinstance(values, dict) or values.get("schema") != WEIGHTS_SCHEMA:
        raise InputError(f"{path}: is no description of weights of version {WEIGHTS_SCHEMA}")
    try:
        precision = values.get("precision", "float32")
        if precision not in get_args(Precision):
            raise ValueError(precision)
        return Description(
            name=_text(values["name"]),
            sha256=_text(values["sha256"]),
            model=dict(values["model"]),
            steps=int(values["steps"]),
            steps_planned=int(values["steps_planned"]),
            scans=int(values["scans"]),
            patients=int(values["patients"]),
            collections=tuple(TrainingCollection(**item) for item in values["collections"]),
            licence=str(values.get("licence", "")),
            precision=precision,
            values=values,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: its description of the weights is damaged ({type(error).__name__}: {error})"
        ) from error


def count_parameters(weights: Path) -> int:
    """Number of parameters in a safetensors file, from its header alone.

    Raises:
        InputError: if the file is missing, or its header damaged.
    """
    try:
        with weights.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(min(length, _HEADER_LIMIT)))
        return sum(
            math.prod(entry["shape"]) for key, entry in header.items() if key != "__metadata__"
        )
    except OSError as error:
        raise InputError(f"{weights}: cannot be read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{weights}: is no safetensors file, or it is damaged") from error


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value

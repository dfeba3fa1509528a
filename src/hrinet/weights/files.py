"""Writing and reading a set of weights: tensors, and the JSON that describes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from hrinet.errors import InputError, RequestError
from hrinet.io.staging import Staging
from hrinet.weights.description import (
    WEIGHTS_SCHEMA,
    Description,
    Precision,
    description_path,
    read_description,
)
from hrinet.weights.find import require_no_description

_DTYPES: Mapping[Precision, torch.dtype] = {"float32": torch.float32, "float16": torch.float16}


def save_weights(
    path: Path,
    tensors: Mapping[str, Tensor],
    description: Mapping[str, Any],
    *,
    precision: Precision = "float32",
) -> None:
    """Write a file of weights and the JSON beside it; both appear, or neither, replacing others.

    Args:
        path: of the safetensors file.
        tensors: by name, of any shapes.
        description: see :class:`hrinet.weights.description.Description`; schema, file, SHA-256
            and precision are filled in.
        precision: how to store the numbers.

    Raises:
        RequestError: if a number is not finite, or too large for the precision.
    """
    stored = {}
    for name, tensor in tensors.items():
        stored[name] = tensor.detach().cpu().to(_DTYPES[precision]).contiguous()
        if not torch.isfinite(stored[name]).all():
            raise RequestError(f"{path}: {name} holds numbers that {precision} cannot")
    content = save(stored, {"schema": WEIGHTS_SCHEMA})
    filled = {
        **description,
        "schema": WEIGHTS_SCHEMA,
        "file": path.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "precision": precision,
    }
    with Staging(overwrite=True) as staging:
        staging.path(path).write_bytes(content)
        text = json.dumps(filled, indent=1) + "\n"
        staging.path(description_path(path)).write_text(text, "utf-8")


def read_weights(path: Path) -> tuple[dict[str, Tensor], Description]:
    """Read a file of weights, checked against the SHA-256 in the JSON beside it.

    Args:
        path: of the safetensors file.

    Returns:
        The tensors by name, float32 on the CPU, and the description.

    Raises:
        InputError: if a file is missing or damaged, the two do not belong together, or ``path`` is
            the JSON.
    """
    require_no_description(path)
    description = read_description(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != description.sha256:
        raise InputError(
            f"{path}: has SHA-256 {found}, but {description_path(path).name} says "
            f"{description.sha256}; fetch both again"
        )
    try:
        tensors = load(content)
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: is no safetensors file, or it is damaged") from error
    return {name: tensor.float() for name, tensor in tensors.items()}, description

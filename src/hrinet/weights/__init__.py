"""Trained weights: the files that ship with the package, what describes them, how they load.

Each set is three files beside this one: ``<name>.safetensors``, ``<name>.json`` (what it is, see
:mod:`hrinet.weights.description`) and ``<name>.md`` (its model card).
"""

from __future__ import annotations

from pathlib import Path


def packaged_weights(name: str) -> Path:
    """Where the package keeps the weights of a method, whether or not they are there."""
    return Path(__file__).parent / f"{name}.safetensors"

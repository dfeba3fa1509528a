"""A trained generator of the family, ready for use."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

from hrinet.errors import HrinetError, InputError
from hrinet.networks.family import FAMILY, ModelConfig, build
from hrinet.networks.generator import Generator
from hrinet.train import Window
from hrinet.weights.description import Description
from hrinet.weights.files import read_weights
from hrinet.weights.flow import is_flow


@dataclass(frozen=True, slots=True, eq=False)
class TrainedGenerator:
    """A generator and what it was trained for.

    Attributes:
        network: on the CPU, frozen.
        window_hu: HU that are 0 and 1 to it.
        description: of its weights.
    """

    network: Generator
    window_hu: Window
    description: Description


def require_family(description: Description, path: Path) -> None:
    """Refuse the weights of another kind of network.

    Args:
        description: of the weights.
        path: of them, for the message.

    Raises:
        InputError: saying what they are.
    """
    if is_flow(description):
        own = "" if description.name == "hrinet-flow" else f" (named {description.name!r})"
        raise InputError(
            f"{path}: the weights{own} are of hrinet-flow, not of the family; "
            f"give those of a model such as {', '.join(FAMILY)}"
        )


def load_generator(path: Path) -> TrainedGenerator:
    """Build the generator that a pair of files describes.

    Args:
        path: of the safetensors file; the JSON lies beside it.

    Raises:
        InputError: if a file is missing or damaged, the two do not belong together, or they are of
            no generator.
    """
    tensors, description = read_weights(path)
    require_family(description, path)
    try:
        config = replace(ModelConfig(**description.model), d1=False, d2=False)
        network = build(config).generator
        network.load_state_dict(tensors)
        low, high = (float(value) for value in description.values["window_hu"])
        if not (math.isfinite(low) and low < high < math.inf):
            raise ValueError(f"window_hu is {low} to {high}")
    except (HrinetError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            f"{path}: does not fit the model in {path.with_suffix('.json').name}"
        ) from error
    return TrainedGenerator(network.eval().requires_grad_(False), (low, high), description)

"""The kinds of training, and the configuration of each."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from hrinet.errors import RequestError
from hrinet.train.config import TrainConfig
from hrinet.train.fields import make_config, read_values
from hrinet.train.flow.config import FlowTrainConfig

AnyConfig: TypeAlias = TrainConfig | FlowTrainConfig

_KINDS: dict[str, type[TrainConfig] | type[FlowTrainConfig]] = {
    "family": TrainConfig,
    "flow": FlowTrainConfig,
}


def load_any_config(source: str | Path, overrides: Sequence[str] = ()) -> AnyConfig:
    """Read a configuration of the kind that its key ``training`` names, the family's without one.

    Args:
        source: a YAML file, or the name of a recipe (see :func:`hrinet.train.fields.recipe_names`).
        overrides: ``key=value``, with the value as in YAML; they win over the file.

    Raises:
        InputError: if the file cannot be read, or is no YAML mapping.
        RequestError: if a key is unknown, or a value is of the wrong type or makes no sense.
    """
    values = read_values(source, overrides)
    kind = values.get("training", "family")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise RequestError(
            f"{source}: training is {kind!r}, expected one of {', '.join(map(repr, _KINDS))}"
        )
    return make_config(_KINDS[kind], values, subject=str(source))

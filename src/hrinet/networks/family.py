"""The models of the thesis by name, each a set of switches; no torch until one is built.

The six rows of Table 4-4 are six of these configurations:

>>> from hrinet.networks.family import TABLE_4_4
>>> [config.alternating for config in TABLE_4_4]
[False, False, False, False, True, True]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from hrinet.errors import RequestError
from hrinet.networks.options import (
    AdversarialForm,
    Content,
    Mixing,
    Norm,
    ReceptiveField,
    check_network_options,
)

if TYPE_CHECKING:
    from hrinet.networks.critic import Critic
    from hrinet.networks.generator import Generator
    from hrinet.networks.patchgan import PatchGAN


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Everything that tells one model of the family from another.

    Attributes:
        mixing: sizes of feature map that are mixed.
        d1: whether the critic D1 takes part.
        d2: whether the PatchGAN D2 takes part (in stage 2).
        alternating: whether stage 2 alternates with supervised steps.
        content: where the content loss is measured in stage 2; stage 1, which trains the loss
            network of "perceptual", measures between pixels.
        size: side of the training images, pixels, a multiple of 64.
        in_channels: 1 (gray) or 3 (RGB).
        width: channels of EN1, in the generator and D1.
        receptive_field: of D2, pixels.
        patchgan_width: channels of D2's first layer.
        norm: inside D2.
        form: of D2's game.
    """

    mixing: Mixing = "three"
    d1: bool = True
    d2: bool = True
    alternating: bool = True
    content: Content = "mse"
    size: int = 256
    in_channels: int = 1
    width: int = 16
    receptive_field: ReceptiveField = 70
    patchgan_width: int = 64
    norm: Norm = "none"
    form: AdversarialForm = "wgan"

    def __post_init__(self) -> None:
        """Refuse what cannot be built."""
        check_network_options(in_channels=self.in_channels, size=self.size, width=self.width)


@dataclass(frozen=True, slots=True)
class Networks:
    """The networks of one model; those it does without are None."""

    generator: Generator
    d1: Critic | None
    d2: PatchGAN | None


_AE = ModelConfig(mixing="one", d1=False, d2=False, alternating=False)
_PATCHGAN = ModelConfig(alternating=False)
_MSE = ModelConfig()
_PERCEPTUAL = ModelConfig(content="perceptual")

FAMILY: Mapping[str, ModelConfig] = MappingProxyType(
    {
        "ae": _AE,
        "acai": replace(_AE, d1=True),
        "hrinet-patchgan": _PATCHGAN,
        "hrinet-mse": _MSE,
        "hrinet-perceptual": _PERCEPTUAL,
    }
)
"""The models that the thesis compares (chapter 4), by the name that users select."""

TABLE_4_4: tuple[ModelConfig, ...] = (
    _AE,
    replace(_AE, mixing="three"),
    replace(_AE, mixing="three", d1=True),
    _PATCHGAN,
    _MSE,
    _PERCEPTUAL,
)
"""The rows of the ablation, top to bottom: mixing, D1, D2, alternating, content, one at a time."""


def model_config(name: str) -> ModelConfig:
    """The configuration of a name; change it with :func:`dataclasses.replace`.

    Raises:
        RequestError: no model has this name.
    """
    try:
        return FAMILY[name]
    except KeyError:
        raise RequestError(
            f"There is no model {name!r}; choose from {', '.join(FAMILY)}."
        ) from None


def build(config: ModelConfig, *, seed: int = 0) -> Networks:
    """Build the networks of a configuration, on the CPU, with random weights.

    Args:
        config: from :func:`model_config`, or any other combination of switches.
        seed: of the weights. The same seed gives the generator the same weights whether or not
            there is a D1 or D2, so that rows of the ablation start alike.
    """
    import torch

    from hrinet.networks.critic import Critic
    from hrinet.networks.generator import Generator
    from hrinet.networks.patchgan import PatchGAN

    rng = torch.Generator().manual_seed(seed)
    generator = Generator(
        mixing=config.mixing,
        size=config.size,
        in_channels=config.in_channels,
        width=config.width,
        rng=rng,
    )
    d1 = d2 = None
    if config.d1:
        d1 = Critic(
            mixing=config.mixing,
            size=config.size,
            in_channels=config.in_channels,
            width=config.width,
            rng=rng,
        )
    if config.d2:
        d2 = PatchGAN(
            receptive_field=config.receptive_field,
            size=config.size,
            in_channels=config.in_channels,
            width=config.patchgan_width,
            norm=config.norm,
            rng=rng,
        )
    return Networks(generator=generator, d1=d1, d2=d2)

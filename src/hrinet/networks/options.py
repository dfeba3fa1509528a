"""The choices that configure a network, kept apart so that listing them needs no torch."""

from __future__ import annotations

from typing import Literal, TypeAlias

from hrinet.errors import RequestError

Mixing: TypeAlias = Literal["three", "one"]
"""Sizes of feature map that are mixed: N/16, N/32 and N/64 (HRINet), or N/16 only (AE, ACAI)."""

Content: TypeAlias = Literal["mse", "perceptual"]
"""Where the content loss is measured: between pixels, or between features of the loss network."""

ReceptiveField: TypeAlias = Literal[1, 16, 70, 142, "full"]
"""Side of the patch that one prediction of D2 sees, pixels (thesis 3.3.2.3)."""

Norm: TypeAlias = Literal["none", "instance", "layer"]
"""Normalisation inside D2. Batch norm is no choice: WGAN-GP penalises each sample by itself."""

AdversarialForm: TypeAlias = Literal["wgan", "log"]
"""The game that D2 plays: Wasserstein with gradient penalty, or the log form of 3-6 and 3-8."""

_CODE_CHANNELS_SMALL = 8
_CODE_CHANNELS_LARGE = 4
_LARGEST_SMALL_SIZE = 256


def depth_of(mixing: Mixing) -> int:
    """Number of encoder blocks: 7 (EN1..EN7) with three sizes, 5 (EN1..EN5) with one."""
    return 7 if mixing == "three" else 5


def mixed_channels(mixing: Mixing, size: int) -> tuple[int, ...]:
    """Channels of the mixed maps, largest map first (thesis Table 3-2).

    The table gives two input sizes, which differ in the smallest map alone. Sizes up to 256 get
    the channels of 256, larger ones those of 512.

    Args:
        mixing: sizes that are mixed.
        size: side of the square training images, pixels.

    Returns:
        16 at N/16; then, with three sizes, 8 at N/32 and 8 or 4 at N/64.
    """
    if mixing == "one":
        return (16,)
    code = _CODE_CHANNELS_SMALL if size <= _LARGEST_SMALL_SIZE else _CODE_CHANNELS_LARGE
    return (16, 8, code)


def check_network_options(*, in_channels: int, size: int, width: int) -> None:
    """Refuse what no network of the family can be built for.

    Raises:
        RequestError: channels other than 1 and 3, a size that is no positive multiple of 64, or a
            width below 1.
    """
    if in_channels not in (1, 3):
        raise RequestError(f"in_channels is {in_channels}; images have 1 (gray) or 3 (RGB).")
    if size < 64 or size % 64:
        raise RequestError(f"size is {size}; the training size must be a multiple of 64, as 256.")
    if width < 1:
        raise RequestError(f"width is {width}; the first block needs 1 channel or more.")

"""Padding to sizes that halve evenly, and cropping back."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from hrinet.errors import RequestError


def pad_to_multiple(images: Tensor, multiple: int) -> Tensor:
    """Repeat the edge pixels until both sides are multiples; centred.

    Repeating, not reflecting, because it is defined however small the image is.

    Args:
        images: shape (batch, channel, row, column), any range.
        multiple: at least 1, pixels.

    Returns:
        ``images`` itself where nothing is missing. Of an odd number of missing pixels the larger
        half goes to the bottom and the right.
    """
    rows, columns = images.shape[-2:]
    below, right = -rows % multiple, -columns % multiple
    if not below and not right:
        return images
    top, left = below // 2, right // 2
    return functional.pad(images, (left, right - left, top, below - top), mode="replicate")


def crop_to(images: Tensor, rows: int, columns: int) -> Tensor:
    """Undo :func:`pad_to_multiple`.

    Args:
        images: shape (batch, channel, row, column).
        rows: before the padding.
        columns: before the padding.

    Raises:
        RequestError: the image is smaller than what to crop.
    """
    below, right = images.shape[-2] - rows, images.shape[-1] - columns
    if below < 0 or right < 0:
        raise RequestError(
            f"Cannot crop {images.shape[-2]} x {images.shape[-1]} pixels to {rows} x {columns}."
        )
    top, left = below // 2, right // 2
    return images[..., top : top + rows, left : left + columns]

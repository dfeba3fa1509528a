"""What lies between encodings, and around them (thesis, Fig. 3-7)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hrinet.errors import RequestError
from hrinet.networks.generator import Generator
from hrinet.networks.padding import crop_to, pad_to_multiple
from hrinet.train import UnitArray

Maps = tuple[Tensor, ...]
"""The maps that are mixed, largest first; each of shape (batch, channel, row, column)."""

_AT_ONCE = 8
"""Images that are decoded together, to bound the memory."""


@torch.no_grad()
def encode_slices(generator: Generator, images: UnitArray) -> Maps:
    """Encode slices one after the other.

    Args:
        generator: trained, for gray images.
        images: shape (n, row, column), [0, 1]; padded to what the generator needs.

    Returns:
        The maps, each of shape (n, channel, row', column').
    """
    parts = [
        generator.encode(
            pad_to_multiple(
                torch.from_numpy(images[start : start + _AT_ONCE])[:, None], generator.multiple
            )
        )
        for start in range(0, len(images), _AT_ONCE)
    ]
    return tuple(torch.cat(maps) for maps in zip(*parts, strict=True))


@torch.no_grad()
def decode_maps(generator: Generator, maps: Maps, *, rows: int, columns: int) -> UnitArray:
    """Decode encodings one after the other, and undo the padding.

    Args:
        generator: as for :func:`encode_slices`.
        maps: each of shape (n, channel, row', column').
        rows: of the images.
        columns: of the images.

    Returns:
        Shape (n, rows, columns), around [0, 1], not clipped.
    """
    images = [
        crop_to(generator.decode(tuple(m[start : start + _AT_ONCE] for m in maps)), rows, columns)
        for start in range(0, len(maps[0]), _AT_ONCE)
    ]
    return np.asarray(torch.cat(images)[:, 0].numpy(), np.float32)


def bilinear_weights(side: int) -> Tensor:
    """Share of each corner in every cell of a grid.

    Args:
        side: cells along each edge, 2 or more.

    Returns:
        Shape (side, side, 4); corners in the order top left, top right, bottom left, bottom right.
        Exactly 1 and 0 at the corners; every cell sums to 1.

    Raises:
        RequestError: fewer than two cells.
    """
    if side < 2:
        raise RequestError(f"A grid of {side} cells a side has no four corners; 2 are needed.")
    share = torch.arange(side) / (side - 1)
    right, down = share[None, :], share[:, None]
    return torch.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], dim=-1
    )


def corner_grid(generator: Generator, corners: UnitArray, *, side: int = 7) -> UnitArray:
    """Decode every bilinear mix of the encodings of four slices (thesis, Fig. 3-7 a).

    Args:
        generator: trained, for gray images.
        corners: shape (4, row, column), [0, 1]; order as in :func:`bilinear_weights`.
        side: cells along each edge.

    Returns:
        Shape (side, side, row, column), around [0, 1]; the cells in the corners are the
        reconstructions of the four slices.

    Raises:
        RequestError: not four slices.
    """
    if len(corners) != 4:
        raise RequestError(
            f"The grid needs four slices for its corners, and the input has {len(corners)}; leave "
            "the case out with --cases."
        )
    weights = bilinear_weights(side).reshape(-1, 4)  # (cell, 4)
    mixed = tuple(
        torch.einsum("nk,kcij->ncij", weights, maps) for maps in encode_slices(generator, corners)
    )
    rows, columns = corners.shape[-2:]
    cells = decode_maps(generator, mixed, rows=rows, columns=columns)
    return cells.reshape(side, side, rows, columns)


def latent_samples(
    generator: Generator, reference: UnitArray, *, count: int, seed: int = 0
) -> UnitArray:
    """Decode random points of the latent space (thesis, Fig. 3-7 b).

    The thesis samples "based on a reference distribution of input vectors". Here it is the normal
    distribution with the mean and the whole covariance of the encodings of the reference slices:
    ``z = m + sum_k w_k (z_k - m) / sqrt(n - 1)`` with independent standard normal w. One w serves
    the maps of all sizes, so that what belongs together stays together.

    Args:
        generator: trained, for gray images.
        reference: shape (n, row, column), [0, 1].
        count: number of samples.
        seed: of w.

    Returns:
        Shape (count, row, column), around [0, 1].

    Raises:
        RequestError: fewer than two reference slices.
    """
    number = len(reference)
    if number < 2:
        raise RequestError(
            f"Samples need two slices or more to tell how encodings vary, and the input has "
            f"{number}; leave the case out with --cases."
        )
    rng = torch.Generator().manual_seed(seed)
    w = torch.randn(count, number, generator=rng) / (number - 1) ** 0.5  # (count, n)
    sampled = []
    for maps in encode_slices(generator, reference):
        mean = maps.mean(dim=0, keepdim=True)  # (1, channel, row', column')
        sampled.append(mean + torch.einsum("nk,kcij->ncij", w, maps - mean))
    rows, columns = reference.shape[-2:]
    return decode_maps(generator, tuple(sampled), rows=rows, columns=columns)

"""The interpolation coefficient and what it does; the rule stands here and nowhere else.

``z = a * f(x1) + (1 - a) * f(x2)`` (thesis 3.1.2, 3.2.1): **a = 1 gives x1, a = 0 gives x2.**
Users' positions run the other way, t = 0 at the first slice and t = 1 at the second, so that
:func:`alpha_from_position` stands between the two.
"""

from __future__ import annotations

from typing import TypeVar

from torch import Tensor

from hrinet.errors import RequestError

_Number = TypeVar("_Number", float, Tensor)


def alpha_from_position(t: _Number) -> _Number:
    """The coefficient a of position ``t``, for x1 the first slice and x2 the second.

    Args:
        t: 0 at x1, 1 at x2; a number or a tensor of any shape.
    """
    return 1 - t


def mix(first: tuple[Tensor, ...], second: tuple[Tensor, ...], a: Tensor) -> tuple[Tensor, ...]:
    """Mix every pair of maps linearly (equation 3-1).

    The formula is written out, not ``torch.lerp``, because it is exact at both ends.

    Args:
        first: maps of x1, each of shape (batch, channel, row, column).
        second: maps of x2, of the same shapes.
        a: a coefficient a sample, shape (batch,); in [0, 1] to interpolate, unchecked.

    Returns:
        The mixed maps, in the same order and of the same shapes.

    Raises:
        RequestError: ``a`` is not of shape (batch,), or the maps do not pair.
    """
    if [m.shape for m in first] != [m.shape for m in second]:
        raise RequestError(
            f"The maps to mix have shapes {[tuple(m.shape) for m in first]} and "
            f"{[tuple(m.shape) for m in second]}; both images must have the same shape."
        )
    batch = first[0].shape[0]
    if a.shape != (batch,):
        raise RequestError(f"a has shape {tuple(a.shape)}; expected ({batch},), one a sample.")
    a = a.view(batch, 1, 1, 1)  # (batch,) -> (batch, 1, 1, 1)
    return tuple(a * m1 + (1 - a) * m2 for m1, m2 in zip(first, second, strict=True))

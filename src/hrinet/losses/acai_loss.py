"""The losses of the game with D1 (thesis 3.2.1), after ACAI (Berthelot et al., 2018).

D1's prediction is one number a sample, so that ``||.||^2`` is its square, and the reduction is a
mean over the batch.
"""

from __future__ import annotations

from torch import Tensor


def fold_alpha(a: Tensor) -> Tensor:
    """Distance of the coefficient from the nearer end: a or 1 - a, whichever is smaller.

    An interpolated image does not tell which of its two images came first, so D1 cannot tell a
    from 1 - a. Folding also agrees with the regularising term and with the generator's aim, that
    an image not interpolated (a = 0 as well as a = 1) be given 0.

    Args:
        a: in [0, 1], any shape.

    Returns:
        In [0, 0.5], the same shape.
    """
    return 0.5 - (0.5 - a).abs()


def regularising_images(x: Tensor, reconstruction: Tensor, *, gamma: float = 0.2) -> Tensor:
    """Images "not interpolated" to show D1: ``gamma * x + (1 - gamma) * reconstruction``.

    Args:
        x: real images, shape (batch, channel, row, column), [0, 1].
        reconstruction: of them, the same shape.
        gamma: share of the original; the rest keeps D1 from spotting that reconstructions are
            poor early in training.
    """
    return gamma * x + (1 - gamma) * reconstruction


def d1_loss(
    interpolated: Tensor, a: Tensor, regularising: Tensor, *, folded: bool = True
) -> Tensor:
    """What D1 minimises (equation 3-7): ``(D1(x_a) - a)^2 + D1(gamma x + (1 - gamma) rec)^2``.

    Args:
        interpolated: D1's predictions for interpolated images, shape (batch,).
        a: their coefficients, shape (batch,), in [0, 1].
        regularising: D1's predictions for :func:`regularising_images`, shape (batch,) of any
            length.
        folded: train towards :func:`fold_alpha`, as ACAI does; otherwise towards ``a`` itself, as
            thesis 3.2.1 reads.

    Returns:
        A scalar, at least 0; each term a mean over the batch.
    """
    target = fold_alpha(a) if folded else a
    return (interpolated - target).square().mean() + regularising.square().mean()


def adversarial_constraint_loss(interpolated: Tensor) -> Tensor:
    """The generator's term (equation 3-5): ``D1(x_a)^2``, 0 if D1 sees nothing interpolated.

    Weight ``lambda_`` = 0.5, beside a content loss that is a mean over elements.

    Args:
        interpolated: D1's predictions for interpolated images, shape (batch,).

    Returns:
        A scalar, at least 0; mean over the batch.
    """
    return interpolated.square().mean()

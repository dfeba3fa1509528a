"""The weights of the losses, and the reduction that each of them assumes."""

from __future__ import annotations

from dataclasses import dataclass

_BETA_SMALL = 5e-4
_BETA_LARGE = 5e-3
_LARGEST_SMALL_SIZE = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class LossWeights:
    """The numbers of thesis 3.3.2.4, for intensities in [0, 1].

    A weight means nothing without the reduction of the terms that it weighs against each other.
    The thesis writes ``||.||^2`` throughout, yet no single reduction makes sense of all its
    numbers, so each is used with the one that it comes from:

    - step I: the content loss is a **mean over elements**. ``lambda_`` is ACAI's, and ACAI divides
      by the number of elements. At an error of 0.03 RMS the mean is 9e-4 and the sum, at
      256 x 256, is 59; D1's prediction is in [0, 0.5], so beside the sum its term (0.125 at the
      most) would vanish, and D2's even more.
    - step II: the content loss is a **sum over elements**. At 256 x 256, 2e-5 times the sum is
      1.3 times the mean, which is step I's content loss again; with a mean, step II would be
      1 / 50 000 of step I and the alternation would do nothing. With the perceptual loss the sum
      runs over channels and pixels of the features: at 256 x 256 and width 16, 2e-5 times it is
      2.6 times the mean (128 * 32 * 32 features * 2e-5), and it grows with the width.

    Every loss is a mean over the batch.

    Attributes:
        lambda_: of D1's term in step I (the square of one number a sample), 0.5 as in ACAI.
        beta: of D2's term in step I (the average prediction, equation 3-3); see :meth:`for_size`.
        epsilon: of the supervised loss, step II, summed over elements.
        gamma: share of the original in D1's regularising image; 0.2 is ACAI's, the thesis gives
            none.
        penalty: of D2's gradient penalty, on the norm over all elements of one sample's gradient;
            10 as in Gulrajani et al. (2017).
    """

    lambda_: float = 0.5
    beta: float = _BETA_SMALL
    epsilon: float = 2e-5
    gamma: float = 0.2
    penalty: float = 10.0

    @classmethod
    def for_size(cls, size: int) -> LossWeights:
        """The weights for training images of ``size`` x ``size`` pixels.

        The thesis gives beta for two sizes, 5e-4 at 256 and 5e-3 at 512; sizes up to 256 get the
        first, larger ones the second.
        """
        return cls(beta=_BETA_SMALL if size <= _LARGEST_SMALL_SIZE else _BETA_LARGE)

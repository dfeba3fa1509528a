"""What ``hrinet-flow`` minimizes.

Of each sample the root mean square error, in decibels and in HU: the logarithm makes quiet and
noisy scans, small and large gaps weigh alike (it is what a PSNR averages; Chen et al., 2022, train
restoration networks on it), the HU keep what is hard in a slice from weighing as little as its air.
Less what a better structural similarity is worth; plus the error of the motion's own guess, without
which motion is found late or never, and the likelihood of the predicted error.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from hrinet.networks.flow_net import Prediction

_KNEE_HU = 1000.0
_BEYOND = 0.25
_FLOOR_HU2 = 100.0
_HU_A_DECIBEL = 10.0
_RANGE_HU = 2000.0
_LEAST_LOG, _MOST_LOG = -2.0, 8.0
"""Of the log of the predicted error, HU: beyond, its likelihood would be all noise."""


def compressed(values: Tensor) -> Tensor:
    """HU with what lies beyond +-1000 HU a quarter as far away: dense bone and metal count less.

    Args:
        values: of any shape, HU.
    """
    inside = values.clamp(-_KNEE_HU, _KNEE_HU)
    return inside + _BEYOND * (values - inside)


def objective(
    prediction: Prediction,
    target: Tensor,
    linear: Tensor,
    *,
    similarity: float,
    motion: float,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The loss and what is worth logging.

    Args:
        prediction: of the network.
        target: shape (batch, 1, row, column), HU.
        linear: the linear blend of the inner slices, of the same shape.
        similarity: dB that one unit of SSIM is worth.
        motion: weight of the motion's own error, relative to the linear blend's.
    """
    wanted, made = compressed(target), compressed(prediction.values)
    error = (made - wanted).square().mean(dim=(1, 2, 3))  # (batch,)
    decibels = 10 / math.log(10) * torch.log(error + _FLOOR_HU2)
    dissimilarity = 1 - mean_ssim(made, wanted)
    blend = (compressed(prediction.blend) - wanted).abs().mean(dim=(1, 2, 3))
    plain = (compressed(linear) - wanted).abs().mean(dim=(1, 2, 3)) + 5.0
    own = blend / plain
    off = (prediction.values.detach() - target).abs()
    # Beyond the upper limit the second term still pulls back, or nothing would.
    spread = prediction.log_error.clamp(min=_LEAST_LOG)
    doubt = (off * torch.exp(-spread.clamp(max=_MOST_LOG)) + spread).mean()
    root = torch.sqrt(error + _FLOOR_HU2) / _HU_A_DECIBEL
    loss = 0.1 * ((decibels + root + similarity * dissimilarity + motion * own).mean() + doubt)
    reference = (compressed(linear) - wanted).square().mean(dim=(1, 2, 3))
    gain = 10 / math.log(10) * torch.log((reference + _FLOOR_HU2) / (error + _FLOOR_HU2))
    return loss, {
        "decibels": decibels.mean(),
        "gain_over_linear_db": gain.mean(),
        "dissimilarity": dissimilarity.mean(),
        "motion": own.mean(),
        "doubt": doubt,
    }


def mean_ssim(image: Tensor, truth: Tensor) -> Tensor:
    """SSIM of every sample, with the 11 x 11 Gaussian window (Wang et al., 2004).

    Args:
        image: shape (batch, 1, row, column), HU.
        truth: of the same shape.

    Returns:
        Shape (batch,).
    """
    rows, columns = (_smoothing(side, image.device) for side in image.shape[-2:])

    def mean(values: Tensor) -> Tensor:
        return rows @ values @ columns.T

    mean_a, mean_b = mean(image), mean(truth)
    # Deviations from a common level, so that float32 keeps the digits of the variances.
    level = truth.mean(dim=(1, 2, 3), keepdim=True)
    a, b = image - level, truth - level
    shifted_a, shifted_b = mean_a - level, mean_b - level
    variance_a = mean(a * a) - shifted_a.square()
    variance_b = mean(b * b) - shifted_b.square()
    covariance = mean(a * b) - shifted_a * shifted_b
    c1, c2 = (0.01 * _RANGE_HU) ** 2, (0.03 * _RANGE_HU) ** 2
    similar = ((2 * mean_a * mean_b + c1) * (2 * covariance + c2)) / (
        (mean_a.square() + mean_b.square() + c1) * (variance_a + variance_b + c2)
    )
    return similar.mean(dim=(1, 2, 3))


def _smoothing(side: int, device: torch.device) -> Tensor:
    """The window along one axis as a matrix of shape (side - 10, side).

    On a CPU these products, forward and back, take a fifth of what convolutions of one channel do.
    """
    x = torch.arange(side, device=device) - torch.arange(5, side - 5, device=device)[:, None]
    window = torch.exp(-0.5 * (x / 1.5).square()) * (x.abs() <= 5)
    return window / window.sum(1, keepdim=True)

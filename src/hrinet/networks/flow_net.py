"""The network behind ``hrinet-flow``: motion-compensated taps, weighed by convolutions.

Two parts, so that what a gap's slices have in common is computed once for all positions in it:

* :class:`GapEncoder` looks at the four slices around a gap: a U-Net at 1/4 resolution for what
  spans many pixels (motion, organs, how the noise of neighbouring slices is related), and a few
  convolutions at 1/2 resolution for texture.
* :class:`SliceDecoder` makes the slice at one position. A small head turns the features into
  motion, along which the four slices are moved; then convolutions at 1/2 resolution say, pixel by
  pixel, how much each moved and unmoved slice weighs, and what to add.

The result is ``cubic + sum(weight_i * slice_i) + residual``, with the weights of each pixel
summing to zero. So a network with zero weights is the cubic, adding a constant to all slices adds
it to the result, and values far outside anything seen in training (metal, padding) come through.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

SLICES = 4
"""Slices that the network looks at: two on each side of the gap."""

POSITION_VALUES = 10
"""Numbers that tell the decoder of a position; see :func:`position_values`."""

MULTIPLE = 16
"""Rows and columns must be multiples of this: 1/4 resolution, halved twice."""

COARSE_HU = 500.0
"""HU that are 1 to the network where anatomy counts."""

FINE_HU = 50.0
"""HU that are 1 to the network where noise counts: differences between slices, the residual."""

FINE_LIMIT = 6.0
"""Largest difference that the network sees."""

LOW_HU, HIGH_HU = -1200.0, 3200.0
"""HU that the network can tell apart; beyond, it sees the ends."""


class Gaps(NamedTuple):
    """A batch of gaps.

    Attributes:
        slices: shape (batch, 4, row, column), HU; a missing outer slice repeats its neighbour.
        offsets: shape (batch, 4), positions of the slices; 0 and 1 are the two inner ones.
        thickness: shape (batch,), slice thickness over the width of the gap, or 0 if unknown. Where
            slices overlap they share noise, and that cannot be seen in slices that do not overlap
            one another, only the one between them.
    """

    slices: Tensor
    offsets: Tensor
    thickness: Tensor


class Context(NamedTuple):
    """What the encoder found in a gap.

    Attributes:
        coarse: shape (batch, channel, row / 4, column / 4).
        fine: shape (batch, channel, row / 2, column / 2).
    """

    coarse: Tensor
    fine: Tensor


class Prediction(NamedTuple):
    """Slices and how far to trust them.

    Attributes:
        values: shape (batch, 1, row, column), HU.
        log_error: log of the expected absolute error in HU, of the same shape.
        blend: the two moved inner slices, blended; the motion's own guess, of the same shape.
    """

    values: Tensor
    log_error: Tensor
    blend: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowNetConfig:
    """Sizes of the network.

    Attributes:
        coarse_width: channels at 1/4 resolution; the levels below have 4/3 and 2 times as many.
        fine_width: channels at 1/2 resolution, in the encoder.
        decoder_width: channels at 1/2 resolution, in the decoder.
        decoder_blocks: residual blocks in the decoder.
        encoder_blocks: residual blocks at 1/2 resolution in the encoder.
        reach_px: largest motion across a gap, pixels.
    """

    coarse_width: int = 48
    fine_width: int = 32
    decoder_width: int = 32
    decoder_blocks: int = 2
    encoder_blocks: int = 1
    reach_px: float = 24.0


def position_values(t: Tensor, offsets: Tensor, thickness: Tensor, weights: Tensor) -> Tensor:
    """What the decoder is told of a position.

    Args:
        t: shape (batch,), in (0, 1).
        offsets: shape (batch, 4), of the slices.
        thickness: shape (batch,), of the slices over the width of the gap; 0 if unknown.
        weights: shape (batch, 4), of the cubic; 0 for a slice that is missing.

    Returns:
        Shape (batch, 10).
    """
    return torch.cat(
        [
            (t - 0.5)[:, None],
            (4 * t * (1 - t))[:, None],
            (offsets[:, :1] + 1),
            (offsets[:, 3:] - 2),
            weights * torch.tensor([4.0, 1.0, 1.0, 4.0], device=t.device),
            thickness.clamp(0, 2)[:, None],
            (thickness > 0).to(t.dtype)[:, None],
        ],
        dim=1,
    )


class FlowNet(nn.Module):
    """Encoder and decoder; see the module."""

    def __init__(self, config: FlowNetConfig | None = None) -> None:
        """Build with random weights whose result is the cubic."""
        super().__init__()
        self.config = config or FlowNetConfig()
        self.encoder = GapEncoder(self.config)
        self.decoder = SliceDecoder(self.config)

    def forward(self, gaps: Gaps, t: Tensor, weights: Tensor) -> Prediction:
        """Synthesize one slice a gap.

        Args:
            gaps: rows and columns must be multiples of 16.
            t: shape (batch,), in (0, 1).
            weights: shape (batch, 4), of the cubic.
        """
        context = self.encoder(gaps.slices)
        prediction: Prediction = self.decoder(gaps, context, t, weights)
        return prediction

    def describe(self) -> dict[str, Any]:
        """The sizes, for the file of weights."""
        return asdict(self.config)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.second(functional.relu(self.first(x)))
        return x + change


class GapEncoder(nn.Module):
    """From the four slices of a gap to features at two resolutions."""

    def __init__(self, config: FlowNetConfig) -> None:
        super().__init__()
        width, fine = config.coarse_width, config.fine_width
        middle, deep = width * 4 // 3, width * 2
        self.quarter_in = nn.Conv2d(SLICES * 16, width, 3, padding=1)
        self.quarter = _Residual(width)
        self.down_eighth = nn.Conv2d(width, middle, 3, stride=2, padding=1)
        self.eighth = _Residual(middle)
        self.down_sixteenth = nn.Conv2d(middle, deep, 3, stride=2, padding=1)
        self.sixteenth = nn.Sequential(_Residual(deep), _Residual(deep))
        self.up_eighth = nn.Conv2d(deep, middle, 1)
        self.eighth_out = nn.Sequential(nn.ReLU(), nn.Conv2d(middle, middle, 3, padding=1))
        self.up_quarter = nn.Conv2d(middle, width, 1)
        self.quarter_out = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, padding=1))
        self.texture_in = nn.Conv2d(SLICES * 4, fine, 3, padding=1)
        self.to_texture = nn.Conv2d(width, fine, 1)
        self.texture = nn.Sequential(*(_Residual(fine) for _ in range(config.encoder_blocks)))

    def forward(self, slices: Tensor) -> Context:
        """See :class:`Gaps` for ``slices``."""
        seen = _seen(slices)  # (batch, 4, row, column)
        quarter = self.quarter(
            functional.relu(self.quarter_in(functional.pixel_unshuffle(seen, 4)))
        )  # (batch, width, row/4, column/4)
        eighth = self.eighth(functional.relu(self.down_eighth(functional.relu(quarter))))
        deep = self.sixteenth(functional.relu(self.down_sixteenth(functional.relu(eighth))))
        eighth = self.eighth_out(eighth + _larger(self.up_eighth(deep), 2))
        coarse = functional.relu(self.quarter_out(quarter + _larger(self.up_quarter(eighth), 2)))
        fine = self.texture_in(functional.pixel_unshuffle(seen, 2)) + _larger(
            self.to_texture(coarse), 2
        )
        return Context(coarse, functional.relu(self.texture(functional.relu(fine))))


class SliceDecoder(nn.Module):
    """From the features of a gap to the slice at one position in it."""

    def __init__(self, config: FlowNetConfig) -> None:
        super().__init__()
        width = config.decoder_width
        self.reach_px = config.reach_px
        self.motion_position = nn.Linear(POSITION_VALUES, 24)
        self.motion_in = nn.Conv2d(config.coarse_width, 24, 3, padding=1)
        self.motion_out = nn.Conv2d(24, 4, 3, padding=1)
        self.position = nn.Linear(POSITION_VALUES, width)
        self.trust = nn.Linear(POSITION_VALUES, width)
        self.start = nn.Conv2d(config.fine_width + (1 + SLICES) * 4, width, 3, padding=1)
        self.blocks = nn.Sequential(*(_Residual(width) for _ in range(config.decoder_blocks)))
        self.out = nn.Conv2d(width, (2 * SLICES + 1) * 4, 3, padding=1)
        self.error_in = nn.Conv2d(width, 16, 3, padding=1)
        self.error_out = nn.Conv2d(16, 4, 1)
        for layer in (self.trust, self.motion_out, self.out, self.error_out):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.error_out.bias, 2.5)  # type: ignore[arg-type]

    def forward(self, gaps: Gaps, context: Context, t: Tensor, weights: Tensor) -> Prediction:
        """See :meth:`FlowNet.forward`."""
        slices, offsets, thickness = gaps
        about = position_values(t, offsets, thickness, weights)  # (batch, 10)
        hidden = self.motion_in(context.coarse) + self.motion_position(about)[:, :, None, None]
        motion = self.motion_out(functional.relu(hidden)).float()
        # Of a network that has diverged it is no number, which grid_sample would follow anywhere.
        motion = self.reach_px * torch.tanh(motion / self.reach_px).nan_to_num()
        moved = move(slices, offsets, motion, t)  # (batch, 4, row, column)
        plain = (slices * weights[:, :, None, None]).sum(1, keepdim=True)  # the cubic
        seen = torch.cat(
            [coarsely(plain), ((moved - plain) / FINE_HU).clamp(-FINE_LIMIT, FINE_LIMIT)], dim=1
        )
        features = torch.cat([context.fine, functional.pixel_unshuffle(seen, 2)], dim=1)
        start = self.start(features) + self.position(about)[:, :, None, None]
        hidden = functional.relu(self.blocks(functional.relu(start)))
        hidden = hidden * (1 + self.trust(about))[:, :, None, None]
        out = functional.pixel_shuffle(self.out(hidden), 2).float()  # (batch, 9, row, column)
        taps = out[:, :-1] - out[:, :-1].mean(1, keepdim=True)
        change = (taps * torch.cat([slices, moved], dim=1)).sum(1, keepdim=True)
        change = change + out[:, -1:] * FINE_HU
        values = plain + inside_share(t)[:, None, None, None] * change
        error = self.error_out(functional.relu(self.error_in(hidden.detach())))
        share = t[:, None, None, None]
        return Prediction(
            values,
            functional.pixel_shuffle(error, 2).float(),
            (1 - share) * moved[:, 1:2] + share * moved[:, 2:3],
        )


def inside_share(t: Tensor) -> Tensor:
    """How much may be added to the cubic: nothing at the slices themselves, halfway nearly all.

    Args:
        t: of any shape, in [0, 1].
    """
    return 1 - (1 - 4 * t * (1 - t)).square()


def move(
    slices: Tensor,
    offsets: Tensor,
    motion: Tensor,
    t: Tensor,
    *,
    enlarge: Callable[[Tensor, Tensor], Tensor] | None = None,
) -> Tensor:
    """The four slices, each moved to ``t``.

    Args:
        slices: shape (batch, 4, row, column).
        offsets: shape (batch, 4), of the slices.
        motion: shape (batch, 4, row / 4, column / 4), pixels across the whole gap: along columns
            and rows, first for the two slices before the gap, then for the two after it.
        t: shape (batch,).
        enlarge: makes the motion as large as the slices, given it and a grid of places from -1 to 1
            (row, column, 2); by default bilinear interpolation, which does without the grid.

    Returns:
        Shape of ``slices``.
    """
    rows, columns = slices.shape[-2:]
    y = (torch.arange(rows, device=slices.device) + 0.5) * (2.0 / rows) - 1.0
    x = (torch.arange(columns, device=slices.device) + 0.5) * (2.0 / columns) - 1.0
    grid = torch.stack([x[None, :].expand(rows, columns), y[:, None].expand(rows, columns)], dim=-1)
    of_grid = [motion[:, k : k + 1] * (2.0 / (columns, rows)[k % 2]) for k in range(4)]
    small = torch.cat(of_grid, dim=1)
    shifts = enlarge(small, grid) if enlarge else _larger(small, 4)  # (batch, 4, row, column)
    moved = []
    for side in (0, 1):
        shift = shifts[:, 2 * side : 2 * side + 2].permute(0, 2, 3, 1)
        for index in (2 * side, 2 * side + 1):
            part = (offsets[:, index] - t)[:, None, None, None]
            moved.append(
                functional.grid_sample(
                    slices[:, index : index + 1],
                    grid + shift * part,
                    mode="bilinear",
                    padding_mode="border",
                    align_corners=False,
                )
            )
    return torch.cat(moved, dim=1)


def coarsely(values: Tensor) -> Tensor:
    """HU of any shape as the network sees anatomy."""
    return values.clamp(LOW_HU, HIGH_HU) / COARSE_HU


def _seen(slices: Tensor) -> Tensor:
    """What the encoder sees of four slices: their mean, and differences at the scale of noise."""
    before, first, second, after = torch.split(slices, 1, dim=1)
    mean = (first + second) * 0.5
    fine = torch.cat([before - mean, second - first, after - mean], dim=1) / FINE_HU
    return torch.cat([coarsely(mean), fine.clamp(-FINE_LIMIT, FINE_LIMIT)], dim=1)


def _larger(x: Tensor, factor: int) -> Tensor:
    return functional.interpolate(x, scale_factor=factor, mode="bilinear", align_corners=False)

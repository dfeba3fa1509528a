"""``hrinet-flow`` as two ONNX graphs, so that it runs without PyTorch.

The graphs compute what :class:`hrinet.networks.flow_net.FlowNet` does, arranged for speed and for
bfloat16:

* Whatever does not depend on the position in the gap moves from the decoder into the encoder,
  which runs once a gap, and the mean that is taken from the taps is taken from the weights that
  make them.
* Slices are folded once: the four pixels of a 2 x 2 block become channels of one place, and all
  that the convolutions at 1/2 resolution are given or weigh stays so until the end.
* Taps that sum to zero weigh differences from the cubic as well as they weigh HU. The cubic itself
  is no convolution, so that an engine whose convolutions are bfloat16 (8 bits, 4 HU at 1000 HU)
  keeps it in float32, and rounds differences alone.
"""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hrinet.io.staging import Staging
from hrinet.networks.flow_net import (
    FINE_HU,
    FINE_LIMIT,
    SLICES,
    FlowNet,
    coarsely,
    inside_share,
    move,
    position_values,
)
from hrinet.weights.flow import graph_paths

OPSET = 17

ENCODER_INPUTS = ("slices",)
ENCODER_OUTPUTS = ("folded", "motion", "texture")
DECODER_INPUTS = ("slices", *ENCODER_OUTPUTS, "offsets", "thickness", "t", "weights")
DECODER_OUTPUTS = ("values", "log_error")


USUAL_STILL = (0.0, -0.4, -0.4, 0.0)
USUAL_MOVING = (0.0, 0.36, 0.36, 0.0)
"""Weights that unmoved and moved slices mostly have half-way across a gap, where it matters. The
convolutions compute what differs from these, which bfloat16 rounds to finer steps."""


class EncoderGraph(nn.Module):
    """From (1, 4, row, column) HU to what the decoder needs of a gap at any position."""

    def __init__(self, network: FlowNet) -> None:
        super().__init__()
        self.encoder = network.encoder
        self.motion_in = network.decoder.motion_in
        fine = network.config.fine_width
        start = network.decoder.start
        self.start = nn.Conv2d(fine, start.out_channels, 3, padding=1)
        assert start.bias is not None
        assert self.start.bias is not None
        with torch.no_grad():
            self.start.weight.copy_(start.weight[:, :fine])
            self.start.bias.copy_(start.bias)

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :class:`hrinet.networks.flow_net.Gaps` for ``slices``.

        Returns:
            The slices folded, shape (1, row / 2, column / 2, 16); what motion is made of, (1, row /
            4, column / 4, channel); texture, (1, row / 2, column / 2, channel). Channels come last
            because engines compute so on a CPU, and need not turn them over and back.
        """
        context = self.encoder(slices)
        motion, texture = self.motion_in(context.coarse), self.start(context.fine)
        return _folded(slices).flatten(3), _channels_last(motion), _channels_last(texture)


class DecoderGraph(nn.Module):
    """From the encoder's output to the slice at one position, HU, and the log of its error."""

    def __init__(self, network: FlowNet) -> None:
        super().__init__()
        decoder = network.decoder
        self.decoder = decoder
        fine = network.config.fine_width
        start, out = decoder.start, decoder.out
        assert out.bias is not None
        self.start = nn.Conv2d(start.in_channels - fine, start.out_channels, 3, padding=1)
        self.still, self.moving, self.residual = (
            nn.Conv2d(out.in_channels, channels, 3, padding=1)
            for channels in (SLICES * 4, SLICES * 4, 4)
        )
        with torch.no_grad():
            self.start.weight.copy_(start.weight[:, fine:])
            assert self.start.bias is not None
            self.start.bias.zero_()
            for name in ("weight", "bias"):
                of_taps, of_residual = torch.split(getattr(out, name), [2 * SLICES * 4, 4])
                taps = torch.unflatten(of_taps, 0, (2 * SLICES, 4))
                still, moving = torch.chunk((taps - taps.mean(0, keepdim=True)).flatten(0, 1), 2)
                getattr(self.still, name).copy_(still)
                getattr(self.moving, name).copy_(moving)
                getattr(self.residual, name).copy_(of_residual)
            for convolution, usual in ((self.still, USUAL_STILL), (self.moving, USUAL_MOVING)):
                assert convolution.bias is not None
                convolution.bias.sub_(torch.tensor(usual).repeat_interleave(4))

    def forward(
        self,
        slices: Tensor,
        folded: Tensor,
        motion: Tensor,
        texture: Tensor,
        offsets: Tensor,
        thickness: Tensor,
        t: Tensor,
        weights: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """See :meth:`hrinet.networks.flow_net.FlowNet.forward`, and the encoder's output.

        Returns:
            Shape (1, 1, row, column) both.
        """
        decoder = self.decoder
        about = position_values(t, offsets, thickness, weights)
        hidden = _channels_first(motion) + decoder.motion_position(about)[:, :, None, None]
        small = decoder.motion_out(functional.relu(hidden))
        small = decoder.reach_px * torch.tanh(small / decoder.reach_px)
        weighed = [slices[:, k : k + 1] * weights[:, k, None, None, None] for k in range(SLICES)]
        cubic = weighed[0] + weighed[1] + weighed[2] + weighed[3]
        moved = move(slices, offsets, small, t, enlarge=_sampled)
        moved = _folded(moved - cubic)  # (1, row / 2, column / 2, 4, 4)
        plain_ones = torch.unflatten(folded, 3, (SLICES, 4))
        plain = _folded(cubic).flatten(3)
        fine = (moved / FINE_HU).clamp(-FINE_LIMIT, FINE_LIMIT).flatten(3)
        seen = torch.cat([_channels_first(coarsely(plain)), _channels_first(fine)], dim=1)
        start = self.start(seen) + _channels_first(texture)
        start = start + decoder.position(about)[:, :, None, None]
        hidden = functional.relu(decoder.blocks(functional.relu(start)))
        hidden = hidden * (1 + decoder.trust(about))[:, :, None, None]
        still, moving = (
            torch.unflatten(_channels_last(taps(hidden)), 3, (SLICES, 4))
            for taps in (self.still, self.moving)
        )
        still, moving = (
            taps + torch.tensor(usual)[:, None]
            for taps, usual in ((still, USUAL_STILL), (moving, USUAL_MOVING))
        )
        change = (still * (plain_ones - plain[:, :, :, None]) + moving * moved).sum(3)
        change = change + _channels_last(self.residual(hidden)) * FINE_HU
        values = plain + inside_share(t)[:, None, None, None] * change
        error = decoder.error_out(functional.relu(decoder.error_in(hidden)))
        return _unfolded(values), _unfolded(_channels_last(error))


def _sampled(x: Tensor, grid: Tensor) -> Tensor:
    """Bilinear interpolation by sampling, which engines leave in float32, and are faster at."""
    return functional.grid_sample(
        x, grid[None], mode="bilinear", padding_mode="border", align_corners=False
    )


def _channels_last(x: Tensor) -> Tensor:
    return x.permute(0, 2, 3, 1)


def _channels_first(x: Tensor) -> Tensor:
    return x.permute(0, 3, 1, 2)


def _folded(slices: Tensor) -> Tensor:
    """(1, slice, row, column) as (1, row / 2, column / 2, slice, 4)."""
    blocks = torch.unflatten(torch.unflatten(slices, 3, (-1, 2)), 2, (-1, 2))
    return blocks.permute(0, 2, 4, 1, 3, 5).flatten(4)


def _unfolded(values: Tensor) -> Tensor:
    """(1, row / 2, column / 2, 4) as (1, 1, row, column)."""
    blocks = torch.unflatten(values, 3, (2, 2)).permute(0, 1, 3, 2, 4)
    return blocks.flatten(3, 4).flatten(1, 2)[:, None]


def export_graphs(network: FlowNet, weights: Path) -> tuple[Path, Path]:
    """Write the two graphs beside a file of weights; both appear, or neither.

    Args:
        network: on the CPU.
        weights: path of the safetensors file; see :func:`graph_paths`.
    """
    encoder, decoder = EncoderGraph(network).eval(), DecoderGraph(network).eval()
    slices = torch.zeros(1, SLICES, 64, 64)
    with torch.no_grad():
        encoded = encoder(slices)
    position = (
        torch.tensor([[-1.0, 0.0, 1.0, 2.0]]),
        torch.tensor([0.5]),
        torch.tensor([0.5]),
        torch.tensor([[-0.0625, 0.5625, 0.5625, -0.0625]]),
    )
    contents = (
        _onnx(encoder, (slices,), ENCODER_INPUTS, ENCODER_OUTPUTS),
        _onnx(decoder, (slices, *encoded, *position), DECODER_INPUTS, DECODER_OUTPUTS),
    )
    paths = graph_paths(weights)
    with Staging(overwrite=True) as staging:
        for path, content in zip(paths, contents, strict=True):
            staging.path(path).write_bytes(content)
    return paths


def _onnx(
    graph: nn.Module, example: tuple[Any, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> bytes:
    sides = dict.fromkeys(("slices", "values", "log_error"), (2, 3))
    sides |= dict.fromkeys(ENCODER_OUTPUTS, (1, 2))
    axes = {
        name: {sides[name][0]: f"{name}_rows", sides[name][1]: f"{name}_columns"}
        for name in (*inputs, *outputs)
        if name in sides
    }
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            example,
            file,  # type: ignore[arg-type]
            dynamo=False,  # The newer exporter needs onnxscript, and bakes sizes in.
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes=axes,
        )
    return file.getvalue()

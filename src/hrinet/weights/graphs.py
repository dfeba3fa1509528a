"""``hrinet-flow`` as two ONNX graphs, so that it runs without PyTorch.

The graphs compute what :class:`hrinet.networks.flow_net.FlowNet` does, arranged for speed: whatever
does not depend on the position in the gap moves from the decoder into the encoder, which runs once
a gap, and the mean that is taken from the taps is taken from the weights that make them.
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
ENCODER_OUTPUTS = ("motion", "texture")
DECODER_INPUTS = ("slices", "motion", "texture", "offsets", "thickness", "t", "weights")
DECODER_OUTPUTS = ("values", "log_error")


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

    def forward(self, slices: Tensor) -> tuple[Tensor, Tensor]:
        """See :class:`hrinet.networks.flow_net.Gaps` for ``slices``.

        Returns:
            (1, row / 4, column / 4, channel) and (1, row / 2, column / 2, channel). Channels come
            last because engines compute so on a CPU, and need not turn them over and back.
        """
        context = self.encoder(slices)
        motion, texture = self.motion_in(context.coarse), self.start(context.fine)
        return motion.permute(0, 2, 3, 1), texture.permute(0, 2, 3, 1)


class DecoderGraph(nn.Module):
    """From the encoder's output to the slice at one position, HU, and the log of its error."""

    def __init__(self, network: FlowNet) -> None:
        super().__init__()
        decoder = network.decoder
        self.decoder = decoder
        fine = network.config.fine_width
        start, out = decoder.start, decoder.out
        self.start = nn.Conv2d(start.in_channels - fine, start.out_channels, 3, padding=1)
        self.out = nn.Conv2d(out.in_channels, out.out_channels, 3, padding=1)
        assert self.start.bias is not None
        assert self.out.bias is not None
        assert out.bias is not None
        taps = 2 * SLICES * 4
        with torch.no_grad():
            self.start.weight.copy_(start.weight[:, fine:])
            self.start.bias.zero_()
            for own, other in ((self.out.weight, out.weight), (self.out.bias, out.bias)):
                own.copy_(other)
                of_taps = other[:taps].reshape(2 * SLICES, 4, *other.shape[1:])
                own[:taps] = (of_taps - of_taps.mean(0, keepdim=True)).reshape(other[:taps].shape)

    def forward(
        self,
        slices: Tensor,
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
        motion, texture = motion.permute(0, 3, 1, 2), texture.permute(0, 3, 1, 2)
        about = position_values(t, offsets, thickness, weights)
        hidden = motion + decoder.motion_position(about)[:, :, None, None]
        small = decoder.motion_out(functional.relu(hidden))
        small = decoder.reach_px * torch.tanh(small / decoder.reach_px)
        moved = move(slices, offsets, small, t)
        plain = functional.conv2d(slices, weights[:, :, None, None])
        fine = ((moved - plain) / FINE_HU).clamp(-FINE_LIMIT, FINE_LIMIT)
        seen = functional.pixel_unshuffle(torch.cat([coarsely(plain), fine], dim=1), 2)
        start = self.start(seen) + texture + decoder.position(about)[:, :, None, None]
        hidden = functional.relu(decoder.blocks(functional.relu(start)))
        hidden = hidden * (1 + decoder.trust(about))[:, :, None, None]
        out = functional.pixel_shuffle(self.out(hidden), 2)  # (1, 9, row, column)
        change = (out[:, :-1] * torch.cat([slices, moved], dim=1)).sum(1, keepdim=True)
        change = change + out[:, -1:] * FINE_HU
        values = plain + inside_share(t)[:, None, None, None] * change
        error = decoder.error_out(functional.relu(decoder.error_in(hidden)))
        return values, functional.pixel_shuffle(error, 2)


def export_graphs(network: FlowNet, weights: Path) -> tuple[Path, Path]:
    """Write the two graphs beside a file of weights; both appear, or neither.

    Args:
        network: on the CPU.
        weights: path of the safetensors file; see :func:`graph_paths`.
    """
    encoder, decoder = EncoderGraph(network).eval(), DecoderGraph(network).eval()
    slices = torch.zeros(1, SLICES, 64, 64)
    with torch.no_grad():
        motion, texture = encoder(slices)
    position = (
        torch.tensor([[-1.0, 0.0, 1.0, 2.0]]),
        torch.tensor([0.5]),
        torch.tensor([0.5]),
        torch.tensor([[-0.0625, 0.5625, 0.5625, -0.0625]]),
    )
    contents = (
        _onnx(encoder, (slices,), ENCODER_INPUTS, ENCODER_OUTPUTS),
        _onnx(decoder, (slices, motion, texture, *position), DECODER_INPUTS, DECODER_OUTPUTS),
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
    sides |= dict.fromkeys(("motion", "texture"), (1, 2))
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

"""``hrinet-flow`` on PyTorch, for its devices: CUDA, Apple's MPS."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from hrinet.errors import InputError
from hrinet.networks.flow_net import FlowNet, FlowNetConfig
from hrinet.synthesize.flow_engine import FlowEngine, NetworkRun
from hrinet.synthesize.scene import PLAIN, Scene, View
from hrinet.synthesize.torch_device import find_device
from hrinet.types import SliceArray
from hrinet.weights.files import read_weights
from hrinet.weights.graphs import DecoderGraph, EncoderGraph

_ALONE = threading.Lock()
"""PyTorch's switch of TF32 is the whole process's: threads would turn it back for each other."""


class TorchEngine(FlowEngine):
    """The network itself on a device of PyTorch."""

    has_bf16 = False
    """Float32 is fast enough there, and slices in HU do not survive an autocast."""

    most_gaps = 2
    """One computes while the other is prepared."""

    def __init__(self, weights: Path, *, device: str) -> None:
        """Load the network.

        Args:
            weights: path of the safetensors file.
            device: of PyTorch.

        Raises:
            InputError: if the weights are damaged.
            RequestError: if there is no such device.
        """
        tensors, description = read_weights(weights)
        try:
            network = FlowNet(FlowNetConfig(**description.model))
            network.load_state_dict(tensors)
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError(
                f"{weights}: does not fit the model in {weights.with_suffix('.json').name}"
            ) from error
        self._device = find_device(device)
        network.eval().requires_grad_(False)
        self._encoder = EncoderGraph(network).eval().to(self._device)
        self._decoder = DecoderGraph(network).eval().to(self._device)
        self.name = f"torch {self._device.type}"

    def ready(self, *, gaps: int, threads: int) -> NetworkRun:
        """See :class:`FlowEngine`."""
        return _TorchRun(self._encoder, self._decoder, self._device)


class _TorchRun(NetworkRun):
    def __init__(self, encoder: EncoderGraph, decoder: DecoderGraph, device: torch.device) -> None:
        self._encoder, self._decoder, self._device = encoder, decoder, device

    def iterate(
        self, scene: Scene, t: Sequence[float], precision: str, *, view: View = PLAIN
    ) -> Iterator[tuple[SliceArray, SliceArray]]:
        """See :class:`NetworkRun`."""
        rows, columns = scene.outside.shape
        scene = scene.seen(view)
        slices, offsets, thickness = (
            torch.from_numpy(values).to(self._device)
            for values in (scene.slices, scene.offsets, scene.thickness)
        )
        with _in_float32():
            encoded = self._encoder(slices)
        for position in map(view.position, t):
            at = torch.tensor([position], dtype=torch.float32, device=self._device)
            weights = torch.from_numpy(scene.weights(position)).to(self._device)
            with _in_float32():
                found = self._decoder(slices, *encoded, offsets, thickness, at, weights)
            values, log_error = (view.mirrored(part[0, 0].float().cpu().numpy()) for part in found)
            yield values[:rows, :columns], log_error[:rows, :columns]


@contextmanager
def _in_float32() -> Iterator[None]:
    """Without TF32, whose 10 bits of mantissa cannot tell 1000 from 1001 HU; one at a time."""
    with _ALONE, torch.inference_mode(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        yield

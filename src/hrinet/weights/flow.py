"""The weights of ``hrinet-flow`` as graphs, ready to be compiled; needs no torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hrinet.errors import InputError
from hrinet.synthesize.trust import Calibration
from hrinet.weights.description import Description, read_description
from hrinet.weights.find import require_no_description


@dataclass(frozen=True, slots=True, eq=False)
class FlowGraphs:
    """Two graphs and what they are.

    Attributes:
        encoder: ONNX.
        decoder: ONNX.
        description: of the weights that they were made from.
        calibration: of the errors that they predict.
    """

    encoder: bytes
    decoder: bytes
    description: Description
    calibration: Calibration

    @property
    def knows_thickness(self) -> bool:
        """Whether the training told the network of slice thickness, so that use may."""
        return bool(self.description.values.get("scans_of_known_thickness", 0))

    def of_size(self, core: Any, rows: int, columns: int) -> tuple[Any, Any]:
        """Both as OpenVINO's models for one size of slice.

        Args:
            core: of OpenVINO.
            rows: a multiple of 16.
            columns: likewise.

        Raises:
            InputError: if they are no such graphs.
        """
        try:
            encoder, decoder = core.read_model(self.encoder), core.read_model(self.decoder)
            encoder.reshape({"slices": [1, 4, rows, columns]})
            encoded = {output.any_name: list(output.shape) for output in encoder.outputs}
            decoder.reshape({"slices": [1, 4, rows, columns], **encoded})
        except (RuntimeError, ValueError) as error:
            raise InputError(
                f"the graphs beside the weights of {self.description.name} cannot be read as ONNX; "
                "fetch them again, or make them with tools/ship_flow.py"
            ) from error
        return encoder, decoder


def is_flow(description: Description) -> bool:
    """Whether weights are of the network of ``hrinet-flow``, whatever they are called."""
    return "reach_px" in description.model  # see hrinet.networks.flow_net.FlowNetConfig


def graph_paths(weights: Path) -> tuple[Path, Path]:
    """Where the two graphs of a file of weights lie: encoder, decoder."""
    return (
        weights.with_name(f"{weights.stem}-encoder.onnx"),
        weights.with_name(f"{weights.stem}-decoder.onnx"),
    )


def load_flow(weights: Path) -> FlowGraphs:
    """Read the graphs beside a file of weights, which is not opened itself.

    Args:
        weights: path of the safetensors file.

    Raises:
        InputError: if a file is missing or damaged, they do not belong together, or ``weights`` is
            the JSON.
    """
    require_no_description(weights)
    description = read_description(weights)
    graphs = description.values.get("graphs")
    if not isinstance(graphs, dict):
        raise InputError(
            f"{weights.with_suffix('.json')}: names no graphs that run the network; "
            "tools/ship_flow.py makes them of trained weights"
        )
    contents = []
    for path, part in zip(graph_paths(weights), ("encoder", "decoder"), strict=True):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read: {error.strerror}") from error
        expected = graphs.get(part)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise InputError(
                f"{path}: has SHA-256 {found}, but {weights.stem}.json says {expected}; "
                "fetch all of them again"
            )
        contents.append(content)
    try:
        calibration = Calibration.of(description.values["calibration"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{weights.with_suffix('.json')}: its calibration is damaged "
            f"({type(error).__name__}: {error})"
        ) from error
    return FlowGraphs(contents[0], contents[1], description, calibration)

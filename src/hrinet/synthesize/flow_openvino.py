"""``hrinet-flow`` on OpenVINO: the graphs of :mod:`hrinet.weights.graphs`, on the CPU."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from hrinet.errors import RequestError
from hrinet.synthesize.flow_engine import FlowEngine, NetworkRun
from hrinet.synthesize.scene import PLAIN, Scene, View
from hrinet.types import SliceArray
from hrinet.weights.flow import FlowGraphs


class OpenVinoEngine(FlowEngine):
    """Graphs compiled for the CPU."""

    name = "openvino"

    def __init__(self, graphs: FlowGraphs) -> None:
        """Take graphs over.

        Args:
            graphs: of the network.

        Raises:
            RequestError: if OpenVINO is installed, but cannot be loaded.
        """
        try:
            import openvino

            self._core = openvino.Core()
        except (ImportError, OSError, RuntimeError) as error:
            reason = " ".join(str(error).split())
            raise RequestError(
                f"OpenVINO, which computes hrinet-flow, cannot be loaded ({reason}); install it "
                "again, or pass --method flow"
            ) from error
        self._graphs = graphs
        self.has_bf16 = "BF16" in self._core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")

    def ready(self, *, gaps: int, threads: int) -> NetworkRun:
        """Compile the graphs when a size of slice is first met; see :class:`FlowEngine`."""
        return _OpenVinoRun(self._graphs, self._core, gaps=gaps, threads=threads)


@dataclass(eq=False)
class _Compiled:
    """Both graphs for one size of slice, and requests that no thread is using."""

    encoder: Any
    decoder: Any
    idle: list[tuple[Any, Any]] = field(default_factory=list)


class _OpenVinoRun(NetworkRun):
    """The graphs, compiled when a size of slice is first met."""

    def __init__(self, graphs: FlowGraphs, core: Any, *, gaps: int, threads: int) -> None:
        self._graphs, self._core = graphs, core
        self._settings = {
            "INFERENCE_NUM_THREADS": gaps * threads,
            "NUM_STREAMS": gaps,
            "ENABLE_CPU_PINNING": False,
        }
        self._compiled: dict[tuple[int, int, str], _Compiled] = {}
        self._lock = threading.Lock()

    def iterate(
        self, scene: Scene, t: Sequence[float], precision: str, *, view: View = PLAIN
    ) -> Iterator[tuple[SliceArray, SliceArray]]:
        """See :class:`NetworkRun`."""
        rows, columns = scene.outside.shape
        scene = scene.seen(view)
        compiled = self._for_size(scene.slices.shape[2], scene.slices.shape[3], precision)
        encoder, decoder = self._take(compiled)
        try:
            found = encoder.infer({"slices": scene.slices}, share_inputs=True, share_outputs=True)
            encoded = {output.any_name: values for output, values in found.items()}
            for position in map(view.position, t):
                found = decoder.infer(
                    scene.decoder_inputs(position, encoded),
                    share_inputs=True,
                    share_outputs=True,
                )
                values, log_error = (view.mirrored(found[i][0, 0]) for i in range(2))
                yield values[:rows, :columns], log_error[:rows, :columns]
        finally:
            with self._lock:
                compiled.idle.append((encoder, decoder))

    def forget(self, precision: str) -> None:
        """See :class:`NetworkRun`."""
        with self._lock:
            self._compiled = {
                key: compiled for key, compiled in self._compiled.items() if key[2] != precision
            }

    def _take(self, compiled: _Compiled) -> tuple[Any, Any]:
        with self._lock:
            if compiled.idle:
                return compiled.idle.pop()
        encoder, decoder = compiled.encoder, compiled.decoder
        return encoder.create_infer_request(), decoder.create_infer_request()

    def _for_size(self, rows: int, columns: int, precision: str) -> _Compiled:
        with self._lock:
            key = (rows, columns, precision)
            if key not in self._compiled:
                settings = {**self._settings, "INFERENCE_PRECISION_HINT": precision}
                self._compiled[key] = _Compiled(
                    *(
                        self._core.compile_model(model, "CPU", settings)
                        for model in self._graphs.of_size(self._core, rows, columns)
                    )
                )
            return self._compiled[key]

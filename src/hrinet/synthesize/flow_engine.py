"""What runs the network of ``hrinet-flow``."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence

from hrinet.synthesize.scene import PLAIN, Scene, View
from hrinet.types import SliceArray


class NetworkRun(ABC):
    """The network, ready for the gaps of one scan; threads may share it."""

    @abstractmethod
    def iterate(
        self, scene: Scene, t: Sequence[float], precision: str, *, view: View = PLAIN
    ) -> Iterator[tuple[SliceArray, SliceArray]]:
        """Yield the slice at every position, HU, and the log of its expected error.

        Both are float32, (row, column), as the gap lies, whatever the view; and views of buffers
        that the next step overwrites.

        Args:
            scene: the gap.
            t: positions in it.
            precision: "f32" or "bf16".
            view: how the network looks at the gap.
        """

    def run(
        self, scene: Scene, t: Sequence[float], precision: str
    ) -> list[tuple[SliceArray, SliceArray]]:
        """See :meth:`iterate`; copies."""
        return [(v.copy(), e.copy()) for v, e in self.iterate(scene, t, precision)]

    def forget(self, precision: str) -> None:  # noqa: B027  Most have nothing to free.
        """Free what only this precision needs; asked for again, it is made again."""


class FlowEngine(ABC):
    """Runs the network on some device.

    Attributes:
        name: for the sidecar.
        has_bf16: whether the device computes in bf16.
        most_gaps: at the same time, however many cores.
    """

    name: str
    has_bf16: bool
    most_gaps: int = 4
    """Each takes about 180 MB at 512 x 512."""

    @abstractmethod
    def ready(self, *, gaps: int, threads: int) -> NetworkRun:
        """Prepare for a scan.

        Args:
            gaps: at the same time.
            threads: for each of them.
        """

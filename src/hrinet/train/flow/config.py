"""Everything that decides on a training run of ``hrinet-flow``; no torch until the run begins."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hrinet.errors import RequestError
from hrinet.train.fields import check_limits, check_name, check_seed

if TYPE_CHECKING:
    from hrinet.networks.flow_net import FlowNetConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowTrainConfig:
    """One training run; every field is a key of the YAML file and of ``--set``.

    Raises:
        RequestError: a value makes no sense.
    """

    training: Literal["flow"] = "flow"  # the kind; see hrinet.train.kinds
    name: str = "hrinet-flow"  # of the weights

    # Network; see hrinet.networks.flow_net.FlowNetConfig.
    coarse_width: int = 48
    fine_width: int = 32
    decoder_width: int = 32
    decoder_blocks: int = 2
    encoder_blocks: int = 1
    reach_px: float = 24.0

    # Schedule.
    steps: int = 40_000
    minutes: float | None = None  # the schedule takes this time, whatever the steps; see schedule()
    batch: int = 64  # crops a step
    crop: int = 128  # side, pixels, a multiple of 16
    optimizer: Literal["adamw", "muon"] = "adamw"  # see hrinet.train.flow.optimizer
    learning_rate: float = 1e-3  # the peak, after the warm-up; falls to 1 % along a cosine
    warm_up: int = 500  # steps
    weight_decay: float = 1e-4
    clip: float = 5.0  # of the gradient's norm; a step of 20 times that is left out
    average: float = 0.999  # of the exponential moving average of the weights, which is what ships

    # Objective; see hrinet.train.flow.objective.
    similarity: float = 15.0  # dB that one unit of SSIM is worth
    motion: float = 1.0  # weight of the moved slices' own error, relative to the linear blend's

    # Data; see hrinet.train.flow.samples. Each is a share of the samples.
    thick: float = 0.45  # slices averaged into thicker, overlapping ones
    smooth: float = 0.15  # softer kernels
    sharp: float = 0.1  # sharper kernels
    noise: float = 0.1  # more noise
    coarse: float = 0.2  # larger pixels
    edge: float = 0.08  # a gap next to the end of the scan
    uneven: float = 0.08  # outer slices at another distance
    unknown: float = 0.15  # slice thickness withheld
    largest_gap_mm: float = 25.0
    seed: int = 0

    # Machine.
    manifest: str = ""  # scans to train on
    accelerator: Literal["auto", "cpu", "cuda", "mps"] = "auto"
    precision: Literal["auto", "32-true", "bf16-mixed"] = "auto"
    workers: int = 0  # processes that choose samples; 4 keep a fast GPU busy

    # Output.
    output: str = ""  # folder of checkpoints, log and weights; runs/NAME if empty
    resume: Literal["auto", "never"] = "auto"
    start_from: str = ""  # a safetensors file; blocks that it lacks do nothing at first
    checkpoint_every: int = 1000
    log_every: int = 100
    max_minutes: float | None = None  # then checkpoint and stop, wherever in the schedule

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        check_limits(self, positive=_POSITIVE, not_negative=_NOT_NEGATIVE)
        check_name(self.name)
        check_seed(self.seed)
        if self.crop % 16:
            raise RequestError(f"crop is {self.crop}, expected a multiple of 16")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise RequestError(f"{name} is {getattr(self, name)}, expected 0 to 1")
        if self.smooth + self.sharp > 1:
            raise RequestError(
                f"smooth and sharp are {self.smooth} and {self.sharp}, expected a sum of 1 or less"
            )
        if self.average >= 1:
            raise RequestError(f"average is {self.average}, expected less than 1")

    def schedule(self, step: int, elapsed_s: float) -> float:
        """The share of the schedule that is over; 1 and more is its end.

        By ``steps``, or, where ``minutes`` is set, by the time that training has taken over all
        its runs. ``max_minutes`` has no part in it: it ends one run and leaves the rest to the
        next.

        Args:
            step: number of steps done.
            elapsed_s: time that they took, s.
        """
        if self.minutes is None:
            return step / self.steps
        return elapsed_s / (60 * self.minutes)

    def network(self) -> FlowNetConfig:
        """The network's part."""
        from hrinet.networks.flow_net import FlowNetConfig

        return FlowNetConfig(**{f.name: getattr(self, f.name) for f in fields(FlowNetConfig)})

    def output_folder(self) -> Path:
        """Where everything goes."""
        return Path(self.output) if self.output else Path("runs") / self.name


_POSITIVE = (
    *("coarse_width", "fine_width", "decoder_width", "decoder_blocks", "encoder_blocks"),
    *("reach_px", "steps", "minutes", "batch", "crop", "learning_rate", "clip"),
    *("largest_gap_mm", "checkpoint_every", "log_every"),
)
_NOT_NEGATIVE = (
    *("warm_up", "weight_decay", "average", "similarity", "motion", "seed", "workers"),
    "max_minutes",
)
_SHARES = ("thick", "smooth", "sharp", "noise", "coarse", "edge", "uneven", "unknown")

MAY_CHANGE = frozenset(
    {
        *("manifest", "accelerator", "precision", "workers", "output", "resume"),
        *("checkpoint_every", "log_every", "max_minutes"),
    }
)
"""Fields that a resumed run may have otherwise: where and how it runs, not what it computes
but for rounding."""

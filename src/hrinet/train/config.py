"""Everything that decides on a training run, in one dataclass; no torch until the run begins.

The defaults are the thesis's HRINet-MSE at 256 x 256. Where the thesis gives no number, the comment
says whose it is.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, TypeAlias

from hrinet.errors import RequestError
from hrinet.losses.weights import LossWeights
from hrinet.networks.family import FAMILY, ModelConfig
from hrinet.networks.options import AdversarialForm, Content, Mixing, Norm, ReceptiveField
from hrinet.train import DEFAULT_WINDOW, Window
from hrinet.train.fields import check_limits, check_name, check_seed, make_config, read_values

Precision: TypeAlias = Literal["auto", "32-true", "bf16-mixed"]
"""Of the arithmetic; "auto" is bf16-mixed on a GPU that has it, else 32-true."""

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run; every field is a key of the YAML file and of ``--set``.

    Raises:
        RequestError: a value makes no sense, or contradicts another.
    """

    training: Literal["family"] = "family"  # the kind; see hrinet.train.kinds
    name: str = "hrinet-mse"  # of the weights; a name of the family must have its switches

    # Model: the switches of Table 4-4, then sizes.
    mixing: Mixing = "three"  # 3.1.2: N/16, N/32 and N/64; "one" for AE and ACAI
    d1: bool = True  # 3.1.1: the critic that predicts a
    d2: bool = True  # 3.1.3: PatchGAN, in stage 2
    alternating: bool = True  # 3.2, Algorithm 1: odd steps of stage 2 are supervised
    content: Content = "mse"  # 3.2.3: in stage 2; stage 1 always measures between pixels
    size: int = 256  # 3.3.2.2: 256 or 512; must be that of the cache
    width: int = 16  # channels of EN1: ACAI's, the thesis gives none
    receptive_field: ReceptiveField = 70  # 3.3.2.3 and Table 4-5
    patchgan_width: int = 64  # channels of D2's first layer: Isola et al. (2017)
    norm: Norm = "none"  # 3.3.2.4: no batch norm under a gradient penalty
    form: AdversarialForm = "wgan"  # 3.3.2.4; "log" is equations 3-6 and 3-8

    # Schedule.
    stage1_steps: int = 500_000  # 3.3.2.4: generator and D1
    stage2_steps: int = 500_000  # 3.3.2.4: with D2, alternating
    scale: float = 1.0  # to 1; shortens both stages in proportion
    d2_steps: int = 5  # 3.3.2.4: updates of D2 before each unsupervised one of the generator
    run_length: int = 7  # 3.3.2.4: n, consecutive slices of one patient in step II

    # Optimization.
    learning_rate: float = 1e-4  # 3.3.2.4
    weight_decay: float = 1e-5  # 3.3.2.4
    adam_betas: tuple[float, float] = (0.9, 0.999)  # Adam's own; the thesis gives none
    d2_adam_betas: tuple[float, float] = (0.0, 0.9)  # Gulrajani et al. (2017), for WGAN-GP
    average: float = 0.0  # of the generator's weights, exported instead; the thesis has none
    batch: int = 16  # pairs a step over all processes; the thesis gives none
    runs: int = 1  # 3.2.2: "every input batch ... a group of n consecutive slices"
    accumulate: int = 1  # parts that a step is divided into, to save memory; the result is the same

    # Loss weights; see hrinet.losses.weights for the reductions that they assume.
    lambda_: float = 0.5  # 3.3.2.4, ACAI's: D1's term in step I
    beta: float | None = None  # 3.3.2.4: D2's term in step I; null is 5e-4 to 256, 5e-3 above
    epsilon: float = 2e-5  # 3.3.2.4: step II
    gamma: float = 0.2  # 3.2.1 gives none: ACAI's
    penalty: float = 10.0  # 3.3.2.4, WGAN-GP: Gulrajani et al. (2017)
    folded: bool = True  # D1 learns min(a, 1 - a) as in ACAI; 3.2.1 reads as false

    # Data.
    cache: str = "cache"  # folder of the cached slices
    manifest: str = ""  # scans to build the cache from; licences for the weights' description
    window_hu: Window = DEFAULT_WINDOW  # HU that are 0 and 1; must be that of the cache
    flips: bool = True  # random mirror images; the thesis says nothing of augmentation
    seed: int = 0  # of weights, samples, coefficients and penalty points

    # Beginning; random weights if both are empty. See hrinet.train.start.
    start_from: str = ""  # weights of the family, a safetensors file
    stage1_from: str = ""  # folder of a run whose stage 1 this one would repeat

    # Machine. None of these changes the samples or their order.
    accelerator: Accelerator = "auto"
    devices: int = 1  # processes a node
    nodes: int = 1
    precision: Precision = "auto"
    deterministic: bool = True  # avoid GPU kernels whose sums depend on timing

    # Output.
    output: str = ""  # folder of checkpoints, log, strips and weights; runs/NAME if empty
    resume: Literal["auto", "never"] = "auto"  # go on from the newest checkpoint in the output
    checkpoint_every: int = 1000  # steps
    log_every: int = 50  # steps
    strip_every: int = 1000  # steps; Figure 4-9
    max_minutes: float | None = None  # then checkpoint and stop
    tensorboard: bool = True  # beside log.jsonl, where it is installed

    # Guards; see hrinet.train.guards.
    collapse_ratio: float = 1e-3  # spread of the outputs over that of the inputs
    collapse_checks: int = 20  # log intervals in a row below it
    critic_gap_limit: float = 1e3  # of D2's mean verdict on real and synthetic images

    def __post_init__(self) -> None:
        """Refuse what cannot be trained."""
        check_limits(self, positive=_POSITIVE, not_negative=_NOT_NEGATIVE)
        for name in ("adam_betas", "d2_adam_betas"):
            if not all(0 <= value < 1 for value in getattr(self, name)):
                raise RequestError(f"{name} is {getattr(self, name)}, expected two of [0, 1)")
        if not self.window_hu[0] < self.window_hu[1]:
            raise RequestError(f"window_hu is {self.window_hu}, expected [low, high]")
        check_name(self.name)
        check_seed(self.seed)
        if self.scale > 1:
            raise RequestError(f"scale is {self.scale}, expected more than 0 and at most 1")
        if self.run_length < 3:
            raise RequestError(f"run_length is {self.run_length}, expected 3 or more slices")
        if not self.gamma <= 1:
            raise RequestError(f"gamma is {self.gamma}, expected 0 to 1")
        if not self.average < 1:
            raise RequestError(f"average is {self.average}, expected 0 for none, or less than 1")
        if self.steps < 1:
            raise RequestError("stage1_steps and stage2_steps leave nothing to train")
        if self.start_from and self.stage1_from:
            raise RequestError("start_from and stage1_from are both set; stage 1 begins only once")
        if self.content == "perceptual" and not self.first_steps:
            raise RequestError(
                "content is 'perceptual' and stage1_steps is 0, but the loss network is the "
                "encoder of stage 1; train stage 1 or set content to 'mse'"
            )
        self._check_division()
        self._check_name()

    def _check_division(self) -> None:
        parts = self.processes * self.accumulate
        if self.batch % parts:
            raise RequestError(
                f"batch is {self.batch}, which {self.processes} processes with accumulate "
                f"{self.accumulate} cannot share; expected a multiple of {parts}"
            )
        if self.alternating and self.runs % self.processes:
            raise RequestError(
                f"runs is {self.runs}, which {self.processes} processes cannot share; expected a "
                f"multiple of {self.processes}"
            )

    def _check_name(self) -> None:
        if self.name not in FAMILY:
            self.model()  # refuses sizes
            return
        own, known = self.model(), FAMILY[self.name]
        for switch in ("mixing", "d1", "d2", "alternating", "content"):
            if getattr(own, switch) != getattr(known, switch):
                raise RequestError(
                    f"name is {self.name!r}, whose {switch} is {getattr(known, switch)!r}, but "
                    f"{switch} is {getattr(own, switch)!r}; give this model a name of its own"
                )

    def model(self) -> ModelConfig:
        """The networks' part."""
        names = {field.name for field in fields(ModelConfig)} & {f.name for f in fields(self)}
        return ModelConfig(**{name: getattr(self, name) for name in names})

    def weights(self) -> LossWeights:
        """The losses' part, with beta by size where none is set."""
        beta = LossWeights.for_size(self.size).beta if self.beta is None else self.beta
        return LossWeights(
            lambda_=self.lambda_,
            beta=beta,
            epsilon=self.epsilon,
            gamma=self.gamma,
            penalty=self.penalty,
        )

    @property
    def processes(self) -> int:
        """Processes on all nodes."""
        return self.devices * self.nodes

    @property
    def first_steps(self) -> int:
        """Steps of stage 1, shortened by ``scale``; at least 1 unless there are none."""
        return min(self.stage1_steps, max(1, round(self.stage1_steps * self.scale)))

    @property
    def second_steps(self) -> int:
        """Steps of stage 2, likewise."""
        return min(self.stage2_steps, max(1, round(self.stage2_steps * self.scale)))

    @property
    def steps(self) -> int:
        """Steps of both stages."""
        return self.first_steps + self.second_steps

    def output_folder(self) -> Path:
        """Where everything goes."""
        return Path(self.output) if self.output else Path("runs") / self.name


_POSITIVE = (
    *("size", "width", "patchgan_width", "scale", "learning_rate", "batch", "runs", "accumulate"),
    *("devices", "nodes", "checkpoint_every", "log_every", "strip_every", "collapse_checks"),
    *("critic_gap_limit", "d2_steps"),
)
_NOT_NEGATIVE = (
    *("stage1_steps", "stage2_steps", "weight_decay", "lambda_", "epsilon", "gamma", "penalty"),
    *("seed", "collapse_ratio", "beta", "average", "max_minutes"),
)

_EXTRA = ("yaml", "torch", "lightning_fabric", "safetensors")

MAY_CHANGE = frozenset(
    {
        *("cache", "manifest", "accelerator", "devices", "nodes", "accumulate", "output", "resume"),
        *("stage1_steps", "stage2_steps", "scale"),  # see hrinet.train.resume.require_same_past
        *("average", "checkpoint_every", "log_every", "strip_every", "max_minutes", "tensorboard"),
        *("collapse_ratio", "collapse_checks", "critic_gap_limit"),
    }
)
"""Fields that a resumed run may have otherwise: where, how and how long it runs and what is made of
its weights, not what the steps that are done computed.

Another number of processes or parts gives the same training up to rounding; with the same number a
resumed run is bit for bit the one that was not interrupted.
"""


def require_train_extra() -> None:
    """Check that what training needs is installed, without importing it.

    Raises:
        RequestError: naming what is missing.
    """
    missing = [name for name in _EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"training needs {', '.join(missing)}, which is not installed; "
            "run: pip install 'hrinet[train]'"
        )


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration; see :func:`hrinet.train.fields.read_values`.

    Raises:
        InputError: if the file cannot be read, or is no YAML mapping.
        RequestError: if a key is unknown, or a value is of the wrong type or makes no sense.
    """
    return config_of(read_values(source, overrides), subject=str(source))


def config_of(values: Mapping[str, Any], *, subject: str) -> TrainConfig:
    """A configuration of plain values; see :func:`hrinet.train.fields.make_config`."""
    return make_config(TrainConfig, values, subject=subject)


def config_json(config: TrainConfig) -> dict[str, Any]:
    """As plain values, for files; :func:`config_of` reads it back."""
    return asdict(config)

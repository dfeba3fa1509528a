"""Everything that decides on a training run, in one dataclass; no torch until the run begins.

The defaults are the thesis's HRINet-MSE at 256 x 256. Where the thesis gives no number, the comment
says whose it is.
"""

from __future__ import annotations

import difflib
import importlib.util
import math
import types
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeAlias, Union, get_args, get_origin, get_type_hints

from hrinet.errors import InputError, RequestError
from hrinet.losses.weights import LossWeights
from hrinet.networks.family import FAMILY, ModelConfig
from hrinet.networks.options import AdversarialForm, Content, Mixing, Norm, ReceptiveField

Precision: TypeAlias = Literal["auto", "32-true", "bf16-mixed"]
"""Of the arithmetic; "auto" is bf16-mixed on a GPU that has it, else 32-true."""

Accelerator: TypeAlias = Literal["auto", "cpu", "cuda", "mps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """One training run; every field is a key of the YAML file and of ``--set``.

    Raises:
        RequestError: a value makes no sense, or contradicts another.
    """

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
    scale: float = 1.0  # shortens both stages in proportion
    d2_steps: int = 5  # 3.3.2.4: updates of D2 before each unsupervised one of the generator
    run_length: int = 7  # 3.3.2.4: n, consecutive slices of one patient in step II

    # Optimization.
    learning_rate: float = 1e-4  # 3.3.2.4
    weight_decay: float = 1e-5  # 3.3.2.4
    adam_betas: tuple[float, float] = (0.9, 0.999)  # Adam's own; the thesis gives none
    d2_adam_betas: tuple[float, float] = (0.0, 0.9)  # Gulrajani et al. (2017), for WGAN-GP
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
    flips: bool = True  # random mirror images; the thesis says nothing of augmentation
    seed: int = 0  # of weights, samples, coefficients and penalty points

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
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise RequestError(f"{name} is {getattr(self, name)}, expected more than 0")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise RequestError(f"{name} is {getattr(self, name)}, expected 0 or more")
        for name in ("beta", "max_minutes"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise RequestError(f"{name} is {value}, expected 0 or more, or null")
        for name in ("adam_betas", "d2_adam_betas"):
            if not all(0 <= value < 1 for value in getattr(self, name)):
                raise RequestError(f"{name} is {getattr(self, name)}, expected two of [0, 1)")
        if not self.name or not set(self.name) <= _NAME_CHARACTERS:
            raise RequestError(f"name is {self.name!r}, expected letters, digits, '-', '_' and '.'")
        if self.run_length < 3:
            raise RequestError(f"run_length is {self.run_length}, expected 3 or more slices")
        if not self.gamma <= 1:
            raise RequestError(f"gamma is {self.gamma}, expected 0 to 1")
        if self.steps < 1:
            raise RequestError("stage1_steps and stage2_steps leave nothing to train")
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
    *("seed", "collapse_ratio"),
)
_NAME_CHARACTERS = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")

_EXTRA = ("yaml", "torch", "lightning_fabric", "safetensors")

MAY_CHANGE = frozenset(
    {
        *("cache", "manifest", "accelerator", "devices", "nodes", "accumulate", "output", "resume"),
        *("checkpoint_every", "log_every", "strip_every", "max_minutes", "tensorboard"),
        *("collapse_ratio", "collapse_checks", "critic_gap_limit"),
    }
)
"""Fields that a resumed run may have otherwise: where and how it runs, not what it computes.

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


def recipe_names() -> tuple[str, ...]:
    """The recipes of the package."""
    folder = resources.files("hrinet.train") / "recipes"
    names = (Path(item.name) for item in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".yaml"))


def load_config(source: str | Path, overrides: Sequence[str] = ()) -> TrainConfig:
    """Read a configuration.

    Args:
        source: a YAML file, or the name of a recipe (see :func:`recipe_names`).
        overrides: ``key=value``, with the value as in YAML; they win over the file.

    Raises:
        InputError: if the file cannot be read, or is no YAML mapping.
        RequestError: if a key is unknown, or a value is of the wrong type or makes no sense.
    """
    import yaml

    path = Path(source)
    if not path.exists() and str(source) in recipe_names():
        text = (resources.files("hrinet.train") / "recipes" / f"{source}.yaml").read_text("utf-8")
    else:
        try:
            text = path.read_text("utf-8")
        except FileNotFoundError:
            raise InputError(
                f"{path}: does not exist, nor is it one of the recipes {', '.join(recipe_names())}"
            ) from None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: cannot be read as text") from error
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        line = f" in line {place.line + 1}" if place else ""
        raise InputError(f"{path}: is no YAML{line}; expected lines of 'key: value'") from None
    if not isinstance(loaded, dict | None):
        raise InputError(f"{path}: holds {_shown(loaded)}, expected lines of 'key: value'")
    values: dict[str, Any] = dict(loaded or {})
    for item in overrides:
        key, equals, value = item.partition("=")
        if not equals:
            raise RequestError(f"--set {item!r}: expected key=value, as in scale=0.01")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise RequestError(f"--set {item!r}: the value is no YAML") from None
    return config_of(values, subject=str(source))


def config_of(values: Mapping[str, Any], *, subject: str) -> TrainConfig:
    """A configuration of plain values.

    Args:
        values: by field; missing ones get their default.
        subject: whose values, for messages.

    Raises:
        RequestError: if a key is unknown, or a value is of the wrong type or makes no sense.
    """
    hints = get_type_hints(TrainConfig)
    checked: dict[str, Any] = {}
    for key, value in values.items():
        if key not in hints:
            near = difflib.get_close_matches(str(key), hints, n=1, cutoff=0.0)
            raise RequestError(f"{subject}: there is no field {key!r}; did you mean {near[0]!r}?")
        try:
            checked[key] = _converted(value, hints[key])
        except ValueError:
            raise RequestError(
                f"{subject}: {key} is {_shown(value)}, expected {_described(hints[key])}"
            ) from None
    try:
        return TrainConfig(**checked)
    except RequestError as error:
        raise RequestError(f"{subject}: {error}") from None


def config_json(config: TrainConfig) -> dict[str, Any]:
    """As plain values, for files; :func:`config_of` reads it back."""
    return asdict(config)


def changed_fields(before: TrainConfig, after: TrainConfig) -> list[str]:
    """Names of the fields that differ and may not, in order."""
    return [
        field.name
        for field in fields(TrainConfig)
        if field.name not in MAY_CHANGE
        and getattr(before, field.name) != getattr(after, field.name)
    ]


def with_folders(
    config: TrainConfig,
    *,
    cache: Path | None,
    manifest: Path | None,
    output: Path | None,
    max_minutes: float | None,
) -> TrainConfig:
    """The configuration with what the command line names; None keeps a field."""
    given: dict[str, Any] = {
        "cache": None if cache is None else str(cache),
        "manifest": None if manifest is None else str(manifest),
        "output": None if output is None else str(output),
        "max_minutes": max_minutes,
    }
    return replace(config, **{name: value for name, value in given.items() if value is not None})


def _converted(value: Any, hint: Any) -> Any:
    """``value`` as a field of this type holds it; ValueError if it is of another type."""
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        if value is None:
            return None
        return _converted(value, next(part for part in get_args(hint) if part is not type(None)))
    if origin is Literal:
        for choice in get_args(hint):
            if value == choice and type(value) is type(choice):  # 1 == True
                return choice
        raise ValueError
    if origin is tuple:
        parts = get_args(hint)
        if not isinstance(value, list | tuple) or len(value) != len(parts):
            raise ValueError
        return tuple(_converted(item, part) for item, part in zip(value, parts, strict=True))
    if hint is float:
        # YAML 1.1 reads 1e-4 as text, for it lacks a point.
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ValueError
        number = float(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    if type(value) is not hint:
        raise ValueError
    return value


def _described(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_described(part) for part in get_args(hint))
    if origin is Literal:
        return "one of " + ", ".join(_shown(choice) for choice in get_args(hint))
    if origin is tuple:
        return f"a list of {len(get_args(hint))} numbers"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return words.get(hint, "null")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."

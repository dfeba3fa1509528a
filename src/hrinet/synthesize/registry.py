"""The methods by name; the command line's choices, help and documentation come from here."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from hrinet.errors import RequestError
from hrinet.weights import packaged_weights

if TYPE_CHECKING:  # The command line lists the methods without loading NumPy.
    from hrinet.synthesize.flow_engine import FlowEngine
    from hrinet.synthesize.interpolator import Interpolator

_TORCH_MODULES = ("torch", "safetensors")

Kind: TypeAlias = Literal["classical", "family", "network"]
"""Computed by a formula, by a generator of the family, or by the network of this package."""

Precision: TypeAlias = Literal["auto", "f32", "bf16"]
"""Of a network's arithmetic; "auto" is bf16 where the processor has it and nothing changes."""


Quality: TypeAlias = Literal["standard", "best"]
"""How much work a slice is worth; "best" takes several times as long and errs less."""

WORK: dict[Quality, float] = {"standard": 1.0, "best": 7.0}
"""Times the standard's; of the one method that has a choice (``benchmarks/best.py``)."""

Device: TypeAlias = Literal["cpu", "cuda", "mps"]
"""What computes; those besides the CPU need PyTorch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """How a method shall compute.

    Attributes:
        precision: of the arithmetic.
        quality: how much work a slice is worth.
        device: what computes.
    """

    precision: Precision = "auto"
    quality: Quality = "standard"
    device: Device = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """An entry of the registry.

    Attributes:
        name: what the user types.
        summary: one line for ``--help`` and the documentation.
        kind: what it is.
        rank: of what is installed, ``auto`` takes the highest; never one without.
        seconds_a_slice: rough time of one core for a synthetic 512 x 512 slice, for estimates.
        planes_in_memory: rough number of float32 planes that one gap takes, for estimates.
        modules: Python modules that it needs beyond those of the default installation.
        extra: of the package; it installs them.
        weights: those in the package that it needs, or None.
        build: makes the interpolator; imports what it needs when called.
        precisions: that it can compute in.
        qualities: that it offers.
        devices: that it can compute on.
    """

    name: str
    summary: str
    kind: Kind
    rank: int | None
    seconds_a_slice: float
    planes_in_memory: int
    build: Callable[[Choices], Interpolator]
    precisions: tuple[Precision, ...] = ("auto", "f32")
    qualities: tuple[Quality, ...] = ("standard",)
    devices: tuple[Device, ...] = ("cpu",)
    modules: tuple[str, ...] = ()
    extra: str = ""
    weights: Path | None = None

    @property
    def missing(self) -> str:
        """What keeps it from running and what to do; empty if it is ready."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if absent:
            package = f"'hrinet[{self.extra}]'" if self.extra else " ".join(absent)
            return f"needs {' and '.join(absent)}: pip install {package}"
        if self.weights is not None and not self.weights.is_file():
            return "has no weights in this installation: pass --weights FILE"
        return ""

    @property
    def is_installed(self) -> bool:
        """Whether it is ready to run."""
        return not self.missing

    def make(self, choices: Choices = Choices()) -> Interpolator:
        """Make the interpolator.

        Args:
            choices: how it shall compute.

        Raises:
            RequestError: if something is missing, or it does not have what is chosen.
            InputError: if its weights are damaged.
        """
        if self.missing:
            raise RequestError(f"method {self.name!r} {self.missing}")
        if choices.precision not in self.precisions:
            raise RequestError(
                f"method {self.name!r} cannot compute in {choices.precision}; "
                f"choose one of {', '.join(self.precisions)}"
            )
        if choices.quality not in self.qualities:
            raise RequestError(
                f"method {self.name!r} has one quality only; leave out --quality {choices.quality}"
            )
        if choices.device not in self.devices:
            raise RequestError(
                f"method {self.name!r} computes on the CPU only; leave out --device "
                f"{choices.device}"
            )
        return self.build(choices)


def _repeat(choices: Choices) -> Interpolator:
    from hrinet.synthesize.repeat import Repeat

    return Repeat()


def _linear(choices: Choices) -> Interpolator:
    from hrinet.synthesize.linear import Linear

    return Linear()


def _cubic(choices: Choices) -> Interpolator:
    from hrinet.synthesize.cubic import Cubic

    return Cubic()


def _flow(choices: Choices) -> Interpolator:
    from hrinet.synthesize.flow import Flow

    return Flow()


def _hrinet_flow(weights: Path, choices: Choices) -> Interpolator:
    from hrinet.synthesize.hrinet_flow import HrinetFlow
    from hrinet.weights.flow import load_flow

    graphs = load_flow(weights)
    return HrinetFlow(
        graphs,
        runs_on=None if choices.device == "cpu" else _torch_engine(weights, choices.device),
        precision=choices.precision,
        quality=choices.quality,
    )


def _torch_engine(weights: Path, device: Device) -> FlowEngine:
    absent = [name for name in _TORCH_MODULES if importlib.util.find_spec(name) is None]
    if absent:
        raise RequestError(
            f"--device {device} needs {' and '.join(absent)}: pip install 'hrinet[torch]'"
        )
    from hrinet.synthesize.flow_torch import TorchEngine

    return TorchEngine(weights, device=device)


def _generator(weights: Path, choices: Choices) -> Interpolator:
    from hrinet.synthesize.family import Family
    from hrinet.weights.generator import load_generator

    return Family(load_generator(weights), device=choices.device)


def _classical(
    name: str,
    summary: str,
    build: Callable[[Choices], Interpolator],
    *,
    rank: int,
    seconds_a_slice: float,
    planes_in_memory: int,
) -> Method:
    return Method(
        name=name,
        summary=summary,
        kind="classical",
        rank=rank,
        seconds_a_slice=seconds_a_slice,
        planes_in_memory=planes_in_memory,
        build=build,
    )


def _family(name: str, summary: str) -> Method:
    weights = packaged_weights(name)
    return Method(
        name=name,
        summary=summary,
        kind="family",
        rank=None,
        seconds_a_slice=0.2,
        planes_in_memory=100,
        build=partial(_generator, weights),
        devices=("cpu", "cuda", "mps"),
        modules=_TORCH_MODULES,
        extra="torch",
        weights=weights,
    )


METHODS: tuple[Method, ...] = (
    _classical(
        "repeat",
        "copy the nearest slice (no interpolation)",
        _repeat,
        rank=0,
        seconds_a_slice=0.0005,
        planes_in_memory=0,
    ),
    _classical(
        "linear",
        "blend the two neighbouring slices",
        _linear,
        rank=1,
        seconds_a_slice=0.001,
        planes_in_memory=1,
    ),
    _classical(
        "cubic",
        "Catmull-Rom through four slices at their true positions",
        _cubic,
        rank=2,
        seconds_a_slice=0.002,
        planes_in_memory=2,
    ),
    _classical(
        "flow",
        "optical flow and fitted taps over four slices",
        _flow,
        rank=3,
        seconds_a_slice=0.06,
        planes_in_memory=24,
    ),
    Method(
        name="hrinet-flow",
        summary="motion-compensated taps weighed by a network; tells its error",
        kind="network",
        rank=4,
        seconds_a_slice=0.12,
        planes_in_memory=175,
        build=partial(_hrinet_flow, packaged_weights("hrinet-flow")),
        precisions=("auto", "f32", "bf16"),
        qualities=("standard", "best"),
        devices=("cpu", "cuda", "mps"),
        modules=("openvino",),
        weights=packaged_weights("hrinet-flow"),
    ),
    _family("ae", "trained autoencoder, feature maps mixed at one size"),
    _family("acai", "ae trained with critic D1"),
    _family("hrinet-patchgan", "feature maps mixed at three sizes, trained with D1 and PatchGAN"),
    _family("hrinet-mse", "hrinet-patchgan trained on runs of slices too"),
    _family("hrinet-perceptual", "hrinet-mse trained with a perceptual loss"),
)
"""Those that ``auto`` ranks from the plainest to the best, then the others."""

AUTO = "auto"


def method_names() -> tuple[str, ...]:
    """The names that ``--method`` accepts, ``auto`` first."""
    return (AUTO, *(method.name for method in METHODS))


def installed_methods() -> tuple[Method, ...]:
    """Those that are ready to run."""
    return tuple(method for method in METHODS if method.is_installed)


def ranked_methods() -> tuple[Method, ...]:
    """Those that are ready to run and that ``auto`` chooses from, the best last."""
    ranked = [(method.rank, method) for method in METHODS if method.rank is not None]
    ranked.sort(key=lambda entry: entry[0])
    return tuple(method for _, method in ranked if method.is_installed)


def method_help() -> str:
    """The methods in one sentence, for ``--help``."""
    listed = "; ".join(f"{method.name}: {method.summary}" for method in METHODS)
    return f"{AUTO} (the best installed, {ranked_methods()[-1].name}); {listed}."


def find_method(name: str = AUTO, *, weights: Path | None = None) -> Method:
    """Look a method up.

    Args:
        name: one of :func:`method_names`; ``auto`` is the best that is installed, or the one that
            ``weights`` makes.
        weights: of a generator that one trained oneself; the method's name is the one in the JSON
            beside them.

    Raises:
        RequestError: if there is no such method, or the weights are another's.
        InputError: if the JSON is missing or damaged.
    """
    if weights is not None:
        return _trained_method(name, weights)
    if name == AUTO:
        return ranked_methods()[-1]
    for method in METHODS:
        if method.name == name:
            return method
    raise RequestError(f"no method {name!r}; choose one of {', '.join(method_names())}")


def _trained_method(name: str, weights: Path) -> Method:
    from hrinet.weights.description import read_description
    from hrinet.weights.find import find_weights
    from hrinet.weights.flow import is_flow

    weights = find_weights(weights)
    description = read_description(weights)
    found = description.name
    if name not in (AUTO, found):
        raise RequestError(
            f"{weights}: holds weights of {found!r}, which --method {name} contradicts; leave "
            "--method out"
        )
    summary = "weights of one's own"
    if is_flow(description):
        like_it = replace(find_method("hrinet-flow"), name=found, summary=summary, rank=None)
        return replace(like_it, weights=None, build=partial(_hrinet_flow, weights))
    return replace(_family(found, summary), weights=None, build=partial(_generator, weights))


def build_interpolator(
    name: str = AUTO,
    *,
    weights: Path | None = None,
    choices: Choices = Choices(),
) -> Interpolator:
    """Make a method ready to use; see :func:`find_method` and :meth:`Method.make`."""
    return find_method(name, weights=weights).make(choices)


def second_best(name: str = AUTO) -> str | None:
    """A sentence if ``auto`` has to do without the best method, or None.

    Args:
        name: that was asked for.
    """
    ranked = [method for method in METHODS if method.rank is not None]
    best = max(ranked, key=lambda method: method.rank or 0)
    if name != AUTO or best.is_installed:
        return None
    return f"used {ranked_methods()[-1].name}, because {best.name} {best.missing}"

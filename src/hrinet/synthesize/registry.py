"""The methods by name; the command line's choices, help and documentation come from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hrinet.errors import RequestError

if TYPE_CHECKING:  # The command line lists the methods without loading NumPy.
    from hrinet.synthesize.interpolator import Interpolator


@dataclass(frozen=True, slots=True)
class Method:
    """An entry of the registry.

    Attributes:
        name: what the user types.
        summary: one line for ``--help`` and the documentation.
        seconds_a_slice: rough time of one core for a synthetic 512 x 512 slice, for estimates.
        planes_in_memory: rough number of float32 planes that one gap takes, for estimates.
        build: makes the interpolator; imports what it needs when called.
    """

    name: str
    summary: str
    seconds_a_slice: float
    planes_in_memory: int
    build: Callable[[], Interpolator]


def _repeat() -> Interpolator:
    from hrinet.synthesize.repeat import Repeat

    return Repeat()


def _linear() -> Interpolator:
    from hrinet.synthesize.linear import Linear

    return Linear()


def _cubic() -> Interpolator:
    from hrinet.synthesize.cubic import Cubic

    return Cubic()


def _flow() -> Interpolator:
    from hrinet.synthesize.flow import Flow

    return Flow()


METHODS: tuple[Method, ...] = (
    Method("repeat", "copy the nearest slice (no interpolation)", 0.0005, 0, _repeat),
    Method("linear", "blend the two neighbouring slices", 0.001, 1, _linear),
    Method("cubic", "Catmull-Rom through four slices at their true positions", 0.002, 2, _cubic),
    Method("flow", "optical flow and fitted taps over four slices", 0.06, 24, _flow),
)
"""From the plainest to the best."""

AUTO = "auto"


def method_names() -> tuple[str, ...]:
    """The names that ``--method`` accepts, ``auto`` first."""
    return (AUTO, *(method.name for method in METHODS))


def method_help() -> str:
    """The methods in one sentence, for ``--help``."""
    listed = "; ".join(f"{method.name}: {method.summary}" for method in METHODS)
    return f"{AUTO} (the best installed, {METHODS[-1].name}); {listed}."


def find_method(name: str) -> Method:
    """Look a method up.

    Args:
        name: one of :func:`method_names`; ``auto`` is the best that is installed.

    Raises:
        RequestError: if there is no such method.
    """
    if name == AUTO:
        return METHODS[-1]
    for method in METHODS:
        if method.name == name:
            return method
    raise RequestError(f"no method {name!r}; choose one of {', '.join(method_names())}")


def build_interpolator(name: str = AUTO) -> Interpolator:
    """Make a method ready to use; see :func:`find_method`."""
    return find_method(name).build()

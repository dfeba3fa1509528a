"""The methods by name; the command line's choices, help and documentation come from here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hrinet.errors import RequestError
from hrinet.synthesize.interpolator import Interpolator


@dataclass(frozen=True, slots=True)
class Method:
    """An entry of the registry.

    Attributes:
        name: what the user types.
        summary: one line for ``--help`` and the documentation.
        build: makes the interpolator; imports what it needs when called.
    """

    name: str
    summary: str
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
    Method("repeat", "copy the nearest slice (no interpolation)", _repeat),
    Method("linear", "blend the two neighbouring slices", _linear),
    Method("cubic", "non-uniform Catmull-Rom through four slices at their true positions", _cubic),
    Method("flow", "optical flow and fitted taps over four slices", _flow),
)
"""From the plainest to the best."""

AUTO = "auto"


def method_names() -> tuple[str, ...]:
    """The names that ``--method`` accepts, ``auto`` first."""
    return (AUTO, *(method.name for method in METHODS))


def build_interpolator(name: str = AUTO) -> Interpolator:
    """Make a method ready to use.

    Args:
        name: one of :func:`method_names`; ``auto`` is the best that is installed.

    Raises:
        RequestError: if there is no such method.
    """
    if name == AUTO:
        return METHODS[-1].build()
    for method in METHODS:
        if method.name == name:
            return method.build()
    raise RequestError(f"no method {name!r}; choose one of {', '.join(method_names())}")

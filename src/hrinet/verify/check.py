"""What one check found."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["passed", "failed", "skipped"]

_MOST_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Check:
    """One line of a verification.

    Attributes:
        name: what is checked, a few words.
        outcome: whether it holds; skipped where there was nothing to check it with.
        detail: what was found, one sentence without a full stop.
    """

    name: str
    outcome: Outcome
    detail: str


def judged(name: str, problems: Sequence[str], good: str) -> Check:
    """A check that passed if there are no problems."""
    if not problems:
        return Check(name, "passed", good)
    return Check(name, "failed", listed(problems))


def skipped(name: str, why: str) -> Check:
    """A check that could not be made."""
    return Check(name, "skipped", why)


def listed(problems: Iterable[str]) -> str:
    """The first few of many sentences."""
    every = list(problems)
    rest = len(every) - _MOST_SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    return "; ".join(every[:_MOST_SHOWN]) + more

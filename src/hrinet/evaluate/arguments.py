"""Turning words of the command line into values, and the command line into words."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from hrinet.errors import RequestError
from hrinet.train.manifest import SPLITS, Split


def parse_names(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def parse_factors(text: str) -> tuple[int, ...]:
    """Whole numbers, 2 or more, with commas between them; each once, in rising order.

    Raises:
        RequestError: naming the first that is none.
    """
    found = set()
    for word in parse_names(text):
        if not word.isdecimal() or not 2 <= int(word) <= 64:
            raise RequestError(f"--factor: {word!r} is no whole number from 2 to 64")
        found.add(int(word))
    if not found:
        raise RequestError("--factor is empty; give numbers such as 2,4")
    return tuple(sorted(found))


def parse_gaps(text: str) -> tuple[float, ...]:
    """Widths in mm with commas between them; each once, in rising order.

    Raises:
        RequestError: naming the first that is none.
    """
    found = set()
    for word in parse_names(text):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not 0 < value < 1000:
            raise RequestError(f"--gap-mm: {word!r} is no width in mm")
        found.add(value)
    if not found:
        raise RequestError("--gap-mm is empty; give widths such as 6,10")
    return tuple(sorted(found))


def parse_split(text: str) -> Split:
    """One of the splits of a manifest.

    Raises:
        RequestError: if it is none.
    """
    for split in get_args(Split):
        if text == split:
            known: Split = split
            return known
    raise RequestError(f"--split is {text!r}, expected one of {', '.join(SPLITS)}")


def shown_command(arguments: Sequence[str]) -> str:
    """The command line without paths, which may name a patient."""
    words = []
    for argument in arguments:
        option, equals, value = argument.partition("=")
        if equals and option.startswith("--"):
            words.append(f"{option}={_shown(value)}")
        else:
            words.append(_shown(argument))
    return " ".join(["hrinet", *words])


def _shown(word: str) -> str:
    if os.sep in word or Path(word).exists():
        return "PATH"
    return word

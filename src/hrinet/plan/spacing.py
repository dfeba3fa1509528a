"""The wanted distance between output slices, as users write it."""

from __future__ import annotations

from typing import Literal

from hrinet.errors import RequestError


def parse_spacing(text: str) -> float | Literal["iso"]:
    """``iso`` or a number of mm, ``mm`` behind it or not.

    Raises:
        RequestError: if it is neither.
    """
    if text.lower() == "iso":
        return "iso"
    try:
        return float(text.lower().removesuffix("mm"))
    except ValueError:
        raise RequestError(f"--spacing is {text!r}, expected 'iso' or a number of mm") from None

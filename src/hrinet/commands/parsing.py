"""Turning words of the command line into values."""

from __future__ import annotations

from hrinet.errors import RequestError


def parse_range(text: str | None) -> tuple[int, int | None]:
    """``A:B`` as (A, B); either may be missing.

    Raises:
        RequestError: if it is not that.
    """
    if text is None:
        return 0, None
    start, colon, stop = text.partition(":")
    try:
        if not colon:
            raise ValueError
        first, last = int(start or 0), int(stop) if stop else None
        if first < 0 or (last is not None and last < 0):
            raise ValueError
    except ValueError:
        raise RequestError(
            f"--range is {text!r}, expected A:B with whole numbers counted from 0, none of them "
            "negative, as in 10:20 or 10:"
        ) from None
    return first, last

"""What there is to draw and what it takes, kept apart so that --help needs no torch."""

from __future__ import annotations

import importlib.util
from typing import Literal, TypeAlias, get_args

from hrinet.errors import RequestError

Case: TypeAlias = Literal["grid", "samples", "features", "strips", "progress"]
"""Between four slices; random samples; feature maps; models side by side; over a training."""

CASES: tuple[Case, ...] = get_args(Case)


def parse_cases(text: str | None) -> tuple[Case, ...]:
    """Names with commas between them; all that there is something for if None.

    Raises:
        RequestError: naming the first that does not exist.
    """
    if text is None:
        return ()
    asked = [word.strip() for word in text.split(",")]
    for word in asked:
        if word not in CASES:
            raise RequestError(f"--cases: there is no {word!r}; choose from {', '.join(CASES)}")
    return tuple(case for case in CASES if case in asked)


def require_torch_extra() -> None:
    """Check that what running a network needs is installed, without importing it.

    Raises:
        RequestError: naming what is missing.
    """
    names = ("torch", "safetensors")
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise RequestError(
            f"exploring a network needs {' and '.join(missing)}, which is not installed; "
            "run: pip install 'hrinet[torch]'"
        )

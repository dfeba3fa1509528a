"""Real CT that lies outside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_DEFAULT = Path(__file__).resolve().parents[2] / "shared" / "ct"


def ct(relative: str) -> Path:
    """A path below the real data; skips the test where there is none."""
    root = Path(os.environ.get("HRINET_TEST_DATA", _DEFAULT))
    path = root / relative
    if not path.exists():
        pytest.skip(f"no real CT at {path}; set HRINET_TEST_DATA to have it tested")
    return path

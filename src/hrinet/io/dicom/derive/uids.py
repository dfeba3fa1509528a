"""Unique identifiers that a rerun gives again."""

from __future__ import annotations

import json
import uuid
from typing import Any

UID_ROOT = "2.25."
"""UIDs derived from a UUID, which need no registered root (PS3.5 B.2)."""

_NAMESPACE = uuid.UUID("6c1f0d5c-3f0b-5a3e-9d0f-4f1b7a52c9e1")

IMPLEMENTATION_CLASS_UID = f"{UID_ROOT}{uuid.uuid5(_NAMESPACE, 'implementation').int}"
"""Names this writer in the file meta information (PS3.10 7.1)."""


def derived_uid(kind: str, key: object) -> str:
    """A UID from what an object is made of.

    The same key gives the same UID on every machine, so that a rerun replaces objects in an archive
    rather than doubling them; any other key gives another one (a name-based UUID, RFC 9562 5.5).

    Args:
        kind: of the object; other kinds have other UIDs for the same key.
        key: anything that JSON can hold.
    """
    name: dict[str, Any] = {"kind": kind, "key": key}
    text = json.dumps(name, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"{UID_ROOT}{uuid.uuid5(_NAMESPACE, text).int}"

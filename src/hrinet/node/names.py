"""Names that are safe to use for files and in logs, made from what a peer sent."""

from __future__ import annotations

import hashlib
import re

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_MAX_UID = 64


def is_uid(text: str) -> bool:
    """Whether ``text`` is a UID: digits and dots, 64 characters at most (PS3.5 9.1).

    Leading zeros of a component are let through, as scanners do write them.
    """
    return len(text) <= _MAX_UID and _UID.fullmatch(text) is not None


def key_of(uid: str) -> str:
    """The name under which a UID appears in paths and logs: part of its SHA-256.

    A UID is chosen by the peer and may be anything, a path included; and it leads to the patient.
    """
    return hashlib.sha256(uid.encode("utf-8", "replace")).hexdigest()[:24]


def safe_title(title: str) -> str:
    """An AE title as it may stand in a log: printable ASCII, 16 characters at most (PS3.5 6.2)."""
    return "".join(c if " " <= c <= "~" else "?" for c in title.strip())[:16]

"""The node's log: what happened, to which series, never to which patient.

Series appear under their key (part of the SHA-256 of their UID), peers under their AE title. No
UID, no attribute of a dataset and no path that a peer chose is ever logged.
"""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

LOG = logging.getLogger("hrinet.node")


def log_to_stderr() -> None:
    """Show the log on the standard error stream, where systemd and containers collect it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    LOG.handlers = [handler]
    LOG.propagate = False
    LOG.setLevel(logging.INFO)


def kind_of(error: BaseException) -> str:
    """What an unexpected error is and where it was raised, without its text.

    The text may quote what a peer sent.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
    return f"{type(error).__name__}{where}"

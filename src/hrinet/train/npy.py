"""An array that goes to its file slice by slice; needs no torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


def write_npy(
    path: Path, slices: Iterable[NDArray[np.uint16]], *, shape: tuple[int, int, int]
) -> str:
    """Write a ``.npy`` file (NumPy Enhancement Proposal 1, version 1.0) with one slice in memory.

    Not through a map: with one, a full disk would kill the process.

    Args:
        path: of the file.
        slices: each of shape (row, column).
        shape: of them all, (slice, row, column).

    Returns:
        The SHA-256 of the values.

    Raises:
        OSError: if the file cannot be written.
    """
    digest = hashlib.sha256()
    header = {"descr": "<u2", "fortran_order": False, "shape": shape}
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, header)
        for values in slices:
            content = values.tobytes()
            digest.update(content)
            file.write(content)
    return digest.hexdigest()

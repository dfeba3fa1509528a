"""What a training does with memory: keeps what it freed, and says when there is too little.

A training on a CPU needs the same sizes again and again. glibc gives large blocks back to the
system as soon as they are freed, and the system has to map and zero half a million pages for the
next step (``benchmarks/training.py`` has what that costs). With the two settings made here
(mallopt; glibc manual, "Malloc Tunable Parameters") the pages stay with the process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

from hrinet.errors import RunError


class TooLittleMemoryError(RunError):
    """A process of a training could not have the memory that it needs."""


# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4
_NEVER = -1
_DEFAULT_MMAP_MAX = 65536
# What glibc's own adaptation arrives at in a process that has freed large blocks.
_ADAPTED_MMAP_THRESHOLD = 32 << 20
_ADAPTED_TRIM_THRESHOLD = 64 << 20


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep what is freed inside for the next use, and give it back at the end.

    Does nothing where there is no glibc, and where the user has set allocation by environment
    variables (``MALLOC_...``, ``GLIBC_TUNABLES``).
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_MAX, 0)
    libc.mallopt(_M_TRIM_THRESHOLD, _NEVER)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_MAX, _DEFAULT_MMAP_MAX)
        libc.mallopt(_M_MMAP_THRESHOLD, _ADAPTED_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, _ADAPTED_TRIM_THRESHOLD)
        libc.malloc_trim(0)


@contextmanager
def enough_memory(what: str, advice: str) -> Iterator[None]:
    """Say in one sentence that there is not enough memory, on the CPU or a GPU.

    Args:
        what: takes the memory.
        advice: what to do.

    Raises:
        TooLittleMemoryError: with that sentence.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # PyTorch's are RuntimeErrors
        text = str(error).lower()
        if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
            raise TooLittleMemoryError(
                f"there is not enough memory for {what}; {advice}"
            ) from error
        raise


def _glibc() -> ctypes.CDLL | None:
    if "GLIBC_TUNABLES" in os.environ or any(name.startswith("MALLOC_") for name in os.environ):
        return None
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version  # noqa: B018 (raises AttributeError elsewhere)
    except (AttributeError, OSError, TypeError):
        return None
    return libc

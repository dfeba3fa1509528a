"""Counted by the kernel: page faults, and the resident size."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys

import pytest

from hrinet.train.memory import TooLittleMemoryError, enough_memory

needs_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has these settings"
)

_PROGRAM = """
import json, resource
import numpy as np
from hrinet.train.memory import freed_memory_kept

def faults(times=40):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        np.ones(48 << 20, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mb():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) / 1024

outside = faults()
with freed_memory_kept():
    np.ones(48 << 20, np.uint8)
    inside, kept = faults(), resident_mb()
print(json.dumps([outside, inside, kept, resident_mb(), faults()]))
"""


def _run(**environment: str) -> list[float]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={**clean, **environment},
    )
    return json.loads(done.stdout)


@needs_glibc
def test_the_same_pages_are_used_again_and_given_back_in_the_end():
    outside, inside, kept, after, later = _run()
    assert inside < outside / 20
    assert later > inside * 20
    assert kept - after > 40


@needs_glibc
def test_the_users_own_settings_are_left_alone():
    outside, inside, *_ = _run(MALLOC_ARENA_MAX="4")
    assert inside > outside / 2


def test_too_little_memory_is_one_sentence():
    torch = pytest.importorskip("torch")
    with (
        pytest.raises(
            TooLittleMemoryError, match=r"^there is not enough memory for a whale; take a sprat$"
        ),
        enough_memory("a whale", "take a sprat"),
    ):
        torch.empty(1 << 50)


def test_another_error_is_left_as_it_is():
    with pytest.raises(RuntimeError, match="something else"), enough_memory("", ""):
        raise RuntimeError("something else")

from __future__ import annotations

import pytest

from hrinet.errors import LimitError
from hrinet.io.limits import GIB, Limits


def test_ordinary_scans_pass():
    Limits().check_shape("scan", (2500, 1024, 1024))
    Limits().check_memory("scan", 4 * GIB)


@pytest.mark.parametrize("shape", [(0, 5, 5), (5, -1, 5), (10**6, 5, 5), (5, 10**5, 10**5)])
def test_absurd_shapes_are_refused(shape):
    with pytest.raises(LimitError, match="scan: declares"):
        Limits().check_shape("scan", shape)


def test_memory_is_bounded():
    with pytest.raises(LimitError, match=r"needs 2.0 GiB of memory, the limit is 1.0 GiB"):
        Limits(max_memory_bytes=GIB).check_memory("scan", 2 * GIB)

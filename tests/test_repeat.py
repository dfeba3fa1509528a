from __future__ import annotations

import numpy as np

from hrinet.synthesize.interpolator import Gap
from hrinet.synthesize.repeat import Repeat


def test_repeat_copies_the_nearer_slice():
    slices = tuple(np.full((2, 3), value, np.int16) for value in (0, 1, 2, 3))
    gap = Gap(slices, (0.0, 1.0, 2.0, 3.0), 1, (1, 1))
    results = [int(r[0, 0]) for r in Repeat().synthesize(gap, [0.1, 0.5, 0.51, 0.9])]
    assert results == [1, 1, 2, 2]

"""A method that estimates its error, by a rule that tests can compute for themselves."""

from __future__ import annotations

import numpy as np

from hrinet.synthesize.interpolator import Estimated
from hrinet.synthesize.linear import Linear


def expected_error(rows, columns, t):
    """Largest in the middle of the gap, growing with the row; float32, not whole."""
    falling = np.arange(rows, dtype=np.float32)[:, None] + np.zeros(columns, np.float32)
    return (falling + 7.25) * np.float32(4 * t * (1 - t))


def half_width(rows, columns, t):
    return expected_error(rows, columns, t) * np.float32(2.5)


class Doubtful:
    """Linear, with the same buffers for every slice, as methods may have them."""

    name = "doubtful"
    engine = "abacus"
    precision = "f64"

    def __init__(self, widest_mm=1e9):
        self.calls = 0
        self.widest_mm = widest_mm
        self.asked = None

    def synthesize(self, gap, t):
        raise AssertionError("is called without the estimate")

    def synthesize_with_error(self, gap, t):
        self.calls += 1
        shape = gap.slices[0].shape
        buffers = Estimated(*(np.empty(shape, np.float32) for _ in range(3)))
        for position, values in zip(t, Linear().synthesize(gap, t), strict=True):
            buffers.values[...] = values
            buffers.expected_error[...] = expected_error(*shape, position)
            buffers.half_width[...] = half_width(*shape, position)
            yield buffers

    def caution(self, gaps_mm):
        self.asked = list(gaps_mm)
        if max(gaps_mm) <= self.widest_mm:
            return None
        return f"{max(gaps_mm):g} mm are more than doubtful was validated on"

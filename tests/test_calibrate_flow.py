from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")

from test_readme import load_tool

calibrate_flow = load_tool("calibrate_flow")


@pytest.mark.parametrize("power", [0.0, 0.3, -0.4])
def test_the_gap_counts_only_where_the_network_says_the_same(power):
    rng = np.random.default_rng(0)
    widths, parts = [5.0, 7.5, 10.0, 15.0], []
    for width in widths:
        grown = np.log(width / 10)
        expected = rng.normal(
            2 + 0.4 * grown, 0.8, 60_000
        )  # The network expects more in wider ones.
        found = rng.exponential(1, expected.size) * np.exp(0.7 * expected + power * grown)
        parts.append((expected, found))
    assert calibrate_flow.gap_power(parts, widths) == pytest.approx(power, abs=0.02)

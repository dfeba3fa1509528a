from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hrinet.metrics.edges import edge_displacement_mm, match_edges
from metric_tools import blurred, noisy, real_scan


def disk(radius_mm, *, centre=(0.0, 0.0), spacing=(0.8, 0.8), side=160):
    """A soft-edged disk of 900 HU in water, exact at any sub-pixel position."""
    y = (np.arange(side) - side / 2)[:, None] * spacing[0] - centre[0]
    x = (np.arange(side) - side / 2)[None] * spacing[1] - centre[1]
    distance = np.hypot(y, x) - radius_mm
    return 450 - 450 * np.tanh(distance / 0.8)


@settings(max_examples=20, deadline=None)
@given(
    st.floats(0.1, 4.0),
    st.floats(0, 2 * np.pi),
    st.sampled_from([(0.8, 0.8), (0.5, 1.0), (1.1, 0.7)]),
)
def test_a_shifted_disk_gives_the_shift(shift, angle, spacing):
    """Across the edge a circle shows shift x |cos|, on average 2 / pi of the shift."""
    centre = (shift * np.sin(angle), shift * np.cos(angle))
    truth = disk(25, spacing=spacing)
    found = match_edges(disk(25, centre=centre, spacing=spacing), truth, pixel_spacing=spacing)
    assert found.found == 1
    assert found.displacement_mm == pytest.approx(shift * 2 / np.pi, rel=0.04, abs=0.02)
    # Where the shift runs along the edge, the circle bends away from it by (shift |sin|)^2 / 2 R.
    assert found.bias_mm == pytest.approx(shift**2 / (4 * 25), abs=0.05)


@pytest.mark.parametrize("growth", [-2.0, -0.3, 0.3, 2.0])
def test_a_grown_disk_gives_the_growth(growth):
    found = match_edges(disk(25 + growth), disk(25), pixel_spacing=(0.8, 0.8))
    assert found.displacement_mm == pytest.approx(abs(growth), abs=0.03)
    # The disk is bright inside: a larger one has its edge on the darker side.
    assert found.bias_mm == pytest.approx(-growth, abs=0.03)


def test_blur_noise_and_contrast_are_no_displacement():
    truth = disk(25)
    spacing = (0.8, 0.8)
    assert edge_displacement_mm(truth, truth, pixel_spacing=spacing) == pytest.approx(0, abs=0.02)
    for image in (blurred(truth, 1.5), truth / 2 + 100, noisy(truth, 30)):
        assert edge_displacement_mm(image, truth, pixel_spacing=spacing) < 0.1


def test_edges_that_are_gone_are_told():
    truth = disk(25)
    found = match_edges(noisy(np.zeros_like(truth), 5), truth, pixel_spacing=(0.8, 0.8))
    assert found.found < 0.1
    none = match_edges(truth, np.zeros_like(truth), pixel_spacing=(0.8, 0.8))
    assert none.edges == 0
    assert math.isnan(none.displacement_mm)


def test_the_table_is_no_patient():
    """A patient who moves over a table that does not."""
    truth, image = (np.minimum(disk(35, centre=(-15, 0)), 40) for _ in range(2))
    image = np.roll(truth, 3, axis=1)
    for stack in (truth, image):
        stack[stack < 20] = -1000
        stack[150:153] = 100
    found = match_edges(image, truth, pixel_spacing=(0.8, 0.8))
    assert found.displacement_mm == pytest.approx(2.4 * 2 / np.pi, rel=0.1)


def test_bad_arguments():
    with pytest.raises(ValueError, match="shapes differ"):
        edge_displacement_mm(np.zeros((9, 9)), np.zeros((9, 8)), pixel_spacing=(1, 1))
    with pytest.raises(ValueError, match="positive"):
        edge_displacement_mm(np.zeros((9, 9)), np.zeros((9, 9)), pixel_spacing=(1, 0))


def test_real_slices_farther_apart_are_displaced_more():
    volume = real_scan()
    spacing = volume.geometry.pixel_spacing
    truth = volume.array[60]
    values = [
        edge_displacement_mm(volume.array[60 + k], truth, pixel_spacing=spacing)
        for k in (0, 1, 2, 4)
    ]
    assert values == sorted(values)
    assert values[0] == pytest.approx(0, abs=0.02)

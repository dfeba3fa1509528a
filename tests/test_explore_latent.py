from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.explore.latent import bilinear_weights, corner_grid, latent_samples  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402


def make(mixing="three"):
    rng = torch.Generator().manual_seed(3)
    return Generator(mixing=mixing, size=64, width=4, rng=rng).eval().requires_grad_(False)


def slices(count, *, side=64):
    return np.random.default_rng(2).random((count, side, side), dtype=np.float32)


@pytest.mark.parametrize("mixing", ["three", "one"])
@pytest.mark.parametrize("side", [64, 70])
def test_the_corners_are_the_reconstructions(mixing, side):
    generator, corners = make(mixing), slices(4, side=side)
    grid = corner_grid(generator, corners, side=3)
    assert grid.shape == (3, 3, side, side)
    alone = generator.reconstruct(torch.from_numpy(corners)[:, None])[:, 0].numpy()
    found = np.stack([grid[0, 0], grid[0, -1], grid[-1, 0], grid[-1, -1]])
    np.testing.assert_allclose(found, alone, atol=2e-5 * np.abs(alone).max())


def test_an_edge_of_the_grid_is_an_interpolation():
    generator, corners = make(), slices(4)
    grid = corner_grid(generator, corners, side=5)
    x = torch.from_numpy(corners)[:, None]
    a = torch.tensor([[1.0, 0.75, 0.5, 0.25, 0.0]])  # a = 1 is the first
    for first, second, edge in ((0, 1, grid[0]), (0, 2, grid[:, 0]), (2, 3, grid[-1])):
        expected = generator.interpolate(x[[first]], x[[second]], a)[0, :, 0].numpy()
        np.testing.assert_allclose(edge, expected, atol=2e-5 * np.abs(expected).max())


def test_the_weights_are_shares():
    weights = bilinear_weights(7)
    assert weights.shape == (7, 7, 4)
    assert torch.allclose(weights.sum(dim=-1), torch.ones(7, 7))
    assert weights[3, 3].tolist() == [0.25] * 4
    assert weights[0, 6].tolist() == [0, 1, 0, 0]
    with pytest.raises(RequestError):
        bilinear_weights(1)


def test_four_corners_or_a_sentence():
    with pytest.raises(RequestError, match="needs four slices"):
        corner_grid(make(), slices(3))


def test_samples_follow_the_seed():
    generator, reference = make(), slices(5)
    one = latent_samples(generator, reference, count=3, seed=1)
    assert one.shape == (3, 64, 64)
    assert np.array_equal(one, latent_samples(generator, reference, count=3, seed=1))
    assert not np.allclose(one, latent_samples(generator, reference, count=3, seed=2))
    with pytest.raises(RequestError, match="two slices or more"):
        latent_samples(generator, reference[:1], count=3)


def test_samples_have_the_mean_and_the_spread_of_the_encodings():
    class Identity:
        """A generator whose encoding is the image."""

        multiple = 1

        def encode(self, x):
            return (x,)

        def decode(self, maps):
            return maps[0]

    rng = np.random.default_rng(0)
    # Two pixels that rise and fall together, and one that does not change.
    common = rng.normal(size=40)
    reference = np.zeros((40, 1, 3), np.float32)
    reference[:, 0, 0] = 1 + common
    reference[:, 0, 1] = 5 - 2 * common
    reference[:, 0, 2] = 7
    found = latent_samples(Identity(), reference, count=4000)[:, 0]
    np.testing.assert_allclose(found.mean(axis=0), reference[:, 0].mean(axis=0), atol=0.15)
    expected = np.cov(reference[:, 0].T)
    np.testing.assert_allclose(np.cov(found.T), expected, rtol=0.1, atol=1e-6)


def test_slices_that_do_not_change_give_their_reconstruction():
    generator, one = make(), slices(1)
    made = latent_samples(generator, np.repeat(one, 3, axis=0), count=2)
    alone = generator.reconstruct(torch.from_numpy(one)[:, None])[0, 0].numpy()
    np.testing.assert_allclose(made, np.stack([alone] * 2), atol=2e-5 * np.abs(alone).max())

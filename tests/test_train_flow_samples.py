from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch")

from hrinet.errors import InputError  # noqa: E402
from hrinet.train.flow.choices import Chooser, Extent  # noqa: E402
from hrinet.train.flow.config import FlowTrainConfig  # noqa: E402
from hrinet.train.flow.samples import Samples, Scan, _blurred, _grains  # noqa: E402

CPU = torch.device("cpu")
QUIET = {"smooth": 0.0, "sharp": 0.0, "noise": 0.0}


def make_scans(count=2, *, rows=80, columns=72, slices=24):
    rng = np.random.default_rng(0)
    return [
        Scan(
            Extent(f"p{number}", slices, 2.0, 3.0),
            rng.integers(-1024, 3071, (slices, rows, columns)).astype(np.int16),
        )
        for number in range(count)
    ]


def config(**changes) -> FlowTrainConfig:
    return FlowTrainConfig(**{"batch": 24, "crop": 32, **changes})


def choices_of(scans, settings, step=0):
    rows, columns = scans[0].array.shape[1:]
    return Chooser([s.extent for s in scans], settings, rows=rows, columns=columns).choose(step)


def crops_of(scans, choices, crop):
    """The five slices of every sample by plain slicing: mean over slices, then over pixels."""
    voxels = np.concatenate([scan.array for scan in scans]).astype(np.float64)
    result = np.empty((len(choices.t), 5, crop, crop))
    for index, (row, column) in enumerate(choices.corner):
        factor = choices.reduced[index]
        side = crop * factor
        for part, start in enumerate(choices.starts[index]):
            block = voxels[start : start + choices.averaged[index]].mean(0)
            block = block[row : row + side, column : column + side]
            result[index, part] = block.reshape(crop, factor, crop, factor).mean((1, 3))
        across, down, swap = choices.flips[:, index]
        if across:
            result[index] = result[index, :, :, ::-1]
        if down:
            result[index] = result[index, :, ::-1]
        if swap:
            result[index] = result[index].swapaxes(1, 2)
    return result


@pytest.mark.parametrize("changes", [{"thick": 0.0, "coarse": 0.0}, {"thick": 0.7, "coarse": 0.5}])
def test_crops_are_what_slicing_gives(changes):
    scans, settings = make_scans(), config(**QUIET, **changes)
    choices = choices_of(scans, settings)
    with Samples(scans, settings, device=CPU) as samples:
        batch = samples.batch()
    expected = crops_of(scans, choices, 32)
    found = torch.cat([batch.gaps.slices, batch.target], dim=1).numpy()
    np.testing.assert_allclose(found, expected, atol=2e-3)
    for name, tensor in (
        ("offsets", batch.gaps.offsets),
        ("thickness", batch.gaps.thickness),
        ("t", batch.t),
        ("weights", batch.weights),
    ):
        assert np.array_equal(tensor.numpy(), getattr(choices, name))
        assert tensor.dtype == torch.float32
    assert batch.gaps.slices.shape == (24, 4, 32, 32)
    assert batch.target.shape == (24, 1, 32, 32)


def test_batches_follow_from_their_number():
    scans, settings = make_scans(), config(thick=0.5, noise=1.0)
    with Samples(scans, settings, device=CPU) as samples:
        first, second = samples.batch(), samples.batch()
    with Samples(scans, settings, device=CPU, start=1) as samples:
        again = samples.batch()
    assert torch.equal(second.gaps.slices, again.gaps.slices)
    assert torch.equal(second.target, again.target)
    assert not torch.equal(first.target, again.target)


def test_workers_choose_the_same():
    scans, settings = make_scans(1), config(batch=3)
    with Samples(scans, settings, device=CPU) as samples:
        expected = [samples.batch() for _ in range(3)]
    with Samples(scans, config(batch=3, workers=1), device=CPU) as samples:
        found = [samples.batch() for _ in range(3)]
    for one, other in zip(expected, found, strict=True):
        assert torch.equal(one.gaps.slices, other.gaps.slices)


def test_noise_is_of_the_level_chosen_and_no_slice_shares_it():
    scans, settings = (
        make_scans(),
        config(batch=8, crop=32, thick=0.0, coarse=0.0, noise=1.0, smooth=0.0, sharp=0.0),
    )
    choices = choices_of(scans, settings)
    with Samples(scans, settings, device=CPU) as samples:
        batch = samples.batch()
    added = torch.cat([batch.gaps.slices, batch.target], dim=1).numpy() - crops_of(
        scans, choices, 32
    )
    np.testing.assert_allclose(added.std((1, 2, 3)), choices.noise[:, 0], rtol=0.02)
    assert np.abs(added.mean((1, 2, 3))).max() < 3
    for one in added:
        correlation = np.corrcoef(one.reshape(5, -1))
        assert np.abs(correlation - np.eye(5)).max() < 0.25


def test_grains_have_the_standard_deviation_1_whatever_their_width():
    widths = torch.tensor([0.3, 0.5, 0.8])[:, None, None, None]
    grains = _grains((3, 5, 64, 64), widths, torch.Generator().manual_seed(0))
    torch.testing.assert_close(grains.std(dim=(1, 2, 3)), torch.ones(3), rtol=1e-4, atol=0)
    right = (grains[..., 1:] * grains[..., :-1]).mean(dim=(1, 2, 3))
    assert torch.all(right.diff() > 0.05)  # wider ones are more alike
    assert abs(float(right[0])) < 0.1


@pytest.mark.parametrize("sigma", [0.35, 0.7, 1.1])
def test_the_blur_is_a_gaussian_cut_off_at_3_pixels(sigma):
    images = np.random.default_rng(0).normal(size=(1, 2, 24, 20)).astype(np.float32)
    found = _blurred(torch.from_numpy(images), torch.full((1, 1, 1, 1), sigma)).numpy()
    expected = [gaussian_filter(image, sigma, mode="mirror", radius=3) for image in images[0]]
    np.testing.assert_allclose(found[0], expected, atol=1e-5)
    flat = torch.full((1, 1, 16, 16), 7.0)
    torch.testing.assert_close(_blurred(flat, torch.full((1, 1, 1, 1), sigma)), flat)


def test_every_sample_has_a_blur_of_its_own():
    images = torch.randn(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([0.4, 1.0])[:, None, None, None]
    both = _blurred(images, sigmas)
    for index in (0, 1):
        one = _blurred(images[index : index + 1], sigmas[index : index + 1])
        torch.testing.assert_close(both[index : index + 1], one)


@pytest.mark.parametrize(("smooth", "sharp"), [(1.0, 0.0), (0.0, 1.0)])
def test_kernels_soften_and_sharpen(smooth, sharp):
    scans, settings = (
        make_scans(),
        config(batch=6, thick=0.0, coarse=0.0, noise=0.0, smooth=smooth, sharp=sharp),
    )
    choices = choices_of(scans, settings)
    with Samples(scans, settings, device=CPU) as samples:
        batch = samples.batch()
    plain = crops_of(scans, choices, 32)[:, 4]
    found = batch.target[:, 0].numpy()
    change = found[:, 4:-4, 4:-4].std((1, 2)) / plain[:, 4:-4, 4:-4].std((1, 2))
    assert np.all(change < 1) if smooth else np.all(change > 1)
    assert np.abs(found.mean((1, 2)) - plain.mean((1, 2))).max() < 40  # of +-1200
    index = 0
    width, amount = choices.kernel[index]
    # Every filter is even, so mirroring before or after makes no difference.
    blurred = gaussian_filter(plain[index], float(width), mode="mirror", radius=3)
    expected = plain[index] + amount * (plain[index] - blurred)
    np.testing.assert_allclose(found[index], expected, atol=0.05)


def test_slices_of_other_sizes_are_refused():
    with pytest.raises(InputError, match="the scans have slices of 2 sizes, expected one"):
        Samples([*make_scans(1), *make_scans(1, rows=96)], config(), device=CPU)
    with pytest.raises(InputError, match="80 x 72 pixels, less than 2 crops of 48; set crop to a"):
        Samples(make_scans(1), config(crop=48), device=CPU)

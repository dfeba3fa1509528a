from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402
from hrinet.networks.mixing import alpha_from_position, mix  # noqa: E402


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.rand(*shape, generator=seeded(seed))


def parameters(network: torch.nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("mixing", "size", "expected"),
    [
        ("three", 256, [(16, 16, 16), (8, 8, 8), (8, 4, 4)]),
        ("three", 512, [(16, 32, 32), (8, 16, 16), (4, 8, 8)]),
        ("one", 256, [(16, 16, 16)]),
        ("one", 512, [(16, 32, 32)]),
    ],
)
@torch.no_grad()
def test_mixed_maps_are_those_of_table_3_2(mixing, size, expected):
    generator = Generator(mixing=mixing, size=size, width=2)
    maps = generator.encode(images(2, 1, size, size))
    assert [tuple(m.shape) for m in maps] == [(2, *shape) for shape in expected]
    assert generator.decode(maps).shape == (2, 1, size, size)


@pytest.mark.parametrize("size", [256, 512])
@torch.no_grad()
def test_every_block_works_at_the_size_of_table_3_3(size):
    generator = Generator(size=size, width=2)
    encoder_sides, decoder_sides = [], []
    for block in generator.encoder.blocks:
        block.register_forward_hook(lambda _, __, out: encoder_sides.append(out.shape[-1]))
    for block in generator.decoder.blocks:
        block.register_forward_hook(lambda _, __, out: decoder_sides.append(out.shape[-1]))
    generator.reconstruct(images(1, 1, size, size))
    assert encoder_sides == [size // 2**k for k in range(7)]
    assert decoder_sides == encoder_sides[::-1]


def test_blocks_are_two_3x3_convolutions_without_batch_norm():
    generator = Generator()
    for block in [*generator.encoder.blocks, *generator.decoder.blocks]:
        kernels = [m.kernel_size for m in block if isinstance(m, torch.nn.Conv2d)]
        assert kernels == [(3, 3), (3, 3)]
    names = {type(m).__name__ for m in generator.modules()}
    assert not any("Norm" in name for name in names)


@torch.no_grad()
def test_features_en4_follow_the_8th_convolution_before_the_4th_pooling():
    generator = Generator(width=2, rng=seeded())
    x = images(1, 1, 64, 64)
    convolutions = [m for m in generator.encoder.modules() if isinstance(m, torch.nn.Conv2d)]
    seen = []
    convolutions[7].register_forward_hook(lambda _, __, out: seen.append(out))
    convolutions[8].register_forward_hook(lambda _, args, __: seen.append(args[0]))
    features = generator.encoder_features_en4(x)
    generator.encode(x)
    assert features.shape == (1, 16, 8, 8)
    assert torch.equal(features, torch.nn.functional.leaky_relu(seen[0], 0.2))
    assert torch.equal(torch.nn.functional.avg_pool2d(features, 2), seen[2])


@pytest.mark.parametrize("mixing", ["three", "one"])
@pytest.mark.parametrize("channels", [1, 3])
@torch.no_grad()
def test_ends_are_the_reconstructions(mixing, channels):
    generator = Generator(mixing=mixing, in_channels=channels, width=4, rng=seeded())
    x1, x2 = images(2, channels, 64, 128, seed=1), images(2, channels, 64, 128, seed=2)
    first, second = generator.reconstruct(x1), generator.reconstruct(x2)
    assert (first - second).abs().max() > 1e-3
    torch.testing.assert_close(generator(x1, x2, torch.ones(2)), first)
    torch.testing.assert_close(generator(x1, x2, torch.zeros(2)), second)
    # One coefficient a sample: the first sample at x1, the second at x2.
    both = generator(x1, x2, torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(both, torch.stack([first[0], second[1]]))


def test_user_positions_run_from_the_first_slice():
    assert alpha_from_position(0.0) == 1.0
    assert alpha_from_position(0.25) == 0.75
    assert torch.equal(alpha_from_position(torch.tensor([0.0, 1.0])), torch.tensor([1.0, 0.0]))


def test_mix_by_hand():
    first = (torch.tensor([8.0, 8.0]).view(2, 1, 1, 1), torch.full((2, 1, 2, 2), 4.0))
    second = (torch.tensor([0.0, 4.0]).view(2, 1, 1, 1), torch.zeros(2, 1, 2, 2))
    small, large = mix(first, second, torch.tensor([0.75, 0.25]))
    assert small.flatten().tolist() == [6.0, 5.0]
    assert large[:, 0, 1, 1].tolist() == [3.0, 1.0]


@torch.no_grad()
def test_maps_are_mixed_after_activation():
    generator = Generator(width=4, rng=seeded())
    raw = []
    for bottleneck in generator.bottlenecks:
        bottleneck.register_forward_hook(lambda _, __, out: raw.append(out))
    maps = generator.encode(images(1, 1, 64, 64))
    for before, after in zip(raw, maps, strict=True):
        assert (before < 0).any()
        assert torch.equal(after, torch.where(before < 0, 0.2 * before, before))


@torch.no_grad()
def test_every_mixed_map_reaches_the_image():
    generator = Generator(width=4, rng=seeded())
    maps = generator.encode(images(1, 1, 64, 64))
    image = generator.decode(maps)
    for index in range(3):
        changed = tuple(m + 1 if k == index else m for k, m in enumerate(maps))
        assert (generator.decode(changed) - image).abs().max() > 1e-3


@torch.no_grad()
def test_deeper_maps_hold_more_than_the_largest_one():
    # Hung off a trunk: the same EN5 bottleneck output must not force the same EN6 output.
    generator = Generator(width=4, rng=seeded())
    before = generator.encode(images(1, 1, 64, 64))
    generator.bottlenecks[0].weight.zero_()
    after = generator.encode(images(1, 1, 64, 64))
    assert not torch.equal(before[0], after[0])
    assert torch.equal(before[1], after[1])


@pytest.mark.parametrize(("rows", "columns"), [(64, 192), (500, 500), (1, 70)])
@torch.no_grad()
def test_any_size_comes_back_at_its_own_size(rows, columns):
    generator = Generator(width=2, rng=seeded())
    x = images(1, 1, rows, columns)
    assert generator.reconstruct(x).shape == x.shape
    assert generator(x, x, torch.tensor([0.5])).shape == x.shape


def test_encode_wants_multiples_and_says_so():
    with pytest.raises(RequestError, match="multiples of 64"):
        Generator(width=2).encode(images(1, 1, 96, 64))
    assert Generator(mixing="one", width=2).encode(images(1, 1, 96, 64))[0].shape[-2:] == (6, 4)


@torch.no_grad()
def test_interpolate_is_forward_at_each_position():
    generator = Generator(width=2, rng=seeded())
    x1, x2 = images(2, 1, 60, 64, seed=1), images(2, 1, 60, 64, seed=2)
    a = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.4, 0.6]])
    many = generator.interpolate(x1, x2, a)
    assert many.shape == (2, 3, 1, 60, 64)
    for position in range(3):
        torch.testing.assert_close(many[:, position], generator(x1, x2, a[:, position]))


@torch.no_grad()
def test_output_is_not_clipped():
    generator = Generator(width=2, rng=seeded())
    generator.decoder.blocks[-1][-1].bias.fill_(5.0)
    assert generator.reconstruct(images(1, 1, 64, 64)).max() > 1.5


def test_same_seed_same_weights():
    first, same, other = (Generator(width=2, rng=seeded(s)).state_dict() for s in (3, 3, 4))
    assert all(torch.equal(first[key], same[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


@torch.no_grad()
def test_initial_weights_keep_the_variance_through_the_encoder():
    generator = Generator(rng=seeded())
    noise = torch.randn(2, 1, 128, 128, generator=seeded(5))
    power = generator.encoder_features_en4(noise).square().mean()
    # Pooling white noise loses power; without He's gain eight layers would lose 10^-3 and more.
    assert 0.01 < power < 10


def test_gradients_reach_every_parameter():
    generator = Generator(width=2, rng=seeded())
    x = images(2, 1, 64, 64)
    generator(x, x.flip(0), torch.tensor([0.3, 0.6])).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in generator.parameters())


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 2_250_881),
        ({"size": 512}, 2_245_757),
        ({"mixing": "one"}, 1_049_713),
    ],
)
def test_parameter_counts_are_the_documented_ones(options, count):
    assert parameters(Generator(**options)) == count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"in_channels": 2}, "1 .gray. or 3"),
        ({"size": 250}, "multiple of 64"),
        ({"size": 0}, "multiple of 64"),
        ({"width": 0}, "1 channel or more"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(RequestError, match=message):
        Generator(**options)


def test_bad_shapes_are_refused():
    generator = Generator(width=2)
    x = images(2, 1, 64, 64)
    with pytest.raises(RequestError, match=r"expected \(2,\)"):
        generator(x, x, torch.tensor(0.5))
    with pytest.raises(RequestError, match="same shape"):
        generator(x, images(2, 1, 128, 64), torch.ones(2))
    with pytest.raises(RequestError, match=r"\(batch, 1"):
        generator.reconstruct(images(2, 3, 64, 64))
    with pytest.raises(RequestError, match=r"\(2, position\)"):
        generator.interpolate(x, x, torch.ones(2))

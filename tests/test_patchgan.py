from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.networks.patchgan import (  # noqa: E402
    ConvolutionShape,
    PatchGAN,
    patchgan_layers,
    receptive_field_of,
)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def support(network: PatchGAN, side: int) -> tuple[int, int, int]:
    """Rows, columns and number of pixels that the middle prediction depends on."""
    with torch.no_grad():
        for weights in network.parameters():
            weights.abs_()  # nothing can cancel, so that every pixel seen has a gradient
    x = torch.rand(1, 1, side, side, dtype=torch.float64, generator=seeded(), requires_grad=True)
    prediction = network.double()(x)
    rows, columns = prediction.shape[-2:]
    prediction[0, 0, rows // 2, columns // 2].backward()
    seen = x.grad[0, 0] != 0
    return int(seen.any(1).sum()), int(seen.any(0).sum()), int(seen.sum())


def test_equation_3_2_by_hand():
    # 4x4 stride 1 sees 4; through a 3x3 of stride 2 that is (4 - 1) * 2 + 3 = 9.
    assert receptive_field_of([ConvolutionShape(3, 2, 1), ConvolutionShape(4, 1, 1)]) == 9
    assert receptive_field_of([]) == 1


@pytest.mark.parametrize("receptive_field", [1, 16, 70, 142])
def test_receptive_field_computed_and_measured(receptive_field):
    assert receptive_field_of(patchgan_layers(receptive_field)) == receptive_field
    network = PatchGAN(receptive_field=receptive_field, width=2, rng=seeded())
    side = receptive_field
    assert support(network, 256) == (side, side, side * side)


@pytest.mark.parametrize("size", [256, 512, 320])
def test_image_gan_sees_the_whole_image_once(size):
    assert receptive_field_of(patchgan_layers("full", size)) >= size
    network = PatchGAN(receptive_field="full", size=size, width=2, rng=seeded())
    assert network(torch.rand(1, 1, size, size)).shape == (1, 1, 1, 1)
    assert support(network, size) == (size, size, size * size)


@pytest.mark.parametrize(
    ("receptive_field", "expected"), [(1, 256), (16, 126), (70, 30), (142, 14), ("full", 1)]
)
@torch.no_grad()
def test_number_of_predictions_at_256(receptive_field, expected):
    network = PatchGAN(receptive_field=receptive_field, width=2)
    prediction = network(torch.rand(2, 1, 256, 256))
    assert prediction.shape == (2, 1, expected, expected)


@torch.no_grad()
def test_agrees_with_monai():
    networks = pytest.importorskip("monai.networks.nets")
    oracle = networks.PatchDiscriminator(
        spatial_dims=2, channels=64, in_channels=1, num_layers_d=3, norm=None, bias=True
    )
    ours = PatchGAN(rng=seeded())
    weights = list(ours.parameters())
    theirs = list(oracle.parameters())
    assert [w.shape for w in weights] == [w.shape for w in theirs]
    for weight, their in zip(weights, theirs, strict=True):
        their.copy_(weight)
    x = torch.rand(1, 1, 256, 256, generator=seeded(1))
    prediction = oracle(x)[-1]
    assert prediction.shape == (1, 1, 30, 30)
    torch.testing.assert_close(ours(x), prediction)


@pytest.mark.parametrize("norm", ["none", "instance", "layer"])
@torch.no_grad()
def test_samples_do_not_see_each_other(norm):
    # The gradient penalty is per sample: batch norm would break it.
    network = PatchGAN(width=4, norm=norm, rng=seeded())
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in network.modules())
    x = torch.rand(2, 1, 128, 128, generator=seeded(1))
    together = network(x)
    torch.testing.assert_close(network(x[:1]), together[:1])
    x[1] = 0
    torch.testing.assert_close(network(x)[:1], together[:1])


@pytest.mark.parametrize(
    ("norm", "kind", "count"),
    [("none", "", 0), ("instance", "InstanceNorm2d", 3), ("layer", "GroupNorm", 3)],
)
def test_norm_is_between_the_first_and_the_last_layer(norm, kind, count):
    names = [type(m).__name__ for m in PatchGAN(norm=norm, width=2).stack]
    assert [n for n in names if "Norm" in n] == [kind] * count
    assert names[:2] == ["Conv2d", "LeakyReLU"]
    assert names[-1] == "Conv2d"


@torch.no_grad()
def test_layer_norm_keeps_the_contrast_between_channels():
    norm = PatchGAN(norm="layer", width=2).stack[3]
    x = torch.zeros(1, 4, 1, 1)
    x[0, 0] = 4.0  # mean 1, variance 3 over all channels; alone, each channel would become 0
    wanted = (torch.tensor([4.0, 0, 0, 0]) - 1) / (3 + norm.eps) ** 0.5
    torch.testing.assert_close(norm(x).flatten(), wanted)


@pytest.mark.parametrize(
    ("receptive_field", "count"),
    [(1, 8_577), (16, 134_337), (70, 2_762_689), (142, 6_957_505), ("full", 11_152_321)],
)
def test_parameter_counts_are_the_documented_ones(receptive_field, count):
    network = PatchGAN(receptive_field=receptive_field)
    assert sum(p.numel() for p in network.parameters()) == count


@torch.no_grad()
def test_rgb():
    assert PatchGAN(in_channels=3, width=2)(torch.rand(1, 3, 64, 64)).shape == (1, 1, 6, 6)


def test_what_cannot_be_is_refused():
    with pytest.raises(RequestError, match="no receptive field 34"):
        PatchGAN(receptive_field=34)
    with pytest.raises(RequestError, match="no norm 'batch'"):
        PatchGAN(norm="batch")
    with pytest.raises(RequestError, match="16 x 64 pixels, too small"):
        PatchGAN(width=2)(torch.rand(1, 1, 16, 64))

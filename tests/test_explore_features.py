from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hrinet.explore.features import (  # noqa: E402
    draw_features,
    draw_latent,
    feature_maps,
    size_table,
)
from hrinet.explore.sheet import normalised  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402

WINDOW = (-1024.0, 3071.0)


def maps_of(mixing, size, **options):
    generator = Generator(mixing=mixing, size=size, rng=torch.Generator().manual_seed(0), **options)
    image = np.random.default_rng(0).random((size, size), dtype=np.float32)
    return generator, image, feature_maps(generator.eval(), image)


def test_the_sizes_of_table_3_3():
    _, _, maps = maps_of("three", 256)
    shapes = {one.name: one.values.shape for one in maps}
    sides = [256, 128, 64, 32, 16, 8, 4]
    assert [shapes[f"EN{k}"][1:] for k in range(1, 8)] == [(side, side) for side in sides]
    assert [shapes[f"DE{k}"][1:] for k in range(1, 8)] == [(side, side) for side in sides]
    # Table 3-2, for 256.
    assert [shapes[f"mixed EN{k}"] for k in (5, 6, 7)] == [(16, 16, 16), (8, 8, 8), (8, 4, 4)]
    table = size_table(maps)
    assert "| EN3 | 64 x 64 | 64 |" in table
    assert "| mixed EN6 | 8 x 8 | 8 |" in table
    assert "| DE1 | 256 x 256 | 1 |" in table
    order = [line.split("|")[1].strip() for line in table.splitlines()[2:]]
    assert order[:2] == ["EN1", "EN2"]
    assert order[-2:] == ["DE2", "DE1"]


def test_one_size_has_five_blocks():
    _, _, maps = maps_of("one", 64, width=2)
    names = [one.name for one in maps]
    assert names == [
        *(f"EN{k}" for k in range(1, 6)),
        "mixed EN5",
        *(f"DE{k}" for k in range(5, 0, -1)),
    ]
    draw_features(maps, subtitle="").draw()


def test_the_maps_are_those_of_the_network():
    generator, image, maps = maps_of("three", 64, width=2)
    x = torch.from_numpy(image)[None, None]
    by_name = {one.name: one.values for one in maps}
    with torch.no_grad():
        np.testing.assert_array_equal(by_name["DE1"], generator.reconstruct(x)[0].numpy())
        en4 = generator.encoder_features_en4(x)[0].numpy()
        np.testing.assert_array_equal(by_name["EN4"], en4)
        for name, values in zip(("EN5", "EN6", "EN7"), generator.encode(x), strict=True):
            np.testing.assert_array_equal(by_name[f"mixed {name}"], values[0].numpy())
    assert not generator.encoder.blocks[0]._forward_hooks


def test_the_pictures_show_the_pixels_of_small_maps():
    _, image, maps = maps_of("three", 64, width=2)
    sheet = draw_latent(maps, image, window=WINDOW, subtitle="x")
    code = sheet.rows[-1][1]
    assert code.shape == (1, 1)  # 64 / 64
    sixteen = sheet.rows[0][1]
    assert sixteen.shape == (4, 4)
    assert (sixteen.min(), sixteen.max()) == (0, 255)
    assert sheet.draw().width > 1000
    features = draw_features(maps, subtitle="x")
    assert len(features.rows) == 7
    assert features.rows[0][2] is None  # EN1 has 2 channels here, and no 8th


def test_every_tile_stands_under_its_channel():
    _, _, maps = maps_of("three", 64, width=8)
    by_name = {one.name: one.values for one in maps}
    sheet = draw_features(maps, subtitle="x")
    heads = sheet.column_labels
    assert heads[-1] == "DE1, the image"
    for level, row in enumerate(sheet.rows, 1):
        assert len(row) == len(heads)
        for head, tile in zip(heads, row, strict=True):
            side, _, channel = head.partition(" channel ")
            values = by_name[f"{side}{level}" if channel else "DE1"]
            number = int(channel or 1) - 1
            if number >= len(values) or (not channel and level > 1):
                assert tile is None
            else:
                np.testing.assert_array_equal(tile, normalised(values[number]))
    assert sum(tile is not None for tile in sheet.rows[0]) == 4  # 3 of EN1, and the image
    sheet.draw()

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.networks.family import (  # noqa: E402
    FAMILY,
    TABLE_4_4,
    ModelConfig,
    build,
    model_config,
)


@pytest.mark.parametrize(
    ("name", "blocks", "d1", "d2", "alternating", "content"),
    [
        ("ae", 5, False, False, False, "mse"),
        ("acai", 5, True, False, False, "mse"),
        ("hrinet-patchgan", 7, True, True, False, "mse"),
        ("hrinet-mse", 7, True, True, True, "mse"),
        ("hrinet-perceptual", 7, True, True, True, "perceptual"),
    ],
)
def test_models_of_the_thesis(name, blocks, d1, d2, alternating, content):
    config = model_config(name)
    networks = build(replace(config, width=2, patchgan_width=2))
    assert len(networks.generator.encoder.blocks) == blocks
    assert (networks.d1 is not None, networks.d2 is not None) == (d1, d2)
    assert (config.alternating, config.content) == (alternating, content)
    if networks.d1 is not None:
        assert len(networks.d1.encoder.blocks) == blocks


def test_family_has_these_five():
    assert list(FAMILY) == ["ae", "acai", "hrinet-patchgan", "hrinet-mse", "hrinet-perceptual"]


def test_rows_of_table_4_4():
    rows = [(c.content, c.mixing == "three", c.d1, c.d2, c.alternating) for c in TABLE_4_4]
    assert rows == [
        ("mse", False, False, False, False),
        ("mse", True, False, False, False),
        ("mse", True, True, False, False),
        ("mse", True, True, True, False),
        ("mse", True, True, True, True),
        ("perceptual", True, True, True, True),
    ]


def test_every_option_arrives():
    config = ModelConfig(
        size=512, in_channels=3, width=2, receptive_field=16, patchgan_width=3, norm="layer"
    )
    networks = build(config)
    assert networks.generator.bottlenecks[-1].out_channels == 4
    assert networks.generator.in_channels == 3
    assert networks.d1.bottleneck.out_channels == 4
    assert networks.d1.encoder.widths[0] == 2
    first = networks.d2.stack[0]
    assert (first.in_channels, first.out_channels) == (3, 3)
    assert len(networks.d2.layers) == 3
    assert any(isinstance(m, torch.nn.GroupNorm) for m in networks.d2.modules())


def test_ablation_rows_start_from_the_same_generator():
    small = {"width": 2, "patchgan_width": 2}
    with_d2 = build(replace(model_config("hrinet-mse"), **small), seed=3).generator.state_dict()
    without = build(replace(TABLE_4_4[1], **small), seed=3).generator.state_dict()
    other = build(replace(TABLE_4_4[1], **small), seed=4).generator.state_dict()
    assert all(torch.equal(with_d2[key], without[key]) for key in with_d2)
    assert any(not torch.equal(other[key], without[key]) for key in other)


def test_unknown_names_list_the_known():
    with pytest.raises(RequestError, match="'vae'; choose from ae, acai, hrinet-patchgan"):
        model_config("vae")


def test_bad_configurations_are_refused_before_anything_is_built():
    with pytest.raises(RequestError, match="multiple of 64"):
        ModelConfig(size=100)


def test_listing_the_family_needs_no_torch():
    code = (
        "import sys, hrinet, hrinet.networks.family, hrinet.losses.weights;"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

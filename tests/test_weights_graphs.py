from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")
openvino = pytest.importorskip("openvino")

from flow_tools import (  # noqa: E402
    CALIBRATION,
    SMALL,
    make_gaps,
    one_thread,  # noqa: F401
    perturbed,
    save_flow,
    told,
)
from hrinet.errors import InputError  # noqa: E402
from hrinet.networks.flow_net import FlowNet, FlowNetConfig  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.files import read_weights  # noqa: E402
from hrinet.weights.flow import graph_paths, load_flow  # noqa: E402

EVEN = [-1.0, 0.0, 1.0, 2.0]
DEEPER = FlowNetConfig(
    coarse_width=9, fine_width=6, decoder_width=7, decoder_blocks=2, encoder_blocks=2, reach_px=5.0
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A network and where its files lie."""
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    network = perturbed(SMALL)
    save_flow(path, network)
    return network, path


@pytest.mark.parametrize(
    ("offsets", "kept", "t", "size", "thickness"),
    [
        (EVEN, (0, 1, 2, 3), 0.5, (32, 48), 0.0),
        (EVEN, (0, 1, 2, 3), 1 / 3, (16, 16), 1.2),
        ([-0.3, 0.0, 1.0, 4.0], (0, 1, 2, 3), 0.9, (64, 32), 0.4),
        (EVEN, (1, 2, 3), 0.2, (32, 48), 0.0),
        ([-2.0, 0.0, 1.0, 2.0], (0, 1, 2), 0.05, (48, 80), 0.9),
        (EVEN, (1, 2), 0.7, (32, 32), 0.0),
    ],
)
def test_the_graphs_compute_what_the_network_does(saved, offsets, kept, t, size, thickness):
    rows, columns = size
    gap = make_gaps(offsets, kept=kept, t=t, rows=rows, columns=columns, thickness=thickness)
    assert_alike(*saved, *gap)


def test_deeper_networks_too(tmp_path):
    network = perturbed(DEEPER)
    save_flow(tmp_path / "w.safetensors", network)
    assert_alike(network, tmp_path / "w.safetensors", *make_gaps(EVEN, thickness=0.5))


def assert_alike(network, path, gaps, position, weights):
    """What OpenVINO computes from the files is what torch does."""
    expected = network(gaps, position, weights)
    core = openvino.Core()
    encoder, decoder = (
        core.compile_model(
            model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
        )
        for model in load_flow(path).of_size(core, *gaps.slices.shape[2:])
    )
    found = encoder({"slices": gaps.slices.numpy()})
    values, log_error = decoder(
        {
            "slices": gaps.slices.numpy(),
            **{output.any_name: values for output, values in found.items()},
            "offsets": gaps.offsets.numpy(),
            "thickness": gaps.thickness.numpy(),
            "t": position.numpy(),
            "weights": weights.numpy(),
        }
    ).values()
    assert abs(values - expected.values.numpy()).max() < 0.05
    assert abs(log_error - expected.log_error.numpy()).max() < 1e-3
    plain = (gaps.slices * weights[:, :, None, None]).sum(1, keepdim=True)
    assert (expected.values - plain).abs().max() > 3  # or the test would show nothing


def test_what_is_loaded_is_what_was_saved(saved):
    _, path = saved
    graphs = load_flow(path)
    assert graphs.description.name == "hrinet-flow"
    assert graphs.calibration.largest_gap_mm == CALIBRATION["largest_gap_mm"]
    assert graphs.knows_thickness
    assert [p.name for p in graph_paths(path)] == ["w-encoder.onnx", "w-decoder.onnx"]


def copy_of(path, folder):
    for file in path.parent.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder / path.name


@pytest.mark.parametrize("part", ["encoder", "decoder"])
def test_graphs_of_other_weights_are_refused(saved, tmp_path, part):
    path = copy_of(saved[1], tmp_path)
    graph = dict(zip(("encoder", "decoder"), graph_paths(path), strict=True))[part]
    graph.write_bytes(graph.read_bytes() + b"\0")
    with pytest.raises(InputError, match=rf"w-{part}\.onnx: has SHA-256 .* but w\.json says"):
        load_flow(path)
    graph.unlink()
    with pytest.raises(InputError, match=rf"w-{part}\.onnx: cannot be read: No such file"):
        load_flow(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"graphs": None}, r"w\.json: names no graphs .*ship_flow\.py makes them"),
        ({"graphs": {}}, r"w-encoder\.onnx: has SHA-256 .* but w\.json says None"),
        ({"calibration": {}}, r"w\.json: its calibration is damaged \(KeyError: 'log_error'\)"),
        ({"calibration": 3}, r"w\.json: its calibration is damaged \(TypeError"),
        (
            {"calibration": {**CALIBRATION, "log_error": [1, 0, 2]}},
            r"damaged \(ValueError: the calibration's log_error does not increase\)",
        ),
    ],
)
def test_damaged_descriptions_are_one_sentence(saved, tmp_path, changes, says):
    path = copy_of(saved[1], tmp_path)
    path.with_suffix(".json").write_text(json.dumps({**told(path), **changes}))
    with pytest.raises(InputError, match=says) as caught:
        load_flow(path)
    assert "\n" not in str(caught.value)


def test_a_missing_description_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"w\.json: cannot be read: No such file"):
        load_flow(tmp_path / "w.safetensors")


def test_loading_needs_no_torch(saved):
    import subprocess
    import sys

    code = (
        "import sys, pathlib; from hrinet.weights.flow import load_flow;"
        f"load_flow(pathlib.Path({str(saved[1])!r})); sys.exit('torch' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


SHIPPED = packaged_weights("hrinet-flow")


@pytest.mark.skipif(not SHIPPED.is_file(), reason="the weights of hrinet-flow are not here")
def test_what_ships_loads_and_is_described():
    description = load_flow(SHIPPED).description
    tensors, same = read_weights(SHIPPED)
    assert same == description
    FlowNet(FlowNetConfig(**description.model)).load_state_dict(tensors)
    assert description.licence
    card = SHIPPED.with_suffix(".md").read_text("utf-8")
    assert description.sha256 in card
    assert "Not a medical device" in card


def test_bfloat16_rounds_differences_not_the_slices_themselves():
    core = openvino.Core()
    if "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this processor does not compute in bfloat16")
    gaps, position, weights = make_gaps(EVEN, t=0.5, rows=128, columns=128, thickness=0.5)
    # As different as neighbouring slices are, where bfloat16 has steps of 4 and 8 HU.
    slices = gaps.slices.numpy() / 4 + 1000
    found = {}
    for precision in ("f32", "bf16"):
        encoder, decoder = (
            core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": precision})
            for model in load_flow(packaged_weights("hrinet-flow")).of_size(core, 128, 128)
        )
        encoded = {output.any_name: part for output, part in encoder({"slices": slices}).items()}
        found[precision] = decoder(
            {
                "slices": slices,
                **encoded,
                "offsets": gaps.offsets.numpy(),
                "thickness": gaps.thickness.numpy(),
                "t": position.numpy(),
                "weights": weights.numpy(),
            }
        )["values"]
    off = abs(found["bf16"] - found["f32"])
    assert 0 < off.mean() < 0.25
    assert np.percentile(off, 99) < 1

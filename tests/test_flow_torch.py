from __future__ import annotations

import importlib.util
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("openvino")
pytest.importorskip("safetensors")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.synthesize.flow_openvino import OpenVinoEngine  # noqa: E402
from hrinet.synthesize.flow_torch import TorchEngine, _TorchRun  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.registry import Choices, build_interpolator, find_method  # noqa: E402
from hrinet.synthesize.scene import VIEWS, scene_of  # noqa: E402
from hrinet.synthesize.torch_device import find_device  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_hrinet_flow import make_gap, moving  # noqa: E402

pytestmark = pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)


@pytest.mark.parametrize("view", [VIEWS[0], VIEWS[-1]])
def test_both_engines_compute_the_same(view):
    weights = packaged_weights("hrinet-flow")
    gap = make_gap(moving(size=(70, 91)), [0.0, 5.0, 9.0, 14.0], thickness=6.0)
    scene = scene_of(gap, knows_thickness=True)
    engines = OpenVinoEngine(load_flow(weights)), TorchEngine(weights, device="cpu")
    results = []
    for engine in engines:
        run = engine.ready(gaps=1, threads=1)
        results.append(
            [(v.copy(), e.copy()) for v, e in run.iterate(scene, (0.25, 0.7), "f32", view=view)]
        )
    for (one, one_error), (other, other_error) in zip(*results, strict=True):
        assert one.shape == other.shape == (70, 91)
        np.testing.assert_allclose(one, other, atol=0.05)  # HU
        np.testing.assert_allclose(one_error, other_error, atol=1e-3)


def test_two_scans_at_the_same_time_leave_tf32_as_it_was():
    seen, both = [], threading.Barrier(2, timeout=1)

    def encode(slices):
        with suppress(threading.BrokenBarrierError):  # one waits in vain for the other
            both.wait()
        seen.append(torch.backends.cudnn.allow_tf32)
        return slices, slices

    scene = scene_of(make_gap(moving(size=(32, 32))), knows_thickness=True)
    runs = [_TorchRun(encode, None, torch.device("cpu")) for _ in range(2)]
    was = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(lambda run: list(run.iterate(scene, (), "f32")), runs))
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = was
    assert seen == [False, False]
    assert both.broken  # as only one was there at a time


def test_the_method_runs_on_it_and_says_so():
    weights = packaged_weights("hrinet-flow")
    engine = TorchEngine(weights, device="cpu")
    method = HrinetFlow(load_flow(weights), runs_on=engine)
    (made,) = method.synthesize(make_gap(moving()), (0.5,))
    other = build_interpolator("hrinet-flow", choices=Choices(precision="f32"))
    (expected,) = other.synthesize(make_gap(moving()), (0.5,))
    np.testing.assert_allclose(made, expected, atol=0.05)
    assert (method.engine, method.precision) == ("torch cpu", "f32")


def test_other_weights_are_refused(tmp_path):
    for suffix in (".safetensors", ".json"):
        content = packaged_weights("ae").with_suffix(suffix).read_bytes()
        (tmp_path / f"w{suffix}").write_bytes(content)
    with pytest.raises(InputError, match=r"w\.safetensors: does not fit the model in w\.json"):
        TorchEngine(tmp_path / "w.safetensors", device="cpu")


@pytest.mark.skipif(torch.backends.mps.is_available(), reason="this machine has the device")
@pytest.mark.parametrize("method", ["hrinet-flow", "ae"])
def test_a_device_that_is_not_there_is_refused(method):
    with pytest.raises(RequestError, match=r"'mps', which PyTorch .* does not find .* --device"):
        build_interpolator(method, choices=Choices(device="mps"))
    with pytest.raises(RequestError, match="'tpu'"):
        find_device("tpu")


def test_without_torch_the_extra_is_named(monkeypatch):
    find_spec = importlib.util.find_spec

    def without_torch(name, *rest):
        return None if name == "torch" else find_spec(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    monkeypatch.setitem(sys.modules, "hrinet.synthesize.flow_torch", None)
    with pytest.raises(
        RequestError, match=r"--device cuda needs torch: pip install 'hrinet\[torch"
    ):
        build_interpolator("hrinet-flow", choices=Choices(device="cuda"))


def test_classical_methods_compute_on_the_cpu():
    with pytest.raises(RequestError, match="'flow' computes on the CPU only; leave out --device"):
        build_interpolator("flow", choices=Choices(device="cuda"))

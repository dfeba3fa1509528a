from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

from hrinet.errors import RequestError  # noqa: E402
from hrinet.synthesize import hrinet_flow  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.registry import find_method  # noqa: E402
from hrinet.synthesize.trial import Trial  # noqa: E402
from hrinet.synthesize.trust import Calibration  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.flow import load_flow  # noqa: E402
from test_flow import texture  # noqa: E402
from test_hrinet_flow import SIZE, make_gap, moving  # noqa: E402

pytestmark = pytest.mark.skipif(
    not find_method("hrinet-flow").is_installed, reason="the weights of hrinet-flow are not here"
)


@pytest.fixture(scope="module")
def method():
    return HrinetFlow(load_flow(packaged_weights("hrinet-flow")), precision="f32")


class TestPrecision:
    """With a made-up processor, for few have bfloat16."""

    @pytest.fixture
    def make(self, monkeypatch):
        def make(precision, *, has_bf16=True, off=0.0, spike=0.0):
            capable = ["FP32", "BF16"] if has_bf16 else ["FP32"]
            core = SimpleNamespace(get_property=lambda device, name: capable)
            monkeypatch.setattr(openvino, "Core", lambda: core)
            asked = []

            class Ready:
                def __init__(self, graphs, core, *, gaps, threads):
                    pass

                def run(self, scene, t, precision):
                    asked.append((precision, t))
                    values = np.zeros(scene.outside.shape, np.float32)
                    if precision == "bf16":
                        values += off
                        values[:2] += spike
                    return [(values, values)] * len(t)

                def iterate(self, scene, t, precision):
                    asked.append(precision)
                    for _ in t:
                        yield (np.zeros(scene.outside.shape, np.float32),) * 2

            monkeypatch.setattr(hrinet_flow, "_Ready", Ready)
            graphs = load_flow(packaged_weights("hrinet-flow"))
            return HrinetFlow(graphs, precision=precision), asked

        return make

    def run(self, method, times=1):
        with method.using(gaps=1, threads=1) as running:
            for _ in range(times):
                list(running.synthesize(make_gap(moving()), [0.25, 0.5, 0.75]))
            assert running.precision == method.precision

    def test_bf16_is_refused_where_there_is_none(self, make):
        with pytest.raises(RequestError, match="'bf16', which this processor does not have; use"):
            make("bf16", has_bf16=False)

    @pytest.mark.parametrize("precision", ["auto", "f32"])
    def test_without_bf16_nothing_is_tried(self, make, precision):
        method, asked = make(precision, has_bf16=False)
        assert method.precision == "f32"
        self.run(method)
        assert asked == ["f32"]

    @pytest.mark.parametrize("precision", ["bf16", "f32"])
    def test_what_was_asked_for_is_not_tried(self, make, precision):
        method, asked = make(precision)
        self.run(method, times=2)
        assert asked == [precision] * 2
        assert method.precision == precision

    @pytest.mark.parametrize(
        ("off", "spike", "chosen"),
        [(0.0, 0.0, "bf16"), (0.2, 0.0, "bf16"), (0.3, 0.0, "f32"), (0.0, 1.5, "f32")],
    )
    def test_auto_tries_once_and_keeps_to_it(self, make, off, spike, chosen):
        method, asked = make("auto", off=off, spike=spike)
        assert method.precision == "auto"
        self.run(method, times=3)
        assert asked == [("f32", (0.5,)), ("bf16", (0.5,)), *[chosen] * 3]
        assert method.precision == chosen


class TestSelfCheck:
    """Hidden slices of the scan itself correct what is said of errors."""

    def trials(self, *, added=0.0):
        gap = make_gap(moving())
        yield Trial(gap, 0.4, (texture(3.0 * 1.4, size=SIZE) + added).round())

    def test_errors_are_scaled_by_what_was_found(self):
        graphs = load_flow(packaged_weights("hrinet-flow"))
        known = {"expected_error": [50.0, 50.0], "half_width": [80.0, 80.0], "gap_power": 0.0}
        calibration = Calibration.of({**known, "log_error": [-50, 50], "largest_gap_mm": 10})
        method = HrinetFlow(replace(graphs, calibration=calibration), precision="f32")
        gap = make_gap(moving())
        with method.using(gaps=1, threads=1) as running:
            assert running.self_check is None
            (before,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            running.check(self.trials(added=100.0))
            (after,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            check = running.self_check
            assert check == method.self_check
        assert np.array_equal(after.values, before.values)
        assert (check.slices, check.expected_error_hu) == (1, 50.0)
        assert check.found_error_hu == pytest.approx(100, rel=0.1)
        assert check.covered < 0.2
        np.testing.assert_allclose(before.expected_error, 50.0, rtol=1e-5)
        np.testing.assert_allclose(after.expected_error, check.found_error_hu, rtol=1e-4)
        hidden = next(self.trials(added=100.0)).truth
        assert (np.abs(after.values - hidden) <= after.half_width).mean() == pytest.approx(
            0.9, abs=0.03
        )

    def test_what_was_found_holds_for_one_scan(self, method):
        gap = make_gap(moving())
        (fresh,) = (copied(one) for one in method.synthesize_with_error(gap, [0.4]))
        with method.using(gaps=1, threads=1) as running:
            running.check(self.trials(added=200.0))
        with method.using(gaps=1, threads=1) as running:
            assert running.self_check is None
            (again,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
        assert np.array_equal(again.expected_error, fresh.expected_error)

    @pytest.mark.parametrize("value", [None, np.nan])
    def test_nothing_to_hide_changes_nothing(self, method, value):
        gap = make_gap(moving())
        hidden = [] if value is None else [Trial(gap, 0.4, np.full(SIZE, value, np.float32))]
        with method.using(gaps=1, threads=1) as running:
            (before,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            running.check(iter(hidden))
            (after,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            assert running.self_check is None
        assert np.array_equal(after.expected_error, before.expected_error)


def copied(estimated):
    return type(estimated)(*(np.array(one) for one in estimated))

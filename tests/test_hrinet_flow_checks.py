from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np
import pytest

openvino = pytest.importorskip("openvino")

from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.synthesize import hrinet_flow  # noqa: E402
from hrinet.synthesize.fallback import outside_window  # noqa: E402
from hrinet.synthesize.flow_engine import FlowEngine, NetworkRun  # noqa: E402
from hrinet.synthesize.hrinet_flow import HrinetFlow  # noqa: E402
from hrinet.synthesize.registry import find_method  # noqa: E402
from hrinet.synthesize.scene import PLAIN  # noqa: E402
from hrinet.synthesize.slice_trust import roughness  # noqa: E402
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
    def seen(self):
        """Scenes that were run."""
        return []

    @pytest.fixture
    def make(self, seen):
        def make(precision, *, has_bf16=True, off=0.0, spike=0.0):
            asked = []
            seen.clear()

            class Run(NetworkRun):
                def iterate(self, scene, t, precision, *, view=PLAIN):
                    asked.append((precision, len(t)))
                    seen.append(scene)
                    values = np.zeros(scene.outside.shape, np.float32)
                    if precision == "bf16":
                        values += off
                        values[:2] += spike
                    yield from [(values, np.zeros_like(values))] * len(t)

                def forget(self, precision):
                    asked.append(("forget", precision))

            class Engine(FlowEngine):
                name = "made-up"

                def ready(self, *, gaps, threads):
                    return Run()

            engine = Engine()
            engine.has_bf16 = has_bf16
            graphs = load_flow(packaged_weights("hrinet-flow"))
            return HrinetFlow(graphs, runs_on=engine, precision=precision), asked

        return make

    def run(self, method, times=1):
        with method.using(gaps=1, threads=1) as running:
            for _ in range(times):
                list(running.synthesize(make_gap(moving()), [0.25, 0.5, 0.75]))
            assert running.precision == method.precision

    def test_bf16_is_refused_where_there_is_none(self, make):
        with pytest.raises(RequestError, match="'bf16', which made-up does not have on this mach"):
            make("bf16", has_bf16=False)

    @pytest.mark.parametrize("precision", ["auto", "f32"])
    def test_without_bf16_nothing_is_tried(self, make, precision):
        method, asked = make(precision, has_bf16=False)
        assert method.precision == "f32"
        self.run(method)
        assert asked == [("f32", 3)]

    @pytest.mark.parametrize("precision", ["bf16", "f32"])
    def test_what_was_asked_for_is_not_tried(self, make, precision):
        method, asked = make(precision)
        self.run(method, times=2)
        assert asked == [(precision, 3)] * 2
        assert method.precision == precision

    @pytest.mark.parametrize(
        ("off", "spike", "chosen"),
        [(0.0, 0.0, "bf16"), (0.2, 0.0, "bf16"), (0.3, 0.0, "f32"), (0.0, 1.5, "f32")],
    )
    def test_auto_tries_once_and_keeps_to_it(self, make, off, spike, chosen):
        method, asked = make("auto", off=off, spike=spike)
        assert method.precision == "auto"
        self.run(method, times=3)
        other = "f32" if chosen == "bf16" else "bf16"
        assert asked == [("f32", 1), ("bf16", 1), ("forget", other), *[(chosen, 3)] * 3]
        assert method.precision == chosen

    def test_a_scan_is_tried_in_its_middle_in_a_gap_as_wide_as_its_own(self, make, seen):
        method, asked = make("auto")
        hidden = [Trial(make_gap(moving()), t, moving()[0]) for t in (0.3, 0.4, 0.2)]
        with method.using(gaps=1, threads=1) as running:
            running.check(iter(hidden))
        assert asked[:2] == [("f32", 1), ("bf16", 1)]
        # 5 mm, of which the hidden slice leaves 2: the slices around lie -5, 0, 2 and 5 mm away.
        for scene in seen[:2]:
            np.testing.assert_allclose(scene.offsets[0], [-2.5, 0, 1, 2.5])
        assert asked[2:] == [("forget", "f32"), *[("bf16", 1)] * 3]


class TestDamage:
    """What one cannot compute with is one sentence."""

    def test_openvino_that_cannot_be_loaded(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "openvino", None)
        with pytest.raises(RequestError, match=r"cannot be loaded .*pass --method flow"):
            HrinetFlow(load_flow(packaged_weights("hrinet-flow")))

    def test_graphs_that_are_none(self):
        graphs = replace(load_flow(packaged_weights("hrinet-flow")), decoder=b"no graph")
        with pytest.raises(InputError, match="hrinet-flow cannot be read as ONNX"):
            next(HrinetFlow(graphs).synthesize(make_gap(moving()), [0.5]))


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

    @pytest.mark.parametrize("what", ["metal", "padding"])
    def test_what_is_not_the_networks_says_nothing_of_it(self, method, what):
        checks = []
        for there in (False, True):
            gap = make_gap(moving())
            truth = texture(3.0 * 1.4, size=SIZE).round()
            slices, where = [s.copy() for s in gap.slices], np.zeros(SIZE, bool)
            if there and what == "metal":
                for one, shift in zip([*slices, truth], (0, 2, 4, 6, 3), strict=True):
                    one[10:18, 8 + shift : 16 + shift] = 20_000.0
            elif there:
                where[:, :32] = True
                truth[where] = -1024.0
            trial = Trial(replace(gap, slices=tuple(slices)), 0.4, truth, where)
            with method.using(gaps=1, threads=1) as running:
                running.check(iter([trial]))
                checks.append(running.self_check)
        without, with_it = checks
        assert with_it.found_error_hu == pytest.approx(without.found_error_hu, rel=0.3)

    def test_the_transfer_is_for_gaps_of_half_the_width(self, method):
        graphs = load_flow(packaged_weights("hrinet-flow"))
        known = {"expected_error": [50.0, 50.0], "half_width": [80.0, 80.0], "gap_power": 0.0}
        calibration = Calibration.of(
            {**known, "log_error": [-50, 50], "largest_gap_mm": 10, "transfer": [0.5, 0.45]}
        )
        method = HrinetFlow(replace(graphs, calibration=calibration), precision="f32")
        expected = []
        with method.using(gaps=2, threads=1) as running:
            running.check(self.trials(added=100.0))  # in a gap of 5 mm
            found = running.self_check.found_error_hu
            for width in (10.0, 5.0, 3.5355339, 2.5, 1.0):
                gap = make_gap(moving(), [width * k for k in range(4)])
                (one,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
                expected.append(float(one.expected_error.mean()) / found)
        assert expected == pytest.approx([1.0, 1.0, 0.5**0.5, 0.5, 0.5], rel=1e-3)

    def test_trials_at_the_same_time_tell_the_same(self, method):
        told = []
        for gaps in (1, 2):
            with method.using(gaps=gaps, threads=1) as running:
                running.check(t for added in (0.0, 50.0, 20.0) for t in self.trials(added=added))
                told.append(running.self_check)
        assert told[0] == told[1]
        assert told[0].slices == 3

    def test_another_gap_meanwhile_changes_no_voxel_of_a_trial(self, method, monkeypatch):
        other = make_gap([values + 300 for values in moving()])
        told = []
        for is_busy in (False, True):
            with method.using(gaps=2, threads=1) as running:

                def meanwhile(*given, is_busy=is_busy, running=running):
                    if is_busy:  # what another thread may do just then
                        list(running.synthesize(other, [0.4]))
                    return outside_window(*given)

                monkeypatch.setattr(hrinet_flow, "outside_window", meanwhile)
                running.check(self.trials())
                told.append(running.self_check)
        assert told[0] == told[1]

    @pytest.mark.filterwarnings("error")
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_what_is_no_number_is_left_out_without_a_word(self, method, value):
        gap = make_gap([values.copy() for values in moving()])
        (trial,) = self.trials()
        for one in (*gap.slices[1:3], trial.truth):
            one[20, 30] = value
        with method.using(gaps=1, threads=1) as running:
            running.check(iter([replace(trial, gap=gap)]))
            assert 0 < running.self_check.found_error_hu < 100

    def with_calibration(self, **values):
        graphs = load_flow(packaged_weights("hrinet-flow"))
        known = {"expected_error": [50.0, 50.0], "half_width": [80.0, 80.0], "gap_power": 0.0}
        calibration = Calibration.of(
            {**known, "log_error": [-50, 50], "largest_gap_mm": 10, **values}
        )
        return HrinetFlow(replace(graphs, calibration=calibration), precision="f32")

    def test_a_scan_without_hidden_slices_has_factors_of_its_own(self):
        gap = make_gap(moving())
        with self.with_calibration(unchecked=[1.5, 2.0]).using(gaps=1, threads=1) as running:
            (one,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            assert float(one.expected_error.mean()) == pytest.approx(75.0, rel=1e-3)
            assert float(one.half_width.mean()) == pytest.approx(160.0, rel=1e-3)
            running.check(self.trials(added=100.0))
            (one,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            found = running.self_check.found_error_hu
            assert float(one.expected_error.mean()) == pytest.approx(found, rel=1e-3)

    def test_slices_are_told_apart_from_the_hidden_ones(self):
        gap = make_gap(
            moving(), [10.0 * k for k in range(4)]
        )  # as wide as the trial's: no transfer
        trials = [replace(one, t=0.5, gap=gap) for one in self.trials(added=90.0)]
        slices = {"noise": 0.0, "loss": 0.0, "middle": 0.5}
        means = []
        for level in ({}, {"slices": slices}, {"slices": {**slices, "offset": 0.6}}):
            method = self.with_calibration(**level)
            with method.using(gaps=1, threads=1) as running:
                running.check(iter(trials))
                made = [copied(one) for one in running.synthesize_with_error(gap, [0.2, 0.5])]
            means.append([[float(of.mean()) for of in one[1:]] for one in made])
        plain, apart, with_offset = np.array(means)
        np.testing.assert_allclose(apart / plain, [[0.8] * 2, [1.0] * 2], rtol=1e-4)  # root 4t(1-t)
        np.testing.assert_array_equal(with_offset, apart)

    def test_without_hidden_slices_they_are_not(self):
        slices = {"noise": 0.5, "loss": 0.5, "middle": 0.5}
        method = self.with_calibration(slices=slices)
        for one in method.synthesize_with_error(make_gap(moving()), [0.2, 0.5]):
            np.testing.assert_allclose(one.expected_error, 50, rtol=1e-5)
            np.testing.assert_allclose(one.half_width, 80, rtol=1e-5)

    def test_what_slices_show_of_a_scan_is_not_taken_for_its_errors(self):
        gap = make_gap(moving(), [10.0 * k for k in range(4)])
        trials = [replace(one, gap=gap) for one in self.trials(added=90.0)]
        means = []
        for noise in (0.0, 0.4, -0.4):  # the same slice in the gap as in the trial: a factor of 1
            method = self.with_calibration(slices={"noise": noise, "loss": noise, "middle": 0.0})
            with method.using(gaps=1, threads=1) as running:
                running.check(iter(trials))
                assert running.self_check.expected_error_hu == 50.0
                means += [
                    one.expected_error.mean() for one in running.synthesize_with_error(gap, [0.4])
                ]
        np.testing.assert_allclose(means, means[0], rtol=1e-4)

    @pytest.mark.parametrize("thickness", [None, 1.25])
    def test_the_transfer_is_of_the_scan(self, thickness):
        transfer = {"error": [-0.2, -0.4, 0.05], "half_width": [-0.1, -0.3, 0.1]}
        transfer |= {"error_alone": [-0.3, 0.02], "half_width_alone": [-0.2, 0.03]}
        gap = make_gap(moving(), [2.5 * k for k in range(4)], thickness=thickness)
        (trial,) = self.trials(added=90.0)  # in a gap of 5 mm
        means = []
        for values in ({}, {"transfer": transfer}):
            method = self.with_calibration(**values)
            with method.using(gaps=1, threads=1) as running:
                running.check(iter([trial]))
                correction, found = running.correction, running.self_check.found_error_hu
                (made,) = (copied(one) for one in running.synthesize_with_error(gap, [0.4]))
            means.append([float(of.mean()) for of in made[1:]])
        inner = [np.clip(one, -1200, 3200) for one in trial.gap.slices[1:3]]
        rough = np.mean([roughness(one) for one in inner])
        assert correction.noise == pytest.approx(np.log(rough / found), abs=1e-3)
        wanted = [-0.3 + 0.02 * correction.noise, -0.2 + 0.03 * correction.noise]
        if thickness:
            # Half as thick as the gap is wide, of which 0.4 are no overlap.
            wanted = [-0.24 + 0.05 * correction.noise, -0.13 + 0.1 * correction.noise]
        np.testing.assert_allclose(np.log(means[1]) - np.log(means[0]), wanted, atol=1e-4)

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

"""``hrinet-flow``: motion-compensated taps weighed by a network.

See :mod:`hrinet.networks.flow_net` for the network, :mod:`hrinet.weights.graphs` for the two graphs
that it is run as (one once a gap, one for every position in it), and
:mod:`hrinet.synthesize.flow_engine` for what runs them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Literal, NamedTuple

import numpy as np

from hrinet.errors import RequestError
from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.fallback import blend, outside_window, touched
from hrinet.synthesize.flow_engine import FlowEngine, NetworkRun
from hrinet.synthesize.interpolator import Estimated, Gap, WeightsId
from hrinet.synthesize.overlap import Overlap
from hrinet.synthesize.registry import Precision, Quality
from hrinet.synthesize.scene import PLAIN, VIEWS, WINDOW, Scene, scene_of
from hrinet.synthesize.slice_trust import SliceSigns, roughness
from hrinet.synthesize.transfer import noise_sign
from hrinet.synthesize.trial import SelfCheck, Trial
from hrinet.synthesize.trust import Correction
from hrinet.types import FLOAT32, SliceArray
from hrinet.weights.flow import FlowGraphs

_CHECK_EVERY = 7
"""Of the voxels of a hidden slice one in so many is judged; neighbours err alike."""

_BF16_MEAN_HU, _BF16_HIGH_HU = 0.25, 1.0
"""Largest mean and 99th percentile of the difference to f32 that "auto" accepts."""


class HrinetFlow:
    """The network, with the cubic where it cannot be asked."""

    def __init__(
        self,
        graphs: FlowGraphs,
        *,
        runs_on: FlowEngine | None = None,
        precision: Precision = "auto",
        quality: Quality = "standard",
    ) -> None:
        """Take weights over.

        Args:
            graphs: of the network.
            runs_on: what computes; by default OpenVINO.
            precision: of the arithmetic.
            quality: "best" is the mean over all views of a gap, for as many times the work.

        Raises:
            RequestError: if the engine does not have the precision.
        """
        if runs_on is None:
            from hrinet.synthesize.flow_openvino import OpenVinoEngine

            runs_on = OpenVinoEngine(graphs)
        if precision == "bf16" and not runs_on.has_bf16:
            raise RequestError(
                f"precision is 'bf16', which {runs_on.name} does not have on this machine; use "
                "'auto' or 'f32'"
            )
        self._graphs = graphs
        self._runs_on = runs_on
        self._used: Precision = "f32" if precision == "auto" and not runs_on.has_bf16 else precision
        self._views = VIEWS if quality == "best" else (PLAIN,)
        description = graphs.description
        self.name = description.name
        self.weights = WeightsId(description.name, description.sha256)
        self._self_check: SelfCheck | None = None

    def check(self, trials: Iterator[Trial]) -> None:
        """Nothing; only what :meth:`using` gives belongs to one scan."""

    @property
    def self_check(self) -> SelfCheck | None:
        """What hidden slices of the last scan told; see :class:`SelfChecking`."""
        return self._self_check

    @property
    def engine(self) -> str:
        """What computes."""
        return self._runs_on.name

    @property
    def precision(self) -> str:
        """That was used; "auto" until the first gap decides."""
        return self._used

    def caution(self, gaps_mm: Sequence[float]) -> str | None:
        """A sentence if gaps are wider than any that the weights were validated on."""
        limit = self._graphs.calibration.largest_gap_mm
        wide = [gap for gap in gaps_mm if gap > limit * 1.001]
        if not wide:
            return None
        count = "one gap is" if len(wide) == 1 else f"{len(wide)} gaps are"
        return (
            f"{count} up to {max(wide):.4g} mm wide; hrinet-flow was validated up to "
            f"{limit:.4g} mm, so the errors expected there are guesses"
        )

    def gaps_at_once(self, threads: int) -> int:
        """One a core, up to a limit; see :class:`hrinet.synthesize.interpolator.Multithreaded`."""
        return min(threads, self._runs_on.most_gaps)

    @contextmanager
    def using(self, *, gaps: int, threads: int) -> Iterator[RunningFlow]:
        """Compile the graphs for so many gaps at the same time; see :class:`Multithreaded`."""
        yield RunningFlow(self, self._runs_on.ready(gaps=gaps, threads=threads), gaps=gaps)

    def synthesize(self, gap: Gap, t: Sequence[float]) -> Iterator[SliceArray]:
        """Yield one float32 slice for every t; see :class:`Interpolator`."""
        for estimated in self.synthesize_with_error(gap, t):
            yield estimated.values

    def synthesize_with_error(self, gap: Gap, t: Sequence[float]) -> Iterator[Estimated]:
        """Yield slices and how far to trust them; see :class:`Estimating`."""
        with self.using(gaps=1, threads=1) as running:
            yield from running.synthesize_with_error(gap, t)

    def _decide(self, ready: NetworkRun, scene: Scene, t: float) -> Literal["f32", "bf16"]:
        """Which precision to use: with "auto", after a trial on the first gap that is asked for."""
        if self._used == "auto":
            exact, quick = (
                ready.run(scene, (t,), precision)[0][0] for precision in ("f32", "bf16")
            )
            off = np.abs(exact - quick)
            is_near = off.mean() <= _BF16_MEAN_HU and np.percentile(off, 99) <= _BF16_HIGH_HU
            self._used = "bf16" if is_near else "f32"
            ready.forget("f32" if is_near else "bf16")
        return "bf16" if self._used == "bf16" else "f32"


class Unscaled(NamedTuple):
    """A slice with what the calibration alone says of it; arrays of shape (row, column), HU.

    Attributes:
        values: of the slice; may be a view of a buffer that the next step overwrites.
        error: absolute, expected.
        half_width: of the 90 % interval.
        signs: of the slice.
        measured: mean roughness of the two measured slices beside it, HU.
    """

    values: SliceArray
    error: SliceArray
    half_width: SliceArray
    signs: SliceSigns
    measured: float


class _Judged(NamedTuple):
    """Voxels of a hidden slice, each of shape (voxel,), HU, its signs, and its gap."""

    found: SliceArray
    expected: SliceArray
    half_width: SliceArray
    signs: SliceSigns
    measured: float
    gap_mm: float


class RunningFlow(HrinetFlow):
    """The same with compiled graphs, for one scan."""

    def __init__(self, owner: HrinetFlow, ready: NetworkRun, *, gaps: int) -> None:
        self._owner, self._ready, self._gaps = owner, ready, gaps
        self._deciding = threading.Lock()
        self._graphs = owner._graphs
        self._runs_on = owner._runs_on
        self._views = owner._views
        self._correction = Correction(*owner._graphs.calibration.unchecked)
        self.name = owner.name
        self.weights = owner.weights
        owner._self_check = None

    def check(self, trials: Iterator[Trial]) -> None:
        """Correct the estimates by hidden slices; see :class:`SelfChecking`."""
        hidden = list(trials)
        if hidden:
            self._precision(self._scene(hidden[len(hidden) // 2].half), 0.5)
        with ThreadPoolExecutor(self._gaps, "hrinet-check") as pool:
            judged = [one for one in pool.map(self._judged, hidden) if one.found.size]
        if not judged:
            return
        weights = self._graphs.calibration.slices
        level = float(np.mean([weights.log(one.signs) for one in judged]))
        factors = [np.float32(weights.factor(one.signs, level=level)) for one in judged]
        pairs = list(zip(judged, factors, strict=True))
        found = np.concatenate([one.found for one in judged])
        expected = np.concatenate([one.expected * factor for one, factor in pairs])
        half_width = np.concatenate([one.half_width * factor for one, factor in pairs])
        self._correction = Correction.of(
            found=found,
            expected=expected,
            half_width=half_width,
            gap_mm=float(np.median([one.gap_mm for one in judged])),
            noise=noise_sign(
                roughness=float(np.mean([one.measured for one in judged])),
                found=float(found.mean()),
            ),
            level=level,
        )
        self._owner._self_check = SelfCheck(
            slices=len(judged),
            expected_error_hu=round(float(expected.mean()), 3),
            found_error_hu=round(float(found.mean()), 3),
            covered=round(float((found <= half_width).mean()), 4),
        )

    def _judged(self, trial: Trial) -> _Judged:
        """Every so many voxels of a hidden slice, of those that are the network's."""
        # Kept until the end: without it the values lie in buffers that another gap may be given.
        results = self.unscaled(trial.gap, (trial.t,))
        made = next(results)
        truth = np.asarray(trial.truth, FLOAT32)
        inner = trial.gap.slices[trial.gap.left : trial.gap.left + 2]
        # Metal is the cubic's, and off by thousands of HU: it says nothing of anything else.
        outside = outside_window(truth, WINDOW)
        for values in inner:
            outside |= outside_window(values, WINDOW)
        usable = ~touched(outside) if outside.any() else ~outside
        if trial.padding is not None:
            usable &= ~trial.padding
        values, measured = (each[usable][::_CHECK_EVERY] for each in (made.values, truth))
        return _Judged(
            found=np.abs(np.rint(values) - measured),
            expected=made.error[usable][::_CHECK_EVERY],
            half_width=made.half_width[usable][::_CHECK_EVERY],
            signs=made.signs,
            measured=made.measured,
            gap_mm=trial.gap.width_mm,
        )

    @property
    def correction(self) -> Correction:
        """What the hidden slices made of the calibration."""
        return self._correction

    @property
    def self_check(self) -> SelfCheck | None:
        """See :attr:`HrinetFlow.self_check`."""
        return self._owner.self_check

    @property
    def precision(self) -> str:
        """See :attr:`HrinetFlow.precision`."""
        return self._owner.precision

    def synthesize_with_error(self, gap: Gap, t: Sequence[float]) -> Iterator[Estimated]:
        """Yield slices and how far to trust them; see :class:`Estimating`."""
        calibration = self._graphs.calibration
        correction = self._correction.transferred(
            calibration.transfer, gap_mm=gap.width_mm, thickness_mm=gap.slice_thickness_mm
        )
        for made in self.unscaled(gap, t):
            factor = calibration.slices.factor(made.signs, level=correction.level)
            error = made.error * np.float32(correction.error * factor)
            half_width = made.half_width * np.float32(correction.half_width * factor)
            yield Estimated(made.values, error, half_width)

    def unscaled(self, gap: Gap, t: Sequence[float]) -> Iterator[Unscaled]:
        """Yield slices with what the calibration says of them, before the scan is heard.

        Args:
            gap: the neighbourhood.
            t: positions in (0, 1), increasing.
        """
        if not t:
            return
        scene = self._scene(gap)
        precision = self._precision(scene, t[len(t) // 2])
        cubics = Cubic().synthesize(gap, t) if scene.outside.any() else iter(())
        rows, columns = scene.outside.shape
        inner = (scene.slices[0, slot, :rows, :columns] for slot in (1, 2))
        measured = sum(map(roughness, inner)) / 2
        overlap = Overlap(scene, gap, t, roughness_hu=measured)
        estimates = self._estimates(scene, t, precision)
        for position, (values, log_error) in zip(t, estimates, strict=True):
            # Of a voxel that is the cubic's, the estimate is not the network's to make, but there
            # is no better one.
            values = overlap.mixed(values)
            own = roughness(values)
            if scene.outside.any():
                values = blend(values, next(cubics), scene.outside)
            error, half_width = self._graphs.calibration.estimates(log_error, gap_mm=gap.width_mm)
            signs = SliceSigns.of(
                measured=measured, own=own, expected=float(error.mean()), t=position
            )
            yield Unscaled(values, error, half_width, signs, measured)

    def _scene(self, gap: Gap) -> Scene:
        return scene_of(gap, knows_thickness=self._graphs.knows_thickness)

    def _precision(self, scene: Scene, t: float) -> Literal["f32", "bf16"]:
        """The one to use; whoever asks first decides it by its gap."""
        with self._deciding:
            return self._owner._decide(self._ready, scene, t)

    def _estimates(
        self, scene: Scene, t: Sequence[float], precision: str
    ) -> Iterator[tuple[SliceArray, SliceArray]]:
        """Yield the mean over all views of the values and of the logs of their error."""
        if len(self._views) == 1:
            yield from self._ready.iterate(scene, t, precision)
            return
        shape = (len(t), *scene.outside.shape)
        values, log_errors = np.zeros(shape, FLOAT32), np.zeros(shape, FLOAT32)
        for view in self._views:
            results = self._ready.iterate(scene, t, precision, view=view)
            for index, (one, log_error) in enumerate(results):
                values[index] += one
                log_errors[index] += log_error
        for sums in (values, log_errors):
            sums /= FLOAT32.type(len(self._views))
        yield from zip(values, log_errors, strict=True)

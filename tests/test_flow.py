from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from hrinet.synthesize.cubic import Cubic
from hrinet.synthesize.flow import Flow, estimate_motion, mix, prepare
from hrinet.synthesize.flow_taps import GROUPS, LEVELS, load_taps
from hrinet.synthesize.interpolator import Gap

DATA = Path(
    os.environ.get("HRINET_TEST_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "ct")
)
SPACING = (0.7, 0.7)


def make_gap(
    slices: list[np.ndarray],
    positions: list[float] | None = None,
    *,
    left: int = 1,
    thickness: float | None = 5.0,
) -> Gap:
    positions = [5.0 * k for k in range(len(slices))] if positions is None else positions
    return Gap(tuple(slices), tuple(positions), left, SPACING, thickness)


def texture(shift: float, *, seed: int = 3, size: tuple[int, int] = (160, 144)) -> np.ndarray:
    """Soft blobs 6 pixels wide, +-300 HU, moved along a row by ``shift`` pixels, exactly."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.fft2(rng.standard_normal(size))
    rows, columns = np.fft.fftfreq(size[0])[:, None], np.fft.fftfreq(size[1])[None, :]
    spectrum *= np.exp(-((rows**2 + columns**2) / (2 * 0.06**2)))
    moved = np.fft.ifft2(spectrum * np.exp(-2j * np.pi * columns * shift)).real
    return (moved / moved.std() * 150).astype(np.float32)


def only(method: Flow | Cubic, gap: Gap, t: float) -> np.ndarray:
    (values,) = method.synthesize(gap, [t])
    return values


def rms(values: np.ndarray) -> float:
    # The texture is periodic and the slices are not: leave the border out.
    return float(np.sqrt(np.mean(np.square(values[16:-16, 16:-16]))))


@pytest.fixture(scope="module")
def flow() -> Flow:
    return Flow()


@pytest.mark.parametrize("t", [0.25, 0.5, 0.8])
@pytest.mark.parametrize("step", [4.0, 7.0])
def test_follows_moving_structures(flow, t, step):
    gap = make_gap([texture(step * k) for k in (-1, 0, 1, 2)])
    truth = texture(step * t)
    error = rms(only(flow, gap, t) - truth)
    assert error < 0.5 * rms(only(Cubic(), gap, t) - truth)


def test_motion_is_in_pixels_and_opposite_backwards():
    motion = estimate_motion(texture(0), texture(4), gap_mm=5.0, pixel_spacing_mm=SPACING)
    centre = (slice(32, -32), slice(32, -32))
    assert np.median(motion.forward[centre][..., 0]) == pytest.approx(4, abs=0.2)
    assert np.median(motion.backward[centre][..., 0]) == pytest.approx(-4, abs=0.2)
    assert np.median(motion.at(0.3)[centre][..., 0]) == pytest.approx(4, abs=0.2)
    assert np.abs(motion.at(0.3)[centre][..., 1]).max() < 1


def test_motion_is_bounded():
    rng = np.random.default_rng(0)
    unrelated = [rng.normal(0, 300, (128, 128)).astype(np.float32) for _ in range(2)]
    motion = estimate_motion(*unrelated, gap_mm=1.0, pixel_spacing_mm=(2.0, 1.0))
    assert np.abs(motion.forward[..., 0]).max() <= 6.5
    assert np.abs(motion.forward[..., 1]).max() <= 3.25


@pytest.mark.parametrize("level", [-1024, 0, 37, 3000])
def test_constant_stays(flow, level):
    gap = make_gap([np.full((70, 81), level, np.int16)] * 4, [0, 3, 8, 9])
    for values in flow.synthesize(gap, [0.1, 0.5, 0.77]):
        assert (values == level).all()


def test_offset_passes_through(flow):
    # Below the window of the search nothing else may depend on the level.
    slices = [texture(3.0 * k) / 10 - 1500 for k in range(4)]
    lower = only(flow, make_gap(slices), 0.4)
    higher = only(flow, make_gap([values - 100 for values in slices]), 0.4)
    np.testing.assert_allclose(higher, lower - 100, atol=0.01)


@pytest.mark.parametrize("positions", [[0.0, 5.0, 10.0, 15.0], [0.0, 2.0, 7.0, 17.0]])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_reversing_the_stack_reverses_the_result(flow, positions, count):
    slices = [texture(4.0 * k) + texture(0, seed=9 + k) / 5 for k in range(count)]
    left = 1 if count > 2 else 0
    gap = make_gap(slices, positions[:count], left=left)
    mirrored = make_gap(slices[::-1], [-z for z in positions[:count]][::-1], left=count - 2 - left)
    for t in (0.2, 0.5):
        np.testing.assert_allclose(only(flow, gap, t), only(flow, mirrored, 1 - t), atol=0.05)


def test_tends_to_the_originals(flow):
    slices = [texture(4.0 * k) + texture(0, seed=9 + k) / 5 for k in range(4)]
    gap = make_gap(slices)
    for near, t in ((slices[1], 1e-4), (slices[2], 1 - 1e-4)):
        assert np.abs(only(flow, gap, t) - near).max() < 1


def test_is_continuous_in_t(flow):
    gap = make_gap([texture(4.0 * k) for k in range(4)])
    one, other = flow.synthesize(gap, [0.4, 0.401])
    assert rms(one - other) < 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 400), (3, 64), (31, 31), (32, 33), (37, 401)])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_any_size(flow, shape, count):
    rng = np.random.default_rng(2)
    slices = [rng.integers(-1000, 1000, shape).astype(np.int16) for _ in range(count)]
    values = list(flow.synthesize(make_gap(slices, left=0), [0.3, 0.6]))
    assert [v.shape for v in values] == [shape, shape]
    assert all(v.dtype == np.float32 and np.isfinite(v).all() for v in values)


def test_int16_and_float32_agree(flow):
    slices = [texture(3.0 * k).round() for k in range(4)]
    as_int = only(flow, make_gap([values.astype(np.int16) for values in slices]), 0.5)
    np.testing.assert_array_equal(as_int, only(flow, make_gap(slices), 0.5))


def test_metal_keeps_its_value(flow):
    slices = [texture(0) for _ in range(4)]
    for values in slices:
        values[60:80, 60:80] = 8000
    values = only(flow, make_gap(slices), 0.5)
    assert values[64:76, 64:76] == pytest.approx(8000, abs=1)
    far = np.ones_like(values, bool)
    far[45:95, 45:95] = False
    assert np.abs(values[far]).max() < 1500


def test_unrelated_slices_stay_in_range(flow):
    rng = np.random.default_rng(5)
    slices = [rng.uniform(-1000, 1000, (96, 96)).astype(np.float32) for _ in range(4)]
    values = only(flow, make_gap(slices), 0.5)
    assert values.min() >= -1000
    assert values.max() <= 1000


def test_averages_noise_less_than_it_blurs():
    """Noise around a still image shrinks; the image does not."""
    rng = np.random.default_rng(6)
    clean = texture(0)
    slices = [clean + rng.normal(0, 20, clean.shape).astype(np.float32) for _ in range(4)]
    gap = make_gap(slices, thickness=1.25)
    assert rms(only(Flow(), gap, 0.5) - clean) < 0.9 * rms(only(Cubic(), gap, 0.5) - clean)


def test_same_bytes_however_it_is_run(flow):
    gaps = [make_gap([texture(3.0 * k, seed=s) for k in range(4)]) for s in range(6)]
    alone = [only(flow, gap, 0.5).tobytes() for gap in gaps]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda gap: only(flow, gap, 0.5).tobytes(), gaps)) == alone
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        assert [only(flow, gap, 0.5).tobytes() for gap in gaps] == alone
    finally:
        cv2.setNumThreads(before)


def test_leaves_its_inputs_alone(flow):
    slices = [texture(3.0 * k) for k in range(4)]
    for values in slices:
        values.setflags(write=False)
    copies = [values.copy() for values in slices]
    list(flow.synthesize(make_gap(slices), [0.25, 0.5]))
    for values, copy in zip(slices, copies, strict=True):
        np.testing.assert_array_equal(values, copy)


@pytest.mark.parametrize("gap_mm", [0.3, 3.0, 60.0])
@pytest.mark.parametrize("thickness", [None, 0.0, 1.0, 500.0])
def test_tables_sum_to_one(gap_mm, thickness):
    taps = load_taps()
    for t in (0.0, 0.01, 0.5, 0.9):
        tables = taps.tables(t, gap_mm=gap_mm, thickness_mm=thickness, reach=(1.0, 0.3))
        assert len(tables) == len(GROUPS)
        assert all(table.shape == (LEVELS, LEVELS, 4) for table in tables)
        total = sum(table.sum(axis=2, dtype=np.float64) for table in tables)
        np.testing.assert_allclose(total, 1.0, atol=1e-5)
        assert max(np.abs(table).max() for table in tables) < 3


def test_mixing_agrees_with_a_plain_loop(flow):
    """The tables are looked up as documented: bilinear in the two measures."""
    rng = np.random.default_rng(8)
    slices = [(texture(3.0 * k) + rng.normal(0, 15, (160, 144))).astype("f4") for k in range(4)]
    scene = prepare(make_gap(slices))
    features = scene.features(0.5)
    tables = load_taps().tables(0.5, gap_mm=5.0, thickness_mm=5.0, reach=(1.0, 1.0))
    mixed = mix(features, tables)
    for row, column in rng.integers(0, 140, (50, 2)):
        p, q = (
            min(max(0.5 * np.log(m[row, column] + 4.0) - 2.0, 0.0), LEVELS - 1 - 1e-9)
            for m in (features.mismatch, features.activity)
        )
        i, j = int(p), int(q)
        p, q = p - i, q - j
        expected = 0.0
        for group, table in zip(features.groups, tables, strict=True):
            weights = (1 - p) * ((1 - q) * table[i, j] + q * table[i, j + 1])
            weights = weights + p * ((1 - q) * table[i + 1, j] + q * table[i + 1, j + 1])
            expected += float(weights @ group[row, column])
        inner = [g[row, column, k] for g in features.groups[:2] for k in (1, 2)]
        # OpenCV rounds the place in the table to 1/32 of a level.
        assert mixed[row, column] == pytest.approx(np.clip(expected, min(inner), max(inner)), abs=2)


def test_beats_the_cubic_on_real_ct(flow):
    folder = DATA / "validation" / "lidc_0002"
    if not folder.is_dir():
        pytest.skip(f"no CT data in {DATA}; set HRINET_TEST_DATA")
    import hrinet

    volume = hrinet.read(folder)
    positions = volume.geometry.positions_mm
    factor = 4
    for left in (20, 52, 84):
        kept = [left + k * factor for k in (-1, 0, 1, 2)]
        gap = Gap(
            tuple(volume.array[k] for k in kept),
            tuple(float(positions[k]) for k in kept),
            1,
            volume.geometry.pixel_spacing,
            volume.geometry.slice_thickness,
        )
        hidden = np.clip(volume.array[left + 1 : left + factor].astype(np.float32), -1000, 1000)
        t = [k / factor for k in range(1, factor)]
        error = {
            method.name: np.mean(
                np.square(np.clip(list(method.synthesize(gap, t)), -1000, 1000) - hidden)
            )
            for method in (flow, Cubic())
        }
        assert 10 * np.log10(error["cubic"] / error["flow"]) > 1.0

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import jsonschema
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("safetensors")

import hrinet  # noqa: E402
from conftest import make_geometry  # noqa: E402
from hrinet.io.sidecar import schema  # noqa: E402
from hrinet.job import Options  # noqa: E402
from hrinet.pipeline import Outputs, interpolate, interpolate_file  # noqa: E402
from hrinet.plan.plan import PlannedSlice, Request  # noqa: E402
from hrinet.synthesize.cubic import Cubic  # noqa: E402
from hrinet.synthesize.engine import synthesize  # noqa: E402
from hrinet.synthesize.fallback import blend, outside_window  # noqa: E402
from hrinet.synthesize.family import Family  # noqa: E402
from hrinet.synthesize.interpolator import Gap  # noqa: E402
from hrinet.volume import Volume  # noqa: E402
from hrinet.weights.description import Description  # noqa: E402
from hrinet.weights.generator import TrainedGenerator  # noqa: E402
from weights_tools import save_small, small_generator  # noqa: E402

WINDOW = (-1024.0, 3071.0)


def family(*, level: float = 0.5, window: tuple[float, float] = WINDOW) -> Family:
    description = Description(
        name="hrinet-mse",
        sha256="0" * 64,
        model={},
        steps=0,
        steps_planned=0,
        scans=0,
        patients=0,
        collections=(),
        licence="",
        precision="float32",
        values={},
    )
    return Family(TrainedGenerator(small_generator(level=level), window, description))


def make_gap(*slices: np.ndarray, left: int = 1) -> Gap:
    return Gap(slices, tuple(5.0 * k for k in range(len(slices))), left, (0.7, 0.7), 5.0)


def inside(count: int = 4, *, rows: int = 64, columns: int = 64, seed: int = 0) -> list[np.ndarray]:
    """Slices well inside the window."""
    rng = np.random.default_rng(seed)
    return [rng.integers(-900, 1500, (rows, columns)).astype(np.int16) for _ in range(count)]


def unit(values: np.ndarray) -> torch.Tensor:
    low, high = WINDOW
    return torch.from_numpy((values.astype(np.float32) - low) / (high - low))[None, None]


def hu(image: torch.Tensor) -> np.ndarray:
    low, high = WINDOW
    return image[0, 0].numpy() * (high - low) + low


@pytest.fixture(scope="module")
def method() -> Family:
    return family()


def test_every_position_is_what_the_generator_gives(method):
    slices = inside()
    generator = small_generator()
    positions = [0.25, 0.5, 0.9]
    results = [np.array(v) for v in method.synthesize(make_gap(*slices), positions)]
    for t, values in zip(positions, results, strict=True):
        with torch.no_grad():
            image = generator(unit(slices[1]), unit(slices[2]), torch.tensor([1.0 - t]))
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, hu(image), atol=0.1)
    assert np.abs(results[0] - results[2]).max() > 5


def test_positions_start_at_the_first_slice(method):
    slices = inside()
    with torch.no_grad():
        ends = [hu(small_generator().reconstruct(unit(slices[k]))) for k in (1, 2)]
    near_first, near_second = method.synthesize(make_gap(*slices), [1e-5, 1 - 1e-5])
    np.testing.assert_allclose(near_first, ends[0], atol=0.2)
    np.testing.assert_allclose(near_second, ends[1], atol=0.2)
    assert np.abs(ends[0] - ends[1]).max() > 5


@pytest.mark.parametrize(("rows", "columns"), [(100, 70), (12, 10), (500, 500), (1, 65)])
def test_any_size_is_padded_with_air_and_cropped(method, rows, columns):
    slices = inside(2, rows=rows, columns=columns)
    (values,) = method.synthesize(make_gap(*slices, left=0), [0.3])
    assert values.shape == (rows, columns)
    missing = [(-side % 64 // 2, -side % 64 - -side % 64 // 2) for side in (rows, columns)]
    padded = [np.pad(s, missing, constant_values=-1024) for s in slices]
    with torch.no_grad():
        image = small_generator()(unit(padded[0]), unit(padded[1]), torch.tensor([0.7]))
    top, left = missing[0][0], missing[1][0]
    expected = hu(image)[top : top + rows, left : left + columns]
    np.testing.assert_allclose(values, expected, atol=0.2)


def test_the_pair_is_encoded_once(method, monkeypatch):
    calls = []
    encode = method._network.encode
    monkeypatch.setattr(method._network, "encode", lambda x: calls.append(1) or encode(x))
    assert len(list(method.synthesize(make_gap(*inside()), [0.2, 0.4, 0.6, 0.8]))) == 4
    assert len(calls) == 1


@pytest.mark.parametrize("value", [3071, 3072, 12000, 32767, -1025, -1500, -3024])
@pytest.mark.parametrize("where", [(1,), (2,), (1, 2), (0, 1, 2, 3)])
def test_outside_the_window_is_the_cubic_without_a_seam(method, value, where):
    slices = inside(rows=96, columns=96)
    for index in where:
        slices[index][40:56, 40:56] = value
    gap = make_gap(*slices)
    (values,) = method.synthesize(gap, [0.4])
    (cubic,) = Cubic().synthesize(gap, [0.4])
    np.testing.assert_array_equal(values[40:56, 40:56], cubic[40:56, 40:56])
    (network,) = method.synthesize(make_gap(*(s.clip(-1023, 3070) for s in slices)), [0.4])
    np.testing.assert_allclose(values[:31], network[:31], atol=1.5)
    # Between the two there are only mixtures, and they change gradually.
    low, high = np.minimum(cubic, network) - 2, np.maximum(cubic, network) + 2
    assert np.all((values >= low) & (values <= high))
    difference = cubic - network
    weight = ((values - network) / np.where(np.abs(difference) < 100, np.nan, difference))[48]
    assert np.nanmin(weight[40:56]) > 0.95
    assert np.nanmax(np.abs(np.diff(weight))) < 0.25


def test_a_narrow_window_leaves_bone_to_the_cubic():
    slices = inside()
    gap = make_gap(*(s.clip(-500, 300) for s in slices[:1]), *slices[1:])
    narrow = family(window=(-1000.0, 400.0))
    (values,) = narrow.synthesize(gap, [0.5])
    (cubic,) = Cubic().synthesize(gap, [0.5])
    bone = (slices[1] >= 400) | (slices[2] >= 400)
    assert 0.3 < bone.mean() < 0.9
    np.testing.assert_array_equal(values[bone], cubic[bone])


@pytest.mark.parametrize("level", [1.3, -0.3])
def test_a_saturated_output_is_replaced_by_the_cubic(level):
    gap = make_gap(*inside())
    (values,) = family(level=level).synthesize(gap, [0.5])
    (cubic,) = Cubic().synthesize(gap, [0.5])
    np.testing.assert_array_equal(values, cubic)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_values_stay_where_they_are(method, value):
    slices = [s.astype(np.float32) for s in inside(rows=96, columns=96)]
    (before,) = method.synthesize(make_gap(*slices), [0.5])
    slices[1][48, 48] = value
    (values,) = method.synthesize(make_gap(*slices), [0.5])
    finite = np.isfinite(values)
    assert not finite[48, 48]
    assert finite.sum() == finite.size - 1
    np.testing.assert_allclose(values[:30], before[:30], atol=1.5)


def test_non_finite_values_beyond_the_neighbours_do_not_matter(method):
    slices = [s.astype(np.float32) for s in inside()]
    slices[1][10, 10] = 3071  # so that the cubic is looked at
    slices[0][12, 12] = np.nan
    (values,) = method.synthesize(make_gap(*slices), [0.5])
    assert np.isfinite(values).all()


def test_blending_keeps_both_sides_exact():
    network = np.full((40, 40), 100.0, np.float32)
    cubic = np.full((40, 40), 4000.0, np.float32)
    assert blend(network, cubic, np.zeros((40, 40), bool)) is network
    outside = np.zeros((40, 40), bool)
    outside[0, 0] = outside[20:24, 20] = True
    result = blend(network, cubic, outside)
    assert np.all(result[outside] == 4000)
    assert np.all(result[:11, 20] == 100)
    ramp = result[22, 20:30]
    assert np.all(np.diff(ramp) <= 0)
    assert np.abs(np.diff(ramp)).max() < 0.25 * 3900


def test_the_upper_end_of_the_window_counts_as_outside_and_the_lower_as_air():
    values = np.array([[-3024, -1024, -1023, 3070, 3071]], np.int16)
    assert outside_window(values, WINDOW).tolist() == [[True, False, False, False, True]]
    assert outside_window(np.array([[np.nan, 0.0]], np.float32), WINDOW).tolist() == [[True, False]]


def test_torch_gets_its_threads_back(method):
    before = torch.get_num_threads()
    with method.using(gaps=1, threads=before + 1) as ready:
        assert ready is method
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(ZeroDivisionError), method.using(gaps=1, threads=before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(("gaps", "each"), [(4, 1), (2, 1), (1, 3)])
def test_cores_are_shared_between_gaps_and_threads(method, monkeypatch, gaps, each):
    seen = set()
    decode = method._network.decode
    monkeypatch.setattr(
        method._network, "decode", lambda maps: seen.add(torch.get_num_threads()) or decode(maps)
    )
    monkeypatch.setattr(method, "gaps_at_once", lambda threads: min(gaps, threads))
    geometry = make_geometry(5.0 * np.arange(6), rows=64, columns=64)
    volume = Volume(array=np.stack(inside(6)), geometry=geometry)
    planned = [PlannedSlice(5.0 * k + 2.5, k, 0.5) for k in range(5)]
    assert len(list(synthesize(volume, planned, method, threads=3))) == 5
    assert seen == {each}


def test_memory_does_not_grow_with_the_cores(method):
    assert [method.gaps_at_once(n) for n in (1, 2, 64)] == [1, 2, 4]


@pytest.fixture
def scan(tmp_path):
    geometry = make_geometry([0.0, 5.0, 10.0, 15.0], rows=70, columns=66)
    array = np.random.default_rng(2).integers(-1024, 3500, geometry.shape).astype(np.int16)
    hrinet.write(Volume(array=array, geometry=geometry), tmp_path / "in.nii")
    return tmp_path / "in.nii"


def test_originals_and_threads(scan, tmp_path):
    save_small(tmp_path / "w.safetensors")
    volume = hrinet.read(scan)
    filled = [
        interpolate(volume, factor=3, weights=tmp_path / "w.safetensors", threads=n)
        for n in (1, 2, 5)
    ]
    assert np.array_equal(filled[0].array[::3], volume.array)
    assert {entry.method for entry in filled[0].provenance if entry.is_synthetic} == {"hrinet-mse"}
    for other in filled[1:]:
        assert np.array_equal(other.array, filled[0].array)


def test_the_sidecar_names_the_weights(scan, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_small(path, name="acai")
    interpolate_file(
        scan,
        Outputs(volume=tmp_path / "out.nii"),
        Options(weights=path, request=Request(factor=2)),
    )
    told = json.loads((tmp_path / "out.json").read_text())
    jsonschema.validate(told, schema())
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    assert told["run"]["weights"] == {"name": "acai", "sha256": found}
    assert told["run"]["method"] == told["slices"][1]["method"] == "acai"
    told["run"]["weights"]["sha256"] = "?"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(told, schema())


def test_running_a_network_loads_nothing_of_training(scan, tmp_path):
    save_small(tmp_path / "w.safetensors")
    code = (
        "import sys, hrinet\n"
        "from pathlib import Path\n"
        "for name in ('lightning_fabric', 'yaml', 'tensorboard'): sys.modules[name] = None\n"
        f"volume = hrinet.read({str(scan)!r})\n"
        f"hrinet.interpolate(volume, factor=2, weights=Path({str(tmp_path / 'w.safetensors')!r}))\n"
        "print([m for m in sys.modules if m.startswith('hrinet.train.')])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ
    )
    assert done.stdout.strip() == "[]", done.stderr

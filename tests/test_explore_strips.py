from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from PIL import Image  # noqa: E402

import hrinet  # noqa: E402
from conftest import make_geometry  # noqa: E402
from dicom_builder import phantom, write_series  # noqa: E402
from hrinet.errors import InputError  # noqa: E402
from hrinet.explore.material import open_material  # noqa: E402
from hrinet.explore.strips import draw_progress, draw_rows, model_rows, rows_table  # noqa: E402
from hrinet.networks.generator import Generator  # noqa: E402
from hrinet.pipeline import interpolate  # noqa: E402
from hrinet.volume import Volume  # noqa: E402

WINDOW = (-1024.0, 3071.0)


def make_scan(path, positions):
    geometry = make_geometry(positions, rows=64, columns=64)
    rng = np.random.default_rng(0)
    coarse = rng.integers(-1000, 1000, (len(positions), 8, 8))
    array = np.kron(coarse, np.ones((1, 8, 8))).astype(np.int16)
    hrinet.write(Volume(array=array, geometry=geometry), path)
    return array


def test_the_baselines_are_those_of_interpolate(tmp_path):
    array = make_scan(tmp_path / "a.nii", 3.0 * np.arange(19))
    run = open_material(tmp_path / "a.nii", size=64, window=WINDOW).run
    assert run.label == "slices 6 to 12"
    rows = {row.name: row for row in model_rows(run, {}, WINDOW)}
    geometry = make_geometry(18.0 * np.arange(4), rows=64, columns=64)
    thin = Volume(array=array[::6], geometry=geometry)
    for name in ("linear", "cubic"):
        expected = interpolate(thin, factor=6, method=name, max_gap_mm=1000).array[6:13]
        np.testing.assert_allclose(rows[name].images_hu, expected, atol=0.6)  # rounded
    assert rows["true slices"].psnr_db is None
    np.testing.assert_allclose(rows["true slices"].images_hu, array[6:13], atol=0.01)


def test_models_interpolate_between_the_ends(tmp_path):
    make_scan(tmp_path / "a.nii", 3.0 * np.arange(9))
    run = open_material(tmp_path / "a.nii", size=64, window=WINDOW).run
    generator = Generator(size=64, width=2, rng=torch.Generator().manual_seed(0)).eval()
    rows = model_rows(run, {"net": (generator, WINDOW)}, WINDOW)
    x = torch.from_numpy(run.images)[:, None]
    a = torch.tensor([[5, 4, 3, 2, 1]]) / 6
    with torch.no_grad():
        expected = generator.interpolate(x[:1], x[-1:], a)[0, :, 0].numpy() * 4095 - 1024
    np.testing.assert_allclose(rows[-1].images_hu[1:-1], expected, rtol=1e-4, atol=0.1)
    np.testing.assert_array_equal(rows[-1].images_hu[0], rows[0].images_hu[0])
    assert f"| net | {rows[-1].psnr_db:.2f} |" in rows_table(rows)
    sheet = draw_rows(rows, run, subtitle="")
    assert sheet.column_labels[3] == "+9.0 mm"
    assert sheet.row_labels[0] == ["true slices"]


def test_a_run_avoids_missing_slices(tmp_path):
    positions = [3.0 * k for k in range(16) if k != 8]
    write_series(tmp_path / "scan", phantom((15, 16, 16)), positions)
    run = open_material(tmp_path / "scan", size=16, window=WINDOW).run
    assert np.allclose(np.diff(run.positions_mm), 3.0)
    assert run.label == "slices 1 to 7"


def test_a_short_scan_has_a_short_run(tmp_path):
    make_scan(tmp_path / "four.nii", [0, 3, 6, 9])
    material = open_material(tmp_path / "four.nii", size=64, window=WINDOW)
    assert len(material.run.images) == 4
    assert len(material.corners) == 4
    make_scan(tmp_path / "two.nii", [0, 3])
    assert open_material(tmp_path / "two.nii", size=64, window=WINDOW).run is None


def make_run(folder, steps, stage2_from):
    (folder / "strips").mkdir(parents=True)
    for step in steps:
        strip = np.full((16, 16 * 5), min(step, 255), np.uint8)
        Image.fromarray(strip).save(folder / "strips" / f"step-{step:09d}.png")
    lines = [{"step": s, "stage": 1 if s < stage2_from else 2} for s in steps]
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_progress_shows_both_ends_and_the_turn(tmp_path):
    make_run(tmp_path / "run", range(10, 410, 10), 120)
    sheet = draw_progress(tmp_path / "run")
    labels = [tuple(label) for label in sheet.row_labels]
    assert len(labels) <= 10
    assert labels[0] == ("step 10", "stage 1")
    assert labels[-1] == ("step 400", "stage 2")
    assert ("step 110", "stage 1") in labels
    assert sheet.rows[0][2][0, 0] == 10
    assert all(len(row) == 5 for row in sheet.rows)
    sheet.draw()


def test_progress_passes_over_what_is_no_record(tmp_path):
    make_run(tmp_path / "run", [10, 20], 20)
    log = tmp_path / "run" / "log.jsonl"
    log.write_bytes(b'[1]\n{"step": 5}\n\xff\xfe\n' + log.read_bytes())
    labels = [tuple(label) for label in draw_progress(tmp_path / "run").row_labels]
    assert labels == [("step 10", "stage 1"), ("step 20", "stage 2")]


def test_progress_says_what_is_wrong(tmp_path):
    with pytest.raises(InputError, match="holds no strips"):
        draw_progress(tmp_path)
    make_run(tmp_path / "run", [1, 2], 9)
    (tmp_path / "run" / "strips" / "step-000000002.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"step-000000002.png: is no readable PNG"):
        draw_progress(tmp_path / "run")
    strip = np.zeros((16, 50), np.uint8)
    Image.fromarray(strip).save(tmp_path / "run" / "strips" / "step-000000002.png")
    with pytest.raises(InputError, match="50 x 16 pixels"):
        draw_progress(tmp_path / "run")

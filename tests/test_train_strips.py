from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from PIL import Image  # noqa: E402

from hrinet.errors import HrinetError, RunError  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.train.strips import save_strip  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402

STRIP = np.arange(48, dtype=np.uint8).reshape(4, 12)


def test_a_strip_is_written_with_its_folder(tmp_path):
    path = tmp_path / "run" / "strips" / "step-000000001.png"
    for strip in (STRIP, STRIP + 1):
        save_strip(strip, path)
        with Image.open(path) as image:
            np.testing.assert_array_equal(np.asarray(image), strip)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_file_in_the_way_is_a_sentence(tmp_path):
    (tmp_path / "strips").write_text("mine")
    with pytest.raises(RunError, match="strips: is a file, expected a folder; move it away"):
        save_strip(STRIP, tmp_path / "strips" / "step-000000001.png")
    assert (tmp_path / "strips").read_text() == "mine"


def test_a_training_that_finds_a_file_for_strips_goes_on_without_it(tmp_path):
    config = tiny(make_cache(tmp_path), tmp_path / "run", stage1_steps=2, stage2_steps=0)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "strips").touch()
    with pytest.raises(HrinetError, match=r"strips.* is a file, expected a folder"):
        train(config)
    (tmp_path / "run" / "strips").unlink()
    assert train(config).is_finished

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hrinet.errors import InputError
from hrinet.explore.curves import COLOURS, draw_curves, read_curves


def write_log(folder: Path, records: list[dict], tail: str = "") -> Path:
    folder.mkdir()
    text = "".join(json.dumps(record) + "\n" for record in records)
    (folder / "log.jsonl").write_text(text + tail)
    return folder


def make_run(folder: Path, scale: float = 1.0) -> Path:
    return write_log(
        folder,
        [
            {"step": step, "stage": 1 if step <= 50 else 2, "content": scale / step, "gap": -step}
            for step in range(10, 110, 10)
        ],
    )


def test_what_is_read(tmp_path):
    curves = read_curves(make_run(tmp_path / "one"))
    assert curves.name == "one"
    assert curves.stage2 == 50
    assert curves.figures["content"][0] == (10, 0.1)
    assert len(curves.figures["gap"]) == 10
    assert "stage" not in curves.figures


def test_numbers_that_are_none_are_left_out(tmp_path):
    records = [{"step": 1, "stage": 1, "content": float("nan")}, {"step": 2, "stage": 1, "a": 3}]
    curves = read_curves(write_log(tmp_path / "run", records, tail='{"step": 3, "sta'))
    assert curves.figures == {"a": [(2, 3.0)]}
    assert curves.stage2 is None
    draw_curves([curves])


def test_every_run_has_its_colour(tmp_path):
    runs = [read_curves(make_run(tmp_path / name, scale)) for name, scale in (("a", 1), ("b", 9))]
    pixels = np.asarray(draw_curves(runs))
    for colour in COLOURS[:2]:
        assert (pixels == colour).all(axis=2).sum() > 200
    one = np.asarray(draw_curves(runs[:1]))
    assert not (one == COLOURS[1]).all(axis=2).any()


def test_a_falling_loss_falls(tmp_path):
    """The line of 1/step in its panel: from the top left to the bottom right."""
    run = read_curves(
        write_log(
            tmp_path / "run",
            [{"step": s, "stage": 1, "content": 1 / s} for s in range(1, 200)],
        )
    )
    pixels = np.asarray(draw_curves([run]))[100:]
    rows, columns = np.nonzero((pixels == COLOURS[0]).all(axis=2))
    left, right = rows[columns < columns.min() + 60], rows[columns > columns.max() - 60]
    assert left.mean() + 50 < right.mean()


@pytest.mark.parametrize("content", ["", "no JSON\n", "[1]\n", '{"step": "x", "stage": 1}\n'])
def test_what_is_no_log(tmp_path, content):
    (tmp_path / "log.jsonl").write_text(content)
    with pytest.raises(InputError, match="log"):
        read_curves(tmp_path)


def test_a_damaged_line_costs_no_other(tmp_path):
    folder = make_run(tmp_path / "run")
    log = folder / "log.jsonl"
    log.write_bytes(b"\xff\xfe\n[1]\n" + log.read_bytes())
    assert len(read_curves(folder).figures["gap"]) == 10


def test_no_log(tmp_path):
    with pytest.raises(InputError, match="expected the output of a training"):
        read_curves(tmp_path / "none")

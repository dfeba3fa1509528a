from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from hrinet.errors import InputError
from hrinet.explore.curves import COLOURS, draw_curves, read_curves, run_names
from hrinet.report import drawing


def write_log(folder: Path, records: list[dict], tail: str = "") -> Path:
    folder.mkdir(parents=True)
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


def drawn_texts(monkeypatch, runs):
    """Everything that stands in the picture of some runs, in order."""
    texts = []
    text = drawing.Pen.text

    def keep(pen, x, y, words, **options):
        texts.append(words)
        return text(pen, x, y, words, **options)

    with monkeypatch.context() as patch:
        patch.setattr(drawing.Pen, "text", keep)
        draw_curves(runs)
    return texts


def dashes(runs):
    """Pixels of the line where stage 2 began, in the colour of the first run."""
    faint = tuple(value // 2 for value in COLOURS[0])
    return int((np.asarray(draw_curves(runs)) == faint).all(axis=2).sum())


def test_stage_2_begins_where_a_line_of_stage_1_ends(tmp_path, monkeypatch):
    records = [{"step": s, "stage": 2, "content": 1.0} for s in (510, 520, 530)]
    began_there = read_curves(write_log(tmp_path / "from", records))
    assert began_there.stage2 is None
    assert dashes([began_there]) == 0
    assert not any("dashed" in text for text in drawn_texts(monkeypatch, [began_there]))
    first = {"step": 500, "stage": 1, "content": 1.0}
    own = read_curves(write_log(tmp_path / "own", [first, *records]))
    assert own.stage2 == 500
    assert dashes([own]) > 50
    assert drawn_texts(monkeypatch, [began_there, own])[-1].endswith("where stage 2 began.")


@pytest.mark.parametrize("figures", [{}, {"content": None}, {"content": float("nan")}, {"a": True}])
def test_a_log_without_figures_is_a_sentence(tmp_path, figures):
    folder = write_log(tmp_path / "run", [{"step": 1, "stage": 1, **figures}])
    with pytest.raises(InputError, match="holds no figure that could be drawn; train on"):
        read_curves(folder)


def test_numbers_of_any_size_can_be_drawn(tmp_path):
    lines = [
        {"step": 1, "stage": 1, "a": 10**400, "b": 1e308, "c": 5e-324, "d": 1e-310, "e": 1.0},
        {"step": 2, "stage": 1, "a": -(10**400), "b": -1e308, "c": 1e308, "d": 1e-310, "e": 2.0},
        {"step": 3, "stage": 1, "a": 7, "b": 3, "c": 1e-5, "d": 1e-310, "e": 1e308},
        {"step": 10**400, "stage": 1, "a": 1},
        {"step": -1, "stage": 1, "a": 1},
    ]
    run = read_curves(write_log(tmp_path / "run", lines))
    assert run.figures["a"] == [(3, 7.0)]
    assert [step for step, _ in run.figures["b"]] == [1, 2, 3]
    draw_curves([run])
    # A figure that varies from 1e-290 to 1e290 has few enough ticks to be read.
    wide = [{"step": s, "stage": 1, "a": 10.0 ** (29 * s)} for s in range(-10, 11)]
    wide = [{**record, "step": record["step"] + 10} for record in wide]
    draw_curves([read_curves(write_log(tmp_path / "wide", wide))])


def test_a_spike_leaves_the_rest_where_it_is(tmp_path):
    def line_of(folder):
        pixels = np.asarray(draw_curves([read_curves(folder)]))[120:]
        rows, columns = np.nonzero((pixels == COLOURS[0]).all(axis=2))
        return np.array([rows[columns == c].mean() for c in range(200, 700)])

    lines = [{"step": s, "stage": 1, "content": 1 + s / 400} for s in range(400)]
    calm = line_of(write_log(tmp_path / "calm", lines))
    lines[0]["content"] = 1e308
    spiked = line_of(write_log(tmp_path / "spiked", lines))
    np.testing.assert_allclose(spiked, calm, atol=2)


def test_runs_of_one_name_are_told_apart(tmp_path, monkeypatch):
    for place in ("x/a/run", "x/b/run", "y/a/run", "z/other"):
        make_run(tmp_path / place)
    folders = [tmp_path / place for place in ("x/a/run", "x/b/run", "z/other")]
    runs = [read_curves(folder) for folder in folders]
    assert run_names(runs) == ["a/run", "b/run", "other"]
    assert {"a/run", "b/run", "other"} <= set(drawn_texts(monkeypatch, runs))
    more = [*runs, read_curves(tmp_path / "y/a/run")]
    assert run_names(more) == ["x/a/run", "b/run", "other", "y/a/run"]
    assert run_names(runs[:1]) == ["run"]


@pytest.mark.parametrize(
    ("last", "ticks"), [(1, ["0", "1"]), (2, ["0", "1", "2"]), (9, ["0", "2", "4", "6", "8"])]
)
def test_steps_are_whole_numbers(tmp_path, monkeypatch, last, ticks):
    lines = [{"step": s, "stage": 1, "content": 700.0} for s in range(1, last + 1)]
    texts = drawn_texts(monkeypatch, [read_curves(write_log(tmp_path / "run", lines))])
    below = texts[texts.index("content loss, unsupervised steps") :][1:-1]
    assert [text for text in below if int(text) < 100] == ticks


def test_no_log(tmp_path):
    with pytest.raises(InputError, match="expected the output of a training"):
        read_curves(tmp_path / "none")

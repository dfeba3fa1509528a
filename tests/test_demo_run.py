from __future__ import annotations

import pytest

from hrinet.demo.run import describe_demo, run_demo
from hrinet.errors import RequestError

NAMES = ("thick.nii.gz", "thick.json", "linear.nii.gz", "hrinet-flow.json", "preview.png")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_that_is_there_stays_and_nothing_is_written(tmp_path, name):
    (tmp_path / name).write_bytes(b"of a user")
    with pytest.raises(RequestError, match="exists already; pass --overwrite") as caught:
        run_demo(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"of a user"}


def test_the_demo_replaces_no_foreign_sidecar(tmp_path):
    (tmp_path / "thick.json").write_text("{}")
    with pytest.raises(RequestError, match=r"thick\.json"):
        run_demo(tmp_path, overwrite=True)
    assert (tmp_path / "thick.json").read_text() == "{}"


def test_the_columns_of_the_table_stand_below_their_headings():
    row = {"psnr_db": 31.25, "mae_hu": 9.5, "seconds": 12.0, "output": "d/x.nii.gz"}
    text = describe_demo(
        {
            "spacing_mm": [5.0, 1.0],
            "slices": [56, 276],
            "noise_hu": 12.0,
            "methods": {"linear": row, "hrinet-flow": row},
            "preview": "d/preview.png",
            "input": "d/thick.nii.gz",
        }
    )
    heading, *rows = text.splitlines()[3:6]
    assert [line.split()[0] for line in rows] == ["linear", "hrinet-flow"]
    for title, unit in (("PSNR", "dB"), ("MAE", "HU"), ("time", "s")):
        ends = {line.index(f" {unit}") + 1 + len(unit) for line in rows}
        assert ends == {heading.index(title) + len(title)}

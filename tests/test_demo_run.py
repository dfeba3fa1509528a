from __future__ import annotations

from hrinet.demo.run import describe_demo


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

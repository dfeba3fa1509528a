"""Sentences follow the numbers: swapped numbers, swapped words."""

from __future__ import annotations

from pathlib import Path

import pytest

from hrinet.evaluate import words
from hrinet.evaluate.candidates import NO_WEIGHTS, choose, named, names_for
from hrinet.evaluate.document import Cell, Heading, Table, paragraph
from hrinet.evaluate.html import to_html
from hrinet.evaluate.markdown import to_markdown
from hrinet.evaluate.measures import BY_KEY, MEASURES
from hrinet.evaluate.protocols import Factor, GapMm, large_gap
from hrinet.evaluate.run import Options, Results, Section
from hrinet.evaluate.splits import by_gap_table, by_kernel_table, by_region_table
from hrinet.evaluate.subject import Subject, SubjectInfo
from hrinet.evaluate.tables import marks, method_table, ordinal
from hrinet.evaluate.thesis_tables import table_4_1, table_4_4
from hrinet.evaluate.work import Candidate, Outcome, SliceScore

CANDIDATES = (
    Candidate(name="linear"),
    Candidate(name="cubic"),
    Candidate(name="ae", is_family=True, sha256="ab" * 32),
    Candidate(name="hrinet-mse", is_family=True, missing=NO_WEIGHTS),
)


def results_of(
    psnr: dict[str, tuple[float, ...]], *, protocol: Factor | GapMm | None = None, **values: float
) -> Results:
    """Three slices a series; every second one shows lung and scores 1 dB more."""
    count = len(psnr["cubic"])
    names = [f"s{k}" for k in range(count)]
    section = Section(name="factors", protocol=protocol or Factor(factor=4), candidates=CANDIDATES)
    outcomes = {}
    for method, means in psnr.items():
        for name, mean in zip(names, means, strict=True):
            scores = tuple(
                SliceScore(
                    index=k,
                    position_mm=float(k),
                    gap_mm=10.0,
                    distance_mm=2.5,
                    region="with lung" if k % 2 else "without lung",
                    values={"psnr": mean + (k % 2) - 1 / 3, "mae": 100 - mean, **values},
                )
                for k in range(3)
            )
            outcomes[section.protocol.key, method, name] = Outcome(
                scan=name,
                protocol=section.protocol.key,
                method=method,
                factor=4,
                gap_mm=10.0,
                scores=scores,
                seconds={"reading": 1.0, "synthesis": 3.0, "metrics": 1.0},
            )
    infos = tuple(
        SubjectInfo(
            name=name,
            slices=40,
            rows=64,
            columns=64,
            spacing_mm=2.5,
            pixel_mm=(0.7, 0.7),
            thickness_mm=None,
            kernel="B70f" if k else "B30f",
            tilt_deg=0.0,
            is_uniform=True,
            left_out=0,
        )
        for k, name in enumerate(names)
    )
    return Results(
        subjects=tuple(Subject(name=name, path=Path(name)) for name in names),
        infos=infos,
        sections=(section,),
        outcomes=outcomes,
        options=Options(),
        cache=Path("cache"),
        wall_s=9.0,
        fresh=len(outcomes),
        jobs=2,
    )


@pytest.mark.parametrize(
    ("ae", "sentence"),
    [
        (27.5, "AE loses to cubic at x4 (-2.50 dB, lower in 2 of 2 series)."),
        (32.0, "AE beats cubic at x4 (+2.00 dB, lower in 0 of 2 series)."),
        (30.01, "AE equals it at x4 (+0.01 dB, lower in 0 of 2 series)."),
    ],
)
def test_where_a_bottleneck_loses_is_said_by_the_data(ae: float, sentence: str) -> None:
    found = results_of({"linear": (29.0, 29.0), "cubic": (30.0, 30.0), "ae": (ae, ae)})
    told = words.bottlenecks(found, found.sections)
    assert told[0] == sentence
    assert told[1] == "No weights installed, so nothing is said of: HRINet-MSE."


def test_the_verdict_names_the_best_and_the_spread() -> None:
    found = results_of({"linear": (29.0, 29.0), "cubic": (30.0, 30.0), "ae": (33.0, 29.0)})
    first, second = words.verdict(found, found.sections[0])
    assert "AE is nearest to the truth (31.00 dB, 69.0 HU" in first
    assert second.startswith("AE gains 1.00 dB against cubic (-1.00 to +3.00 dB")


def test_what_psnr_hides_is_told() -> None:
    found = results_of({"cubic": (30.0,), "ae": (31.0,)}, noise=0.4, laa950=-2.5)
    told = words.cautions(found, found.sections[0])
    assert any(line.startswith("AE: noise in soft tissue is 0.40 times") for line in told)
    assert any("off by -2.5 percentage points on average" in line for line in told)
    assert not words.cautions(results_of({"cubic": (30.0,)}, noise=1.0), found.sections[0])


def test_intervals_appear_with_three_series_and_not_before() -> None:
    two = results_of({"cubic": (30.0, 31.0), "ae": (29.0, 28.0)})
    three = results_of({"cubic": (30.0, 31.0, 32.0), "ae": (29.0, 28.0, 31.0)})
    for found, is_there in ((two, False), (three, True)):
        table = method_table(found, found.sections[0], ("psnr",), title="t")
        row = next(row for row in table.rows if row[0].text == "AE")
        assert ("[" in row[1].text) == is_there
        assert ("No interval is given" in " ".join(table.notes)) == (not is_there)


def test_a_table_states_its_protocol() -> None:
    found = results_of({"cubic": (30.0, 31.0), "ae": (29.0, 28.0)})
    text = method_table(found, found.sections[0], ("psnr", "mae"), title="t").protocol
    for part in (
        "x4: every 4th slice kept, 3 between two of them hidden",
        "10 mm in s0, 10 mm in s1",
        "HU clipped to -1000 to 1000",
        "no crop",
        "2 series: s0, s1",
        "synthetic slices only: 6",
        "hrinet ",
        "ae abababababababab",
    ):
        assert part in text


def test_splits_separate_kernels_and_regions() -> None:
    found = results_of({"cubic": (30.0, 40.0), "ae": (29.0, 41.0)})
    kernels = by_kernel_table(found, found.sections[0])
    assert [row[0].text for row in kernels.rows] == ["B30f (1 series)", "B70f (1 series)"]
    assert [row[2].text for row in kernels.rows] == ["30.00", "40.00"]
    assert kernels.rows[1][3].text == "41.00 (+1.00)"
    regions = by_region_table(found, found.sections[0])
    lung, other = regions.rows
    assert float(lung[2].text) - float(other[2].text) == pytest.approx(1.0)
    gaps = by_gap_table(found, found.sections)
    assert gaps is not None
    assert gaps.rows[0][0].text == "10 mm: s0, x4"


def test_asked_and_true_gaps_stand_together() -> None:
    found = results_of({"cubic": (30.0,), "ae": (29.0,)}, protocol=GapMm(gap_mm=9.0))
    table = by_gap_table(found, found.sections)
    assert table is not None
    assert table.rows[0][0].text == "10 mm: s0, x4 (asked for: 9 mm)"


def test_table_4_1_has_both_sizes_and_the_thesis() -> None:
    found = results_of({"cubic": (30.0,), "ae": (29.0,)})
    sections = tuple(
        Section(name="large-gap", protocol=large_gap(size=size), candidates=CANDIDATES)
        for size in (None, 256)
    )
    table = table_4_1(found, sections)
    assert [row[1].text for row in table.rows[:4]] == [
        *("256 x 256", "256 x 256", "full size", "512 x 512")
    ]
    assert table.rows[1][4] == Cell("22.730", "thesis")
    assert table.rows[0][5] == Cell(NO_WEIGHTS, "absent")
    assert table.rows[0][6].text == "∞"


def test_table_4_4_has_six_configurations_without_made_up_numbers() -> None:
    found = results_of({"cubic": (30.0,)})
    candidates = named(names_for("ablation", ()), ())
    section = Section(name="ablation", protocol=large_gap(size=256), candidates=candidates)
    table = table_4_4(found, section)
    assert len(table.rows) == 9
    missing = [row for row in table.rows if row[6].text == NO_WEIGHTS]
    assert {"ae-mixing", "ae-mixing-d1"} <= {row[0].text for row in missing}
    assert all(row[8].mark == "thesis" for row in missing)


def test_best_and_second_best_by_direction() -> None:
    higher, zero, ratio = BY_KEY["psnr"], BY_KEY["bias_lung"], BY_KEY["noise"]
    values = {"a": 3.0, "b": 2.0, "c": None, "d": 1.0}
    assert marks(values, higher) == {"a": "best", "b": "second"}
    assert marks({"a": -3.0, "b": 2.0}, zero) == {"b": "best", "a": "second"}
    assert marks({"a": 0.7, "b": 1.1, "c": 1.1}, ratio) == {"b": "best", "c": "best", "a": "second"}
    assert marks({"a": 1.0}, BY_KEY["slab"]) == {}
    assert {measure.key for measure in MEASURES} == set(BY_KEY)


def test_baselines_cannot_be_left_out() -> None:
    names = [candidate.name for candidate in choose(("flow",), ())]
    assert names == ["repeat", "linear", "cubic", "flow"]


def test_texts_cannot_become_markup() -> None:
    evil = '<script>alert("x")</script>|*'
    table = Table(title=evil, head=(evil,), rows=((Cell(evil, "best"),),), protocol=evil)
    blocks = [Heading(level=2, text=evil), paragraph(evil), table]
    assert "<script" not in to_html(blocks, title=evil)
    assert "<script" not in to_markdown(blocks)


def test_ordinals() -> None:
    found = [ordinal(number) for number in (1, 2, 3, 4, 11, 12, 22, 113)]
    assert found == ["1st", "2nd", "3rd", "4th", "11th", "12th", "22nd", "113th"]

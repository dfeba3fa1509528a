"""The whole way on small scans: scores, resume, refusals, and what reports may not say."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio
from typer.testing import CliRunner

import hrinet
from conftest import make_geometry
from dicom_builder import write_series
from hrinet.commands.app import app
from hrinet.errors import InputError, RequestError
from hrinet.evaluate import report, run
from hrinet.evaluate.arguments import parse_factors, parse_gaps, parse_split, shown_command
from test_dicom_hostile import IDENTIFYING

COUNT, SIDE = 13, 48


def anatomy(seed: int = 0) -> np.ndarray:
    """Stored values of a blob that moves through the slices, with noise."""
    rng = np.random.default_rng(seed)
    z, y, x = np.mgrid[:COUNT, :SIDE, :SIDE].astype(float)
    body = np.hypot(y - 24, x - 24) < 20
    blob = np.hypot(y - 16 - z, x - 20) < 6
    values = np.where(blob, 1300, np.where(body, 1064, 24)) + rng.normal(0, 8, body.shape)
    return np.clip(values, 0, 4095).astype(np.uint16)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluate") / "ZZSENTINEL_Jane"
    tags = dict.fromkeys(IDENTIFYING, "ZZSENTINEL") | {
        "SeriesDescription": "ZZSENTINEL",
        "StudyDescription": "ZZSENTINEL",
        "ProtocolName": "ZZSENTINEL",
        "ImageComments": "ZZSENTINEL",
    }
    write_series(folder, anatomy(), positions=2.5 * np.arange(COUNT), **tags)
    return folder


def options_of(cache: Path, **changes: object) -> run.Options:
    base: dict[str, object] = {
        "methods": ("cubic",),
        "protocols": ("large-gap", "factors", "adjacent", "ablation", "receptive-field"),
        "factors": (2,),
        "jobs": 1,
        "cache": cache,
    }
    return run.Options(**(base | changes))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def results(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> run.Results:
    folder = tmp_path_factory.mktemp("out")
    return run.evaluate(run.subjects_of([scan]), folder, options_of(folder / "cache"))


def outcome_of(results: run.Results, protocol: str, method: str) -> run.Outcome:
    return results.outcomes[protocol, method, "scan 1"]


@pytest.mark.parametrize("method", ["repeat", "linear", "cubic"])
def test_scores_are_those_of_the_shipped_path(
    results: run.Results, scan: Path, method: str
) -> None:
    volume = hrinet.read(scan)
    thin = run_thin(volume, 2)
    filled = hrinet.interpolate(thin, factor=2, method=method)
    expected = [
        peak_signal_noise_ratio(
            np.clip(volume.array[k], -1000, 1000).astype(float),
            np.clip(filled.array[k], -1000, 1000).astype(float),
            data_range=2000,
        )
        for k in range(1, COUNT, 2)
    ]
    outcome = outcome_of(results, "x2", method)
    assert [score.index for score in outcome.scores] == list(range(1, COUNT, 2))
    assert [score.values["psnr"] for score in outcome.scores] == pytest.approx(expected, abs=1e-4)
    assert outcome.gap_mm == pytest.approx(5.0)


def run_thin(volume: hrinet.Volume, factor: int) -> hrinet.Volume:
    from hrinet.evaluate.subject import part_of

    return part_of(volume, range(0, len(volume), factor))


def test_baselines_always_take_part(results: run.Results) -> None:
    methods = {method for protocol, method, _ in results.outcomes if protocol == "x2"}
    assert methods == {"truth", "repeat", "linear", "cubic"}


def test_a_finished_run_costs_nothing(results: run.Results, scan: Path, tmp_path: Path) -> None:
    again = run.evaluate(
        run.subjects_of([scan], names=["other"]), tmp_path, options_of(results.cache)
    )
    assert again.fresh == 0
    for (protocol, method, _), outcome in results.outcomes.items():
        same = again.outcomes[protocol, method, "other"]
        assert same.scores == outcome.scores
        assert same.scan == "other"


def test_a_killed_run_does_only_what_is_left(scan: Path, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    def stop(done: int, total: int) -> None:
        if done == 2:
            raise Killed

    options = options_of(tmp_path / "cache", protocols=("factors",))
    with pytest.raises(Killed):
        run.evaluate(run.subjects_of([scan]), tmp_path, options, progress=stop)
    assert run.evaluate(run.subjects_of([scan]), tmp_path, options).fresh == 2


def test_several_processes_find_the_same(results: run.Results, scan: Path, tmp_path: Path) -> None:
    options = options_of(tmp_path / "cache", protocols=("factors",), jobs=2)
    found = run.evaluate(run.subjects_of([scan]), tmp_path, options)
    for key, outcome in found.outcomes.items():
        assert outcome.scores == results.outcomes[key].scores


def test_no_patient_is_named_in_a_report(results: run.Results, tmp_path: Path) -> None:
    files = report.write_report(results, tmp_path)
    texts = [path.read_text("utf-8") for path in files]
    texts += report.spoken(results)
    texts += [path.read_text("utf-8") for path in results.cache.glob("*.json")]
    assert len(texts) > 10
    assert not any("SENTINEL" in text for text in texts)


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]


def test_the_page_asks_for_nothing(results: run.Results, tmp_path: Path) -> None:
    report.write_report(results, tmp_path)
    text = (tmp_path / "report.html").read_text("utf-8")
    page = _Page()
    page.feed(text)
    assert page.tags.count("img") >= 4
    assert "script" not in page.tags
    assert "link" not in page.tags
    assert all(address.startswith("data:image/webp;base64,") for address in page.addresses)
    assert not re.search(r"url\(|@import|https?://", text)


def test_tables_of_the_thesis_are_there_with_what_is_missing(
    results: run.Results, tmp_path: Path
) -> None:
    report.write_report(results, tmp_path)
    text = (tmp_path / "report.md").read_text("utf-8")
    for number in ("4-1", "4-2", "4-4", "4-5"):
        assert f"Table {number}" in text
    assert "no weights installed" in text
    assert "reported on other data" in text
    assert "synthetic slices only: 6;" in text
    assert "No interval is given: with one series" in text
    assert "25.576 / 0.977" in text


def test_the_json_says_the_same(results: run.Results, tmp_path: Path) -> None:
    report.write_report(results, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text("utf-8"))
    section = next(s for s in found["sections"] if s["protocol"] == "x2")
    linear, cubic = section["methods"]["linear"]["psnr"], section["methods"]["cubic"]["psnr"]
    assert linear["minus_cubic"] == pytest.approx(linear["mean"] - cubic["mean"], abs=1e-3)
    assert "interval_95" not in linear
    outcome = outcome_of(results, "x2", "linear")
    mean = np.mean([score.values["psnr"] for score in outcome.scores])
    assert linear["by_series"]["scan 1"] == pytest.approx(mean, abs=1e-3)


def test_reports_are_not_replaced_unasked(results: run.Results, tmp_path: Path) -> None:
    report.write_report(results, tmp_path)
    with pytest.raises(RequestError, match="--overwrite"):
        report.check(tmp_path, overwrite=False)
    with pytest.raises(RequestError, match="--overwrite"):
        report.write_report(results, tmp_path)


def test_what_a_scan_is_too_short_for_is_a_sentence(scan: Path, tmp_path: Path) -> None:
    options = options_of(tmp_path / "cache", protocols=("factors",), factors=(2, 40))
    results = run.evaluate(run.subjects_of([scan]), tmp_path, options)
    assert "keeping one in 40" in outcome_of(results, "x40", "cubic").refusal
    assert any("x40" in line for line in report.spoken(results))
    with pytest.raises(RequestError, match="nothing could be evaluated"):
        run.evaluate(
            run.subjects_of([scan]),
            tmp_path,
            options_of(tmp_path / "c", factors=(40,), protocols=("factors",)),
        )


def test_the_command(results: run.Results, scan: Path, tmp_path: Path) -> None:
    arguments = ["evaluate", str(scan), "--out", str(tmp_path / "out"), "--methods", "cubic"]
    arguments += ["--protocol", "factors", "--factor", "2", "--cache", str(results.cache)]
    found = CliRunner().invoke(app, [*arguments, "--jobs", "1", "--json"])
    assert found.exit_code == 0, found.output
    values = json.loads(found.stdout)
    assert values["schema"] == report.REPORT_SCHEMA
    assert values["scans"][0]["name"] == "scan 1"
    assert (tmp_path / "out" / "report.html").stat().st_size > 5000
    again = CliRunner().invoke(app, arguments)
    assert isinstance(again.exception, RequestError)


def test_a_training_that_is_none_is_refused_before_the_work(
    scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch", reason="needs the [torch] extra")
    monkeypatch.setattr(run, "evaluate", lambda *_, **__: pytest.fail("it began"))
    arguments = ["evaluate", str(scan), "--out", str(tmp_path / "out"), "--training", "nofolder"]
    found = CliRunner().invoke(app, arguments)
    assert isinstance(found.exception, InputError)
    assert "nofolder: holds no strips" in str(found.exception)
    assert not (tmp_path / "out").exists()


def test_names_and_numbers_of_the_command_line(scan: Path) -> None:
    assert parse_factors("6,2,2") == (2, 6)
    assert parse_gaps("10, 4.5") == (4.5, 10.0)
    assert parse_split("validation") == "validation"
    for parse, text in ((parse_factors, "1"), (parse_gaps, "x"), (parse_split, "tests")):
        with pytest.raises(RequestError, match=r"expected|no w"):
            parse(text)
    shown = shown_command(["evaluate", str(scan), "--factor", "2", f"--out={scan}"])
    assert shown == "hrinet evaluate PATH --factor 2 --out=PATH"
    with pytest.raises(RequestError, match="no scan to evaluate"):
        run.subjects_of([])
    with pytest.raises(RequestError, match="1 names for 2"):
        run.subjects_of([scan, scan], names=["a"])
    with pytest.raises(RequestError, match="no-pictures-of"):
        run.subjects_of([scan], hidden=["b"])


def test_a_report_never_replaces_the_sidecar_of_a_volume(tmp_path):
    array = np.zeros((4, 8, 8), np.int16)
    geometry = make_geometry(2.0 * np.arange(4), rows=8, columns=8)
    scan = hrinet.Volume(array=array, geometry=geometry)
    hrinet.write(hrinet.interpolate(scan, factor=2, method="linear"), tmp_path / "report.nii")
    before = (tmp_path / "report.json").read_bytes()
    with pytest.raises(RequestError, match=r"report\.json: is the sidecar of report\.nii"):
        report.check(tmp_path, overwrite=True)
    assert (tmp_path / "report.json").read_bytes() == before

"""Weights along the ray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hrinet.errors import HrinetError
from hrinet.project.views import View
from hrinet.project.weights import Frame, parse_weight

VIEW = View.turned(0)
FRAME = Frame(start_mm=-100.0, length_mm=200.0, pixel_mm=0.5)  # n = 400.
DEPTHS = np.linspace(0, 1, 401)


def along(text: str, **options: object) -> NDArray[np.float64]:
    weight = parse_weight(text, **options)  # type: ignore[arg-type]
    return weight.along(VIEW, FRAME)(DEPTHS)


def test_forms_are_their_formulas() -> None:
    np.testing.assert_allclose(along("uniform"), 1)
    np.testing.assert_allclose(along("k"), DEPTHS)
    np.testing.assert_allclose(along("1/k")[1:], 1 / np.arange(1, 401))
    assert along("1/k")[0] == 1
    sigma = 1 / 11
    for mu in (0.25, 0.5):
        expected = np.exp(-((DEPTHS - mu) ** 2) / (2 * sigma**2))
        np.testing.assert_allclose(along(f"gaussian:{mu},{sigma}"), expected)
    np.testing.assert_allclose(along("polynomial:1,-2,1"), (1 - DEPTHS) ** 2)


def test_weights_are_at_most_1_on_the_ray_and_off_it() -> None:
    for text in ("polynomial:3,5", "gaussian:1.5,0.3", "k", "1/k"):
        weights = parse_weight(text).along(VIEW, FRAME)
        assert weights(DEPTHS).max() == pytest.approx(1)
        off = weights(np.array([-0.3, 1.3]))
        assert np.all((off >= 0) & (off <= 1))


def test_a_gaussian_lies_about_a_point_of_the_patient() -> None:
    # The ray of view 0 is +y, from -100 to 100 mm.
    weights = along("gaussian:0.1", centre_mm=(7.0, 50.0, -3.0))
    np.testing.assert_allclose(weights, np.exp(-((DEPTHS - 0.75) ** 2) / (2 * 0.1**2)))
    with pytest.raises(HrinetError, match="outside the volume"):
        along("gaussian:0.1", centre_mm=(0.0, 150.0, 0.0))


def test_weights_are_read_from_a_table(tmp_path: Path) -> None:
    path = tmp_path / "w.csv"
    path.write_text("fraction,weight\n0,0\n0.5,2\n1,1\n", encoding="utf-8")
    np.testing.assert_allclose(along(str(path)), np.interp(DEPTHS, [0, 0.5, 1], [0, 1, 0.5]))
    path.write_text("0\n1\n\n4\n", encoding="utf-8")
    np.testing.assert_allclose(along(str(path)), np.interp(DEPTHS, [0, 0.5, 1], [0, 0.25, 1]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "found 0 lines"),
        ("1,2,3\n1,2,3\n", "3. columns"),
        ("0,1\n0.5\n", "columns"),
        ("0,1\nx,2\n", "line 2"),
        ("0,1\n0.5,-1\n", "0 or more"),
        ("0,1\n0.5,nan\n", "finite"),
        ("0.5,1\n0.2,1\n", "increase"),
        ("0,1\n2,1\n", "within 0..1"),
    ],
)
def test_tables_that_are_none_are_refused(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "w.csv"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(HrinetError, match=message):
        parse_weight(str(path))


def test_a_missing_or_binary_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(HrinetError, match="cannot be read"):
        parse_weight(str(tmp_path / "none.csv"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(HrinetError, match="cannot be read"):
        parse_weight(str(tmp_path / "b.csv"))


@pytest.mark.parametrize(
    "text",
    ["", "k:1", "uniform:1", "gauss", "gaussian", "gaussian:1", "gaussian:0.5,0", "gaussian:0.5,-1",
     "gaussian:a,b", "polynomial:", "polynomial:x", "gaussian:nan,1"],
)  # fmt: skip
def test_words_that_are_no_weight_are_refused(text: str) -> None:
    with pytest.raises(HrinetError, match="--weight"):
        parse_weight(text)


def test_negative_or_vanishing_weights_are_refused() -> None:
    with pytest.raises(HrinetError, match="negative"):
        along("polynomial:-1,2")
    with pytest.raises(HrinetError, match="all weights"):
        along("polynomial:0")
    with pytest.raises(HrinetError, match="all weights"):
        along("gaussian:50,0.01")


def test_a_point_goes_with_a_gaussian_of_one_number() -> None:
    for text in ("k", "gaussian:0.5,0.1"):
        with pytest.raises(HrinetError, match=r"gaussian:SIGMA"):
            parse_weight(text, centre_mm=(0.0, 0.0, 0.0))

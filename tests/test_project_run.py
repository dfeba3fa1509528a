"""``hrinet project`` from file to files."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import cv2
import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import hrinet
from hrinet.commands.app import app
from hrinet.errors import HrinetError
from hrinet.project.files import write_nifti
from hrinet.project.fill import fill_gaps
from hrinet.project.projector import project
from hrinet.project.request import parse
from hrinet.project.views import View
from hrinet.project.window import Window
from hrinet.volume import Volume
from project_phantoms import ball, rasterized, stack
from real_data import ct


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ball towards left, posterior and head in slices 3 mm apart."""
    geometry = stack((18, 44, 48), spacing=(3.0, 1.0, 1.0), centre=(10.0, -20.0, 100.0))
    volume = rasterized(geometry, ball(9, (22.0, -12.0, 110.0)), fine=2, hu=200)
    path = tmp_path_factory.mktemp("scan") / "ball.nii.gz"
    hrinet.write(Volume(np.rint(volume.array).astype(np.int16), geometry), path)
    return path


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["project", *map(str, arguments)])
    if isinstance(result.exception, HrinetError):
        return result.exception.exit_code, str(result.exception)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def bright(values: np.ndarray) -> tuple[float, float]:
    """(column, row) of the middle of what is bright, as fractions of the picture."""
    rows, columns = np.nonzero(values > 0.6 * values.max())
    return columns.mean() / values.shape[1], rows.mean() / values.shape[0]


def test_the_ball_lies_where_the_letters_say(scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.tif"
    code, text = run(
        scan, output, "--angles", "0:360:90", "--euler", "0,90,0", "--fill", "linear", "--whole"
    )
    assert code == 0, text
    projections = json.loads((tmp_path / "p.json").read_text())["projections"]
    with Image.open(output) as pages:
        assert pages.n_frames == 5
        for index, one in enumerate(projections):
            pages.seek(index)
            x, y = bright(np.asarray(pages).astype(float))
            letters = one["letters"]
            # It lies towards left, posterior and head.
            towards = "LPH"
            assert (x > 0.55) == (letters["right"] in towards), one
            assert (y < 0.45) == (letters["top"] in towards), one


def test_pixels_are_as_large_as_files_say(scan: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / name for name in ("a.tif", "b.nii", "c.nii.gz")]
    code, text = run(scan, *outputs, "--angle", 30, "--fill", "linear", "--pixel-mm", 0.75)
    assert code == 0, text
    with Image.open(outputs[0]) as page:
        assert page.mode == "I;16"
        assert page.tag_v2[296] == 3  # Centimetres.
        assert 10 / float(page.tag_v2[282]) == pytest.approx(0.75, rel=1e-4)
        size = page.size
    one, two = (nib.load(path) for path in outputs[1:])
    np.testing.assert_array_equal(one.get_fdata(), two.get_fdata())
    assert one.shape == (*size, 1)
    assert one.header.get_zooms()[:2] == pytest.approx((0.75, 0.75))
    # The middle of the ball, through the affine to the picture.
    view = View.turned(30)
    values = one.get_fdata()[..., 0]
    weights = (values + 1000) / (values + 1000).sum()
    index = [
        float((weights.sum(axis=1) * np.arange(size[0])).sum()),
        float((weights.sum(axis=0) * np.arange(size[1])).sum()),
    ]
    point = one.affine @ np.array([*index, 0, 1])
    found = point[:3] * [-1, -1, 1]
    for axis in (view.right, view.up):
        assert found @ axis == pytest.approx(np.dot((22, -12, 110), axis), abs=0.2)


def test_grey_is_what_the_sidecar_says(scan: Path, tmp_path: Path) -> None:
    output, values = tmp_path / "p.png", tmp_path / "v.nii"
    code, text = run(
        scan, output, values, "--bits", 16, "--window", 900, "--level", -550, "--fill", "linear"
    )
    assert code == 0, text
    with Image.open(output) as image:
        stored = np.asarray(image).astype(np.float64)
        assert image.mode == "I;16"
        assert 25.4 / image.info["dpi"][0] == pytest.approx(1.0, rel=1e-3)
    one = json.loads((tmp_path / "p.json").read_text())["projections"][0]
    assert (one["black"], one["white"]) == (-1000, -100)
    back = one["black"] + stored / 65535 * (one["white"] - one["black"])
    true = nib.load(values).get_fdata()[..., 0].T
    np.testing.assert_allclose(back, np.clip(true, -1000, -100), atol=0.01)
    assert Window(0, 10).grey(np.array([-5.0, 5.0, 15.0], np.float32)).tolist() == [0, 128, 255]


def test_a_sheet_has_its_panels_in_true_proportions(scan: Path, tmp_path: Path) -> None:
    output = tmp_path / "p.png"
    code, text = run(scan, output, "--angle", 0, "--angle", 90, "--fill", "linear", "--whole")
    assert code == 0, text
    with Image.open(output) as image:
        picture = np.asarray(image.convert("L")).astype(float)
        mm = 25.4 / image.info["dpi"][0]
    white = picture > 130
    count, _, stats, _ = cv2.connectedComponentsWithStats(white.astype(np.uint8))
    assert count > 2
    balls = sorted(stats[1:].tolist(), key=lambda s: -s[4])[:2]
    for _, _, width, height, _ in balls:
        assert width == pytest.approx(height, abs=2)
        assert 10 < width * mm < 18  # At half of the brightness; the ball has 18 mm.


def test_films_have_a_picture_a_view(scan: Path, tmp_path: Path) -> None:
    gif, mp4, sheet = tmp_path / "t.gif", tmp_path / "t.mp4", tmp_path / "sheet.png"
    code, text = run(scan, gif, mp4, sheet, "--angles", "0:180:30", "--fill", "linear")
    assert code == 0, text
    with Image.open(gif) as film:
        assert film.n_frames == 6
        width, height = film.size
    assert width % 2 == height % 2 == 0
    film_reader = cv2.VideoCapture(str(mp4))
    assert int(film_reader.get(cv2.CAP_PROP_FRAME_COUNT)) == 6
    ok, frame = film_reader.read()
    assert ok
    assert frame.shape[:2] == (height, width)
    assert sheet.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "sheet.json", "sheet.png", "t.gif", "t.json", "t.mp4",
    ]  # fmt: skip


def test_the_comparison_has_four_panels_and_says_so(scan: Path, tmp_path: Path) -> None:
    code, text = run(scan, tmp_path / "c.png", "--compare", "--fill", "cubic", "--json")
    assert code == 0, text
    result = json.loads(text)
    assert [one["fill"] for one in result["projections"]] == ["repeat", "linear", "none", "cubic"]
    assert result["fill"][2]["original"] == 18
    assert result["fill"][2]["slices"] == 52


def test_the_sidecar_describes_every_projection(scan: Path, tmp_path: Path) -> None:
    table = tmp_path / "w.csv"
    table.write_text("0,0\n1,1\n")
    code, text = run(
        scan, tmp_path / "p.png", "--mode", "sum", "--fill", "linear", "--weight", "k",
        "--weight", table, "--angle", 90,
    )  # fmt: skip
    assert code == 0, text
    result = json.loads((tmp_path / "p.json").read_text())
    one, two = result["projections"]
    assert (one["weight"], two["weight"]) == ("k", "w.csv")
    assert one["right_lps"] == [0, 1, 0]
    assert one["down_lps"] == [0, 0, -1]
    assert one["ray_lps"] == [-1, 0, 0]
    assert one["ray_length_mm"] == pytest.approx(48)
    # Rays run from left to right: from the last column's far edge, at LPS x = 10 + 24.
    assert one["ray_start_mm"] == pytest.approx(-34)
    assert one["highest"] == pytest.approx(two["highest"])
    assert (result["mode"], result["unit"]) == ("sum", "(HU + 1000) mm")
    assert result["source"]["slices"] == 18


def test_a_gaussian_about_the_ball_shows_it_and_another_does_not(
    scan: Path, tmp_path: Path
) -> None:
    peaks = []
    for point in ("22,-12,110", "0,-38,110"):
        code, text = run(
            scan, tmp_path / "p.nii", "--weight", "gaussian:0.1", "--centre-mm", point,
            "--fill", "linear", "--mode", "sum", "--overwrite",
        )  # fmt: skip
        assert code == 0, text
        peaks.append(nib.load(tmp_path / "p.nii").get_fdata().max())
    assert peaks[0] > 20 * peaks[1]


BAD: list[tuple[list[str], str]] = [
    (["p.jpg"], "cannot write '.jpg'"),
    (["p"], "choose a file name"),
    (["p.gif"], "--angles FROM:TO:STEP"),
    (["p.mp4", "--angle", "0", "--angle", "9", "--compare"], "--compare"),
    (["p.png", "--bits", "12"], "expected 8 or 16"),
    (["p.png", "--bits", "16", "--angle", "0", "--angle", "90"], "holds one projection"),
    (["p.png", "--plain", "--compare"], "holds one projection"),
    (["p.png", "--mode", "median"], "--mode"),
    (["p.png", "--angles", "0-90"], "FROM:TO:STEP"),
    (["p.png", "--euler", "1,2"], "A,B,C"),
    (["p.png", "--weight", "gauss"], "--weight"),
    (["p.png", "--weight", "k", "--centre-mm", "1,2,3"], "gaussian:SIGMA"),
    (["p.png", "--centre-mm", "1,2,3"], "--weight"),
    (["p.png", "--weight", "gaussian:0.1", "--centre-mm", "1,2"], "X,Y,Z"),
    (
        ["p.png", "--weight", "gaussian:0.1", "--centre-mm", "1,900,3", "--fill", "linear"],
        "outside",
    ),
    (["p.png", "--window", "100"], "--level"),
    (["p.png", "--level", "100"], "--window"),
    (["p.png", "--window", "-5", "--level", "0"], "above 0"),
    (["p.png", "--kev", "5"], "--kev"),
    (["p.png", "--fill", "magic"], "no method"),
    (["p.png", "--pixel-mm", "0"], "--pixel-mm"),
    (["p.png", "--fps", "0"], "--fps"),
    (["p.png", "--plain", "--compare", "--fill", "linear"], "one projection, not 3"),
    (["p.png", "p.png"], "two outputs"),
    (["none/p.png"], "does not exist"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD, ids=lambda v: " ".join(v)[:40])
def test_what_cannot_be_is_one_sentence(
    scan: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = run(scan, *arguments)
    assert code == 2
    assert message in text
    assert "\n" not in text.strip()
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_told_with_its_folder(scan: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "out" / name for name in ("p.png", "v.nii")]
    outputs[0].parent.mkdir()
    code, text = run(scan, *outputs, "--fill", "linear")
    assert code == 0, text
    assert [line for line in text.splitlines() if line.startswith("Written")] == [
        f"Written: {path}" for path in outputs
    ]
    code, text = run(scan, *outputs, "--fill", "linear", "--json", "--overwrite")
    assert json.loads(text)["outputs"] == [str(path) for path in outputs]
    told = json.loads(outputs[0].with_suffix(".json").read_text())
    assert told["outputs"] == ["p.png", "v.nii"]


@pytest.mark.parametrize(
    ("mode", "key", "words"),
    [("mean", "sums", "sixteenth of a voxel"), ("maximum", "extremes", "linearly between voxels")],
)
def test_the_sidecar_says_how_rays_pass_voxels(
    scan: Path, tmp_path: Path, mode: str, key: str, words: str
) -> None:
    code, text = run(scan, tmp_path / "p.nii", "--fill", "linear", "--mode", mode)
    assert code == 0, text
    protocol = json.loads((tmp_path / "p.json").read_text())["protocol"]
    assert words in protocol[key]
    assert {"sums", "extremes"} & set(protocol) == {key}


def test_a_wide_gap_is_told_with_the_option_that_the_command_has(tmp_path: Path) -> None:
    wide = rasterized(stack((4, 20, 20), spacing=(30.0, 1.0, 1.0)), ball(9))
    hrinet.write(wide, tmp_path / "wide.nii")
    code, text = run(tmp_path / "wide.nii", tmp_path / "p.nii", "--fill", "linear")
    assert code == 2
    assert text.endswith("times; fill it all the same with --max-gap 31")
    with pytest.raises(HrinetError, match="choose a part with --range, or fill it all the same"):
        hrinet.interpolate(wide, method="linear")


def test_existing_files_stay(scan: Path, tmp_path: Path) -> None:
    for name, said in (("p.png", "pass --overwrite"), ("p.json", "choose another name")):
        (tmp_path / name).write_text("mine")
        code, text = run(scan, tmp_path / "p.png", "--fill", "linear")
        assert code == 2
        assert said in text
        assert [path.name for path in tmp_path.iterdir()] == [name]
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_a_missing_input_is_one_sentence(tmp_path: Path) -> None:
    code, text = run(tmp_path / "none", tmp_path / "p.png")
    assert code == 2
    assert "no such file" in text


def test_defaults_are_the_coronal_mean() -> None:
    options = parse(
        angle=(), angles=None, euler=(), mode="mean", weight=(), centre_mm=None, fill="auto",
        compare=False, kev=60, window=None, level=None, pixel_mm=None, bits=8, plain=False,
        whole=False, fps=12, max_gap=None, threads=None, device="cpu", overwrite=False,
    )  # fmt: skip
    assert [view.angles for view in options.views] == [(0, 0, 0)]
    assert [weight.is_uniform for weight in options.weights] == [True]


def test_the_affine_of_a_view_is_its_plane(tmp_path: Path) -> None:
    volume = rasterized(stack((10, 20, 30), centre=(5, 6, 7)), ball(4, (5, 6, 7)))
    for view in (View.turned(0), View.turned(25, 40, -10)):
        (one,) = project(volume, [view])
        write_nifti(tmp_path / "p.nii", [one], compress=False)
        affine = nib.load(tmp_path / "p.nii").affine
        height, width = one.values.shape
        middle = affine @ np.array([(width - 1) / 2, (height - 1) / 2, 0, 1])
        np.testing.assert_allclose(middle[:3] * [-1, -1, 1], (5, 6, 7), atol=1e-4)
        np.testing.assert_allclose(affine[:3, 0] * [-1, -1, 1], view.right, atol=1e-6)
        np.testing.assert_allclose(affine[:3, 1] * [-1, -1, 1], -view.up, atol=1e-6)


def moments(volume: Volume) -> np.ndarray:
    """Covariance of what a sagittal sum shows: to the right, upwards, and both; mm^2."""
    (one,) = project(volume, [View.turned(90)], mode="sum", pixel_mm=1.0)
    rows, columns = np.mgrid[: one.values.shape[0], : one.values.shape[1]]
    weights = one.values.astype(np.float64) / one.values.sum(dtype=np.float64)
    return np.cov(columns.ravel(), -rows.ravel(), aweights=np.maximum(weights, 0).ravel())


def test_a_tilted_head_is_not_sheared() -> None:
    volume = hrinet.read(ct("cases/philips_tilt_phantom"))
    volume = Volume(
        np.ascontiguousarray(volume.array[:, ::2, ::2]),
        replace(
            volume.geometry,
            rows=256,
            columns=256,
            pixel_spacing=tuple(2 * v for v in volume.geometry.pixel_spacing),
        ),
    )
    assert volume.geometry.tilt_deg == pytest.approx(18.5, abs=0.01)
    shown = moments(fill_gaps(volume, "linear").volume)
    # Slices moved in their plane on another way: the same head.
    straight = moments(hrinet.interpolate(volume, method="linear", untilt=True))
    np.testing.assert_allclose(shown, straight, atol=0.01 * np.trace(straight))
    # As viewers draw it that ignore the tilt: another one.
    geometry = volume.geometry
    rise = geometry.positions_mm - geometry.positions_mm[0]
    ignored = replace(geometry, origins=geometry.origins[0] + rise[:, None] * geometry.normal)
    wrong = moments(fill_gaps(Volume(volume.array, ignored), "linear").volume)
    assert np.abs(wrong - straight).max() > 0.05 * np.trace(straight)

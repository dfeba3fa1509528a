"""Mesh files, pictures and the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import hrinet
from hrinet.errors import HrinetError, RequestError
from hrinet.io.loading import load
from hrinet.surface.structures import Structure, parse_structure
from hrinet.untilt import Untilted
from hrinet.volume import Volume
from real_data import ct
from surface_phantoms import LEVEL_HU, ball, geometry_of, patient, volume_of

pytest.importorskip("vtkmodules", reason="VTK, of the extra 'surface', is not installed")
pytest.importorskip("trimesh", reason="trimesh, of the extra 'surface', is not installed")

import trimesh

from hrinet.surface.distance import surface_distance
from hrinet.surface.extract import Shaping, extract_surface
from hrinet.surface.files import Part
from hrinet.surface.fill import filled_to_isotropic
from hrinet.surface.render import camera_for, render
from hrinet.surface.run import Options, Outputs, surface_file
from hrinet.surface.wording import describe_surfaces

LEVEL = Structure(name="250:", low=LEVEL_HU)
RADIUS = 12.0
VOLUME = 4 / 3 * np.pi * RADIUS**3
RANGES = {"250:600": "250 to 600 HU", ":250": "to 250 HU", "600:": "from 600 HU"}


@pytest.fixture(scope="module")
def scan(tmp_path_factory) -> Path:
    """A ball beside the middle, in a file."""
    geometry = geometry_of((14, 40, 44), gaps=2.5)
    volume = volume_of(geometry, lambda at: ball(RADIUS)(at - [4, 0, 0]), is_integer=True)
    path = tmp_path_factory.mktemp("scan") / "ball.nii"
    hrinet.write(volume, path)
    return path


def made(scan: Path, output: Path, **changed) -> dict:
    options = {"structures": (LEVEL,), "fill": "cubic"} | changed
    return surface_file(scan, Outputs(mesh=output), Options(**options))


@pytest.mark.parametrize("suffix", [".stl", ".obj", ".ply"])
@pytest.mark.parametrize("coordinates", ["lps", "ras"])
def test_files_open_in_trimesh_and_are_watertight(scan, tmp_path, suffix, coordinates):
    path = tmp_path / f"ball{suffix}"
    result = made(scan, path, coordinates=coordinates)
    mesh = trimesh.load(path)
    assert mesh.is_watertight
    assert mesh.is_winding_consistent
    assert mesh.volume == pytest.approx(VOLUME, rel=0.02)
    side = 1 if coordinates == "lps" else -1
    assert mesh.center_mass == pytest.approx([side * 4, 0, 0], abs=0.1)
    assert f"{coordinates.upper()} mm".encode() in path.read_bytes()
    assert result["surfaces"][0]["is_closed"]
    assert result["surfaces"][0]["volume_cm3"] == pytest.approx(mesh.volume / 1000, rel=1e-3)
    assert not list(tmp_path.glob(".*"))


def test_glb_holds_materials_and_stands_upright_in_metres(scan, tmp_path):
    path = tmp_path / "ball.glb"
    made(scan, path, structures=(LEVEL, parse_structure("600:")))
    scene = trimesh.load(path, process=False)
    names = {mesh.visual.material.name for mesh in scene.geometry.values()}
    assert names == {"250:", "600:"}
    colours = {tuple(mesh.visual.material.baseColorFactor) for mesh in scene.geometry.values()}
    assert len(colours) == 2
    assert scene.extents == pytest.approx(np.full(3, 2 * RADIUS / 1000), rel=0.02)
    assert scene.centroid == pytest.approx([0.004, 0, 0], abs=2e-4)  # x is the patient's left.
    mesh = scene.geometry["250:"]
    assert mesh.bounds[1] == pytest.approx([4 + RADIUS, RADIUS, RADIUS], abs=0.2)  # In mm, LPS.
    # A marker at the head and one in front go up (y) and towards the viewer (z).
    matrix, _ = scene.graph["250:"]
    assert matrix @ [0, 0, 1000, 1] == pytest.approx([0, 1, 0, 1])
    assert matrix @ [0, -1000, 0, 1] == pytest.approx([0, 0, 1, 1])


def test_vtp_names_its_structures(scan, tmp_path):
    from vtkmodules.util.numpy_support import vtk_to_numpy
    from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

    path = tmp_path / "ball.vtp"
    result = made(scan, path, structures=(LEVEL, parse_structure("600:")), coordinates="ras")
    reader = vtkXMLPolyDataReader()
    reader.SetFileName(str(path))
    reader.Update()
    data = reader.GetOutput()
    counts = np.bincount(vtk_to_numpy(data.GetCellData().GetArray("structure")))
    assert counts.tolist() == [one["triangles"] for one in result["surfaces"]]
    said = {
        name: [
            data.GetFieldData().GetAbstractArray(name).GetValue(k)
            for k in range(data.GetFieldData().GetAbstractArray(name).GetNumberOfValues())
        ]
        for name in ("structures", "unit", "coordinates")
    }
    assert said == {"structures": ["250:", "600:"], "unit": ["mm"], "coordinates": ["RAS"]}


def test_filling_first_takes_the_steps_away(scan, tmp_path):
    plain = made(scan, tmp_path / "a.stl", fill="none")
    filled = made(scan, tmp_path / "b.stl")
    assert plain["slices"] == 14
    assert filled["slices"] == 27
    assert filled["surfaces"][0]["staircase_index"] <= plain["surfaces"][0]["staircase_index"]


def test_a_picture_shows_the_surface_where_it_is():
    geometry = geometry_of((41, 50, 50))
    mesh = extract_surface(volume_of(geometry, ball(RADIUS)), LEVEL).mesh
    part = Part("250:", mesh, (1.0, 1.0, 1.0))
    front = camera_for([part], azimuth_deg=0, elevation_deg=0, aspect=1.0)
    assert front.letters == ("R", "L", "H", "F")
    left = camera_for([part], azimuth_deg=90, elevation_deg=0, aspect=1.0)
    assert left.letters == ("A", "P", "H", "F")
    above = camera_for([part], azimuth_deg=0, elevation_deg=80, aspect=1.0)
    assert above.letters == ("R", "L", "P", "A")
    try:
        (pictures,) = render([[part]], [front, left], width=120, height=120)
    except RequestError as error:
        pytest.skip(str(error))
    for picture in pictures:
        rows, columns = np.nonzero(picture[..., 0] > 20)
        size = 2 * RADIUS / front.height_mm * 120
        assert np.ptp(rows) == pytest.approx(size, abs=3)
        assert np.ptp(columns) == pytest.approx(size, abs=3)
        assert rows.mean() == pytest.approx(59.5, abs=1.5)


def test_no_way_to_draw_is_one_sentence(monkeypatch):
    from hrinet.surface import render as module

    monkeypatch.delenv("VTK_DEFAULT_OPENGL_WINDOW", raising=False)
    monkeypatch.setattr(module, "_WINDOWS", ())
    part = Part("x", extract_surface(patient(), parse_structure("bone")).mesh, (1, 1, 1))
    camera = camera_for([part], azimuth_deg=0, elevation_deg=0, aspect=1.0)
    with pytest.raises(RequestError, match="leave --compare out"):
        render([[part]], [camera], width=50, height=50)


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hrinet", "surface", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_command_writes_what_it_says(scan, tmp_path):
    report, picture = tmp_path / "report.json", tmp_path / "both.png"
    done = run(
        scan, tmp_path / "ball.stl", "--structure", "250:", "--fill", "linear", "--smooth", 10,
        "--decimate", 0.5, "--report", report, "--compare", picture,
    )  # fmt: skip
    if "needs OpenGL" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stderr
    assert "closed" in done.stdout
    assert "moved by" in done.stdout
    told = json.loads(report.read_text())
    assert told["surfaces"][0]["deviation_mm"]["hausdorff"] > 0
    assert told["unit"] == "mm"
    from PIL import Image

    with Image.open(picture) as image:
        assert np.asarray(image).std() > 10
    again = run(scan, tmp_path / "ball.stl", "--structure", "250:", "--fill", "linear")
    assert again.returncode == 2
    assert "pass --overwrite" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["out.xyz"], "cannot write '.xyz'"),
        (["out.stl", "--structure", "liver"], "--structure is 'liver'"),
        (["out.stl", "--structure", "bone", "--structure", "skin"], "holds one structure"),
        (["out.stl", "--structure", "5000:"], "holds no 5000:"),
        (["out.stl", "--coordinates", "xyz"], "--coordinates is 'xyz'"),
        (["out.stl", "--fill", "magic"], "no method 'magic'"),
        (["out.stl", "--decimate", "1.5"], "--decimate is 1.5"),
        (["out.stl", "--fill", "none", "--compare", "a.png"], "leave out --fill none"),
        (["out.stl", "--compare", "a.jpg"], "end its name in .png"),
        (["no/such/folder/out.stl"], "does not exist"),
    ],
)
def test_bad_arguments_are_one_sentence_and_leave_nothing(
    scan, tmp_path, monkeypatch, capsys, arguments, said
):
    from hrinet.commands import app

    monkeypatch.chdir(tmp_path)
    fast = [] if "--fill" in arguments else ["--fill", "linear"]
    monkeypatch.setattr(sys, "argv", ["hrinet", "surface", str(scan), *arguments, *fast])
    with pytest.raises(SystemExit) as ended:
        app.main()
    told = capsys.readouterr().err.strip()
    assert ended.value.code == 2
    assert said in told
    assert len(told.splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_a_wide_gap_is_told_with_the_option_that_the_command_has(tmp_path):
    wide = volume_of(geometry_of((5, 40, 44), gaps=30.0), ball(RADIUS), is_integer=True)
    hrinet.write(wide, tmp_path / "wide.nii")
    with pytest.raises(RequestError, match=r"times; fill it all the same with --max-gap 31$"):
        made(tmp_path / "wide.nii", tmp_path / "a.stl", fill="linear")
    arguments = [tmp_path / "wide.nii", tmp_path / "a.stl", "--structure", "250:", "--fill"]
    done = run(*arguments, "linear", "--max-gap", 31)
    assert done.returncode == 0, done.stderr
    assert "\n  from 250 HU: " in done.stdout


def test_a_range_is_told_in_words(scan, tmp_path):
    result = made(scan, tmp_path / "a.vtp", structures=tuple(map(parse_structure, RANGES)))
    told = describe_surfaces(result)
    for words in RANGES.values():
        assert f"\n  {words}: " in told
    assert "::" not in told


def test_a_mesh_of_a_tilted_scan_says_nothing_of_an_affine():
    tilted = volume_of(geometry_of((9, 40, 44), gaps=2.5, shear=(0.0, 0.3)), ball(RADIUS))
    assert any(
        "--untilt" in note for note in hrinet.interpolate(tilted, method="linear").info.notes
    )
    assert not any("--untilt" in note for note in filled_to_isotropic(tilted, method="linear")[2])


def test_a_single_slice_is_refused(tmp_path):
    one = Volume(array=np.zeros((1, 8, 8), np.int16), geometry=geometry_of((1, 8, 8)))
    hrinet.write(one, tmp_path / "one.nii")
    with pytest.raises(HrinetError, match="single slice"):
        made(tmp_path / "one.nii", tmp_path / "one.stl")
    assert not (tmp_path / "one.stl").exists()


def test_the_tilted_head_of_a_phantom_is_not_sheared():
    """Its surface lies where that of the same slices lies after every one was moved straight."""
    volume = hrinet.read(ct("cases/philips_tilt_phantom"))
    geometry = volume.geometry
    assert np.hypot(*geometry.shear) * np.ptp(geometry.positions_mm) > 5  # mm, if it were ignored.
    straight = load(Untilted(volume))
    assert straight.geometry.tilt_deg < 0.01
    shaping = Shaping(largest=1, is_closed=False)
    one, other = (
        extract_surface(v, parse_structure("0:"), shaping=shaping).mesh for v in (volume, straight)
    )
    found = surface_distance(one, other, samples=4000)
    assert found.mean_mm < 0.1
    assert found.hausdorff95_mm < 0.4


@pytest.mark.parametrize("fill", ["none", "cubic"])
@pytest.mark.parametrize("limit", [-5.0, 0.0, float("nan")])
def test_an_impossible_limit_is_refused_before_anything_is_read(tmp_path, fill, limit):
    with pytest.raises(RequestError, match="--max-gap must be a positive number of mm"):
        made(tmp_path / "absent.nii", tmp_path / "ball.stl", fill=fill, max_gap_mm=limit)

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import asdict

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning_fabric")

from PIL import Image  # noqa: E402

import hrinet  # noqa: E402
from hrinet.errors import InputError, RequestError  # noqa: E402
from hrinet.explore.cases import CASES, parse_cases, require_torch_extra  # noqa: E402
from hrinet.explore.run import Options, explore  # noqa: E402
from hrinet.networks.family import ModelConfig, build  # noqa: E402
from hrinet.train.caching import build_cache  # noqa: E402
from hrinet.train.loop import train  # noqa: E402
from hrinet.train.manifest import Entry, Manifest  # noqa: E402
from hrinet.weights import packaged_weights  # noqa: E402
from hrinet.weights.files import save_weights  # noqa: E402
from train_tools import make_cache, tiny  # noqa: E402

FLOW = packaged_weights("hrinet-flow")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Scans ``a.nii``..., their ``cache``, and a finished ``run``."""
    folder = tmp_path_factory.mktemp("explore")
    train(tiny(make_cache(folder), folder / "run", strip_every=2))
    (folder / "begun").mkdir()
    (folder / "begun" / "log.jsonl").touch()
    return folder


def written(folder):
    return {path.name for path in folder.iterdir()}


def save_random(path, name, **changes):
    model = ModelConfig(**{"size": 64, "width": 2, **changes})
    described = {
        **{"name": name, "model": asdict(model), "window_hu": [-1024, 3071], "steps": 0},
        **{"steps_planned": 0, "scans": 0, "patients": 0, "collections": []},
    }
    save_weights(path, build(model).generator.state_dict(), described)
    return path


def test_a_filled_scan_is_not_shown_as_a_measured_one(root, tmp_path):
    filled = tmp_path / "filled.nii"
    scan = hrinet.read(root / "a.nii")
    hrinet.write(hrinet.interpolate(scan, factor=2, method="linear"), filled)
    with pytest.raises(RequestError, match=r"filled\.nii: holds \d+ synthetic slices of HRINet"):
        explore(root / "run", filled, tmp_path / "out", Options(cases=("strips",)))
    assert not (tmp_path / "out").exists()


def test_everything_from_a_run_and_a_scan(root, tmp_path):
    out = tmp_path / "new" / "out"
    other = save_random(tmp_path / "other.safetensors", "ae", mixing="one", d1=False, d2=False)
    files = explore(root / "run", root / "a.nii", out, Options(beside=(other,)))
    names = [*CASES, "mixed"]
    expected = {f"{n}.png" for n in names} | {"features.md", "strips.md", "explore.json"}
    assert written(out) == expected
    assert {path.name for path in files} == expected
    facts = json.loads((out / "explore.json").read_text())
    assert facts["model"]["name"] == "hrinet-mse"
    assert facts["grid"]["corners"] == ["slice 1", "slice 4", "slice 7", "slice 10"]
    assert set(facts["strips"]["psnr_db"]) == {"linear", "cubic", "hrinet-mse", "ae"}
    assert str(root) not in json.dumps(facts)
    for name in names:
        with Image.open(out / f"{name}.png") as image:
            assert np.asarray(image.convert("L")).std() > 5


def test_a_file_of_weights_has_no_progress_and_a_cache_will_do(root, tmp_path):
    weights = root / "run" / "weights.safetensors"
    explore(weights, root / "cache", tmp_path / "out", Options())
    assert "progress.png" not in written(tmp_path / "out")
    facts = json.loads((tmp_path / "out" / "explore.json").read_text())
    # The scan to validate on, and no other.
    assert facts["grid"]["corners"] == [f"v.nii slice {k}" for k in (1, 4, 7, 10)]
    assert facts["strips"]["slices"].startswith("v.nii slices ")


def test_the_same_input_gives_the_same_pictures_from_scan_and_cache(root, tmp_path):
    weights = root / "run" / "weights.safetensors"
    options = Options(cases=("features", "samples"), at=3)
    for name, source in (("one", "v.nii"), ("two", "cache")):
        explore(weights, root / source, tmp_path / name, options)
    one, two = (json.loads((tmp_path / n / "explore.json").read_text()) for n in ("one", "two"))
    assert one["features"]["shapes"] == two["features"]["shapes"]
    pictures = [Image.open(tmp_path / n / "samples.png") for n in ("one", "two")]
    first, second = (np.asarray(picture, np.int16) for picture in pictures)
    assert np.abs(first - second).max() <= 3  # the cache rounds to 16 bits


@pytest.mark.parametrize(
    ("slices", "missing"), [(2, {"grid", "strips"}), (3, {"grid"}), (4, set())]
)
def test_a_short_scan_has_what_it_is_enough_for(root, tmp_path, slices, missing):
    whole = hrinet.read(root / "a.nii")
    hrinet.write(whole.subset(range(slices)), tmp_path / "short.nii")
    weights = root / "run" / "weights.safetensors"
    explore(weights, tmp_path / "short.nii", tmp_path / "out", Options())
    drawn = set(json.loads((tmp_path / "out" / "explore.json").read_text())["cases"])
    assert drawn == set(CASES) - {"progress"} - missing
    assert {f"{case}.png" for case in drawn} <= written(tmp_path / "out")
    for case in missing:  # asked for by name, it is an error
        with pytest.raises(RequestError, match="leave the case out with --cases"):
            explore(weights, tmp_path / "short.nii", tmp_path / "no", Options(cases=(case,)))
    if "strips" in missing:
        with pytest.raises(RequestError, match="Strips need three slices"):
            beside = Options(beside=(weights,))
            explore(weights, tmp_path / "short.nii", tmp_path / "no", beside)


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"weights": "none.safetensors"}, InputError, "does not exist; expected a .safetensors"),
        ({"weights": "cache"}, InputError, r"holds no weights\.safetensors"),
        ({"weights": "begun"}, InputError, "has written no weights yet"),
        ({"weights": "run/weights.json"}, InputError, r"give .*run/weights\.safetensors"),
        ({"weights": FLOW}, InputError, "are of hrinet-flow, not of the family"),
        ({"input": "none"}, InputError, "no such file"),
        ({"input": "run/strips"}, InputError, "no DICOM|not DICOM|no CT"),
        ({"folder": "a.nii"}, RequestError, "is a file, expected a folder"),
        ({"at": 12}, RequestError, "--slice is 12; the scan has slices 0 to 11"),
        ({"at": -1}, RequestError, "--slice is -1"),
        ({"seed": 2**63}, RequestError, "--seed is 9223372036854775808"),
        ({"beside": ("none",)}, InputError, "does not exist"),
        ({"cases": ("progress",)}, RequestError, "needs that of a training"),
        ({"cases": ("grid",), "beside": ("run",)}, RequestError, "--cases leaves out"),
    ],
)
def test_bad_input_leaves_nothing(root, tmp_path, change, error, words):
    folder = root / change["folder"] if "folder" in change else tmp_path / "out"
    options = Options(
        cases=change.get("cases", ()),
        at=change.get("at"),
        seed=change.get("seed", 0),
        beside=tuple(root / name for name in change.get("beside", ())),
    )
    weights = root / change.get("weights", "run/weights.safetensors")
    with pytest.raises(error, match=words) as caught:
        explore(weights, root / change.get("input", "a.nii"), folder, options)
    assert caught.value.exit_code == 2
    assert not (tmp_path / "out").exists()


def test_existing_pictures_are_kept_unless_told_otherwise(root, tmp_path):
    weights, options = root / "run" / "weights.safetensors", Options(cases=("grid",))
    (tmp_path / "explore.json").write_text("mine")
    with pytest.raises(RequestError, match="exists already"):
        explore(weights, root / "a.nii", tmp_path, options)
    assert written(tmp_path) == {"explore.json"}
    assert (tmp_path / "explore.json").read_text() == "mine"
    explore(weights, root / "a.nii", tmp_path, Options(cases=("grid",), overwrite=True))
    assert written(tmp_path) == {"explore.json", "grid.png"}


def test_a_cache_of_another_window_is_refused(root, tmp_path):
    entry = Entry(path="a.nii", patient="a", split="train", collection="", licence="")
    build_cache(
        Manifest(root=root, entries=(entry,)), tmp_path / "narrow", size=64, window=(-160, 240)
    )
    with pytest.raises(RequestError, match="was made with the window"):
        explore(root / "run", tmp_path / "narrow", tmp_path / "out", Options(cases=("grid",)))


def test_colour_models_are_refused(root, tmp_path):
    weights = save_random(tmp_path / "rgb.safetensors", "rgb", in_channels=3)
    with pytest.raises(RequestError, match="3 channels"):
        explore(weights, root / "a.nii", tmp_path / "out", Options())


def test_names_of_cases():
    assert parse_cases(None) == ()
    assert parse_cases("strips, grid") == ("grid", "strips")
    with pytest.raises(RequestError, match="there is no 'gird'; choose from grid, samples"):
        parse_cases("gird")


def test_what_has_to_be_installed(monkeypatch):
    require_torch_extra()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RequestError, match=r"needs torch and safetensors.*'hrinet\[torch\]'"):
        require_torch_extra()


def test_the_commands(root, tmp_path):
    def hrinet(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "hrinet", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120)

    out = tmp_path / "out"
    done = hrinet("explore", root / "run", root / "a.nii", out, "--cases", "grid,progress")
    assert done.returncode == 0
    assert f"Written: {out / 'grid.png'}" in done.stdout
    assert written(out) == {"grid.png", "progress.png", "explore.json"}
    done = hrinet("explore", root / "run", root / "none.nii", tmp_path / "no")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "no").exists()
    done = hrinet("curves", root / "run", tmp_path / "curves.png")
    assert done.returncode == 0
    assert (tmp_path / "curves.png").stat().st_size > 1000
    done = hrinet("curves", root / "cache", tmp_path / "none.png")
    assert done.returncode == 2
    assert "expected the output of a training" in done.stderr
    assert not (tmp_path / "none.png").exists()

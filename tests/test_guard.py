"""No command destroys what it reads, with ``--overwrite`` or without."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

import hrinet
from dicom_builder import enhanced, phantom, plane, save, write_series
from dicom_tools import patient
from hrinet.commands import app
from hrinet.errors import RequestError
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.guard import refuse_inputs
from hrinet.job import Options
from hrinet.outputs import Outputs, check_outputs
from hrinet.volume import SourceInfo

SHAPE = (4, 12, 10)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, byte for byte."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def home(tmp_path, monkeypatch, thick):
    """Scans of every kind in the current folder."""
    monkeypatch.chdir(tmp_path)
    write_series(Path("ct"), phantom(SHAPE), bits_stored=12, **patient())
    # Named as this program names its files.
    write_series(Path("numbered"), phantom(SHAPE), prefix="0", series="1.2.8", **patient())
    Path("single").mkdir()
    save(enhanced(phantom(SHAPE), [plane(5.0 * k) for k in range(4)]), Path("single/scan.dcm"))
    with zipfile.ZipFile("z.zip", "w") as archive:
        for path in sorted(Path("ct").iterdir()):
            archive.write(path)
    hrinet.write(hrinet.read("ct"), "like.nii.gz")  # Lies where ct lies.
    for name in ("z.nii.gz", "z.nrrd", "z.mha"):
        hrinet.write(thick, name)
        Path("z.json").unlink()
    data = Path("z.mha").read_bytes()
    start = data.index(b"LOCAL\n") + 6
    Path("apart.mhd").write_bytes(data[:start].replace(b"LOCAL", b"apart.raw"))
    Path("apart.raw").write_bytes(data[start:])
    Path("link.nii.gz").symlink_to("z.nii.gz")
    Path("linked").symlink_to("ct")
    return tmp_path


@pytest.fixture
def call(monkeypatch, capsys):
    """Run a command in this process; its exit code and what it says on standard error."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def run(line: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["hrinet", *line.split()])
        with pytest.raises(SystemExit) as left:
            app.main()
        return int(left.value.code or 0), capsys.readouterr().err

    return run


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("interpolate ct ct", "is the input's folder, lies in it or holds it"),
        ("interpolate numbered numbered", "is the input's folder, lies in it or holds it"),
        ("interpolate ct linked", "is the input's folder, lies in it or holds it"),
        ("interpolate ct ct/../ct", "is the input's folder, lies in it or holds it"),
        ("interpolate ct ct/out", "is the input's folder, lies in it or holds it"),
        ("interpolate ct .", "give the folder of the derived series a name"),
        ("interpolate single/scan.dcm single", "is the input's folder, lies in it or holds it"),
        ("interpolate like.nii.gz ct --like ct", "is the input's folder, lies in it or holds it"),
        ("interpolate like.nii.gz numbered --like ct", "holds '0001.dcm', which is no part of"),
        ("interpolate z.nii.gz numbered", "holds '0001.dcm', which is no part of such an output"),
        ("interpolate z.zip z.zip", "z.zip: is the input, which would be lost"),
        ("interpolate like.nii.gz z.zip --like z.zip", "z.zip: is the input, which would be lost"),
        ("interpolate z.nii.gz z.nii.gz", "z.nii.gz: is the input, which would be lost"),
        ("interpolate z.nii.gz ./link.nii.gz", "is the input, which would be lost"),
        ("interpolate link.nii.gz z.nii.gz", "is the input, which would be lost"),
        ("interpolate z.nrrd z.nrrd", "is the input, which would be lost"),
        ("interpolate z.nii.gz o.nii.gz --report z.nii.gz", "is the input, which would be lost"),
        ("interpolate z.nii.gz o.nii.gz --uncertainty z.nii.gz", "is the input, which would be"),
        ("interpolate z.nii.gz o.nii.gz --preview z.nii.gz", "--preview draws a PNG"),
        ("interpolate ct o.nii.gz --report ct/s001.dcm", "is a DICOM file in the input's folder"),
        ("interpolate apart.mhd o.nii --report apart.raw", "is the input, which would be lost"),
        ("interpolate apart.mhd o.nii --report apart.mhd", "is the input, which would be lost"),
        ("project z.nii.gz z.nii.gz", "z.nii.gz: is the input, which would be lost"),
        ("project z.nii.gz p.png link.nii.gz", "link.nii.gz: is the input, which would be lost"),
        ("surface z.nii.gz m.stl --report z.nii.gz", "is the input, which would be lost"),
        ("surface ct m.stl --report ct/s001.dcm", "is a DICOM file in the input's folder"),
    ],
)
def test_the_source_survives_overwrite(home, call, line, message):
    if line.startswith("surface"):
        pytest.importorskip("vtkmodules")
    before = contents(home)
    assert "ct/s001.dcm" in before
    code, said = call(f"{line} --overwrite")
    assert contents(home) == before
    assert code == 2, said
    assert message in " ".join(said.split())
    assert said.startswith("hrinet: ")
    assert len(said.strip().splitlines()) == 1


def test_a_file_without_a_suffix_is_guarded_too(home, call):
    Path("single/scan.dcm").rename("single/SCAN")
    before = contents(home)
    for line in ("single/SCAN single/SCAN", "single/SCAN o.nii --report single/SCAN"):
        assert call(f"interpolate {line} --overwrite")[0] == 2
    assert contents(home) == before


def test_a_report_without_a_suffix_is_no_series(home, call):
    line = "interpolate ct ct/in.nii.gz --factor 2 --method linear --report ct/notes"
    assert call(line)[0] == 0
    assert b'"method": "linear"' in contents(home)["ct/notes"]
    Path("ct/s001.dcm").rename("ct/s001")
    before = contents(home)
    for report, message in (("ct", "is the input"), ("ct/s001", "is a DICOM file in the input's")):
        code, said = call(f"{line.replace('ct/notes', report)} --overwrite")
        assert code == 2
        assert message in " ".join(said.split())
        assert contents(home) == before


@pytest.mark.parametrize("name", ["ct", "numbered", "z.nii.gz", "z.zip"])
def test_a_volume_in_memory_does_not_replace_what_it_was_read_from(home, name):
    before = contents(home)
    volume = hrinet.read(name)
    for one in (volume, hrinet.interpolate(volume, factor=2, method="linear")):
        with pytest.raises(RequestError, match=r"is the input"):
            hrinet.write(one, name, overwrite=True)
    assert contents(home) == before


@pytest.mark.parametrize("name", ["ct", "z.nii.gz", "link.nii.gz"])
def test_nor_after_the_current_folder_has_changed(home, monkeypatch, name):
    volume = hrinet.read(name)
    before = contents(home)
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    for one in (volume, hrinet.interpolate(volume, factor=2, method="linear")):
        with pytest.raises(RequestError, match=r"is the input"):
            hrinet.write(one, home / name, overwrite=True)
    assert contents(home) == before
    if name == "ct":  # Its headers are found where they were.
        hrinet.write(volume, "copy")
        assert (hrinet.read("copy").array == volume.array).all()


def test_a_volume_is_read_where_there_is_no_current_folder(home, monkeypatch):
    Path("gone").mkdir()
    monkeypatch.chdir("gone")
    Path("../gone").rmdir()
    volume = hrinet.read(home / "z.nii.gz")
    hrinet.write(volume, home / "o.nii")
    with pytest.raises(RequestError, match="is the input"):
        hrinet.write(volume, home / "z.nii.gz", overwrite=True)


def test_a_volume_in_memory_does_not_replace_the_series_it_is_like(home):
    before = contents(home)
    filled = hrinet.interpolate(hrinet.read("like.nii.gz"), factor=2, method="linear")
    with pytest.raises(RequestError, match="is the input's folder"):
        hrinet.write(filled, "ct", overwrite=True, dicom=DicomOptions(like=Path("ct")))
    assert contents(home) == before


def test_outputs_of_this_program_are_replaced(home, call):
    for line in (
        "interpolate ct out --factor 2 --method linear",
        "interpolate ct out2 --factor 2 --method linear --enhanced",
        "interpolate ct ct/in.nii.gz --factor 2 --method linear --report ct/r.json",
        "interpolate z.nii.gz o.nrrd --factor 2 --method linear",
    ):
        assert call(line)[0] == 0
        first = contents(home)
        code, said = call(line)
        assert code == 2
        assert "pass --overwrite (in Python overwrite=True)" in said
        assert call(f"{line} --overwrite")[0] == 0
        assert contents(home).keys() == first.keys()
    assert "ct/s001.dcm" in contents(home)


def test_a_volume_without_a_file_may_go_anywhere(home, thick):
    hrinet.write(thick, "o.nii")
    hrinet.write(thick, "o.nii", overwrite=True)
    gone = replace(thick, info=SourceInfo(path="nothing/here.nii"))
    hrinet.write(gone, "o.nii", overwrite=True)
    assert (hrinet.read("o.nii").array == thick.array).all()


def test_places_are_compared_not_names(home):
    refuse_inputs([Path("o.nii"), Path("ct/o.nii"), Path("ct/o.zip")], ["ct", None, "", "none"])
    refuse_inputs([], ["ct"], folders=[Path("single")])
    with pytest.raises(RequestError, match="is the input, which"):
        refuse_inputs([Path("nothing/../z.nii.gz")], ["z.nii.gz"])
    for output, source in (
        ("linked/out", "ct"),
        (str(home / "ct"), "linked"),
        ("ct", "ct/s001.dcm"),
    ):
        with pytest.raises(RequestError, match="is the input's folder"):
            refuse_inputs([], [source], folders=[Path(output)])


def test_weights_are_inputs_too(home):
    Path("w.safetensors").write_bytes(b"weights")
    Path("w.json").write_text("{}")
    options = Options(weights=Path("w.safetensors"))
    Path("w-encoder.onnx").write_bytes(b"graph")
    Path("w-decoder.onnx").write_bytes(b"graph")
    for report in ("w.safetensors", "w.json", "w-encoder.onnx", "w-decoder.onnx"):
        outputs = Outputs(volume=Path("o.nii"), report=Path(report), overwrite=True)
        with pytest.raises(RequestError, match=f"{report}: is the input, which would be lost"):
            check_outputs(Path("z.nii.gz"), outputs, options)

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from conftest import make_geometry
from hrinet.errors import InputError, RequestError
from hrinet.io.dicom_options import DicomOptions
from hrinet.io.formats import (
    VOLUME_SUFFIXES,
    check_writable,
    is_dicom_output,
    is_folder,
    open_scan,
    read,
    volume_suffix,
    write,
)
from hrinet.volume import Volume


@pytest.mark.parametrize("suffix", VOLUME_SUFFIXES)
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_round_trip(tmp_path, thick, suffix, dtype):
    volume = thick if dtype is np.int16 else thick.widened()
    path = tmp_path / f"x{suffix}"
    write(volume, path)
    back = read(path)
    assert back.dtype == dtype
    assert np.array_equal(back.array, volume.array)
    assert np.allclose(back.geometry.affine_lps, volume.geometry.affine_lps, atol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["x.json", path.name])


def test_suffixes():
    assert volume_suffix(Path("A.NII.GZ")) == ".nii.gz"
    assert volume_suffix(Path("a.mhd")) == ".mhd"
    assert volume_suffix(Path("a.mhd"), of=VOLUME_SUFFIXES) is None
    assert volume_suffix(Path("a.png")) is None


@pytest.mark.parametrize(
    ("name", "suffix"), [("out", ""), ("out.zip", ".zip"), ("folder/", ""), ("1.2.826.0", "")]
)
def test_a_folder_or_a_zip_is_a_dicom_series(tmp_path, name, suffix):
    path = tmp_path / name
    assert is_dicom_output(path)
    assert check_writable(path, make_geometry([0, 5, 12])) == suffix
    assert is_folder(path) == (suffix == "")


def test_a_folder_needs_a_name():
    with pytest.raises(RequestError, match="a name of its own"):
        check_writable(Path(".."))


@pytest.mark.parametrize("name", ["out.png", "out.dcm", "out.mhd", "out.gz"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(RequestError, match=r"cannot write .*choose one of \.nii"):
        check_writable(tmp_path / name)


def test_uneven_and_sheared_volumes_are_refused_where_they_do_not_fit():
    with pytest.raises(RequestError, match=r"uneven distances \(5 to 7 mm\)"):
        check_writable(Path("x.nii"), make_geometry([0, 5, 12]))
    sheared = make_geometry([0, 5, 10], shear=(0.0, 0.3))
    assert check_writable(Path("x.nii"), sheared) == ".nii"
    with pytest.raises(RequestError, match=r"sheared by 16.70 degrees .* --untilt"):
        check_writable(Path("x.mha"), sheared)


def test_a_refused_write_leaves_nothing(tmp_path):
    geometry = make_geometry([0, 5, 12])
    volume = Volume(array=np.zeros(geometry.shape, np.int16), geometry=geometry)
    with pytest.raises(RequestError):
        write(volume, tmp_path / "x.nii")
    assert list(tmp_path.iterdir()) == []


def test_existing_files_are_kept(tmp_path, thick):
    (tmp_path / "x.nii").write_bytes(b"mine")
    with pytest.raises(RequestError, match="exists already"):
        write(thick, tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes() == b"mine"
    assert not (tmp_path / "x.json").exists()
    write(thick, tmp_path / "x.nii", overwrite=True)
    assert np.array_equal(read(tmp_path / "x.nii").array, thick.array)


def test_missing_input(tmp_path):
    with pytest.raises(InputError, match="no such file or folder"):
        open_scan(tmp_path / "nothing.nii")


def test_series_is_only_for_dicom(tmp_path, thick):
    write(thick, tmp_path / "x.nii")
    with pytest.raises(RequestError, match=r"--series selects a DICOM series"):
        open_scan(tmp_path / "x.nii", series="1.2.3")


def test_options_of_dicom_are_for_dicom(tmp_path, thick):
    with pytest.raises(RequestError, match=r"no DICOM output, for which --compress is"):
        write(thick, tmp_path / "x.nii", dicom=DicomOptions(compress="rle"))
    assert list(tmp_path.iterdir()) == []

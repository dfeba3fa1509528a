from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from conftest import make_geometry
from hrinet.errors import GeometryError, InputError
from hrinet.volume import Provenance, SourceInfo, Uncertainty, Volume


def test_a_volume_is_read_only_and_knows_its_slices(thick):
    assert thick.shape == (7, 12, 10)
    assert [entry.source for entry in thick.provenance] == list(range(7))
    assert not any(entry.is_synthetic for entry in thick.provenance)
    with pytest.raises(ValueError, match="read-only"):
        thick.array[0, 0, 0] = 1


def test_the_callers_array_stays_writable():
    array = np.zeros((2, 12, 10), np.int16)
    Volume(array=array, geometry=make_geometry([0, 5]))
    array[0, 0, 0] = 1
    assert array[0, 0, 0] == 1


@pytest.mark.parametrize(
    ("array", "provenance", "message"),
    [
        (np.zeros((3, 12, 10), np.int16), (), "geometry describes"),
        (np.zeros((12, 10), np.int16), (), "geometry describes"),
        (np.zeros((2, 12, 10), np.float64), (), "float64"),
        (np.zeros((2, 12, 10), np.int16), (Provenance(source=0),), "1 provenance entries"),
    ],
)
def test_contradictions_are_refused(array, provenance, message):
    with pytest.raises(InputError, match=message):
        Volume(array=array, geometry=make_geometry([0, 5]), provenance=provenance)


def test_widened_keeps_values(thick):
    wide = thick.widened()
    assert wide.dtype == np.float32
    assert np.array_equal(wide.array, thick.array)


def test_a_subset_keeps_what_belongs_to_its_slices(thick):
    values = np.arange(thick.array.size, dtype=np.float32).reshape(thick.shape)
    doubted = replace(thick, uncertainty=Uncertainty(values, 2 * values), padding_hu=-2000.0)
    part = doubted.subset(range(1, 7, 2))
    assert np.array_equal(part.array, thick.array[1:7:2])
    assert np.array_equal(part.geometry.positions_mm, thick.geometry.positions_mm[1:7:2])
    assert np.array_equal(part.geometry.origins, thick.geometry.origins[1:7:2])
    assert [entry.source for entry in part.provenance] == [1, 3, 5]
    assert part.padding_hu == -2000.0
    assert part.info is thick.info
    assert part.uncertainty is not None
    assert np.array_equal(part.uncertainty.half_width_90, 2 * values[1:7:2])


def test_a_subset_goes_one_way(thick):
    with pytest.raises(GeometryError):
        thick.subset([1, 3, 2])


def test_where_a_volume_came_from_is_no_matter_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    info = SourceInfo(path="x.nii")
    assert replace(info, notes=("read",)).location == info.location == str(tmp_path / "x.nii")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert info.location == str(tmp_path / "x.nii")
    assert SourceInfo(path="x.nii") == info
    assert SourceInfo(path=str(tmp_path)).location == str(tmp_path)
    assert SourceInfo().location == ""

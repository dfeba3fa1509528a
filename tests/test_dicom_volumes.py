"""Sorting frames into stacks: order, gaps, tilt, doubles, phases, several volumes."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicom_builder import phantom, slice_dataset, stack, write_series, write_slice
from hrinet.errors import GeometryError, InputError
from hrinet.io.formats import open_scan


def hu(array: np.ndarray) -> np.ndarray:
    return array.astype(np.int16) - 1024


def points(
    positions: np.ndarray, orientation: np.ndarray, shear: tuple[float, float]
) -> np.ndarray:
    normal = np.cross(orientation[:3], orientation[3:])
    step = normal + shear[0] * orientation[:3] + shear[1] * orientation[3:]
    return np.array([10.0, -20.0, 30.0]) + np.asarray(positions)[:, None] * step


def test_order_and_gaps_come_from_positions_alone(tmp_path: Path) -> None:
    array = phantom((5, 12, 10))
    positions = [0.0, 1.1, 2.2, 8.0, 9.1]
    for index, (values, z) in enumerate(zip(array, positions, strict=True)):
        write_slice(
            tmp_path / f"{(index * 3) % 5}.dcm", values, (0, 0, z), number=100 - 7 * (index % 3),
            uid=f"1.2.{index}", SliceLocation=-z * 3, SpacingBetweenSlices=-2.5,
        )  # fmt: skip
    scan = open_scan(tmp_path)
    np.testing.assert_allclose(scan.geometry.gaps_mm, [1.1, 1.1, 5.8, 1.1], atol=1e-9)
    np.testing.assert_array_equal(stack(scan), hu(array))
    assert scan.source_ids == tuple(f"1.2.{k}" for k in range(5))


def test_missing_slices_stay_a_gap(tmp_path: Path) -> None:
    paths = write_series(tmp_path, phantom((8, 6, 6)))
    for k in (3, 4):
        paths[k].unlink()
    np.testing.assert_allclose(open_scan(tmp_path).geometry.gaps_mm, [5, 5, 15, 5, 5])


@pytest.mark.parametrize("degrees", [-18.5, -3.0, 0.0, 12.0])
@pytest.mark.parametrize("tag", [0.0, -30.0, 25.0])
def test_tilt_comes_from_geometry(tmp_path: Path, degrees: float, tag: float) -> None:
    angle = np.radians(degrees)
    orientation = np.array([1, 0, 0, 0, np.cos(angle), -np.sin(angle)])
    along_table = np.array([[0.0, -40.0, 4.0 * k] for k in range(6)])
    write_series(
        tmp_path, phantom((6, 6, 6)), along_table, orientation=orientation, GantryDetectorTilt=tag
    )
    geometry = open_scan(tmp_path).geometry
    assert geometry.tilt_deg == pytest.approx(abs(degrees), abs=1e-5)
    np.testing.assert_allclose(geometry.gaps_mm, 4 * np.cos(angle), atol=1e-6)
    np.testing.assert_allclose(geometry.origins, along_table, atol=1e-9)


ORIENTATIONS = {
    "axial": (1, 0, 0, 0, 1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "flipped": (-1, 0, 0, 0, 1, 0),
    "oblique": (0.8, 0.6, 0, -0.36, 0.48, 0.8),
}


@pytest.mark.parametrize("name", ORIENTATIONS)
@pytest.mark.parametrize("is_reversed", [False, True])
def test_any_plane_and_file_order(tmp_path: Path, name: str, is_reversed: bool) -> None:
    orientation = np.array(ORIENTATIONS[name], dtype=float)
    array = phantom((4, 6, 8))
    origins = points(np.arange(4) * 2.5, orientation, (0, 0))
    if is_reversed:
        write_series(tmp_path, array[::-1], origins[::-1], orientation=orientation)
    else:
        write_series(tmp_path, array, origins, orientation=orientation)
    scan = open_scan(tmp_path)
    np.testing.assert_allclose(scan.geometry.origins, origins, atol=1e-6)
    np.testing.assert_allclose(scan.geometry.row_direction, orientation[:3], atol=1e-9)
    np.testing.assert_allclose(scan.geometry.column_direction, orientation[3:], atol=1e-9)
    assert scan.geometry.pixel_spacing == (0.7, 0.8)
    np.testing.assert_array_equal(stack(scan), hu(array))


def test_several_series_are_listed_and_chosen(tmp_path: Path) -> None:
    array = phantom((6, 8, 8))
    write_series(tmp_path / "a", array, series="1.1", SeriesDescription="thin")
    write_series(tmp_path / "b", array[:3] + 1, series="1.2")
    write_series(
        tmp_path / "c", phantom((9, 8, 8)), series="1.3",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
    )  # fmt: skip
    scan = open_scan(tmp_path)
    assert scan.info.series_uid == "1.1"
    assert scan.info.description == "thin"
    others = scan.info.alternatives
    assert "1.2: 3 slices of 8 x 8, every 5 mm" in others[0]
    assert "1.3: 9 slices of 8 x 8, every 5 mm, localizer" in others[1]
    np.testing.assert_array_equal(stack(open_scan(tmp_path, series="1.2")), hu(array[:3] + 1))
    with pytest.raises(InputError, match=r"holds no series 9\.9; it holds 1\.1: 6 slices"):
        open_scan(tmp_path, series="9.9")


def test_copies_count_once(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "a", phantom((3, 6, 6))):
        shutil.copytree(path.parent, tmp_path / "b", dirs_exist_ok=True)
    scan = open_scan(tmp_path)
    assert len(scan.geometry) == 3
    assert scan.info.notes[0].startswith("left out 3 slices: b/s001.dcm: a second copy")


def test_one_uid_for_every_slice_keeps_them_all(tmp_path: Path) -> None:
    array = phantom((4, 6, 6))
    write_series(tmp_path, array, uid="1.2.3.4.5")
    np.testing.assert_array_equal(stack(open_scan(tmp_path)), hu(array))


@pytest.mark.parametrize("offset", [0.0, 0.005])
def test_a_doubled_slice_is_left_out(tmp_path: Path, offset: float) -> None:
    array = phantom((6, 6, 6))
    write_series(tmp_path, array, [0, 5, 10, 10 + offset, 15, 20])
    scan = open_scan(tmp_path)
    np.testing.assert_allclose(scan.geometry.gaps_mm, 5, atol=1e-9)
    np.testing.assert_array_equal(stack(scan), hu(np.delete(array, 3, axis=0)))
    assert len(scan.info.dropped) == 1
    assert "left out 1 slice: s004.dcm" in scan.info.notes[0]


PHASES: list[tuple[str, tuple[Any, Any]]] = [
    ("TemporalPositionIdentifier", (1, 2)),
    ("AcquisitionNumber", (3, 4)),
    ("TriggerTime", (100.0, 500.0)),
    ("NominalPercentageOfCardiacPhase", (30.0, 75.0)),
    ("ConvolutionKernel", ("B30f", "B70f")),
    ("InstanceNumber", ()),
]


@pytest.mark.parametrize("jitter", [0.0, 0.004])
@pytest.mark.parametrize(("keyword", "values"), PHASES, ids=[name for name, _ in PHASES])
def test_phases_at_the_same_positions(
    tmp_path: Path, keyword: str, values: tuple[Any, Any], jitter: float
) -> None:
    first, second = phantom((6, 6, 6), seed=1), phantom((6, 6, 6), seed=2)
    tags = [{keyword: value} for value in values] or [{}, {}]
    # The images' times differ everywhere, which tells phases apart, but into single slices.
    for number, (array, tag) in enumerate(zip((first, second), tags, strict=True)):
        for k, image in enumerate(array):
            write_slice(
                tmp_path / f"{number}-{k}.dcm", image, (0, 0, 5.0 * k + number * jitter),
                number=1 + number * 6 + k, ContentTime=f"1200{number * 6 + k:02d}", **tag,
            )  # fmt: skip
    one, two = open_scan(tmp_path), open_scan(tmp_path, series="1.2.3.4#2")
    np.testing.assert_array_equal(stack(one), hu(first))
    np.testing.assert_array_equal(stack(two), hu(second))
    assert one.info.series_uid == "1.2.3.4#1"
    assert "1.2.3.4#2: 6 slices" in one.info.alternatives[0]
    assert "#2" in open_scan(tmp_path, series="1.2.3.4").info.alternatives[0]


def test_a_double_within_a_phase_does_not_hide_the_phases(tmp_path: Path) -> None:
    for phase in (1, 2):
        positions = [*(5.0 * np.arange(12)), *([55.001] if phase == 2 else [])]
        write_series(
            tmp_path / str(phase), phantom((len(positions), 6, 6), seed=phase), positions,
            first=100 * phase, TemporalPositionIdentifier=phase,
        )  # fmt: skip
    scans = [open_scan(tmp_path, series=f"1.2.3.4#{number}") for number in (1, 2)]
    assert [len(scan.geometry) for scan in scans] == [12, 12]
    assert [len(scan.info.dropped) for scan in scans] == [0, 1]


@pytest.mark.parametrize("overlap", [0, 1])
def test_acquisitions_that_tile_are_one_volume(tmp_path: Path, overlap: int) -> None:
    array = phantom((20, 6, 6))
    z = 5.0 * np.arange(20)
    write_series(tmp_path / "a", array[: 10 + overlap], z[: 10 + overlap], AcquisitionNumber=1)
    write_series(tmp_path / "b", array[10:], z[10:], first=50, AcquisitionNumber=2)
    scan = open_scan(tmp_path)
    np.testing.assert_array_equal(stack(scan), hu(array))
    assert len(scan.info.dropped) == overlap


def test_kernels_at_other_positions_do_not_interleave(tmp_path: Path) -> None:
    array = phantom((9, 6, 6))
    write_series(tmp_path / "a", array, np.arange(9.0), ConvolutionKernel="STANDARD")
    write_series(
        tmp_path / "b", array[:4], np.arange(4) * 2 + 0.5, first=40, ConvolutionKernel="BONE"
    )
    scan = open_scan(tmp_path)
    np.testing.assert_allclose(scan.geometry.gaps_mm, 1)
    assert scan.info.kernel == "STANDARD"


def test_a_sideways_jump_splits(tmp_path: Path) -> None:
    origins = np.array([[0.0 if k < 6 else 30.0, 0.0, 5.0 * k] for k in range(10)])
    write_series(tmp_path, phantom((10, 6, 6)), origins)
    scan = open_scan(tmp_path)
    assert len(scan.geometry) == 6
    assert "4 slices" in scan.info.alternatives[0]
    assert "displaced sideways" in scan.info.notes[0]
    assert scan.geometry.tilt_deg == 0


def test_other_sizes_spacings_and_orientations_are_apart(tmp_path: Path) -> None:
    write_series(tmp_path / "a", phantom((5, 6, 6)))
    write_series(tmp_path / "b", phantom((4, 8, 6)), first=20)
    write_series(tmp_path / "c", phantom((3, 6, 6)), first=30, spacing=(0.9, 0.9))
    write_series(tmp_path / "d", phantom((2, 6, 6)), first=40, orientation=(0, 1, 0, -1, 0, 0))
    sizes = [len(open_scan(tmp_path, series=f"1.2.3.4#{n}").geometry) for n in range(1, 5)]
    assert sizes == [5, 4, 3, 2]


def test_rounded_spacing_and_orientation_stay_together(tmp_path: Path) -> None:
    for k, values in enumerate(phantom((6, 6, 6))):
        write_slice(
            tmp_path / f"{k}.dcm", values, (0, 0, 3.0 * k), number=k, uid=f"1.{k}",
            spacing=(0.48825 + 1e-6 * (k % 2), 0.48825), orientation=(1, 1e-5 * k, 0, 0, 1, 0),
        )  # fmt: skip
    assert len(open_scan(tmp_path).geometry) == 6


def test_the_choice_does_not_depend_on_file_names(tmp_path: Path) -> None:
    chosen = set()
    for names in itertools.permutations("abc"):
        folder = tmp_path / "".join(names)
        for number, name in enumerate(names):
            write_series(folder / name, phantom((3, 6, 6)), series=f"1.{number}")
        chosen.add(open_scan(folder).info.series_uid)
    assert len(chosen) == 1


def test_single_slice(tmp_path: Path) -> None:
    path = write_slice(tmp_path / "one.dcm", phantom((6, 6)))
    scan = open_scan(path)
    assert scan.geometry.shape == (1, 6, 6)
    assert scan.info.notes == ()


def test_all_slices_at_one_position(tmp_path: Path) -> None:
    write_series(tmp_path, phantom((4, 6, 6)), [7.0] * 4)
    with pytest.raises(GeometryError, match=r"all 4 slices of series .* lie at one position"):
        open_scan(tmp_path)


def test_slices_of_a_series_without_uid(tmp_path: Path) -> None:
    for k, values in enumerate(phantom((3, 6, 6))):
        dataset = slice_dataset(values, (0, 0, k), uid=f"1.{k}", SeriesInstanceUID=None)
        dataset.save_as(tmp_path / f"{k}.dcm")
    assert len(open_scan(tmp_path).geometry) == 3

"""NIfTI against nibabel and SimpleITK."""

from __future__ import annotations

import gzip
import itertools
import struct
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hrinet.errors import GeometryError, HrinetError, InputError, LimitError
from hrinet.geometry import Geometry
from hrinet.io.limits import Limits
from hrinet.io.nifti import NiftiSink, open_nifti
from hrinet.volume import SourceInfo

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SHAPE = (4, 5, 6)
RNG = np.random.default_rng(3)
ARRAY = RNG.integers(-1024, 3071, SHAPE, dtype=np.int16)
FLIPS = settings(
    max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def orientations() -> list[np.ndarray]:
    """All 48 signed permutation matrices."""
    matrices = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrices.append(np.eye(3)[:, order] * signs)
    return matrices


def make_affine(directions: np.ndarray, spacing: tuple[float, float, float]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -123.4, 56.7, -890.1
    return affine


def stack(source: Any) -> np.ndarray:
    return np.stack([source.read_slice(k) for k in range(len(source.geometry))])


def write(path: Path, array: np.ndarray, geometry: Geometry, **info: Any) -> None:
    sink = NiftiSink(
        path, geometry=geometry, dtype=array.dtype, info=SourceInfo(**info),
        compress=path.suffix == ".gz",
    )  # fmt: skip
    for values in array:
        sink.write(values)
    sink.close()


def save(
    path: Path, *, kind: Any = nib.Nifti1Image, array: np.ndarray = ARRAY, **fields: Any
) -> Path:
    """An axial file by nibabel, with header fields changed afterwards."""
    image = kind(array.T, np.diag([0.7, 0.7, 2.5, 1]))
    nib.save(image, path)
    if fields:
        data = path.read_bytes()
        size = image.header.sizeof_hdr
        header = type(image.header)(data[:size], check=False)
        for name, value in fields.items():
            header[name] = value
        path.write_bytes(header.binaryblock + data[size:])
    return path


@pytest.mark.parametrize("number", range(48))
def test_all_orientations_read_and_written(tmp_path, number):
    directions, suffix = orientations()[number], (".nii", ".nii.gz")[number % 2]
    ras = make_affine(directions, (0.7, 0.8, 1.5))
    theirs = tmp_path / f"theirs{suffix}"
    nib.save(nib.Nifti1Image(ARRAY.T, ras), theirs)
    source = open_nifti(theirs)
    assert source.dtype == np.int16
    assert source.info.notes == ()
    np.testing.assert_array_equal(stack(source), ARRAY)
    np.testing.assert_allclose(source.geometry.affine_ras, ras, atol=1e-4)

    ours = tmp_path / f"ours{suffix}"
    write(ours, stack(source), source.geometry)
    image = nib.load(ours)
    assert image.get_data_dtype() == np.int16
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ARRAY)
    np.testing.assert_allclose(image.affine, ras, atol=1e-4)
    for code in ("sform_code", "qform_code"):
        assert image.header[code] == 1
    np.testing.assert_allclose(image.get_qform(), ras, atol=1e-4)
    assert image.header.get_xyzt_units() == ("mm", "unknown")
    itk = sitk.ReadImage(str(ours))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(itk), ARRAY)
    corner = itk.TransformIndexToPhysicalPoint((5, 4, 3))
    np.testing.assert_allclose(corner, source.geometry.point(3, 4, 5), atol=1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("directions", orientations()[::9], ids=str)
def test_slices_along_any_axis_return_in_the_order_of_the_file(tmp_path, directions, axis, suffix):
    spacing = [0.8, 0.8, 0.8]
    spacing[2 - axis] = 3.0
    ras = make_affine(directions, tuple(spacing))
    theirs = tmp_path / f"theirs{suffix}"
    nib.save(nib.Nifti1Image(ARRAY.T, ras), theirs)
    source = open_nifti(theirs)
    axes = source.info.file_axes
    assert axes[0] == axis
    array = stack(source)
    np.testing.assert_array_equal(array, ARRAY.transpose(axes))
    ours = tmp_path / f"ours{suffix}"
    write(ours, array, source.geometry, file_axes=axes)
    image = nib.load(ours)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, ARRAY)
    np.testing.assert_allclose(image.affine, ras, atol=1e-4)


rotations = st.tuples(*[st.floats(-180, 180)] * 3)


@settings(max_examples=60, deadline=None)
@given(
    angles=rotations,
    spacing=st.tuples(*[st.floats(0.2, 10)] * 3),
    origin=st.tuples(*[st.floats(-1500, 1500)] * 3),
    shear=st.tuples(*[st.floats(-0.6, 0.6)] * 2),
    flip=st.booleans(),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    dtype=st.sampled_from([np.int16, np.float32]),
    compress=st.booleans(),
)
def test_round_trip(tmp_path_factory, angles, spacing, origin, shear, flip, shape, dtype, compress):
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:, 2] += matrix[:, :2] @ shear
    if flip:
        matrix[:, 2] *= -1
    affine = np.eye(4)
    affine[:3, :3] = matrix * spacing
    affine[:3, 3] = origin
    geometry = Geometry.from_affine(affine, shape=shape)
    array = RNG.integers(-2000, 3000, shape).astype(dtype)
    path = tmp_path_factory.mktemp("nifti") / ("a.nii.gz" if compress else "a.nii")
    write(path, array, geometry)
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, LPS @ affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, array)
    source = open_nifti(path)
    axes = source.info.file_axes
    assert source.info.notes == ()
    assert source.dtype == dtype
    np.testing.assert_array_equal(stack(source), array.transpose(axes))
    again = path.with_name(f"b{''.join(path.suffixes)}")
    write(again, stack(source), source.geometry, file_axes=axes)
    np.testing.assert_allclose(nib.load(again).affine, LPS @ affine, atol=1e-4)


def test_sheared_slices_have_no_qform(tmp_path):
    affine = np.diag([0.7, 0.7, 2.5, 1])
    affine[1, 2] = 0.9
    geometry = Geometry.from_affine(affine, shape=SHAPE)
    write(tmp_path / "a.nii", ARRAY, geometry)
    header = nib.load(tmp_path / "a.nii").header
    assert (header["sform_code"], header["qform_code"]) == (1, 0)
    np.testing.assert_allclose(header.get_zooms(), np.linalg.norm(affine[:3, :3], axis=0))
    source = open_nifti(tmp_path / "a.nii")
    assert source.geometry.tilt_deg == pytest.approx(geometry.tilt_deg, abs=1e-4)


def test_fixed_fields_and_equal_bytes(tmp_path):
    geometry = Geometry.from_affine(np.diag([0.7, 0.7, 2.5, 1]), shape=SHAPE)
    for name in ("a.nii.gz", "b.nii.gz"):
        write(tmp_path / name, ARRAY, geometry)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
    header = nib.load(tmp_path / "a.nii.gz").header
    assert header["descrip"] == b"HRINet"
    data = gzip.decompress((tmp_path / "a.nii.gz").read_bytes())
    assert struct.unpack("<fff", data[108:120]) == (352, 1, 0)
    assert data[344:352] == b"n+1\0\0\0\0\0"


def test_more_slices_than_nifti1_holds(tmp_path):
    geometry = Geometry.from_affine(np.eye(4), shape=(32768, 1, 1))
    array = np.arange(32768).reshape(-1, 1, 1).astype(np.int16)
    write(tmp_path / "a.nii", array, geometry)
    image = nib.load(tmp_path / "a.nii")
    assert isinstance(image, nib.Nifti2Image)
    np.testing.assert_array_equal(np.asarray(image.dataobj).T, array)
    source = open_nifti(tmp_path / "a.nii")
    assert source.geometry.shape == (32768, 1, 1)
    assert source.read_slice(32767)[0, 0] == array[-1, 0, 0]


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_types_versions_and_byte_orders(tmp_path, kind, order, code):
    stored = RNG.integers(0, 100, SHAPE).astype(order + code)
    header = kind.header_class(endianness=order)
    header.set_data_dtype(stored.dtype)
    image = kind(stored.T, np.eye(4), header)
    image.to_filename(tmp_path / "a.nii")
    source = open_nifti(tmp_path / "a.nii")
    assert source.dtype == (np.float32 if code[0] == "f" else np.int16)
    np.testing.assert_array_equal(stack(source), stored)


def test_scaling_is_what_nibabel_computes(tmp_path):
    path = save(tmp_path / "a.nii", scl_slope=0.1, scl_inter=-3.25)
    expected = nib.load(path).get_fdata().T.astype(np.float32)
    source = open_nifti(path)
    assert source.dtype == np.float32
    np.testing.assert_allclose(stack(source), expected, rtol=1e-7)
    for slope, intercept, first in ((0, 7, 0), (np.nan, 7, 0), (1, -1024, -1024), (2, 1, None)):
        source = open_nifti(save(path, scl_slope=slope, scl_inter=intercept))
        assert source.dtype == np.int16
        expected = ARRAY.astype(int) * 2 + 1 if first is None else ARRAY.astype(int) + first
        np.testing.assert_array_equal(stack(source), expected)


def test_four_dimensions_with_one_volume(tmp_path):
    nib.save(nib.Nifti1Image(ARRAY.T[..., None], np.eye(4)), tmp_path / "a.nii")
    np.testing.assert_array_equal(stack(open_nifti(tmp_path / "a.nii")), ARRAY)


def test_gzip_is_recognized_by_content(tmp_path):
    path = save(tmp_path / "a.nii")
    (tmp_path / "b.nii").write_bytes(gzip.compress(path.read_bytes()))
    path.rename(tmp_path / "c.nii.gz")
    for name in ("b.nii", "c.nii.gz"):
        np.testing.assert_array_equal(stack(open_nifti(tmp_path / name)), ARRAY)


def test_qform_alone(tmp_path):
    matrix = Rotation.from_euler("xyz", (10, 20, 30), degrees=True).as_matrix()
    image = nib.Nifti1Image(ARRAY.T, None)
    ras = make_affine(matrix, (0.7, 0.8, 2.5))
    image.set_qform(ras, 1)
    image.set_sform(None, 0)
    nib.save(image, tmp_path / "a.nii")
    source = open_nifti(tmp_path / "a.nii")
    assert source.info.notes == ()
    np.testing.assert_allclose(source.geometry.affine_ras, ras, atol=1e-4)


def test_sform_wins_over_a_different_qform_with_a_note(tmp_path):
    image = nib.Nifti1Image(ARRAY.T, np.diag([0.7, 0.7, 2.5, 1]))
    image.set_qform(np.diag([0.7, 0.7, 2.6, 1]), 1)
    nib.save(image, tmp_path / "a.nii")
    source = open_nifti(tmp_path / "a.nii")
    assert source.geometry.spacing_mm == pytest.approx(2.5)
    assert source.info.notes == ("The sform and qform differ by 0.3 mm; the sform was used.",)


def test_unusable_qform_beside_a_sform_is_a_note(tmp_path):
    source = open_nifti(save(tmp_path / "a.nii", sform_code=1, qform_code=1, quatern_b=3))
    assert source.info.notes == ("The qform cannot be used; the sform was used.",)


def test_pixdim_alone_is_noted(tmp_path):
    source = open_nifti(save(tmp_path / "a.nii", sform_code=0, qform_code=0))
    np.testing.assert_allclose(source.geometry.affine_ras, np.diag([0.7, 0.7, 2.5, 1]), atol=1e-6)
    assert "no orientation" in source.info.notes[0]


@pytest.mark.parametrize(("unit", "scale"), [(0, 1), (1, 1000), (2, 1), (3, 0.001), (10, 1)])
def test_units_of_length(tmp_path, unit, scale):
    source = open_nifti(save(tmp_path / "a.nii", xyzt_units=unit))
    assert source.geometry.spacing_mm == pytest.approx(2.5 * scale)
    assert source.info.notes == ()


def test_unknown_unit_is_noted(tmp_path):
    assert "unknown code 7" in open_nifti(save(tmp_path / "a.nii", xyzt_units=7)).info.notes[0]


DEFECTS = {
    "dim[0] is 2": {"dim": [2, 6, 5, 1, 1, 1, 1, 1]},
    "dim[0] is 99": {"dim": [99, 6, 5, 4, 1, 1, 1, 1]},
    "expected one 3-D volume": {"dim": [4, 6, 5, 2, 2, 1, 1, 1]},
    "expected positive numbers": {"dim": [3, 6, -5, 4, 1, 1, 1, 1]},
    "is truncated: its header declares 54": {"dim": [3, 16000, 16000, 106, 1, 1, 1, 1]},
    "more than the limit": {"dim": [3, 30000, 30000, 30000, 1, 1, 1, 1]},
    "datatype is 128 (RGB)": {"datatype": 128},
    "datatype is 32 (complex)": {"datatype": 32},
    "datatype is 77 (unknown)": {"datatype": 77},
    "bitpix is 8": {"bitpix": 8},
    "vox_offset is 0": {"vox_offset": 0},
    "vox_offset is nan": {"vox_offset": np.nan},
    "vox_offset is inf": {"vox_offset": np.inf},
    "vox_offset is 352.5": {"vox_offset": 352.5},
    "0 are there": {"vox_offset": 1e15},
    "expected finite numbers": {"scl_slope": np.inf},
    "are not finite": {"srow_x": [np.nan, 0, 0, 0]},
    "singular": {"srow_x": [0, 0, 0, 0]},
    "must be orthogonal": {"srow_x": [0.7, 0.3, 0.5, 0]},
    "its qform cannot be used": {"sform_code": 0, "qform_code": 1, "quatern_b": 3},
    "expected positive spacings": {
        "sform_code": 0, "qform_code": 0, "pixdim": [1, 1, 0, 1, 1, 1, 1, 1]
    },
    "its magic bytes": {"magic": b"abc"},
    ".hdr/.img pair": {"magic": b"ni1"},
}  # fmt: skip


@pytest.mark.parametrize("message", DEFECTS)
@pytest.mark.parametrize("compress", [False, True])
def test_defects(tmp_path, message, compress):
    path = save(tmp_path / "a.nii", **DEFECTS[message])
    if compress:
        path.write_bytes(gzip.compress(path.read_bytes()))
        if message in ("0 are there", "is truncated: its header declares 54"):
            message = "inflates to"
    with pytest.raises(InputError) as caught:
        open_nifti(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text
    geometric = ("finite", "singular", "orthogonal", "qform", "spacings")
    if any(word in message for word in geometric) and "numbers" not in message:
        assert isinstance(caught.value, GeometryError)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"hello world\n" * 99, b"\x1f\x8b", b"\x1f\x8b\x08" + b"x" * 500, bytes(600)],
)  # fmt: skip
def test_other_files_are_refused(tmp_path, data):
    path = tmp_path / "a.nii"
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^.*a\.nii: "):
        open_nifti(path)


def test_folders_pipes_and_missing_files_are_refused(tmp_path):
    import os

    os.mkfifo(tmp_path / "pipe.nii")
    for name in (".", "pipe.nii", "missing.nii"):
        with pytest.raises(InputError):
            open_nifti(tmp_path / name)


def test_small_gzip_that_declares_much(tmp_path):
    path = save(tmp_path / "a.nii", dim=[3, 1000, 1000, 1000, 1, 1, 1, 1])
    path.write_bytes(gzip.compress(path.read_bytes()))
    with pytest.raises(InputError, match="compressed bytes cannot hold"):
        open_nifti(path)


def test_limits_apply(tmp_path):
    with pytest.raises(LimitError):
        open_nifti(save(tmp_path / "a.nii"), limits=Limits(max_slices=3))


@pytest.fixture(scope="module")
def originals(tmp_path_factory):
    folder = tmp_path_factory.mktemp("flips")
    plain = save(folder / "a.nii").read_bytes()
    version2 = save(folder / "b.nii", kind=nib.Nifti2Image).read_bytes()
    return {"plain": plain, "2": version2, "gz": gzip.compress(plain)}


@FLIPS
@given(
    kind=st.sampled_from(["plain", "2", "gz"]),
    flips=st.lists(st.tuples(st.integers(0, 351), st.integers(1, 255)), min_size=1, max_size=6),
    cut=st.one_of(st.none(), st.integers(0, 600)),
    repack=st.booleans(),
)
def test_damaged_bytes_raise_only_our_errors(originals, tmp_path, kind, flips, cut, repack):
    data = bytearray(originals[kind])
    for place, mask in flips:
        data[place % len(data)] ^= mask
    data = bytes(data[:cut])
    if repack:
        data = gzip.compress(data, 1)
    path = tmp_path / "a.nii"
    path.write_bytes(data)
    limits = Limits(max_memory_bytes=10_000_000, max_slice_voxels=1_000_000)
    message = ""
    try:
        source = open_nifti(path, limits=limits)
        for index in range(min(len(source.geometry), 10)):
            source.read_slice(index)
    except HrinetError as error:
        message = str(error)
    assert "\n" not in message

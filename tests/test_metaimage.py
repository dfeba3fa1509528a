"""MetaImage against SimpleITK."""

from __future__ import annotations

import itertools
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hrinet.errors import GeometryError, HrinetError, InputError, LimitError
from hrinet.geometry import Geometry
from hrinet.io.limits import Limits
from hrinet.io.metaimage import MetaImageSink, open_metaimage
from hrinet.volume import SourceInfo

SHAPE = (4, 5, 6)
RNG = np.random.default_rng(5)
ARRAY = RNG.integers(-1024, 3071, SHAPE, dtype=np.int16)
FLIPS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
ORIENTATIONS = [
    np.eye(3)[:, order] * signs
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def stack(source: Any) -> np.ndarray:
    return np.stack([source.read_slice(k) for k in range(len(source.geometry))])


def write(path: Path, array: np.ndarray, geometry: Geometry, **info: Any) -> None:
    sink = MetaImageSink(path, geometry=geometry, dtype=array.dtype, info=SourceInfo(**info))
    for values in array:
        sink.write(values)
    sink.close()


def make_image(array: np.ndarray, directions: np.ndarray, spacing: Any) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    image.SetDirection(np.asarray(directions).ravel())
    image.SetOrigin((-123.4, 56.7, -890.1))
    return image


def itk_affine(image: sitk.Image) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return affine


BASE = {
    "ObjectType": "Image", "NDims": "3", "BinaryData": "True", "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False", "TransformMatrix": "1 0 0 0 1 0 0 0 1", "Offset": "1 2 3",
    "ElementSpacing": "0.7 0.7 2.5", "DimSize": "6 5 4", "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}  # fmt: skip


def save(path: Path, data: bytes | None = None, **fields: str | None) -> Path:
    """A file by hand, with fields changed, or removed by None."""
    merged = {**fields, **{k: v for k, v in BASE.items() if k not in fields}}
    merged["ElementDataFile"] = merged.pop("ElementDataFile")
    lines = [f"{name} = {value}\n" for name, value in merged.items() if value is not None]
    path.write_bytes("".join(lines).encode() + (ARRAY.tobytes() if data is None else data))
    return path


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("directions", ORIENTATIONS, ids=str)
def test_all_orientations_read_and_written(tmp_path, directions, compress):
    image = make_image(ARRAY, directions, (0.7, 0.8, 1.5))
    sitk.WriteImage(image, str(tmp_path / "theirs.mha"), compress)
    source = open_metaimage(tmp_path / "theirs.mha")
    assert source.info.notes == ()
    assert source.is_sequential == compress
    np.testing.assert_array_equal(stack(source), ARRAY)
    np.testing.assert_allclose(source.geometry.affine_lps, itk_affine(image), atol=1e-6)
    write(tmp_path / "ours.mha", stack(source), source.geometry)
    again = sitk.ReadImage(str(tmp_path / "ours.mha"))
    assert again.GetPixelID() == sitk.sitkInt16
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(again), ARRAY)
    np.testing.assert_allclose(itk_affine(again), source.geometry.affine_lps, atol=1e-9)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("directions", ORIENTATIONS[::9], ids=str)
def test_detached_files_with_slices_along_any_axis(tmp_path, directions, axis, compress):
    spacing = [0.8, 0.8, 0.8]
    spacing[2 - axis] = 3.0
    image = make_image(ARRAY.astype(np.float64), directions, spacing)
    sitk.WriteImage(image, str(tmp_path / "theirs.mhd"), compress)
    source = open_metaimage(tmp_path / "theirs.mhd")
    axes = source.info.file_axes
    assert axes[0] == axis
    array = stack(source)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, ARRAY.transpose(axes))
    write(tmp_path / "ours.mha", array, source.geometry, file_axes=axes)
    again = sitk.ReadImage(str(tmp_path / "ours.mha"))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(again), ARRAY)
    np.testing.assert_allclose(itk_affine(again), itk_affine(image), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 10)] * 3),
    origin=st.tuples(*[st.floats(-1500, 1500)] * 3),
    flip=st.sampled_from([1, -1]),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    dtype=st.sampled_from([np.int16, np.float32]),
)
def test_round_trip(tmp_path_factory, angles, spacing, origin, flip, shape, dtype):
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:, 2] *= flip
    affine = np.eye(4)
    affine[:3, :3] = matrix * spacing
    affine[:3, 3] = origin
    array = RNG.integers(-2000, 3000, shape).astype(dtype)
    folder = tmp_path_factory.mktemp("mha")
    write(folder / "a.mha", array, Geometry.from_affine(affine, shape=shape))
    source = open_metaimage(folder / "a.mha")
    axes = source.info.file_axes
    assert source.dtype == dtype
    np.testing.assert_array_equal(stack(source), array.transpose(axes))
    write(folder / "b.mha", stack(source), source.geometry, file_axes=axes)
    image = sitk.ReadImage(str(folder / "b.mha"))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), array)
    np.testing.assert_allclose(itk_affine(image), affine, atol=1e-6)


def test_sheared_slices_are_refused(tmp_path):
    affine = np.diag([0.7, 0.7, 2.5, 1])
    affine[1, 2] = 0.9
    with pytest.raises(GeometryError, match="sheared by"):
        write(tmp_path / "a.mha", ARRAY, Geometry.from_affine(affine, shape=SHAPE))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("MET_CHAR", "i1"), ("MET_UCHAR", "u1"), ("MET_SHORT", "i2"), ("MET_USHORT", "u2"),
        ("MET_INT", "i4"), ("MET_UINT", "u4"), ("MET_LONG_LONG", "i8"), ("MET_ULONG_LONG", "u8"),
        ("MET_FLOAT", "f4"), ("MET_DOUBLE", "f8"),
    ],
)  # fmt: skip
def test_types_and_byte_orders(tmp_path, name, code, order):
    stored = RNG.integers(0, 100, SHAPE).astype(order + code)
    path = save(
        tmp_path / "a.mha", stored.tobytes(), ElementType=name,
        BinaryDataByteOrderMSB=str(order == ">"),
    )  # fmt: skip
    source = open_metaimage(path)
    assert source.dtype == (np.float32 if code[0] == "f" else np.int16)
    np.testing.assert_array_equal(stack(source), stored)
    image = sitk.ReadImage(str(path))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), stored)


@pytest.mark.parametrize("matrix", ["TransformMatrix", "Rotation", "Orientation"])
@pytest.mark.parametrize("offset", ["Offset", "Origin", "Position"])
def test_other_names_of_orientation(tmp_path, matrix, offset):
    fields = {"TransformMatrix": None, "Offset": None}
    fields |= {matrix: "0 1 0 -1 0 0 0 0 1", offset: "4 5 6"}
    source = open_metaimage(save(tmp_path / "a.mha", **fields))
    expected = [[0, -0.7, 0, 4], [0.7, 0, 0, 5], [0, 0, 2.5, 6], [0, 0, 0, 1]]
    np.testing.assert_allclose(source.geometry.affine_lps, expected)


def test_defaults_are_noted(tmp_path):
    fields = {"TransformMatrix": None, "Offset": None, "ElementSpacing": None}
    source = open_metaimage(save(tmp_path / "a.mha", DistanceUnits="parsec", **fields))
    np.testing.assert_allclose(source.geometry.affine_lps, np.eye(4))
    assert len(source.info.notes) == 3


def test_units_of_length(tmp_path):
    source = open_metaimage(save(tmp_path / "a.mha", DistanceUnits="cm"))
    assert source.geometry.spacing_mm == pytest.approx(25)


def test_header_size(tmp_path):
    path = save(tmp_path / "a.mha", b"xyz" + ARRAY.tobytes(), HeaderSize="3")
    np.testing.assert_array_equal(stack(open_metaimage(path)), ARRAY)
    path = save(tmp_path / "a.mha", b"xyz" + ARRAY.tobytes(), HeaderSize="-1")
    np.testing.assert_array_equal(stack(open_metaimage(path)), ARRAY)


def test_four_dimensions_with_one_volume(tmp_path):
    matrix = " ".join(map(str, np.eye(4, dtype=int).ravel()))
    path = save(
        tmp_path / "a.mha", NDims="4", DimSize="6 5 4 1", ElementSpacing="0.7 0.7 2.5 1",
        Offset="1 2 3 0", TransformMatrix=matrix,
    )  # fmt: skip
    source = open_metaimage(path)
    np.testing.assert_array_equal(stack(source), ARRAY)
    assert source.geometry.origins[0].tolist() == [1, 2, 3]


DEFECTS = {
    "has no ElementType": {"ElementType": None},
    "ElementType is 'MET_FLOAT_ARRAY'": {"ElementType": "MET_FLOAT_ARRAY"},
    "is no MetaImage with ObjectType": {"ObjectType": "Tube"},
    "DimSize has 2 entries": {"DimSize": "6 5"},
    "expected one 3-D volume": {"NDims": "4", "DimSize": "6 5 2 2"},
    "3 channels": {"ElementNumberOfChannels": "3"},
    "DimSize is [6, -5, 4]": {"DimSize": "6 -5 4"},
    "expected numbers": {"DimSize": "6 five 4"},
    "is truncated": {"DimSize": "512 512 1000"},
    "more than the limit": {"DimSize": "30000 30000 1000"},
    "BinaryData is not True": {"BinaryData": "False"},
    "expected True or False": {"CompressedData": "perhaps"},
    "ElementToIntensityFunction": {"ElementToIntensityFunctionSlope": "2"},
    "HeaderSize is -2": {"HeaderSize": "-2"},
    "0 are there": {"HeaderSize": "99999999999999999"},
    "ElementSpacing is": {"ElementSpacing": "1 1 0"},
    "ElementSpacing has 2": {"ElementSpacing": "1 1"},
    "TransformMatrix has 4": {"TransformMatrix": "1 0 0 1"},
    "not finite": {"Offset": "nan 0 0"},
    "singular": {"TransformMatrix": "1 0 0 1 0 0 0 0 1"},
    "in the header's own folder": {"ElementDataFile": "/etc/hostname"},
    "several data files ('LIST": {"ElementDataFile": "LIST"},
    "several data files ('x%03d": {"ElementDataFile": "x%03d.raw 1 4 1"},
    "is not a file": {"ElementDataFile": "missing.raw"},
    "CompressedDataSize is": {"CompressedData": "True", "CompressedDataSize": "many"},
    "240 are there": {"CompressedData": "True", "CompressedDataSize": "99999"},
    "compressed bytes cannot hold": {"CompressedData": "True", "DimSize": "512 512 1000"},
    "inflates to": {"CompressedData": "True", "DimSize": "5120 5120 1000"},
}  # fmt: skip


@pytest.mark.parametrize("message", DEFECTS)
def test_defects(tmp_path, message):
    path = save(tmp_path / "a.mha", **DEFECTS[message])
    with pytest.raises(InputError) as caught:
        open_metaimage(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.mha"
    for data, message in (
        (b"", "no ElementDataFile"), (b"hello world\n" * 10, "key = value"),
        (b"NDims = 3\n", "no ElementDataFile"), (b"\xff = 3\n", "key = value"),
        (b"NDims = 3\nNDims = 3\n", "twice"), (bytes(2_000_000), "key = value"),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_metaimage(path)
    path.write_bytes(b"\n" * 2_000_000)
    with pytest.raises(LimitError, match="does not end within"):
        open_metaimage(path)


def test_damaged_stream(tmp_path):
    packed = bytearray(zlib.compress(ARRAY.tobytes()))
    packed[40] ^= 255
    path = save(tmp_path / "a.mha", bytes(packed), CompressedData="True")
    with pytest.raises(InputError, match="damaged"):
        stack(open_metaimage(path))


@FLIPS
@given(
    compressed=st.booleans(),
    flips=st.lists(st.tuples(st.integers(0, 320), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 500)),
)
def test_damaged_bytes_raise_only_our_errors(tmp_path, compressed, flips, cut):
    payload = zlib.compress(ARRAY.tobytes()) if compressed else ARRAY.tobytes()
    path = save(tmp_path / "a.mha", payload, CompressedData=str(compressed), HeaderSize="0")
    data = bytearray(path.read_bytes())
    for place, mask in flips:
        data[place] ^= mask
    path.write_bytes(bytes(data[:cut]))
    limits = Limits(max_memory_bytes=10_000_000, max_slice_voxels=1_000_000)
    message = ""
    try:
        source = open_metaimage(path, limits=limits)
        for index in range(min(len(source.geometry), 10)):
            source.read_slice(index)
    except HrinetError as error:
        message = str(error)
    assert "\n" not in message

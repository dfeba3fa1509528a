"""NRRD against pynrrd and SimpleITK."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from hrinet.errors import GeometryError, HrinetError, InputError, LimitError
from hrinet.geometry import Geometry
from hrinet.io.limits import Limits
from hrinet.io.nrrd import NrrdSink, open_nrrd
from hrinet.volume import SourceInfo

SHAPE = (4, 5, 6)
RNG = np.random.default_rng(4)
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
    sink = NrrdSink(path, geometry=geometry, dtype=array.dtype, info=SourceInfo(**info))
    for values in array:
        sink.write(values)
    sink.close()


def make_affine(directions: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = -123.4, 56.7, -890.1
    return affine


BASE = {
    "type": "short", "dimension": "3", "space": "left-posterior-superior", "sizes": "6 5 4",
    "space directions": "(0.7,0,0) (0,0.7,0) (0,0,2.5)", "kinds": "domain domain domain",
    "endian": "little", "encoding": "raw", "space origin": "(1,2,3)",
}  # fmt: skip


def save(path: Path, data: bytes | None = None, **fields: str | None) -> Path:
    """A file by hand, with fields changed, or removed by None."""
    merged = {**BASE, **{name.replace("_", " "): value for name, value in fields.items()}}
    lines = ["NRRD0004", "# comment", "key:=value: 1"]
    lines += [f"{name}: {value}" for name, value in merged.items() if value is not None]
    data = ARRAY.tobytes() if data is None else data
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + data)
    return path


@pytest.mark.parametrize("directions", ORIENTATIONS, ids=str)
def test_all_orientations_read_and_written(tmp_path, directions):
    affine = make_affine(directions, (0.7, 0.8, 1.5))
    theirs = str(tmp_path / "theirs.nrrd")
    header = {
        "space": "left-posterior-superior", "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3], "kinds": ["domain"] * 3,
    }  # fmt: skip
    nrrd.write(theirs, ARRAY.T, header)
    source = open_nrrd(Path(theirs))
    assert source.info.notes == ()
    np.testing.assert_array_equal(stack(source), ARRAY)
    np.testing.assert_allclose(source.geometry.affine_lps, affine, atol=1e-9)

    ours = tmp_path / "ours.nrrd"
    write(ours, stack(source), source.geometry)
    array, header = nrrd.read(str(ours))
    assert array.dtype == np.int16
    np.testing.assert_array_equal(array.T, ARRAY)
    np.testing.assert_allclose(header["space directions"].T, affine[:3, :3], atol=1e-9)
    np.testing.assert_allclose(header["space origin"], affine[:3, 3], atol=1e-9)
    image = sitk.ReadImage(str(ours))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), ARRAY)
    corner = image.TransformIndexToPhysicalPoint((5, 4, 3))
    np.testing.assert_allclose(corner, source.geometry.point(3, 4, 5), atol=1e-6)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("directions", ORIENTATIONS[::7], ids=str)
def test_simpleitk_files_with_slices_along_any_axis(tmp_path, directions, axis, compress):
    spacing = [0.8, 0.8, 0.8]
    spacing[2 - axis] = 3.0
    image = sitk.GetImageFromArray(ARRAY.astype(np.float32))
    image.SetSpacing(spacing)
    image.SetDirection(directions.ravel())
    image.SetOrigin((4, 5, 6))
    theirs = tmp_path / "theirs.nrrd"
    sitk.WriteImage(image, str(theirs), compress)
    source = open_nrrd(theirs)
    axes = source.info.file_axes
    assert axes[0] == axis
    array = stack(source)
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, ARRAY.transpose(axes))
    ours = tmp_path / "ours.nrrd"
    write(ours, array, source.geometry, file_axes=axes)
    again = sitk.ReadImage(str(ours))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(again), ARRAY)
    for name in ("GetSpacing", "GetDirection", "GetOrigin"):
        np.testing.assert_allclose(getattr(again, name)(), getattr(image, name)(), atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.tuples(*[st.floats(0.2, 10)] * 3),
    origin=st.tuples(*[st.floats(-1500, 1500)] * 3),
    shear=st.tuples(*[st.floats(-0.6, 0.6)] * 2),
    flip=st.sampled_from([1, -1]),
    shape=st.tuples(*[st.integers(2, 6)] * 3),
    dtype=st.sampled_from([np.int16, np.float32]),
)
def test_round_trip(tmp_path_factory, angles, spacing, origin, shear, flip, shape, dtype):
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    matrix[:, 2] = (matrix[:, 2] + matrix[:, :2] @ shear) * flip
    affine = make_affine(matrix, spacing)
    affine[:3, 3] = origin
    array = RNG.integers(-2000, 3000, shape).astype(dtype)
    folder = tmp_path_factory.mktemp("nrrd")
    write(folder / "a.nrrd", array, Geometry.from_affine(affine, shape=shape))
    source = open_nrrd(folder / "a.nrrd")
    axes = source.info.file_axes
    assert source.dtype == dtype
    np.testing.assert_array_equal(stack(source), array.transpose(axes))
    write(folder / "b.nrrd", stack(source), source.geometry, file_axes=axes)
    data, header = nrrd.read(str(folder / "b.nrrd"))
    np.testing.assert_array_equal(data.T, array)
    np.testing.assert_allclose(header["space directions"].T, affine[:3, :3], atol=1e-6)
    np.testing.assert_allclose(header["space origin"], origin, atol=1e-6)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2"])
@pytest.mark.parametrize("detached", [False, True])
def test_pynrrd_encodings(tmp_path, encoding, detached):
    name = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    header = {"encoding": encoding, "space directions": np.eye(3), "space": "LPS"}
    nrrd.write(str(name), ARRAY.T, header)
    assert len(list(tmp_path.iterdir())) == (2 if detached else 1)
    source = open_nrrd(name)
    assert source.is_sequential == (encoding != "raw")
    assert "no space origin" in source.info.notes[0]
    np.testing.assert_array_equal(stack(source), ARRAY)
    np.testing.assert_array_equal(source.read_slice(1), ARRAY[1])


@pytest.mark.parametrize("endian", ["little", "big"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("int8", "i1"), ("uchar", "u1"), ("short", "i2"), ("unsigned short", "u2"), ("int", "i4"),
        ("uint32", "u4"), ("long long", "i8"), ("uint64_t", "u8"), ("float", "f4"),
        ("double", "f8"),
    ],
)  # fmt: skip
def test_types_and_byte_orders(tmp_path, name, code, endian):
    stored = RNG.integers(0, 100, SHAPE).astype(("<" if endian == "little" else ">") + code)
    source = open_nrrd(save(tmp_path / "a.nrrd", stored.tobytes(), type=name, endian=endian))
    assert source.dtype == (np.float32 if code[0] == "f" else np.int16)
    np.testing.assert_array_equal(stack(source), stored)


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("left-posterior-superior", (1, 1, 1)), ("LPS", (1, 1, 1)), ("RAS", (-1, -1, 1)),
        ("right-anterior-superior", (-1, -1, 1)), ("left-anterior-superior", (1, -1, 1)),
    ],
)  # fmt: skip
def test_spaces_become_lps(tmp_path, space, signs):
    source = open_nrrd(save(tmp_path / "a.nrrd", space=space))
    expected = np.array([[0.7, 0, 0, 1], [0, 0.7, 0, 2], [0, 0, 2.5, 3]]) * np.c_[list(signs)]
    np.testing.assert_allclose(source.geometry.affine_lps[:3], expected)
    assert source.info.notes == ()


def test_spaces_that_say_nothing_are_noted(tmp_path):
    for space in ("scanner-xyz", None):
        source = open_nrrd(save(tmp_path / "a.nrrd", space=space))
        assert "taken as left-posterior-superior" in source.info.notes[0]


def test_spacings_without_directions_are_noted(tmp_path):
    path = save(
        tmp_path / "a.nrrd", space=None, space_directions=None, space_origin=None,
        spacings="0.7 0.8 2.5",
    )  # fmt: skip
    source = open_nrrd(path)
    np.testing.assert_allclose(source.geometry.affine_lps, np.diag([0.7, 0.8, 2.5, 1]))
    assert "no space directions" in source.info.notes[0]


def test_units_of_length(tmp_path):
    source = open_nrrd(save(tmp_path / "a.nrrd", space_units='"cm" "cm" "cm"'))
    assert source.geometry.spacing_mm == pytest.approx(25)
    source = open_nrrd(save(tmp_path / "a.nrrd", space_units='"x" "x" "x"'))
    assert source.geometry.spacing_mm == pytest.approx(2.5)
    assert source.info.notes == ("The unit of length 'x' is not known and was taken as mm.",)


def test_an_axis_of_one_sample_is_dropped(tmp_path):
    fields = {"dimension": "4", "kinds": None}
    directions = "none (0.7,0,0) (0,0.7,0) (0,0,2.5)"
    path = save(tmp_path / "a.nrrd", sizes="1 6 5 4", space_directions=directions, **fields)
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)
    path = save(
        tmp_path / "a.nrrd", sizes="6 5 4 1", space=None, space_directions=None,
        spacings="1 1 2 nan", **fields,
    )  # fmt: skip
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)


def test_line_and_byte_skips(tmp_path):
    data = b"one\ntwo\nxyz" + ARRAY.tobytes()
    path = save(tmp_path / "a.nrrd", data, line_skip="2", byte_skip="3")
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)
    path = save(tmp_path / "a.nrrd", data, byteskip="-1")
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)
    packed = b"one\n" + gzip.compress(b"xyz" + ARRAY.tobytes())
    path = save(tmp_path / "a.nrrd", packed, encoding="gz", lineskip="1", byteskip="3")
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)


def test_windows_line_ends(tmp_path):
    path = save(tmp_path / "a.nrrd")
    head, _, _ = path.read_bytes().partition(b"\n\n")
    path.write_bytes(head.replace(b"\n", b"\r\n") + b"\r\n\r\n" + ARRAY.tobytes())
    np.testing.assert_array_equal(stack(open_nrrd(path)), ARRAY)


DEFECTS = {
    "its encoding is 'ascii'": {"encoding": "ascii"},
    "its encoding is 'hex'": {"encoding": "hex"},
    "no field 'encoding'": {"encoding": None},
    "no field 'type'": {"type": None},
    "no field 'sizes'": {"sizes": None},
    "no field 'dimension'": {"dimension": None},
    "no field 'endian'": {"endian": None},
    "its endian is": {"endian": "middle"},
    "its type is 'block'": {"type": "block"},
    "sizes has 2 entries": {"sizes": "6 5"},
    "expected positive numbers": {"sizes": "6 -5 4"},
    "cannot be parsed": {"sizes": "a b c"},
    "expected one 3-D volume": {
        "dimension": "4", "sizes": "6 5 2 2", "space_directions": None, "spacings": "1 1 1 1"
    },
    "2-D with sizes": {"dimension": "2", "sizes": "6 20", "space_directions": "(1,0,0) (0,1,0)"},
    "is truncated": {"sizes": "512 512 10000"},
    "more than the limit": {"sizes": "6 5 100000"},
    "neither space directions nor": {"space_directions": None},
    "spacings is": {"space_directions": None, "spacings": "1 1 0"},
    "space directions has the shape": {"space_directions": "(1,0) (0,1) (0,0)"},
    "space origin has 2": {"space_origin": "(1,2)"},
    "its space is": {"space": "left-posterior-superior-time"},
    "not finite": {"space_origin": "(1,2,nan)"},
    "singular": {"space_directions": "(1,0,0) (1,0,0) (0,0,1)"},
    "must be orthogonal": {"space_directions": "(1,0,0) (0.5,1,0) (0.2,0,3)"},
    "line skip is 9999": {"line_skip": "9999"},
    "line skip is -1": {"line_skip": "-1"},
    "byte skip is -2": {"byte_skip": "-2"},
    "0 are there": {"byte_skip": "999999999999999999"},
    "in the header's own folder": {"data_file": "../x.raw"},
    "several data files ('LIST": {"data_file": "LIST"},
    "several data files ('x%03d": {"data_file": "x%03d.raw 1 4 1"},
    "is not a file": {"data_file": "missing.raw"},
}  # fmt: skip


@pytest.mark.parametrize("message", DEFECTS)
def test_defects(tmp_path, message):
    path = save(tmp_path / "a.nrrd", **DEFECTS[message])
    with pytest.raises(InputError) as caught:
        open_nrrd(path)
    text = str(caught.value)
    assert message in text
    assert text.startswith(str(path))
    assert "\n" not in text
    if any(word in text for word in ("orthogonal", "singular", "finite", "directions")):
        assert isinstance(caught.value, GeometryError) or "skip" in message or "-D" in message


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "a.nrrd"
    for data, message in (
        (b"", "expected NRRD000"), (b"hello world\n" * 10, "expected NRRD000"),
        (b"NRRD0004\ncontent: \xff\n\n", "UTF-8"), (b"NRRD0009\n\n", "cannot be parsed"),
        (b"NRRD0004\nno colon\n\n", "cannot be parsed"),
        (b"NRRD0004\ntype: short\ntype: short\n\n", "cannot be parsed"),
    ):  # fmt: skip
        path.write_bytes(data)
        with pytest.raises(InputError, match=message):
            open_nrrd(path)
    path.write_bytes(b"NRRD0004\n" + b"# comment\n" * 200_000)
    with pytest.raises(LimitError, match="does not end within"):
        open_nrrd(path)


def test_small_files_that_declare_much(tmp_path):
    sizes = "1000 1000 1000"
    for encoding in ("gzip", "raw"):
        path = save(tmp_path / "a.nrrd", sizes=sizes, encoding=encoding)
        with pytest.raises(InputError, match="is truncated"):
            open_nrrd(path)
    path = save(tmp_path / "a.nrrd", sizes="10000 10000 1000", encoding="bzip2")
    with pytest.raises(LimitError, match="inflates"):
        open_nrrd(path)
    path = save(tmp_path / "a.nrrd", b"BZh9junk", encoding="bzip2")
    with pytest.raises(InputError, match="damaged"):
        open_nrrd(path).read_slice(0)


@FLIPS
@given(
    encoding=st.sampled_from(["raw", "gzip"]),
    flips=st.lists(st.tuples(st.integers(0, 320), st.integers(1, 255)), min_size=1, max_size=4),
    cut=st.one_of(st.none(), st.integers(0, 500)),
)
def test_damaged_bytes_raise_only_our_errors(tmp_path, encoding, flips, cut):
    payload = ARRAY.tobytes() if encoding == "raw" else gzip.compress(ARRAY.tobytes())
    path = save(tmp_path / "a.nrrd", payload, encoding=encoding, line_skip="0", byte_skip="0")
    data = bytearray(path.read_bytes())
    for place, mask in flips:
        data[place] ^= mask
    path.write_bytes(bytes(data[:cut]))
    limits = Limits(max_memory_bytes=10_000_000, max_slice_voxels=1_000_000)
    message = ""
    try:
        source = open_nrrd(path, limits=limits)
        for index in range(min(len(source.geometry), 10)):
            source.read_slice(index)
    except HrinetError as error:
        message = str(error)
    assert "\n" not in message

"""Plain and compressed slices in and out, below the level of a file format."""

from __future__ import annotations

import gzip
import subprocess
import sys
import textwrap
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hrinet.errors import (
    GeometryError,
    InputError,
    LimitError,
    RangeExceededError,
    RunError,
)
from hrinet.geometry import Geometry
from hrinet.io import gzip_stream
from hrinet.io.file_axes import arrange, file_affine, file_shape
from hrinet.io.gzip_stream import InflateStream, open_gzip_writer
from hrinet.io.limits import DEFAULT_LIMITS, Limits
from hrinet.io.raw import RawLayout, RawSource, beside
from hrinet.io.raw_sink import RawSink
from hrinet.volume import SourceInfo

SHAPE = (4, 3, 5)
RNG = np.random.default_rng(7)
ARRAY = RNG.integers(-1024, 3071, SHAPE, dtype=np.int16)


def make_source(
    folder: Path, array: np.ndarray, *, encoding: str = "raw", packed: bytes | None = None,
    info: SourceInfo | None = None, limits: Limits = DEFAULT_LIMITS, **fields: Any,
) -> RawSource:  # fmt: skip
    path = folder / "data.bin"
    data = array.tobytes()
    if packed is None:
        packed = {"raw": bytes, "gzip": gzip.compress, "zlib": zlib.compress}[encoding](data)
    path.write_bytes(packed)
    layout = RawLayout(
        subject="data.bin", path=path, shape=array.shape, dtype=array.dtype, offset=0,
        encoding=encoding, **fields,
    )  # fmt: skip
    layout.check(limits)
    info = info or SourceInfo()
    shape = tuple(array.shape[axis] for axis in info.file_axes)
    geometry = Geometry.from_affine(np.eye(4), shape=shape)
    return RawSource(layout, geometry=geometry, info=info, limits=limits)


def stack(source: RawSource) -> np.ndarray:
    return np.stack([source.read_slice(k) for k in range(len(source.geometry))])


@pytest.mark.parametrize("code", ["i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (2, 3), (-1, 5)])
def test_integer_files_give_int16(tmp_path, code, order, slope, intercept):
    stored = RNG.integers(0, 100, SHAPE).astype(order + code)
    source = make_source(tmp_path, stored, slope=slope, intercept=intercept)
    expected = stored.astype(np.int64) * slope + intercept
    values = stack(source)
    assert source.dtype == values.dtype == np.int16
    np.testing.assert_array_equal(values, expected)
    wide = stack(source.widened())
    assert source.widened().dtype == wide.dtype == np.float32
    np.testing.assert_array_equal(wide, expected)


@pytest.mark.parametrize("code", ["<f4", ">f4", "<f8", ">f8"])
def test_float_files_give_float32(tmp_path, code):
    stored = RNG.normal(0, 500, SHAPE).astype(code)
    source = make_source(tmp_path, stored, slope=2.5, intercept=-1024.25)
    assert source.dtype == np.float32
    expected = (stored.astype(np.float64) * 2.5 - 1024.25).astype(np.float32)
    np.testing.assert_array_equal(stack(source), expected)


def test_fractional_scaling_of_integers_gives_float32(tmp_path):
    source = make_source(tmp_path, ARRAY, slope=0.5)
    assert source.dtype == np.float32
    np.testing.assert_array_equal(stack(source), ARRAY.astype(np.float32) / 2)


def test_huge_stored_integers_that_scale_to_hu_are_exact(tmp_path):
    stored = np.full(SHAPE, 2**31, np.uint64)
    source = make_source(tmp_path, stored, slope=1, intercept=-(2**31 - 1))
    assert np.all(stack(source) == 1)


@pytest.mark.parametrize("value", [32768, -32769, 2**40])
def test_values_beyond_int16_ask_for_float32(tmp_path, value):
    stored = np.zeros(SHAPE, np.int64)
    stored[2, 1, 1] = value
    source = make_source(tmp_path, stored)
    source.read_slice(1)
    with pytest.raises(RangeExceededError, match=r"slice 2 holds .* HU"):
        source.read_slice(2)
    assert source.widened().read_slice(2)[1, 1] == np.float32(value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(tmp_path, value):
    stored = np.zeros(SHAPE, np.float32)
    stored[1, 0, 0] = value
    source = make_source(tmp_path, stored)
    with pytest.raises(InputError, match="slice 1 holds 1 values that are NaN or infinite"):
        source.read_slice(1)


def test_float64_beyond_float32_is_refused(tmp_path):
    with pytest.raises(InputError, match="infinite"):
        make_source(tmp_path, np.full(SHAPE, 1e300)).read_slice(0)


@pytest.mark.parametrize("scaling", [(np.nan, 0), (1, np.inf), (0, 0)])
def test_scaling_that_is_not_usable_is_refused(tmp_path, scaling):
    with pytest.raises(InputError, match="scales its values"):
        make_source(tmp_path, ARRAY, slope=scaling[0], intercept=scaling[1])


@pytest.mark.parametrize("encoding", ["raw", "gzip", "zlib"])
def test_slices_are_read_only_and_bounded(tmp_path, encoding):
    source = make_source(tmp_path, ARRAY, encoding=encoding)
    assert not source.read_slice(0).flags.writeable
    for index in (-1, 4):
        with pytest.raises(IndexError):
            source.read_slice(index)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "zlib"])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_any_order_of_slices_from_many_threads(tmp_path, encoding, axes):
    source = make_source(tmp_path, ARRAY, encoding=encoding, info=SourceInfo(file_axes=axes))
    assert source.is_sequential == (encoding != "raw" and axes[0] == 0)
    expected = ARRAY.transpose(axes)
    order = RNG.integers(0, len(expected), 60)
    with ThreadPoolExecutor(8) as pool:
        for index, values in zip(order, pool.map(source.read_slice, order), strict=True):
            np.testing.assert_array_equal(values, expected[index])


def test_a_volume_that_must_be_held_is_bound_by_memory(tmp_path):
    limits = Limits(max_memory_bytes=ARRAY.nbytes - 1)
    source = make_source(tmp_path, ARRAY, info=SourceInfo(file_axes=(2, 0, 1)), limits=limits)
    with pytest.raises(LimitError, match="memory"):
        source.read_slice(0)


def test_gzip_of_several_members(tmp_path):
    data = ARRAY.tobytes()
    packed = b"".join(gzip.compress(data[i : i + 50]) for i in range(0, len(data), 50))
    source = make_source(tmp_path, ARRAY, encoding="gzip", packed=packed)
    np.testing.assert_array_equal(stack(source), ARRAY)


@pytest.mark.parametrize("encoding", ["gzip", "zlib"])
def test_wrong_checksum_is_an_error(tmp_path, encoding):
    packed = bytearray((gzip if encoding == "gzip" else zlib).compress(ARRAY.tobytes()))
    packed[-5 if encoding == "gzip" else -1] ^= 1
    source = make_source(tmp_path, ARRAY, encoding=encoding, packed=bytes(packed))
    with pytest.raises(InputError, match="damaged"):
        stack(source)


@pytest.mark.parametrize("encoding", ["gzip", "zlib"])
def test_truncated_stream_is_an_error_each_time(tmp_path, encoding):
    packed = (gzip if encoding == "gzip" else zlib).compress(ARRAY.tobytes())[:-20]
    source = make_source(tmp_path, ARRAY, encoding=encoding, packed=packed)
    for _ in range(2):
        with pytest.raises(InputError, match="damaged or truncated"):
            stack(source)


def test_declared_size_is_checked_before_reading(tmp_path):
    huge = (1000, 1000, 1000)
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * 1000)
    layout = RawLayout(subject="f", path=path, shape=huge, dtype=np.dtype("f8"), offset=10)
    with pytest.raises(InputError, match="declares 8000000000 bytes of data, 990 are there"):
        layout.check(DEFAULT_LIMITS)
    for encoding in ("gzip", "zlib"):
        packed = replace(layout, encoding=encoding, dtype=np.dtype("u1"))
        with pytest.raises(InputError, match="990 compressed bytes cannot hold"):
            packed.check(DEFAULT_LIMITS)
        with pytest.raises(InputError, match="990 are there"):
            replace(packed, packed_bytes=2000).check(DEFAULT_LIMITS)
        with pytest.raises(LimitError, match="inflates to"):
            replace(packed, dtype=np.dtype("f8")).check(Limits(max_streamed_bytes=4 << 30))
    with pytest.raises(InputError, match="0 are there"):
        replace(layout, offset=2000).check(DEFAULT_LIMITS)


def test_a_file_that_shrinks_after_opening(tmp_path):
    source = make_source(tmp_path, ARRAY)
    (tmp_path / "data.bin").write_bytes(b"1234")
    with pytest.raises(InputError, match="cut short"):
        source.read_slice(0)
    (tmp_path / "data.bin").unlink()
    with pytest.raises(InputError, match="cannot be read"):
        source.read_slice(0)


def test_inflating_stops_at_what_was_asked_for(tmp_path):
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(50_000_000)))
    stream = InflateStream(path, offset=0, encoding="gzip", subject="bomb")
    assert stream.read(348) == bytes(348)
    stream.close()
    stream.close()


@pytest.mark.parametrize("encoding", ["gzip", "zlib", "raw"])
def test_memory_stays_small_whatever_is_declared(tmp_path, encoding):
    """In 400 MB of address space: 1 GB inflated streams through, a slice of 2 GB is refused."""
    script = textwrap.dedent(
        """
        import gzip, resource, sys, zlib
        from pathlib import Path
        import numpy as np
        from hrinet.errors import HrinetError
        from hrinet.geometry import Geometry
        from hrinet.io.limits import DEFAULT_LIMITS, Limits
        from hrinet.io.raw import RawLayout, RawSource
        from hrinet.volume import SourceInfo
        path, encoding = Path(sys.argv[1]), sys.argv[2]
        if encoding == "raw":
            with path.open("wb") as file:
                file.truncate(2**31)
        else:
            deflate = zlib.compressobj(1, zlib.DEFLATED, 31 if encoding == "gzip" else 15)
            with path.open("wb") as file:
                for _ in range(256):
                    file.write(deflate.compress(bytes(2**20)))
                file.write(deflate.flush())
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096
        resource.setrlimit(resource.RLIMIT_AS, (used + 40 * 2**20,) * 2)
        for slices, side in ((256, 1024), (2, 2**14)):
            layout = RawLayout(subject="f", path=path, shape=(slices, side, side),
                               dtype=np.dtype("u1"), offset=0, encoding=encoding)
            try:
                layout.check(DEFAULT_LIMITS)
                geometry = Geometry.from_affine(np.eye(4), shape=layout.shape)
                source = RawSource(layout, geometry=geometry, info=SourceInfo(),
                                   limits=DEFAULT_LIMITS)
                source.read_slice(slices - 1)
                print("read")
            except HrinetError as error:
                print(type(error).__name__)
        """
    )
    command = [sys.executable, "-c", script, str(tmp_path / "file"), encoding]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["read", "LimitError"], done.stderr


@pytest.mark.parametrize(
    "name",
    ["../x.raw", "/etc/passwd", "a/../../x.raw", "..", ".", "", "link.raw", "a\0b", "..\\x.raw"],
)
def test_data_files_outside_the_folder_are_refused(tmp_path, name):
    folder = tmp_path / "in"
    folder.mkdir()
    (tmp_path / "x.raw").write_bytes(b"secret")
    (folder / "link.raw").symlink_to(tmp_path / "x.raw")
    with pytest.raises(InputError, match="in the header's own folder"):
        beside(folder / "h.mhd", name)


def test_data_files_inside_the_folder_are_found(tmp_path):
    (tmp_path / "sub").mkdir()
    assert beside(tmp_path / "h.mhd", "sub/x.raw") == (tmp_path / "sub" / "x.raw").resolve()


@pytest.mark.parametrize(
    ("spacings", "slice_axis"),
    [
        ((1, 1, 1), 0), ((2, 1, 1), 0), ((1, 2, 1), 1), ((1, 1, 2), 2), ((1, 1.2, 1), 0),
        ((1, 3, 3), 0), ((0.5, 1, 1), 0), ((1, 1.3, 0.9), 1),
    ],
)  # fmt: skip
def test_slices_are_counted_along_the_coarsest_axis(spacings, slice_axis):
    affine = np.diag([*spacings[::-1], 1.0])
    affine[:3, 3] = 5, 6, 7
    geometry, axes = arrange(affine, shape=SHAPE, subject="f", limits=DEFAULT_LIMITS)
    assert axes == (slice_axis, *[a for a in range(3) if a != slice_axis])
    assert geometry.shape == tuple(SHAPE[a] for a in axes)
    assert file_shape(geometry.shape, axes) == SHAPE
    np.testing.assert_allclose(file_affine(geometry, axes), affine, atol=1e-12)
    index = (1, 2, 3)
    point = affine @ [*index[::-1], 1]
    np.testing.assert_allclose(geometry.point(*(index[a] for a in axes)), point[:3], atol=1e-12)


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.__setitem__((0, 0), np.nan), lambda a: a.__setitem__((0, 3), np.inf),
        lambda a: a.__setitem__((0, 3), 1e9), lambda a: a.__setitem__((0, 0), 0),
        lambda a: a.__setitem__(0, (1, 0.1, 0.1, 0)), lambda a: a.__setitem__(2, a[1]),
    ],
)  # fmt: skip
def test_affines_that_are_not_usable_are_refused(change):
    affine = np.eye(4)
    change(affine)
    with pytest.raises(GeometryError, match=r"^f\.nii: .*correct the"):
        arrange(affine, shape=SHAPE, subject="f.nii", limits=DEFAULT_LIMITS)


@pytest.mark.parametrize("shape", [(0, 3, 3), (-1, 3, 3), (50_001, 3, 3), (3, 20_000, 20_000)])
def test_absurd_shapes_are_refused(shape):
    with pytest.raises(LimitError):
        arrange(np.eye(4), shape=shape, subject="f", limits=DEFAULT_LIMITS)


def make_sink(path: Path, **options: Any) -> RawSink:
    geometry = Geometry.from_affine(np.eye(4), shape=SHAPE)
    defaults = {"header": b"HEAD", "dtype": np.dtype(np.int16), "file_axes": (0, 1, 2)}
    return RawSink(path, geometry=geometry, **{**defaults, **options})


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize("axes", [(0, 1, 2), (1, 0, 2), (2, 0, 1)])
def test_sink_restores_the_order_of_the_axes(tmp_path, compress, axes):
    path = tmp_path / "out"
    sink = make_sink(path, file_axes=axes, compress=compress)
    for values in ARRAY:
        sink.write(values)
    sink.close()
    data = gzip.decompress(path.read_bytes()) if compress else path.read_bytes()
    assert data[:4] == b"HEAD"
    stored = np.frombuffer(data[4:], "<i2").reshape(file_shape(SHAPE, axes))
    np.testing.assert_array_equal(stored.transpose(axes), ARRAY)


def test_sink_counts_and_checks_slices(tmp_path):
    sink = make_sink(tmp_path / "out")
    with pytest.raises(RunError, match="expected"):
        sink.write(ARRAY[0].astype(np.float32))
    with pytest.raises(RunError, match="expected"):
        sink.write(ARRAY[0].T)
    with pytest.raises(RunError, match="got 0 slices, expected 4"):
        sink.close()
    for values in ARRAY:
        sink.write(values)
    with pytest.raises(RunError, match="more slices"):
        sink.write(ARRAY[0])
    sink.close()
    sink.abort()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("compress", [False, True])
def test_full_disk_is_a_run_error(compress):
    geometry = Geometry.from_affine(np.eye(4), shape=(20, 400, 400))
    values = RNG.integers(-30000, 30000, (400, 400), dtype=np.int16)
    sink = make_sink(Path("/dev/full"), compress=compress)
    sink.abort()
    sink = RawSink(
        Path("/dev/full"), header=b"", geometry=geometry, dtype=np.dtype(np.int16),
        file_axes=(0, 1, 2), compress=compress,
    )  # fmt: skip

    def write_all() -> None:
        for _ in range(20):
            sink.write(values)
        sink.close()

    with pytest.raises(RunError, match="cannot be written: No space left"):
        write_all()
    sink.abort()


def test_sink_in_a_missing_folder(tmp_path):
    for compress in (False, True):
        with pytest.raises(RunError, match="cannot be written"):
            make_sink(tmp_path / "no" / "out", compress=compress)


def test_gzip_is_one_deterministic_member_without_name_or_time(tmp_path, monkeypatch):
    data = RNG.integers(0, 50, 5_000_000, dtype=np.uint8).tobytes()
    for threads, name in enumerate(("a", "b"), start=1):
        monkeypatch.setattr(gzip_stream, "_THREADS", threads)
        with open_gzip_writer(tmp_path / name) as file:
            for start in range(0, len(data), 700_000):
                file.write(data[start : start + 700_000])
    packed = (tmp_path / "a").read_bytes()
    assert packed == (tmp_path / "b").read_bytes()
    assert packed[3:8] == bytes(5)
    inflate = zlib.decompressobj(31)
    assert inflate.decompress(packed) == data
    assert inflate.eof
    assert inflate.unused_data == b""

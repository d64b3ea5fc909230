import gzip
import lzma
import os
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from fastml.datasets import IdxError, read_idx, write_idx

MIB = 2**20
COMPRESS = {"plain": bytes, "gzip": gzip.compress, "xz": lzma.compress}
TYPES = [
    (0x08, "B", np.uint8, [0, 1, 255]),
    (0x09, "b", np.int8, [-128, -2, 127]),
    (0x0B, "h", np.int16, [-(2**15), 258, 2**15 - 1]),
    (0x0C, "i", np.int32, [-(2**31), 16909060, 2**31 - 1]),
    (0x0D, "f", np.float32, [-0.5, 2.0**-149, np.inf]),
    (0x0E, "d", np.float64, [-0.1, 5e-324, np.pi]),
]

every_compression = pytest.mark.parametrize("compress", COMPRESS.values(), ids=COMPRESS.keys())
every_type = pytest.mark.parametrize(
    ("code", "letter", "dtype", "values"), TYPES, ids=lambda case: getattr(case, "__name__", "")
)


def idx_bytes(code, shape, body=b""):
    return struct.pack(f">HBB{len(shape)}I", 0, code, len(shape), *shape) + body


SMALL = idx_bytes(0x0B, (2, 3), struct.pack(">6h", *range(6)))


def refuse(path, data, match, read=read_idx):
    """Assert that reading `data` is refused with an error that names the file; return the peak of memory it took."""
    path.write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(IdxError, match=match) as info:
            read(path)
        assert str(path) in str(info.value)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@every_compression
@every_type
def test_reads_big_endian_into_native_order(tmp_path, compress, code, letter, dtype, values):
    path = tmp_path / "array"
    path.write_bytes(compress(idx_bytes(code, (1, 3), struct.pack(f">3{letter}", *values))))
    array = read_idx(str(path))
    assert array.dtype == dtype
    assert array.dtype.isnative
    assert array.flags.c_contiguous
    assert array.flags.writeable
    np.testing.assert_array_equal(array, np.array([values], dtype))


@every_type
@pytest.mark.parametrize("order", "<>")
def test_writes_big_endian_from_any_order(tmp_path, order, code, letter, dtype, values):
    path = tmp_path / "array"
    write_idx(path, np.array(values, np.dtype(dtype).newbyteorder(order)))
    assert path.read_bytes() == idx_bytes(code, (3,), struct.pack(f">3{letter}", *values))


@settings(derandomize=True, deadline=None)
@given(
    array=st.sampled_from([dtype for _, _, dtype, _ in TYPES]).flatmap(
        lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
    ),
    suffix=st.sampled_from(["", ".gz", ".xz", ".gz.idx"]),
)
def test_round_trip_keeps_every_bit(tmp_path_factory, array, suffix):
    path = tmp_path_factory.getbasetemp() / f"array{suffix}"
    write_idx(path, array.T)
    back = read_idx(path)
    assert (back.dtype, back.shape) == (array.dtype, array.T.shape)
    assert back.tobytes() == array.T.tobytes()


def test_round_trip_of_several_chunks(tmp_path):
    array = np.random.default_rng(0).integers(-100, 100, (3, MIB // 4 + 1), np.int32)
    for name in ("array", "array.gz"):
        write_idx(tmp_path / name, array)
        np.testing.assert_array_equal(read_idx(tmp_path / name), array)


@pytest.mark.parametrize(("suffix", "magic"), [("", b"\0\0"), (".gz", b"\x1f\x8b"), (".xz", b"\xfd7zXZ")])
def test_name_decides_compression_and_same_array_makes_same_bytes(tmp_path, suffix, magic):
    written = []
    for directory in (tmp_path / "a", tmp_path / "b"):
        directory.mkdir()
        write_idx(directory / f"array{suffix}", np.arange(5, dtype=np.int8))
        written.append((directory / f"array{suffix}").read_bytes())
    assert written[0].startswith(magic)
    assert written[0] == written[1]


@every_compression
@pytest.mark.parametrize("name", ["array", "array.gz", "array.xz"])
def test_content_decides_when_reading(tmp_path, name, compress):
    (tmp_path / name).write_bytes(compress(SMALL))
    np.testing.assert_array_equal(read_idx(tmp_path / name), np.arange(6).reshape(2, 3))


def test_reads_gzip_of_several_members(tmp_path):
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(SMALL[:7]) + gzip.compress(SMALL[7:]))
    np.testing.assert_array_equal(read_idx(path), np.arange(6).reshape(2, 3))


@every_compression
def test_refuses_every_truncation(tmp_path, compress):
    whole = compress(SMALL)
    for length in range(len(whole)):
        refuse(tmp_path / "array", whole[:length], "found")
    for length in range(len(SMALL)):
        refuse(tmp_path / "array", compress(SMALL[:length]), f"found .*{length if length < 12 else length - 12} bytes")


@every_compression
@pytest.mark.parametrize("extra", [1, 1000])
def test_refuses_trailing_bytes(tmp_path, compress, extra):
    refuse(tmp_path / "array", compress(SMALL + bytes(extra)), r"or more bytes .* shape \(2, 3\) needs 12")


@every_compression
@pytest.mark.parametrize("magic", ["01000801", "00010801", "00000001", "00000a01", "00000f01", "0000ff01", "3c21444f"])
def test_refuses_bad_magic_number(tmp_path, compress, magic):
    refuse(tmp_path / "array", compress(bytes.fromhex(magic) + bytes(5)), rf"0x{magic}.*float64 \(0x0E\)")


@every_compression
@pytest.mark.parametrize("ndim", [1, 2, 3, 255])
def test_huge_claim_takes_no_memory(tmp_path, compress, ndim):
    data = compress(idx_bytes(0x0E, (2**32 - 1,) * ndim, bytes(100)))
    # 8 MiB of it is the dictionary that xz itself asks for.
    assert refuse(tmp_path / "array", data, "found 100 bytes") < 12 * MIB


@every_compression
@pytest.mark.parametrize("shape", [(2**32 - 1, 2**32 - 1, 0), (1,) * 65])
def test_refuses_shape_beyond_numpy(tmp_path, compress, shape):
    body = bytes(8 * int(np.prod(shape, dtype=object)))
    refuse(tmp_path / "array", compress(idx_bytes(0x0E, shape, body)), "need one that NumPy can hold")


@pytest.mark.parametrize("name", ["gzip", "xz"])
def test_bomb_is_stopped_beyond_the_claim(tmp_path, name):
    bomb = {"gzip": lambda data: gzip.compress(data, 1), "xz": lambda data: lzma.compress(data, preset=0)}[name]
    data = bomb(idx_bytes(0x08, (10,), bytes(64 * MIB)))
    assert len(data) < MIB
    assert refuse(tmp_path / "array", data, "found 11 or more bytes") < 4 * MIB


@pytest.mark.parametrize("position", [*range(-8, 0), 10])
def test_refuses_damaged_gzip_and_says_why(tmp_path, position):
    data = bytearray(gzip.compress(SMALL))
    data[position] ^= 0xFF
    path = tmp_path / "array"
    path.write_bytes(data)
    with pytest.raises(IdxError, match="damaged compressed stream") as info:
        read_idx(path)
    assert info.value.__cause__ is not None


@pytest.mark.parametrize("compress", [gzip.compress, lzma.compress])
def test_refuses_other_bytes_behind_a_compressed_stream(tmp_path, compress):
    for trailing in (b"x", b"\xfd7zXZ", SMALL):
        refuse(tmp_path / "array", compress(SMALL) + trailing, "damaged compressed stream")


def test_refuses_every_damaged_byte_of_xz(tmp_path):
    whole = lzma.compress(SMALL)
    for position in range(len(whole)):
        data = bytearray(whole)
        data[position] ^= 0xFF
        refuse(tmp_path / "array", data, "found")


@pytest.mark.parametrize(("name", "error"), [("missing", FileNotFoundError), (".", OSError)])
def test_unreadable_file_stays_an_os_error(tmp_path, name, error):
    with pytest.raises(error):
        read_idx(tmp_path / name)


@pytest.mark.parametrize(
    "dtype", [bool, np.uint16, np.uint32, np.int64, np.float16, complex, "U1", "M8[s]", object, "i4,i4"]
)
def test_write_refuses_other_dtypes(tmp_path, dtype):
    with pytest.raises(TypeError, match=r"array: found dtype .*, IDX has uint8 \(0x08\), .*float64 \(0x0E\)"):
        write_idx(tmp_path / "array", np.zeros(3, dtype))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("shape", [(2**32,), (0, 2**32)])
def test_write_refuses_dimension_beyond_uint32(tmp_path, shape):
    with pytest.raises(IdxError, match=r"array: found shape .*4294967296.* up to 4294967295"):
        write_idx(tmp_path / "array", np.broadcast_to(np.uint8(0), shape))
    assert not list(tmp_path.iterdir())


def test_write_takes_numpy_s_most_dimensions(tmp_path):
    write_idx(tmp_path / "array", np.ones((1,) * 64, np.int8))
    assert read_idx(tmp_path / "array").ndim == 64


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_failed_write_leaves_the_old_file_alone(tmp_path, monkeypatch, suffix, failing, error):
    def fail(*arguments):
        raise error("no space left")

    path = tmp_path / f"array{suffix}"
    write_idx(path, np.arange(3, dtype=np.int32))
    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(error, match="no space left"):
        write_idx(path, np.arange(100, dtype=np.float64))
    assert list(tmp_path.iterdir()) == [path]
    np.testing.assert_array_equal(read_idx(path), np.arange(3))


def test_write_replaces_and_gives_the_usual_permissions(tmp_path):
    path, usual = tmp_path / "array", tmp_path / "usual"
    usual.touch()
    for values in ([1, 2, 3], [4]):
        write_idx(path, np.array(values, np.uint8))
        assert read_idx(path).tolist() == values
    assert path.stat().st_mode == usual.stat().st_mode
    assert set(tmp_path.iterdir()) == {path, usual}

import errno
import gzip
import os
import signal
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest

from fastml.datasets import IdxError, open_idx, read_idx, write_idx
from tests.bits import ROOT, end_python, start_python
from tests.test_idx import COMPRESS, MIB, SMALL, every_type, idx_bytes, refuse

every_compressed_name = pytest.mark.parametrize("name", ["gzip", "xz"])


@every_type
@pytest.mark.parametrize("shape", [(3,), (1, 3, 1), (0,), (0, 28, 28), ()])
def test_maps_what_is_in_the_file(tmp_path, shape, code, letter, dtype, values):
    path = tmp_path / "array"
    array = np.resize(np.array(values, dtype), shape)
    write_idx(path, array)
    mapped = open_idx(str(path))
    assert isinstance(mapped, np.memmap)
    assert (mapped.dtype, mapped.shape) == (np.dtype(dtype).newbyteorder(">"), shape)
    assert not mapped.flags.writeable
    assert mapped.flags.c_contiguous
    np.testing.assert_array_equal(mapped, array)


def test_rows_of_mapped_images_are_still_the_map(tmp_path):
    path = tmp_path / "images"
    write_idx(path, np.arange(24, dtype=np.uint8).reshape(4, 3, 2))
    images = open_idx(path)
    rows = images.reshape(len(images), 6)
    assert np.shares_memory(rows, images)
    with open(path, "r+b") as file:
        file.seek(16 + 8)
        file.write(b"\xff")
    assert rows[1].tolist() == [6, 7, 255, 9, 10, 11]


def test_map_keeps_the_file_that_is_replaced(tmp_path):
    path = tmp_path / "array"
    write_idx(path, np.arange(5, dtype=np.uint8))
    mapped = open_idx(path)
    write_idx(path, np.zeros(1, np.uint8))
    assert mapped.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.skipif(os.name != "posix", reason="ends by a signal")
def test_map_of_a_file_that_gets_shorter_ends_the_process_as_documented(tmp_path):
    write_idx(tmp_path / "array", np.ones(10**5, np.uint8))
    script = "import os; from fastml.datasets import open_idx; a = open_idx('array'); print(a[-1], flush=True); "
    status, output, _ = end_python(
        start_python("-c", script + "os.truncate('array', 9); a[-1]", directory=tmp_path, PYTHONPATH=str(ROOT))
    )
    assert (status, output) == (-signal.SIGBUS, "1\n")
    assert "SIGBUS" in open_idx.__doc__
    with pytest.raises(IdxError, match="found 1 bytes of data"):
        open_idx(tmp_path / "array")


def test_mapping_takes_no_memory(tmp_path):
    path = tmp_path / "array"
    path.write_bytes(idx_bytes(0x08, (2**32 - 1,)))
    os.truncate(path, 8 + 2**32 - 1)
    tracemalloc.start()
    try:
        assert open_idx(path)[-1] == 0
        assert tracemalloc.get_traced_memory()[1] < MIB
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_compressed_file_is_unpacked_beside_itself_once(tmp_path, suffix):
    path, unpacked, calls = tmp_path / f"array{suffix}", tmp_path / "array", []
    array = np.arange(300_000, dtype=np.float64).reshape(3, -1)
    write_idx(path, array)
    mapped = open_idx(path, progress=lambda *call: calls.append(call))
    assert isinstance(mapped, np.memmap)
    np.testing.assert_array_equal(mapped, array)
    assert calls == [(MIB, 2_400_000), (2 * MIB, 2_400_000), (2_400_000, 2_400_000)]
    write_idx(tmp_path / "expected", array)
    assert unpacked.read_bytes() == (tmp_path / "expected").read_bytes()

    unpacked.write_bytes(unpacked.read_bytes()[:-8] + bytes(8))
    assert open_idx(path, progress=calls.append)[-1, -1] == 0
    write_idx(unpacked, array[:1])
    with pytest.raises(IdxError, match=r"array: found float64 of shape \(1, 100000\), need what .* \(3, 100000\)"):
        open_idx(path)


@every_compressed_name
def test_compressed_file_of_another_name_is_not_unpacked(tmp_path, name):
    refuse(tmp_path / "array", COMPRESS[name](SMALL), r"compressed file; .* must end in \.gz or \.xz", open_idx)
    assert [path.name for path in tmp_path.iterdir()] == ["array"]


@every_compressed_name
@pytest.mark.parametrize(
    ("data", "match"),
    [
        (SMALL[:-1], r"found 11 bytes of data, int16 of shape \(2, 3\) needs 12"),
        (SMALL + bytes(1000), r"found 13 or more bytes of data, int16 of shape \(2, 3\) needs 12"),
    ],
)
def test_stream_of_another_length_leaves_nothing(tmp_path, name, data, match):
    refuse(tmp_path / "array.gz", COMPRESS[name](data), match, open_idx)
    assert [path.name for path in tmp_path.iterdir()] == ["array.gz"]


@every_compressed_name
def test_damaged_stream_leaves_nothing(tmp_path, name):
    data = bytearray(COMPRESS[name](idx_bytes(0x08, (4 * MIB,), np.random.default_rng(0).bytes(4 * MIB))))
    data[len(data) // 2] ^= 1
    refuse(tmp_path / "array.gz", data, "damaged compressed stream", open_idx)
    assert [path.name for path in tmp_path.iterdir()] == ["array.gz"]


@pytest.mark.parametrize("free", [11, 12])
def test_unpacks_only_where_there_is_space(tmp_path, monkeypatch, free):
    path = tmp_path / "array.gz"
    path.write_bytes(gzip.compress(SMALL))
    monkeypatch.setattr("shutil.disk_usage", lambda directory: SimpleNamespace(free=free))
    if free == 12:
        assert open_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]
        return
    with pytest.raises(OSError, match="GB are needed to unpack it") as info:
        open_idx(path)
    assert (info.value.errno, info.value.filename) == (errno.ENOSPC, str(path))
    assert [path.name for path in tmp_path.iterdir()] == ["array.gz"]


def test_interrupted_unpacking_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    path = tmp_path / "array.gz"
    write_idx(path, np.zeros(5, np.uint8))
    with pytest.raises(KeyboardInterrupt):
        open_idx(path, progress=interrupt)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "found 0 bytes, an IDX header has 4 or more"),
        (b"<html>", "found magic number 0x3c68746d"),
        (SMALL[:7], "found a header of 7 bytes, 2 dimensions need 12"),
        (SMALL[:-1], r"found 11 bytes of data, int16 of shape \(2, 3\) needs 12"),
        (SMALL + b"x", r"found 13 or more bytes of data, int16 of shape \(2, 3\) needs 12"),
        (idx_bytes(0x0E, (2**32 - 1,) * 255, bytes(100)), "found 100 bytes of data"),
        (idx_bytes(0x08, (1,) * 65, b"x"), "need one that NumPy can hold"),
        (idx_bytes(0x0E, (2**32 - 1, 2**32 - 1, 0)), "need one that NumPy can hold"),
    ],
)
def test_map_refuses_what_reading_refuses(tmp_path, data, match):
    for read in (open_idx, read_idx):
        refuse(tmp_path / "array", data, match, read)


@pytest.mark.parametrize(("name", "error"), [("missing", FileNotFoundError), (".", OSError)])
def test_file_that_cannot_be_mapped_stays_an_os_error(tmp_path, name, error):
    with pytest.raises(error):
        open_idx(tmp_path / name)

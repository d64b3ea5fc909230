"""Readers of files on hostile bytes: their own error or a result, in bounded memory, and nothing else happens.

The other tests of each reader have the faults one by one; here are damages of any kind, and what a process is not
allowed to do meanwhile.
"""

import bz2
import errno
import gzip
import io
import lzma
import os
import struct
import sys
import tempfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.datasets import IdxError, open_idx, read_idx
from fastml.datasets.convert import ConvertError, convert
from fastml.datasets.mapped_idx import open_or_read_idx
from fastml.datasets.one_file import read_archive
from fastml.weights import WeightsError, load_weights
from tests import bits
from tests.test_idx import SMALL, idx_bytes
from tests.test_weights import THETA, npy

MIB = 2**20
# Beside what the process has when it begins to read.
MEMORY_LEFT = 256 * MIB
TEXT = b"7 1:255 4:9\n3 2:1\n" * 20
TABLE = b"label,a,b,c,d\n" + b"7,255,0,0,9\n3,0,1,0,0\n" * 20


def zipped(members, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


KERAS = zipped({"x_train.npy": npy(np.ones((2, 3, 3), np.uint8)), "y_train.npy": npy(np.arange(2))})
WEIGHTS = zipped({"theta.npy": npy(THETA), "settings.npy": npy(np.array('{"lr": 0.2}'))})


def xz_of_a_huge_dictionary(data):
    """Return xz whose header asks for a dictionary of 4 GiB."""
    stream = bytearray(lzma.compress(data))
    block, size = 12, (stream[12] + 1) * 4
    stream[block + 4] = 40
    stream[block + size - 4 : block + size] = struct.pack("<I", zlib.crc32(stream[block : block + size - 4]))
    return bytes(stream)


def convert_text(path):
    convert(path, path.with_name("images"), path.with_name("labels"), shape=(2, 2), text_format="libsvm")


def convert_table(path):
    convert(path, path.with_name("images"), path.with_name("labels"), shape=(2, 2), text_format="csv")


def read_keras(path):
    with open(path, "rb") as file:
        read_archive(file, path)


def open_or_read(path):
    open_or_read_idx(path, most=10)


# Each reader, its error, and files as it wants them.
READERS = {
    read_idx: (IdxError, [SMALL, gzip.compress(SMALL), lzma.compress(SMALL)]),
    open_idx: (IdxError, [SMALL, gzip.compress(SMALL), lzma.compress(SMALL)]),
    open_or_read: (IdxError, [SMALL, gzip.compress(SMALL), lzma.compress(SMALL)]),
    convert_text: (ConvertError, [TEXT, gzip.compress(TEXT), bz2.compress(TEXT), lzma.compress(TEXT)]),
    convert_table: (ConvertError, [TABLE, gzip.compress(TABLE), bz2.compress(TABLE), zipped({"a": TABLE})]),
    read_keras: (IdxError, [KERAS]),
    load_weights: (WeightsError, [WEIGHTS]),
}
every_reader = pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.__name__)


@st.composite
def damaged(draw, files):
    """Draw a file with up to four damages: bytes changed, left out, put in or repeated."""
    data = draw(st.sampled_from(files))
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.one_of(st.integers(begin, min(begin + 8, len(data))), st.just(len(data))))
        piece = draw(st.one_of(st.binary(max_size=8), st.just(data[begin:end] * 2), st.just(b"\xff" * 4)))
        data = data[:begin] + piece + data[end:]
    return data


@every_reader
@pytest.mark.filterwarnings("default")  # NumPy and zipfile warn of some of the damages
def test_any_damage_is_a_result_or_the_reader_s_own_error(reader, tmp_path_factory):
    error, files = READERS[reader]
    refusals = []

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(data=damaged(files))
    def check(data):
        with tempfile.TemporaryDirectory(dir=tmp_path_factory.getbasetemp()) as directory:
            path = Path(directory, "file.gz")
            path.write_bytes(data)
            tracemalloc.start()
            try:
                reader(path)
            except error as refusal:
                refusals.append(str(refusal).replace(str(path), "FILE"))
                assert os.listdir(directory) == [path.name]
            finally:
                peak = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert peak < 32 * MIB

    check()
    assert len(refusals) > 20
    assert all(refusal.startswith("FILE") and "\n" not in refusal for refusal in refusals)


def bombs():
    """Yield readers and small files that ask for a lot, or would have something done."""
    zeros = bytes(16 * MIB)
    packers = gzip.compress, bz2.compress, lzma.compress
    # All three formats allow for streams behind one another: 320 MiB, in 1.5 s.
    more = {pack: pack(zeros) * 20 for pack in packers}
    for reader in (read_idx, open_idx, open_or_read):
        for pack in (gzip.compress, lzma.compress):
            yield reader, pack(idx_bytes(0x08, (10,))) + more[pack]
            yield reader, pack(idx_bytes(0x0E, (2**32 - 1,) * 3, SMALL))
        yield reader, xz_of_a_huge_dictionary(SMALL)
        yield reader, lzma.compress(b"") + xz_of_a_huge_dictionary(SMALL)
        yield reader, idx_bytes(0x0E, (2**32 - 1,) * 255)
    for reader in (convert_text, convert_table):
        for pack in packers:
            yield reader, more[pack]
            yield reader, pack(b"7") + more[pack]
        yield reader, xz_of_a_huge_dictionary(TEXT)
    members = {"theta.npy": npy(THETA), "settings.npy": npy(np.array("{}"))}
    pickled = io.BytesIO()
    np.save(pickled, np.array([Path("x")], object), allow_pickle=True)
    for name, data in {
        "theta.npy": pickled.getvalue(),
        "settings.npy": pickled.getvalue(),
        "../W1.npy": members["theta.npy"],
        "theta.npy ": pickled.getvalue()[128:],
    }.items():
        yield load_weights, zipped(members | {name: data})
    yield load_weights, zipped(members | {"theta.npy": zeros}, zipfile.ZIP_DEFLATED)
    yield load_weights, zipped(members | {"theta.npy": members["theta.npy"][:8] + b"\xff\xff" + b"(" * 65535})


class Watch:
    """Sees, as an audit hook, what is written, unpickled or started while it is active."""

    WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

    def __init__(self):
        self.active, self.seen = False, []
        sys.addaudithook(self)

    def __call__(self, event, arguments):
        if not self.active:
            return
        if event == "open" and arguments[2] & self.WRITING:
            self.seen.append(str(arguments[0]))
        elif event == "os.rename":
            self.seen.append(str(arguments[1]))
        elif event in ("pickle.find_class", "os.system", "subprocess.Popen", "socket.connect"):
            self.seen.append(event)

    def __enter__(self):
        self.active, self.seen = True, []
        return self.seen

    def __exit__(self, *error):
        self.active = False


def main(directory):
    """Read good files and bombs in a process that has little memory left, and print what came of it."""
    import resource  # not on Windows

    work = Path(directory, "work")
    work.mkdir()
    path = work / "file.gz"
    readings = [(reader, file) for reader, (_, files) in READERS.items() for file in files]
    hostile = list(bombs())
    for text_reader, text in ((convert_text, TEXT), (convert_table, TABLE)):
        path.write_bytes(text)
        text_reader(path)  # loads the kernel, from the cache: that is pickled
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + MEMORY_LEFT,) * 2)
    sys.dont_write_bytecode = True
    watch = Watch()
    for reader, file in readings + hostile:
        for other in work.iterdir():
            other.unlink()
        path.write_bytes(file)
        with watch as seen:
            try:
                reader(path)
                outcome = "read"
            except READERS[reader][0]:
                outcome = "refused"
            except OSError as error:  # to be unpacked it would need more than the disk has
                outcome = "refused" if error.errno == errno.ENOSPC else error
        assert outcome == ("read" if (reader, file) in readings else "refused"), (reader, file[:100])
        assert all(Path(name).parent == work for name in seen), seen
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - resident) * 1024
    assert grown < 80 * MIB, grown
    with watch as seen:
        np.load(io.BytesIO(npy(np.array([Path("x")], object))), allow_pickle=True)
        Path(directory, "elsewhere").write_bytes(b"")
    assert "pickle.find_class" in seen
    assert str(Path(directory, "elsewhere")) in seen
    print(f"{len(readings)} read, {len(hostile)} refused")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux for the memory of a process")
def test_nothing_is_unpickled_or_written_elsewhere_and_memory_is_bounded(tmp_path):
    for name, reader in (("text", convert_text), ("table.csv", convert_table)):
        (tmp_path / name).write_bytes(TABLE if "csv" in name else TEXT)
        reader(tmp_path / name)  # compiles here what is not in the cache
    assert bits.run_python("-m", "tests.test_hostile", str(tmp_path)) == "19 read, 41 refused\n"


if __name__ == "__main__":
    main(*sys.argv[1:])

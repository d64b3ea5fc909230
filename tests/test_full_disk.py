"""A disk that is full while a file is written: the file that was there stays whole, and the error names it."""

import errno
from contextlib import contextmanager

import numpy as np
import pytest

from fastml import train_softmax
from fastml.cli import main
from fastml.cli.log import Log
from fastml.datasets import open_idx, write_idx
from fastml.datasets.convert import convert
from fastml.history import EpochResult, History
from fastml.plotting import plot_history, save_picture
from fastml.weights import save_weights

resource = pytest.importorskip("resource", reason="no limits of file sizes on this system")
LIMIT = 4096


@contextmanager
def full_disk():
    """Have the system refuse what is behind the first bytes of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def history(epochs):
    return History((), [EpochResult(epoch, 0.5, 0.1, 0.5, 0.1, None, None, 1.0) for epoch in range(epochs)])


def weights(path, version):
    save_weights(path, (np.full((100, 50), version, np.float32),), {})


def idx(path, version):
    write_idx(path, np.random.default_rng(version).integers(256, size=20_000, dtype=np.uint8))


def picture(path, version):
    save_picture(plot_history(history(2 + version)), path)


def log(path, version):
    Log(path, resume=False, run="")(history(1 + 99 * version))


def checkpoint(path, version):
    X, y = np.ones((4, 1000), np.float32), np.arange(4)
    train_softmax(X, y, X, y, epochs=1 + version, checkpoint=path.parent, resume=version > 0, verbose=False)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (weights, "weights.npz"),
        (idx, "array"),
        (idx, "array.gz"),
        (idx, "array.xz"),
        (picture, "curves.png"),
        (log, "run.jsonl"),
        (checkpoint, "checkpoint.npz"),
    ],
)
def test_file_that_was_there_stays_whole(tmp_path, write, name):
    path = tmp_path / name
    write(path, 0)
    before = path.read_bytes()
    with full_disk(), pytest.raises(OSError, match="File too large") as info:
        write(path, 1)
    assert (info.value.errno, info.value.filename) == (errno.EFBIG, str(path))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    write(path, 1)
    assert path.read_bytes() != before


def convert_beside(source):
    source.write_bytes(b"7 1:1\n" * 600)
    convert(source, source.with_name("array"), source.with_name("labels"), shape=(10, 10))


@pytest.mark.parametrize("make", [open_idx, convert_beside])
def test_new_file_is_not_there(tmp_path, make):
    source = tmp_path / "array.gz"
    idx(source, 0)
    with full_disk(), pytest.raises(OSError, match="File too large") as info:
        make(source)
    assert info.value.filename == str(tmp_path / "array")
    assert list(tmp_path.iterdir()) == [source]


def test_command_says_so_in_one_line(tmp_path, capsys):
    argv = ["train", "--model", "softmax", "--epochs", "1", "--save", str(tmp_path / "weights.npz")]
    with full_disk():
        assert main(argv) == 2
    *_, line = capsys.readouterr().err.splitlines()
    assert line == f"fastml: error: [Errno {errno.EFBIG}] File too large: '{tmp_path / 'weights.npz'}'"
    assert not list(tmp_path.iterdir())

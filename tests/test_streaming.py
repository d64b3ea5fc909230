"""Sets in mapped files: the same bits as in memory, read ahead of the kernels, in orders that disks like."""

import mmap

import numpy as np
import pytest

import fastml
from fastml import mapping, orders
from fastml.mapping import ReadAhead, mapping_of
from fastml.orders import epoch_order
from fastml.schedules import scheduled_lr
from tests.problems import EPOCHS, make_problem

PIECE = 1 << 12  # a page, so that small files have many


class RecordingMap(mmap.mmap):
    """A memory map that keeps what it is advised."""

    def madvise(self, option, start, length):
        assert option == mmap.MADV_WILLNEED
        assert start + length <= -(-len(self) // PIECE) * PIECE
        super().madvise(option, start, length)
        self.__dict__.setdefault("advised", []).extend(range(start, start + length))


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(mapping, "PIECE_BYTES", PIECE)
    monkeypatch.setattr(mapping, "CHUNK_BYTES", 4 * PIECE)


def mapped(path, X, offset=0):
    """Return X in a mapped file, offset bytes from its beginning."""
    path.write_bytes(bytes(offset) + X.tobytes())
    with open(path, "rb") as file:
        recording = RecordingMap(file.fileno(), 0, prot=mmap.PROT_READ)
    return np.frombuffer(recording, X.dtype, X.size, offset).reshape(X.shape)


@pytest.mark.parametrize("model", ["softmax", "nn"])
@pytest.mark.parametrize("dtype", ["uint8", "float32", ">i4"])
@pytest.mark.parametrize("shuffled", [False, True])
def test_npy_map_trains_to_the_bits_of_memory(tmp_path, small_pieces, model, dtype, shuffled):
    problem = make_problem(500, 40, 8, 3, batch=16, dtype=dtype)
    np.save(tmp_path / "X.npy", problem.X)
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    order = epoch_order(X, seed=0, epoch=0) if shuffled else None
    in_memory, streamed = problem.weights(model, np.float32), problem.weights(model, np.float32)
    epoch = EPOCHS[model][0]
    epoch(problem.X, problem.y, *in_memory, **problem.settings, order=order)
    epoch(X, problem.y, *streamed, **problem.settings, order=order)
    for W, expected in zip(streamed, in_memory, strict=True):
        np.testing.assert_array_equal(W, expected, strict=True)
    scale = problem.settings["scale"]
    assert fastml.evaluate(X, problem.y, *streamed, scale=scale) == fastml.evaluate(
        problem.X, problem.y, *in_memory, scale=scale
    )


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="the system takes no advice")
@pytest.mark.parametrize("shape", [(500, 40), (40, 500), (7, 3 * PIECE), (1, 1)])
@pytest.mark.parametrize("offset", [0, 16, PIECE + 3])
@pytest.mark.parametrize("order", [None, "reversed", "half"])
def test_all_rows_are_asked_for_before_their_turn(tmp_path, small_pieces, shape, offset, order):
    count, row_bytes = shape
    X = mapped(tmp_path / "X", np.ones(shape, np.uint8), offset)
    rows = {None: np.arange(count), "reversed": np.arange(count)[::-1], "half": np.arange(0, count, 2)}[order]
    ahead = ReadAhead(X, None if order is None else rows.astype(np.int32))
    for start in range(0, len(rows), 10):
        ahead.ask(start, start + 10)
        coming = rows[: start + 20]
        advised = set(mapping_of(X).advised)
        assert advised.issuperset((offset + coming[:, None] * row_bytes + np.arange(row_bytes)).ravel().tolist())
    # Each piece once, but for those that two chunks share.
    chunks = -(-X.nbytes // (4 * PIECE))
    assert len(mapping_of(X).advised) <= X.nbytes + (2 * chunks + 2) * PIECE


@pytest.mark.skipif(not hasattr(mmap.mmap, "madvise"), reason="the system takes no advice")
def test_scattered_rows_are_not_asked_for(tmp_path, small_pieces):
    X = mapped(tmp_path / "X", np.ones((4000, 64), np.uint8))
    ReadAhead(X, np.arange(0, 4000, 64)).ask(0, 10)
    assert not hasattr(mapping_of(X), "advised")


def test_arrays_in_memory_and_other_layouts_are_left_alone(tmp_path):
    X = mapped(tmp_path / "X", np.ones((8, 6), np.uint8))
    assert isinstance(mapping_of(X[2:].view()), RecordingMap)
    assert mapping_of(np.ones(3)) is None
    for other in (np.ones((8, 6)), X[:, ::2], X[:0], X.T):
        ReadAhead(other, None).ask(0, 2)
    assert not hasattr(mapping_of(X), "advised")


@pytest.mark.parametrize("is_mapped", [False, True])
@pytest.mark.parametrize("count", [1, 2, 999, 1000])
def test_order_is_a_permutation_of_seed_and_epoch(tmp_path, monkeypatch, is_mapped, count):
    monkeypatch.setattr(orders, "BLOCK_BYTES", 40)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 400)
    X = np.zeros((count, 4), np.uint8)
    X = mapped(tmp_path / "X", X) if is_mapped else X
    order = epoch_order(X, seed=3, epoch=5)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))
    np.testing.assert_array_equal(order, epoch_order(X, seed=3, epoch=5))
    if count > 2:
        assert (order != epoch_order(X, seed=3, epoch=6)).any()
        assert (order != epoch_order(X, seed=4, epoch=5)).any()


def test_order_of_a_mapped_file_reads_whole_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr(orders, "BLOCK_BYTES", 40)
    monkeypatch.setattr(orders, "WINDOW_BYTES", 400)
    X = mapped(tmp_path / "X", np.zeros((1000, 4), np.uint8))
    order = epoch_order(X, seed=0, epoch=0)
    windows = order.reshape(10, 100)
    for window in windows:
        blocks, sizes = np.unique(window // 10, return_counts=True)
        assert (sizes == 10).all()
        assert (np.diff(blocks) != 1).any()
        assert (np.sort(window) != window).any()
    assert len(np.unique(windows // 10)) == 100


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_training_takes_step_sizes_and_orders_epoch_by_epoch(schedule, shuffle):
    problem = make_problem(300, 12, 8, 3, batch=16)
    X, y = problem.X, problem.y
    settings = {"schedule": schedule, "shuffle": shuffle, "seed": 7, "verbose": False}
    (theta,) = fastml.train_softmax(X, y, X, y, epochs=4, lr=0.4, batch=16, **settings).weights
    rates = {
        "constant": [0.4] * 4,
        "step": [0.4, 0.4, 0.04, 0.004],
        "cosine": [0.2 * (1 + np.cos(np.pi * epoch / 4)) for epoch in range(4)],
    }
    expected = np.zeros_like(theta)
    for epoch, rate in enumerate(rates[schedule]):
        order = epoch_order(X, 7, epoch) if shuffle else None
        fastml.softmax_regression_epoch(X, y, expected, rate, 16, order=order)
        assert scheduled_lr(schedule, 0.4, epoch, 4) == pytest.approx(rate, rel=1e-15)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-7)

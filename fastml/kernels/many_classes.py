"""Softmax regression with many classes: a mini-batch as one worker of a team, and the verdicts of the model on a block.

theta is a layer in panels of classes, as W1 of the network is in panels of hidden units, and skips zeros like W1. Each
worker owns panels of classes. Workers meet when all logits of a block are written, and again when all dlogits are. The
softmax of a row needs all classes, so the workers share out the bands of rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, panels, pattern, team, update
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import helper, inlined, worker_kernel
from fastml.kernels.loss import BAND, Logits
from fastml.kernels.panels import ROWS, Arrays, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.team import Team, Tiles, Worker
from fastml.kernels.update import Update


class Weights(NamedTuple):
    """theta in panels of classes."""

    theta: Layer
    num_classes: int


class Memory(NamedTuple):
    """Memory for a block of all workers, or for blocks that are judged: then each worker has its own memory."""

    X: NDArray  # (workers, rows, features): the packed rows of a block
    lists: Lists
    rows: NDArray  # (panels, rows, width): logits in the order of the block, then dlogits; to judge (workers, ...)
    bands: NDArray  # (1, bands, 1, classes, BAND): logits, a part alone; to judge (workers, ...)
    dlogits: NDArray  # (1, bands, classes, BAND); to judge (workers, ...)
    start: NDArray  # (1, classes): zeros, for the logits contain the bias
    factor: np.floating  # 1: the logits have no factor
    identity: NDArray[np.int64]  # (rows of a block,): 0, 1, 2, ...
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch, as one worker."""
    theta, me, size = weights.theta, worker.number, min(memory.block_rows, batch.stop - batch.start)
    count, groups = theta.weights.shape[0], panels.feature_groups(theta)
    begin, end = team.own_panels(worker, count)
    lists, bands, dlogits = pattern.own_lists(memory.lists, worker, 0), memory.bands[0], memory.dlogits[0]
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        block = input.read(batch.examples, start, stop, memory.X[me], memory.identity, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, stop + size // 2, steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.feature_work, pattern.groups_of(stop - start))
            layer.forward(theta, tiles, block, lists, False, memory.rows[p], ahead)
            write_bands(theta, tiles, memory.rows[p], bands)
        team.meet(worker)
        logits = Logits(False, memory.start, bands, memory.factor, dlogits)
        targets = loss.targets_of(batch.examples, start, stop, lists.order)
        loss.make_dlogits(logits, targets, weights.num_classes, loss.verdicts_from(verdicts, start), worker)
        write_rows(theta, dlogits, stop - start, lists.order, memory.rows, worker)
        team.meet(worker)
        steps = pattern.list_rows(stop - start, groups, lists, start == batch.start) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop + size // 2, stop + size, steps, memory.position[me])
        now = update.of_block(batch.update, start == batch.start, stop == batch.stop)
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.row_work, groups)
            layer.gradient(theta, tiles, block, lists, memory.rows[p], now, ahead)
        if team.shares_panels(worker, count):
            team.meet(worker)


@inlined
def judge(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    theta, me, bands, (start, stop, following) = weights.theta, worker.number, memory.bands[worker.number], rows
    lists = pattern.own_lists(memory.lists, worker, 0)
    block = input.read(examples, start, stop, memory.X[me], memory.identity, lists.masks)
    steps = pattern.list_features(block.labels, lists) * theta.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    for p in range(theta.weights.shape[0]):
        tiles = Tiles(p, 0, pattern.groups_of(stop - start))
        layer.forward(theta, tiles, block, lists, False, memory.rows[me], ahead)
        write_bands(theta, tiles, memory.rows[me], bands)
    logits = Logits(False, memory.start, bands, memory.factor, memory.dlogits[me])
    loss.judge_block(logits, loss.targets_of(examples, start, stop, lists.order), weights.num_classes, verdicts)


@helper
def write_bands(theta, tiles, rows, bands):
    """Write the logits of some groups of rows of a panel, (rows, width), to bands."""
    column, end = panels.first_column(theta, tiles.panel), panels.first_column(theta, tiles.panel + 1)
    for i in range(tiles.first * ROWS, tiles.last * ROWS, ROWS):
        band, r = bands[i // BAND, 0], i % BAND
        for k in range(end - column):
            for more in range(ROWS):
                band[column + k, r + more] = rows[i + more, k]


@helper
def write_rows(theta, dlogits, count, order, rows, worker):
    """Write a worker's bands of dlogits to rows, (panels, rows, width), each row where the block has it."""
    for p in range(rows.shape[0]):
        column, end = panels.first_column(theta, p), panels.first_column(theta, p + 1)
        for i in range(count):
            if i // BAND % worker.count == worker.number:
                row, band, r = rows[p, order[i]], dlogits[i // BAND, column:], i % BAND
                for k in range(end - column):
                    row[k] = band[k, r]


@worker_kernel
def learn_many_classes(examples, descent, weights, memory, verdicts, number, workers):
    """Train softmax regression on a slice, as one worker."""
    learn_batches(step, examples, descent, weights, memory, verdicts, number, workers)


@worker_kernel
def judge_many_classes(examples, weights, memory, verdicts, number, workers):
    """Write the verdicts of softmax regression on a slice, as one worker."""
    judge_blocks(judge, examples, weights, memory, verdicts, number, workers)


class ManyClasses(PackedModel):
    """Softmax regression with many classes in the form of the kernels."""

    kernels = learn_many_classes, judge_many_classes

    def __init__(self, layers: tuple[Arrays], workers: int):
        (arrays,) = layers
        theta = panels.pack(arrays, ROWS, ROWS)
        self.weights, self.copies = Weights(theta, arrays.weights.shape[1]), panels.panel_copies(theta, arrays, ROWS)
        self.input_dim, self.workers, self.dtype = len(arrays.weights), workers, theta.weights.dtype

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory for batches of up to batch rows: to learn by updates like `update`, or to judge with None."""
        theta, size, workers = self.weights.theta, input.block_rows(batch, self.input_dim, self.dtype), self.workers
        (count, _, width), learn = theta.weights.shape, update is not None
        owners, classes = 1 if learn else workers, int(theta.offsets[-1]) * panels.lanes(self.dtype) // UNITS
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, 1, size, self.input_dim),
            rows=panels.aligned_zeros((count if learn else workers, size, width), self.dtype),
            bands=panels.aligned_zeros((owners, size // BAND, 1, classes, BAND), self.dtype),
            dlogits=panels.aligned_zeros((owners, size // BAND, classes, BAND), self.dtype),
            start=np.zeros((1, classes), self.dtype),
            factor=self.dtype.type(1),
            identity=np.arange(size),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )
        lists = pattern.own_lists.py_func(memory.lists, Worker(memory.team, 0, workers), 0)
        theta = layer.for_sparse_rows(theta, lists, memory.X, memory.rows[0], update)
        self.weights = self.weights._replace(theta=panels.with_gradient(theta, learn and batch > size))

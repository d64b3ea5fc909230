"""Softmax regression with many classes: a mini-batch as one worker of a team, and the verdicts of the model on a block.

theta is a layer in panels of classes, as W1 of the network is in panels of hidden units, and skips zeros like W1. Each
worker owns panels of classes. Workers meet when all logits of a block are there, and again when all dlogits are: the
softmax of a row needs all classes, so the workers share out the bands of rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, panels, pattern, team
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import helper, inlined, worker_kernel
from fastml.kernels.loss import BAND
from fastml.kernels.panels import ROWS, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.team import Team, Tiles, Worker
from fastml.kernels.update import Update


class Weights(NamedTuple):
    """theta in panels of classes."""

    theta: Layer
    num_classes: int


class Memory(NamedTuple):
    """Memory for a block of all workers, or for blocks that are judged: then each worker has its own of all."""

    X: NDArray  # (workers, rows, features): the packed rows of a block
    lists: Lists
    rows: NDArray  # (panels, rows, width): logits in the order of the block, then dlogits; to judge (workers, ...)
    bands: NDArray  # (1, bands, 1, classes, BAND): logits, a part alone; to judge (workers, ...)
    dlogits: NDArray  # (1, bands, classes, BAND); to judge (workers, ...)
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch, as one worker."""
    theta, me, size = weights.theta, worker.number, min(memory.block_rows, batch.stop - batch.start)
    count, groups = theta.weights.shape[0], theta.weights.shape[1] // ROWS
    begin, end = team.own_panels(worker, count)
    lists, bands, dlogits = pattern.own_lists(memory.lists, worker, 0), memory.bands[0], memory.dlogits[0]
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        block = input.read(batch.examples, start, stop, memory.X[me])
        input.mark(block, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, stop + size // 2, steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.feature_counts, pattern.groups_of(stop - start))
            layer.forward(theta, tiles, block.X, lists, False, memory.rows[p], ahead)
            write_bands(theta, tiles, memory.rows[p], bands)
        team.meet(worker)
        some = loss.verdicts_from(verdicts, start)
        loss.make_dlogits((bands, dlogits), 1, block.labels, lists.order, weights.num_classes, some, worker)
        write_rows(theta, dlogits, stop - start, lists.order, memory.rows, worker)
        team.meet(worker)
        steps = pattern.list_rows(stop - start, groups, lists, start == batch.start) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop + size // 2, stop + size, steps, memory.position[me])
        now = Update(batch.rate, start == batch.start, stop == batch.stop)
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.shares, groups)
            layer.gradient(theta, tiles, block.X, lists, memory.rows[p], now, ahead)
        if team.shares_panels(worker, count):
            team.meet(worker)


@inlined
def judge(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    theta, me, bands, (start, stop, following) = weights.theta, worker.number, memory.bands[worker.number], rows
    lists = pattern.own_lists(memory.lists, worker, 0)
    block = input.read(examples, start, stop, memory.X[me])
    input.mark(block, lists.masks)
    steps = pattern.list_features(block.labels, lists) * theta.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    for p in range(theta.weights.shape[0]):
        tiles = Tiles(p, 0, pattern.groups_of(stop - start))
        layer.forward(theta, tiles, block.X, lists, False, memory.rows[me], ahead)
        write_bands(theta, tiles, memory.rows[me], bands)
    loss.judge_block((bands, memory.dlogits[me]), 1, block.labels, lists.order, weights.num_classes, verdicts)


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

    def __init__(self, theta: NDArray):
        self.weights, self.input_dim = Weights(panels.pack(theta, ROWS), theta.shape[1]), len(theta)
        self.dtype = self.weights.theta.weights.dtype

    def unpack(self, theta: NDArray) -> None:
        """Write the weights to theta, in place."""
        panels.unpack(self.weights.theta, theta)

    def reserve(self, batch: int, workers: int, learn: bool) -> None:
        """Reserve memory for workers and batches of up to batch rows, or to judge."""
        theta, size = self.weights.theta, input.block_rows(batch, self.input_dim, self.dtype)
        count, _, width = theta.weights.shape
        owners, classes = 1 if learn else workers, int(theta.offsets[-1]) * panels.lanes(self.dtype) // UNITS
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, 1, size, self.input_dim),
            rows=panels.aligned_zeros((count if learn else workers, size, width), self.dtype),
            bands=panels.aligned_zeros((owners, size // BAND, 1, classes, BAND), self.dtype),
            dlogits=panels.aligned_zeros((owners, size // BAND, classes, BAND), self.dtype),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )
        lists = pattern.own_lists.py_func(memory.lists, Worker(memory.team, 0, workers), 0)
        theta = layer.for_sparse_rows(theta, memory.X[0], lists, memory.rows[0])
        self.weights = self.weights._replace(theta=panels.with_gradient(theta, learn and batch > size))

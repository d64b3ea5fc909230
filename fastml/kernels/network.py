"""The two-layer ReLU network: one mini-batch as one worker of a team, and the verdicts of the model on a block.

Each worker owns panels of hidden units: their columns of W1, their rows of W2. What all workers need of a batch (its
rows, patterns and dlogits) each makes for itself, because a cache line that another core wrote comes slowly. Workers
meet once all parts of the logits are there, and again only where a panel has several owners.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, panels, pattern, team, update
from fastml.kernels.batches import PackedModel, after_forward, before_backward, judge_blocks, learn_batches
from fastml.kernels.compile.options import inlined, worker_kernel
from fastml.kernels.layer import Dots
from fastml.kernels.loss import BAND, MANY_CLASSES
from fastml.kernels.panels import CLASSES, ROWS, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.team import Team, Tiles, Worker
from fastml.kernels.update import Update


class Layers(NamedTuple):
    """Both layers, in panels of hidden units: W1 (features, hidden units) and W2 transposed (classes, hidden units)."""

    first: Layer
    last: Layer
    num_classes: int


class Memory(NamedTuple):
    """Memory for the batches of a slice, or for the blocks that are judged: then each worker has its own of all."""

    X: NDArray  # (workers, rows of a block, features): the packed rows of a block
    lists: Lists
    hidden: NDArray  # (panels, rows of a batch, width); to judge (workers, rows of a block, width)
    dhidden: NDArray  # (workers, rows of a block, width)
    partial: NDArray  # (sets, bands of a batch, panels, classes, BAND), used in turn; to judge (workers, ...)
    dlogits: NDArray  # (workers, bands of a batch, classes, BAND); one for all workers with `MANY_CLASSES`
    identity: NDArray[np.int64]  # (rows of a batch,): 0, 1, 2, ...
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, layers, memory, verdicts, worker):
    """Train both layers on one mini-batch, as one worker."""
    first, last, me, size = layers.first, layers.last, worker.number, min(memory.block_rows, batch.stop - batch.start)
    count, groups = first.weights.shape[0], first.weights.shape[1] // ROWS
    shared, (begin, end) = team.shares_panels(worker, count), team.own_panels(worker, count)
    partial, dlogits = memory.partial[batch.number % len(memory.partial)], memory.dlogits[me % len(memory.dlogits)]
    for start in range(batch.start, batch.stop, size):
        at, stop = start - batch.start, min(start + size, batch.stop)
        lists = pattern.own_lists(memory.lists, worker, at // size)
        block = input.read(batch.examples, start, stop, memory.X[me])
        input.mark(block, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, after_forward(batch, stop, size), steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.feature_counts, pattern.groups_of(stop - start))
            layer.forward(first, tiles, block.X, lists, True, memory.hidden[p, at:], ahead)
            dots = Dots(memory.hidden[p, at:], memory.identity[: tiles.last * ROWS], memory.identity[:0], 1)
            layer.logits(last.weights[p], dots, tiles, (0, panels.columns_of(first, p)), partial[at // BAND :], p)
    team.meet(worker)
    for start in range(batch.start, batch.stop, size):
        at, labels = start - batch.start, batch.examples.labels[start : min(start + size, batch.stop)]
        order, some = pattern.own_lists(memory.lists, worker, at // size).order, loss.verdicts_from(verdicts, start)
        bands = partial[at // BAND :], dlogits[at // BAND :]
        loss.make_dlogits(bands, 1, labels, order, layers.num_classes, some, worker)
    if layers.num_classes >= MANY_CLASSES:
        team.meet(worker)
    for start in range(batch.start, batch.stop, size):
        at, stop = start - batch.start, min(start + size, batch.stop)
        lists, bands = pattern.own_lists(memory.lists, worker, at // size), dlogits[at // BAND :]
        if batch.stop - batch.start > size:  # else the only block is still packed
            block = input.read(batch.examples, start, stop, memory.X[me])
        steps = pattern.list_rows(stop - start, groups, lists, at == 0) * count // worker.count
        soon = before_backward(batch, stop, size)
        ahead = input.ahead_of(batch.examples, soon, stop + size, steps, memory.position[me])
        now = Update(batch.rate, at == 0, stop == batch.stop)
        for p in range(begin, end):
            tiles, hidden = team.own_tiles(worker, p, count, lists.shares, groups), memory.hidden[p, at:]
            all_rows = Tiles(p, 0, pattern.groups_of(stop - start))
            layer.backward(last, all_rows, bands, layers.num_classes, hidden, memory.dhidden[me], lists.order)
            if team.owns_first(tiles):
                dots = Dots(hidden, memory.identity[: stop - start], memory.identity[:0], 1)
                later = Update(batch.rate, at == 0, stop == batch.stop and not shared)
                layer.logits_gradient(last, p, dots, bands, (0, panels.columns_of(last, p)), later)
            layer.gradient(first, tiles, block.X, lists, memory.dhidden[me], now, ahead)
    if shared:
        team.meet(worker)
        for p in range(begin, end):
            if team.owns_first(team.own_tiles(worker, p, count, memory.lists.shares[me], groups)):
                update.apply(last, p, batch.rate)
    if shared or len(memory.partial) == 1:
        team.meet(worker)


@inlined
def judge(examples, rows, layers, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    first, last, me, (start, stop, following) = layers.first, layers.last, worker.number, rows
    lists, hidden, partial = pattern.own_lists(memory.lists, worker, 0), memory.hidden[me], memory.partial[me]
    block = input.read(examples, start, stop, memory.X[me])
    input.mark(block, lists.masks)
    steps = pattern.list_features(block.labels, lists) * first.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    dots = Dots(hidden, memory.identity[: pattern.groups_of(stop - start) * ROWS], memory.identity[:0], 1)
    for p in range(first.weights.shape[0]):
        tiles = Tiles(p, 0, pattern.groups_of(stop - start))
        layer.forward(first, tiles, block.X, lists, True, hidden, ahead)
        layer.logits(last.weights[p], dots, tiles, (0, panels.columns_of(first, p)), partial, p)
    loss.judge_block((partial, memory.dlogits[me]), 1, block.labels, lists.order, layers.num_classes, verdicts)


@worker_kernel
def learn_network(examples, descent, layers, memory, verdicts, number, workers):
    """Train the network on a slice, as one worker."""
    learn_batches(step, examples, descent, layers, memory, verdicts, number, workers)


@worker_kernel
def judge_network(examples, layers, memory, verdicts, number, workers):
    """Write the verdicts of the network on a slice, as one worker."""
    judge_blocks(judge, examples, layers, memory, verdicts, number, workers)


class Network(PackedModel):
    """The network in the form of the kernels."""

    kernels = learn_network, judge_network

    def __init__(self, W1: NDArray, W2: NDArray):
        first, last = panels.pack(W1, ROWS), panels.pack(W2.T, CLASSES)
        self.weights, self.input_dim = Layers(first, last, W2.shape[1]), len(W1)
        self.dtype = first.weights.dtype

    def unpack(self, W1: NDArray, W2: NDArray) -> None:
        """Write the weights to W1 and W2, in place."""
        panels.unpack(self.weights.first, W1)
        panels.unpack(self.weights.last, W2.T)

    def reserve(self, batch: int, workers: int, learn: bool) -> None:
        """Reserve memory for workers and batches of up to batch rows, or to judge."""
        first, last, _ = self.weights
        count, classes, width = last.weights.shape
        size = input.block_rows(batch, self.input_dim, self.dtype)
        blocks = panels.padded(batch, size) // size if learn else 1
        rows = blocks * size
        # With two sets of partial logits no worker waits for another at the end of a batch. A long batch has one set.
        sets = 2 if blocks == 1 else 1
        makers = 1 if learn and self.weights.num_classes >= MANY_CLASSES else workers
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, blocks, size, self.input_dim),
            hidden=panels.aligned_zeros((count if learn else workers, rows, width), self.dtype),
            dhidden=panels.aligned_zeros((workers, size if learn else 0, width), self.dtype),
            partial=panels.aligned_zeros((sets if learn else workers, rows // BAND, count, classes, BAND), self.dtype),
            dlogits=panels.aligned_zeros((makers, rows // BAND, classes, BAND), self.dtype),
            identity=np.arange(rows),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )
        lists = pattern.own_lists.py_func(memory.lists, Worker(memory.team, 0, workers), 0)
        hidden, order = memory.hidden[0], lists.order
        first = panels.with_gradient(layer.for_sparse_rows(first, memory.X[0], lists, hidden), learn and blocks > 1)
        if learn:
            last = layer.with_products(
                last, backward=(memory.dlogits[0], self.weights.num_classes, hidden, hidden, order)
            )
        last = panels.with_gradient(last, learn and (blocks > 1 or count % workers != 0))
        self.weights = self.weights._replace(first=first, last=last)

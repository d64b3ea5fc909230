"""The two-layer ReLU network with few classes: a mini-batch as one worker of a team, and the verdicts on a block.

Each worker owns panels of hidden units: their columns of W1, their rows of W2. All workers need the rows, patterns and
dlogits of a batch. Each worker makes its own, because reading a cache line that another core wrote is slow. Workers
meet once all parts of the logits are written, and again only where a panel has several owners.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, panels, pattern, products, team, update
from fastml.kernels.batches import PackedModel, after_forward, before_backward, judge_blocks, learn_batches
from fastml.kernels.compile.options import inlined, worker_kernel
from fastml.kernels.layer import Dots, Outer
from fastml.kernels.loss import BAND, Logits
from fastml.kernels.panels import CLASSES, ROWS, Arrays, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.team import Team, Tiles, Worker
from fastml.kernels.update import Update


class Layers(NamedTuple):
    """Both layers, in panels of hidden units: W1 (features, hidden units) and W2 transposed (classes, hidden units)."""

    first: Layer
    last: Layer
    bias: Layer  # of the last layer, a copy for each worker
    num_classes: int


class Memory(NamedTuple):
    """Memory for the batches of a slice, or for the blocks that are judged: then each worker has its own memory."""

    X: NDArray  # (workers, rows of a block, features): the packed rows of a block
    lists: Lists
    hidden: NDArray  # (panels, rows of a batch, width); to judge (workers, rows of a block, width)
    dhidden: NDArray  # (workers, rows of a block, width)
    partial: NDArray  # (sets, bands of a batch, panels, classes, BAND), used in turn; to judge (workers, ...)
    dlogits: NDArray  # (workers, bands of a batch, classes, BAND)
    sums: NDArray  # (workers, 1, classes): the sums of dlogits over the rows
    factor: np.floating  # 1: the logits have no factor
    none: NDArray  # (1, 0): the hidden units have no offset
    identity: NDArray[np.int64]  # (rows of a batch,): 0, 1, 2, ...
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, layers, memory, verdicts, worker):
    """Train both layers on one mini-batch, as one worker."""
    first, last, bias, me = layers.first, layers.last, layers.bias, worker.number
    size, one = min(memory.block_rows, batch.stop - batch.start), memory.factor
    count, groups = first.weights.shape[0], panels.feature_groups(first)
    shared, (begin, end) = team.shares_panels(worker, count), team.own_panels(worker, count)
    partial, dlogits = memory.partial[batch.number % len(memory.partial)], memory.dlogits[me]
    for start in range(batch.start, batch.stop, size):
        at, stop = start - batch.start, min(start + size, batch.stop)
        lists = pattern.own_lists(memory.lists, worker, at // size)
        block = input.read(batch.examples, start, stop, memory.X[me], memory.identity, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, after_forward(batch, stop, size), steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.feature_work, pattern.groups_of(stop - start))
            layer.forward(first, tiles, block, lists, True, memory.hidden[p, at:], 0, ahead)
            dots = Dots(memory.hidden[p, at:], memory.identity[: tiles.last * ROWS], memory.identity[:0], 1)
            layer.logits(last.weights[p], dots, tiles, (0, panels.columns_of(first, p)), partial[at // BAND :], p)
    team.meet(worker)
    for start in range(batch.start, batch.stop, size):
        at, stop = start - batch.start, min(start + size, batch.stop)
        logits = Logits(bias.has_bias, bias.weights[me], partial[at // BAND :], one, dlogits[at // BAND :])
        order = pattern.own_lists(memory.lists, worker, at // size).order
        targets, some = loss.targets_of(batch.examples, start, stop, order), loss.verdicts_from(verdicts, start)
        loss.make_dlogits(logits, targets, layers.num_classes, some, worker)
    for start in range(batch.start, batch.stop, size):
        at, stop = start - batch.start, min(start + size, batch.stop)
        lists, bands = pattern.own_lists(memory.lists, worker, at // size), dlogits[at // BAND :]
        if batch.stop - batch.start > size:  # else the only block is still packed; all blocks are marked already
            block = input.read(batch.examples, start, stop, memory.X[me], memory.identity, lists.masks[:0])
        steps = pattern.list_rows(stop - start, groups, lists, at == 0) * count // worker.count
        soon = before_backward(batch, stop, size)
        ahead = input.ahead_of(batch.examples, soon, stop + size, steps, memory.position[me])
        now = update.of_block(batch.update, at == 0, stop == batch.stop)
        for p in range(begin, end):
            tiles, hidden = team.own_tiles(worker, p, count, lists.row_work, groups), memory.hidden[p, at:]
            all_rows = Tiles(p, 0, pattern.groups_of(stop - start))
            layer.backward(last, all_rows, bands, layers.num_classes, hidden, memory.dhidden[me], lists.order)
            if team.owns_first(tiles):
                dots = Dots(hidden, memory.identity[: stop - start], memory.identity[:0], 1)
                later = update.of_block(batch.update, at == 0, stop == batch.stop and not shared)
                outer, columns = Outer(one, memory.sums[me], memory.none), (0, panels.columns_of(last, p))
                layer.logits_gradient(last, p, dots, bands, outer, columns, later)
            layer.gradient(first, tiles, block, lists, memory.dhidden[me], now, ahead)
        if bias.has_bias:
            loss.sum_rows(bands, stop - start, layers.num_classes, memory.sums[me])
            update.finish_bias(memory.sums[me], bias, me, now)
    if shared:
        team.meet(worker)
        for p in range(begin, end):
            if team.owns_first(team.own_tiles(worker, p, count, memory.lists.row_work[me], groups)):
                update.apply(last, p, batch.update)
    if shared or len(memory.partial) == 1:
        team.meet(worker)


@inlined
def judge(examples, rows, layers, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    first, last, me, (start, stop, following) = layers.first, layers.last, worker.number, rows
    lists, hidden, partial = pattern.own_lists(memory.lists, worker, 0), memory.hidden[me], memory.partial[me]
    block = input.read(examples, start, stop, memory.X[me], memory.identity, lists.masks)
    steps = pattern.list_features(block.labels, lists) * first.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    dots = Dots(hidden, memory.identity[: pattern.groups_of(stop - start) * ROWS], memory.identity[:0], 1)
    for p in range(first.weights.shape[0]):
        tiles = Tiles(p, 0, pattern.groups_of(stop - start))
        layer.forward(first, tiles, block, lists, True, hidden, 0, ahead)
        layer.logits(last.weights[p], dots, tiles, (0, panels.columns_of(first, p)), partial, p)
    logits = Logits(layers.bias.has_bias, layers.bias.weights[me], partial, memory.factor, memory.dlogits[me])
    loss.judge_block(logits, loss.targets_of(examples, start, stop, lists.order), layers.num_classes, verdicts)


@worker_kernel
def learn_network(examples, descent, layers, memory, verdicts, number, workers):
    """Train the network on a slice, as one worker."""
    learn_batches(step, examples, descent, layers, memory, verdicts, number, workers)


@worker_kernel
def judge_network(examples, layers, memory, verdicts, number, workers):
    """Write the verdicts of the network on a slice, as one worker."""
    judge_blocks(judge, examples, layers, memory, verdicts, number, workers)


class Network(PackedModel):
    """The network with few classes in the form of the kernels."""

    kernels = learn_network, judge_network

    def __init__(self, layers: tuple[Arrays, Arrays], workers: int):
        first, last = layers
        last = last.transposed()
        packed = panels.pack(first, ROWS, ROWS), panels.pack(last, CLASSES)
        self.bias = panels.pack_bias(layers[1], workers)
        self.weights = Layers(*packed, self.bias, layers[1].weights.shape[1])
        self.copies = panels.panel_copies(packed[0], first, ROWS) + panels.panel_copies(packed[1], last)
        self.copies += panels.bias_copies(self.bias, layers[1])
        self.input_dim, self.workers, self.dtype = len(first.weights), workers, packed[0].weights.dtype
        self.panels = len(packed[0].weights)

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory for batches of up to batch rows: to learn by updates like `update`, or to judge with None."""
        first, last, _, num_classes = self.weights
        (count, classes, width), workers, learn = last.weights.shape, self.workers, update is not None
        size = input.block_rows(batch, self.input_dim, self.dtype)
        blocks = panels.padded(batch, size) // size if learn else 1
        rows = blocks * size
        # With two sets of partial logits no worker waits for another at the end of a batch. A long batch has one set.
        sets = 2 if blocks == 1 else 1
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, blocks, size, self.input_dim),
            hidden=panels.aligned_zeros((count if learn else workers, rows, width), self.dtype),
            dhidden=panels.aligned_zeros((workers, size if learn else 0, width), self.dtype),
            partial=panels.aligned_zeros((sets if learn else workers, rows // BAND, count, classes, BAND), self.dtype),
            dlogits=panels.aligned_zeros((workers, rows // BAND, classes, BAND), self.dtype),
            sums=np.zeros_like(self.bias.weights),
            factor=self.dtype.type(1),
            none=np.zeros((1, 0), self.dtype),
            identity=np.arange(rows),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )
        lists = pattern.own_lists.py_func(memory.lists, Worker(memory.team, 0, workers), 0)
        hidden, order = memory.hidden[0], lists.order
        first = panels.with_gradient(
            layer.for_sparse_rows(first, lists, memory.X, hidden, update), learn and blocks > 1
        )
        if learn:
            backward = memory.dlogits[0], num_classes, hidden, hidden, order
            last = products.with_products(last, backward=backward)
        last = panels.with_gradient(last, learn and (blocks > 1 or count % workers != 0))
        self.weights = self.weights._replace(first=first, last=last)

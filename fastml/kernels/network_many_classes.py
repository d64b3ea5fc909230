"""The two-layer ReLU network with many classes: one mini-batch as one worker of a team, and verdicts on a block.

Both layers are in panels of outputs and skip zeros: the first layer those of X, the last layer the hidden units that
ReLU set to 0, about half. Each worker owns panels of hidden units and panels of classes. All workers read all hidden
units of a block and all its dlogits. So the workers meet when each of these is written, before W2 changes, and at the
end of a block, because the next block overwrites the hidden units.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, many_classes, panels, pattern, team, update
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import helper, inlined, worker_kernel
from fastml.kernels.input import Block
from fastml.kernels.many_classes import Head
from fastml.kernels.panels import PAIR, ROWS, Arrays, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.simd.masks import MASK_BITS
from fastml.kernels.simd.registers import REGISTERS
from fastml.kernels.simd.tiles import add_dot, add_stored, lanes_of, mask_tile, store_tile, sum_tile, zero_tile
from fastml.kernels.team import Team, Tiles, Worker
from fastml.kernels.update import Update

# The panels of classes are cut into at most so many parts, each of at least two panels. The gradients of hidden units
# are added up over the parts, which are the same for any number of workers.
MOST_PARTS = 2
# A tile of dot products has ROWS hidden units and so many rows.
ROWS_OF_DOTS = ROWS if REGISTERS == 32 else PAIR
# So many steps of tiles that only the first step tries to prefetch a row.
NO_STEPS = 1 << 40


class Layers(NamedTuple):
    """W1 in panels of hidden units, and W2 in panels of classes."""

    first: Layer
    last: Layer
    num_classes: int


class Memory(NamedTuple):
    """Memory that all workers share for one block; to judge, each worker has its own."""

    X: NDArray  # (workers, rows, features): the packed rows of a block
    lists: Lists  # of the rows of X
    hidden_lists: Lists  # of the rows of hidden units
    hidden: NDArray  # (1, rows, hidden units or more), in the order of the groups of X; to judge (workers, ...)
    hidden_rows: NDArray  # the same memory, read-only as X is
    parts: NDArray  # (parts, rows, hidden units or more): dlogits W2^T of some panels of classes each, in that order
    dhidden: NDArray  # (workers, rows, width)
    head: Head
    none: NDArray  # (1, 0): the hidden units have no offset
    identity: NDArray[np.int64]  # (rows of a block,): 0, 1, 2, ...
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, layers, memory, verdicts, worker):
    """Train both layers on one mini-batch, as one worker."""
    first, last, me, head = layers.first, layers.last, worker.number, memory.head
    size, count = min(memory.block_rows, batch.stop - batch.start), first.weights.shape[0]
    groups, last_groups = panels.feature_groups(first), panels.feature_groups(last)
    begin, end = team.own_panels(worker, count)
    lists = pattern.own_lists(memory.lists, worker, 0)
    hidden_lists, hidden = pattern.own_lists(memory.hidden_lists, worker, 0), memory.hidden[0]
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        row_groups = pattern.groups_of(stop - start)
        block = input.read(batch.examples, start, stop, memory.X[me], memory.identity, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, stop + size // 2, steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.feature_work, row_groups)
            layer.forward(first, tiles, block, lists, True, hidden, panels.first_column(first, p), ahead)
        team.meet(worker)
        units = read_hidden(memory.hidden_rows[0], row_groups, block.labels, memory, hidden_lists)
        nothing = input.ahead_of(batch.examples, stop, stop, NO_STEPS, memory.position[me])
        many_classes.make_logits(last, units, hidden_lists, head, nothing, worker)
        targets, some = loss.targets_of(batch.examples, start, stop, lists.order), loss.verdicts_from(verdicts, start)
        many_classes.make_dlogits(last, targets, layers.num_classes, memory.identity, head, some, worker)
        multiply_back(last, head, row_groups * ROWS, memory.parts, worker)
        team.meet(worker)
        now = update.of_block(batch.update, start == batch.start, stop == batch.stop)
        pattern.list_rows(stop - start, last_groups, hidden_lists, start == batch.start)
        many_classes.make_gradient(last, units, hidden_lists, head, now, nothing, worker)
        steps = pattern.list_rows(stop - start, groups, lists, start == batch.start) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop + size // 2, stop + size, steps, memory.position[me])
        for p in range(begin, end):
            tiles = team.own_tiles(worker, p, count, lists.row_work, groups)
            write_dhidden(first, p, row_groups, memory, lists.order, memory.dhidden[me])
            layer.gradient(first, tiles, block, lists, memory.dhidden[me], now, ahead)
        team.meet(worker)


@helper
def read_hidden(hidden, groups, labels, memory, lists):
    """Return the hidden units of a block as the rows of the last layer, with lists of those that are not zero."""
    for i in range(groups * ROWS):
        pattern.mask_row(hidden, i, lists.masks, i)
        lists.order[i] = i
    pattern.list_in_order(groups, lists)
    return Block(hidden, memory.identity[: groups * ROWS], labels, memory.none)


@helper
def multiply_back(last, head, count, parts, worker):
    """Write a worker's share of dlogits W2^T, of count rows, to parts: one for each part of the panels of classes.

    If there are two parts, each of two workers reads only the panels that it owns.
    """
    groups = panels.feature_groups(last)
    begin, end = team.share(parts.shape[0] * groups, worker.number, worker.count)
    for item in range(begin, end):
        part, j = item // groups, item % groups * ROWS
        first_panel, last_panel = team.share(last.weights.shape[0], part, parts.shape[0])
        for i in range(0, count, ROWS_OF_DOTS):
            tile = zero_tile(ROWS, ROWS_OF_DOTS, parts)
            for p in range(first_panel, last_panel):
                W2, dlogits = last.weights[p], head.rows[p]
                for k in range(0, panels.columns_of(last, p), lanes_of(parts)):
                    tile = add_dot(tile, W2, j, dlogits, i, k)
            sum_tile(tile, parts[part], i, j)


@helper
def write_dhidden(first, p, groups, memory, order, dhidden):
    """Write dhidden[order] = (the sum of the parts) * (hidden > 0) for groups of rows and a panel of hidden units."""
    column, hidden = panels.first_column(first, p), memory.hidden[0]
    for g in range(groups):
        group = to_fixed_tuple(order[g * ROWS :], ROWS)
        for j in range(0, panels.columns_of(first, p), lanes_of(dhidden)):
            tile = zero_tile(ROWS, 1, dhidden)
            for part in range(memory.parts.shape[0]):
                tile = add_stored(tile, memory.parts[part], g * ROWS, column + j)
            store_tile(mask_tile(tile, hidden, g * ROWS, column + j), dhidden, group, j)


@inlined
def judge(examples, rows, layers, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    first, me, (start, stop, following) = layers.first, worker.number, rows
    lists, hidden_lists = pattern.own_lists(memory.lists, worker, 0), pattern.own_lists(memory.hidden_lists, worker, 0)
    groups = pattern.groups_of(stop - start)
    block = input.read(examples, start, stop, memory.X[me], memory.identity, lists.masks)
    steps = pattern.list_features(block.labels, lists) * first.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    for p in range(first.weights.shape[0]):
        column = panels.first_column(first, p)
        layer.forward(first, Tiles(p, 0, groups), block, lists, True, memory.hidden[me], column, ahead)
    units = read_hidden(memory.hidden_rows[me], groups, block.labels, memory, hidden_lists)
    nothing = input.ahead_of(examples, stop, stop, NO_STEPS, memory.position[me])
    many_classes.write_logits(layers.last, units, hidden_lists, memory.head, nothing, me)
    targets = loss.targets_of(examples, start, stop, lists.order)
    loss.judge_block(many_classes.logits_of(memory.head, me), targets, layers.num_classes, verdicts)


@worker_kernel
def learn_network_many_classes(examples, descent, layers, memory, verdicts, number, workers):
    """Train the network on a slice, as one worker."""
    learn_batches(step, examples, descent, layers, memory, verdicts, number, workers)


@worker_kernel
def judge_network_many_classes(examples, layers, memory, verdicts, number, workers):
    """Write the verdicts of the network on a slice, as one worker."""
    judge_blocks(judge, examples, layers, memory, verdicts, number, workers)


class NetworkManyClasses(PackedModel):
    """The network with many classes in the form of the kernels."""

    kernels = learn_network_many_classes, judge_network_many_classes

    def __init__(self, layers: tuple[Arrays, Arrays], workers: int):
        first, last = (panels.pack(arrays, ROWS, ROWS) for arrays in layers)
        self.weights = Layers(first, last, layers[1].weights.shape[1])
        self.copies = panels.panel_copies(first, layers[0], ROWS) + panels.panel_copies(last, layers[1], ROWS)
        self.input_dim, self.hidden_dim = layers[0].weights.shape
        self.workers, self.dtype = workers, first.weights.dtype
        self.panels = max(len(first.weights), len(last.weights))

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory for batches of up to batch rows: to learn by updates like `update`, or to judge with None."""
        first, last, _ = self.weights
        width, workers, learn = first.weights.shape[2], self.workers, update is not None
        size = input.block_rows(batch, self.input_dim, self.dtype)
        # The last panel may end in the middle of a vector, which is then read whole.
        stride = pattern.row_stride(self.hidden_dim + MASK_BITS, self.dtype)
        parts = min(max(len(last.weights) // 2, 1), MOST_PARTS)
        hidden = panels.aligned_zeros((1 if learn else workers, size, stride), self.dtype)
        hidden_rows = hidden.view()
        hidden_rows.flags.writeable = False
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, 1, size, self.input_dim),
            hidden_lists=pattern.lists_for(workers, 1, size, self.hidden_dim),
            hidden=hidden,
            hidden_rows=hidden_rows,
            parts=panels.aligned_zeros((parts, size if learn else 0, stride), self.dtype),
            dhidden=panels.aligned_zeros((workers, size if learn else 0, width), self.dtype),
            head=many_classes.head_for(last, size, workers, learn),
            none=np.zeros((1, 0), self.dtype),
            identity=np.arange(size),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )

        def with_products(one: Layer, lists: Lists) -> Layer:
            lists = pattern.own_lists.py_func(lists, Worker(memory.team, 0, workers), 0)
            one = layer.for_sparse_rows(one, lists, memory.X, hidden[0], update)
            return panels.with_gradient(one, learn and batch > size)

        first, last = with_products(first, memory.lists), with_products(last, memory.hidden_lists)
        self.weights = self.weights._replace(first=first, last=last)

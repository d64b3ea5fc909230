"""Softmax regression with few classes: a mini-batch as one worker of a team, and the verdicts of the model on a block.

Panels of few classes would be mostly padding. So features lie along the vectors, classes are rows of a tile, and X is
read where it lies. The features are cut into parts; each worker owns some parts of theta. Workers meet once a block,
when all parts of the logits are written.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, panels, pattern, team, update
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import helper, inlined, worker_kernel
from fastml.kernels.input import BLOCK
from fastml.kernels.layer import Dots, Outer
from fastml.kernels.loss import BAND, Logits
from fastml.kernels.panels import CLASSES, Arrays, Layer
from fastml.kernels.simd.tiles import lanes_of
from fastml.kernels.team import Team, Tiles
from fastml.kernels.update import Update

# The least vectors of a part, and the most parts.
PART, MOST_PARTS = 24, 8


class Weights(NamedTuple):
    """theta transposed, in one panel (classes, features) that is padded with zeros, and the number of its parts."""

    theta: Layer
    bias: Layer  # a copy for each worker
    parts: int
    num_classes: int


class Memory(NamedTuple):
    """Memory for the batches of a slice, or for the blocks that are judged."""

    X: NDArray  # (workers, BLOCK, features): rows that are packed
    masks: NDArray[np.uint16]  # (0, 0): no feature is left out
    partial: NDArray  # (2, bands, parts, classes, BAND): for even and odd blocks; to judge (workers, ...)
    offsets: NDArray  # as partial for one band: the product of the offset of X with theta
    start: NDArray  # (workers, 1, classes): the bias and the sum of the offsets
    dlogits: NDArray  # (workers, bands, classes, BAND)
    sums: NDArray  # (workers, 1, classes): the sums of dlogits over the rows
    order: NDArray[np.int64]  # (BLOCK,): 0, 1, 2, ...
    block_rows: int
    blocks: int  # of a whole batch
    team: Team


@inlined
def in_place(examples, rows, ahead, features, memory, worker):
    """Return rows of X where they lie, and the factor of their products; the rows ahead are prefetched."""
    return Dots(examples.X, rows, ahead, 2), examples.transform.factor[0, 0]


@inlined
def packed(examples, rows, ahead, features, memory, worker):
    """Return a worker's features of rows of X, transformed, and the factor of their products, which is 1."""
    X = memory.X[worker.number]
    for i in range(rows.size):
        input.convert_row(examples.X[rows[i]], features, examples, X, i, memory.masks)
    return Dots(X, memory.order[: rows.size], memory.order[:0], 2), X.dtype.type(1)


@inlined
def logits_of_parts(first, last, dots, offset, weights, partial, offsets):
    """Write the logits, and those of the offset, of parts first to last of theta."""
    theta, groups = weights.theta.weights[0], Tiles(0, 0, pattern.groups_of(dots.rows.size))
    for part in range(first, last):
        features = features_of(weights, part, part + 1)
        layer.logits(theta, dots, groups, features, partial, part)
        if offset.shape[1]:
            layer.offset_logits(theta, offset, features, offsets[0, part])


@helper
def write_start(weights, offset, offsets, worker, start):
    """Write the logits of a row of X that is 0 to start[0]: the bias, and the product of the offset with theta."""
    for k in range(weights.num_classes):
        start[0, k] = weights.bias.weights[worker.number, 0, k]
        if offset.shape[1]:
            for part in range(weights.parts):
                start[0, k] += offsets[0, part, k, 0]


@inlined
def step(source, batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch, as one worker. source is `in_place` or `packed`."""
    examples, theta, bias, size, me = batch.examples, weights.theta, weights.bias, memory.block_rows, worker.number
    offset, dlogits, sums = examples.transform.offset, memory.dlogits[me], memory.sums[me]
    first, last = team.share(weights.parts, me, worker.count)
    features = features_of(weights, first, last)
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        turn = (batch.number * memory.blocks + (start - batch.start) // size) % 2
        partial, offsets = memory.partial[turn], memory.offsets[turn]
        rows, ahead = examples.rows[start:stop], examples.rows[stop : stop + size]
        dots, factor = source(examples, rows, ahead, features, memory, worker)
        logits_of_parts(first, last, dots, offset, weights, partial, offsets)
        team.meet(worker)
        has_start = bias.has_bias or offset.shape[1] > 0
        if has_start:
            write_start(weights, offset, offsets, worker, memory.start[me])
        logits = Logits(has_start, memory.start[me], partial, factor, dlogits)
        targets, some = loss.targets_of(examples, start, stop, memory.order), loss.verdicts_from(verdicts, start)
        loss.make_dlogits(logits, targets, weights.num_classes, some, worker)
        now = update.of_block(batch.update, start == batch.start, stop == batch.stop)
        if has_start:
            loss.sum_rows(dlogits, rows.size, weights.num_classes, sums)
        # The factor multiplies the products, not X, so the gradient takes the factor as well.
        layer.logits_gradient(theta, 0, dots, dlogits, Outer(factor, sums, offset), features, now)
        if bias.has_bias:
            update.finish_bias(sums, bias, me, now)


@inlined
def judge(source, examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    (start, stop, following), me, offset = rows, worker.number, examples.transform.offset
    partial, offsets = memory.partial[me], memory.offsets[me]
    rows, ahead = examples.rows[start:stop], examples.rows[following : following + memory.block_rows]
    dots, factor = source(examples, rows, ahead, features_of(weights, 0, weights.parts), memory, worker)
    logits_of_parts(0, weights.parts, dots, offset, weights, partial, offsets)
    has_start = weights.bias.has_bias or offset.shape[1] > 0
    if has_start:
        write_start(weights, offset, offsets, worker, memory.start[me])
    logits = Logits(has_start, memory.start[me], partial, factor, memory.dlogits[me])
    loss.judge_block(logits, loss.targets_of(examples, start, stop, memory.order), weights.num_classes, verdicts)


@helper
def features_of(weights, first, last):
    """Return the first feature, and the end, of parts first to last."""
    lanes = lanes_of(weights.theta.weights)
    vectors = weights.theta.weights.shape[2] // lanes
    return vectors * first // weights.parts * lanes, vectors * last // weights.parts * lanes


@inlined
def step_in_place(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch of rows where they lie."""
    step(in_place, batch, weights, memory, verdicts, worker)


@inlined
def step_packed(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch of rows that are packed first."""
    step(packed, batch, weights, memory, verdicts, worker)


@inlined
def judge_in_place(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts on a block of rows where they lie."""
    judge(in_place, examples, rows, weights, memory, verdicts, worker)


@inlined
def judge_packed(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts on a block of rows that are packed first."""
    judge(packed, examples, rows, weights, memory, verdicts, worker)


@worker_kernel
def learn_from_rows_in_place(examples, descent, weights, memory, verdicts, number, workers):
    """Train softmax regression on a slice, as one worker."""
    learn_batches(step_in_place, examples, descent, weights, memory, verdicts, number, workers)


@worker_kernel
def learn_from_packed_rows(examples, descent, weights, memory, verdicts, number, workers):
    """Train softmax regression on a slice, as one worker."""
    learn_batches(step_packed, examples, descent, weights, memory, verdicts, number, workers)


@worker_kernel
def judge_rows_in_place(examples, weights, memory, verdicts, number, workers):
    """Write the verdicts of softmax regression on a slice, as one worker."""
    judge_blocks(judge_in_place, examples, weights, memory, verdicts, number, workers)


@worker_kernel
def judge_packed_rows(examples, weights, memory, verdicts, number, workers):
    """Write the verdicts of softmax regression on a slice, as one worker."""
    judge_blocks(judge_packed, examples, weights, memory, verdicts, number, workers)


class SoftmaxRegression(PackedModel):
    """Softmax regression with few classes in the form of the kernels."""

    def __init__(self, layers: tuple[Arrays], workers: int, packs: bool):
        (arrays,) = layers
        input_dim, num_classes = arrays.weights.shape
        self.dtype, self.input_dim = arrays.weights.dtype.newbyteorder("="), input_dim
        self.workers, self.packs = workers, packs
        self.kernels = (
            (learn_from_packed_rows, judge_packed_rows) if packs else (learn_from_rows_in_place, judge_rows_in_place)
        )
        lanes = panels.lanes(self.dtype)
        self.column_multiple = 1 if packs else lanes
        theta, vectors = panels.pack_wide(arrays.transposed(), CLASSES), panels.padded(input_dim, lanes) // lanes
        self.bias = panels.pack_bias(arrays, workers)
        self.weights = Weights(theta, self.bias, min(max(vectors // PART, 1), MOST_PARTS), num_classes)
        self.copies = panels.panel_copies(theta, arrays.transposed()) + panels.bias_copies(self.bias, arrays)

    def as_read(self, X: NDArray) -> NDArray:
        """Return X as the kernels read it: unchanged, or its bytes if the kernels pack rows."""
        return X.view(np.uint8) if self.packs else X

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory to learn from batches of up to batch rows, or to judge."""
        learn, classes, workers = update is not None, self.weights.theta.weights.shape[1], self.workers
        blocks, bands, sets = panels.padded(batch, BLOCK) // BLOCK, BLOCK // BAND, 2 if learn else workers
        self.weights = self.weights._replace(theta=panels.with_gradient(self.weights.theta, learn and blocks > 1))
        columns = pattern.row_stride(self.input_dim, self.dtype)
        self.memory = Memory(
            X=panels.aligned_zeros((workers if self.packs else 0, BLOCK, columns), self.dtype),
            masks=np.zeros((0, 0), np.uint16),
            partial=panels.aligned_zeros((sets, bands, self.weights.parts, classes, BAND), self.dtype),
            offsets=panels.aligned_zeros((sets, 1, self.weights.parts, classes, BAND), self.dtype),
            start=np.zeros_like(self.bias.weights),
            dlogits=panels.aligned_zeros((workers, bands, classes, BAND), self.dtype),
            sums=np.zeros_like(self.bias.weights),
            order=np.arange(BLOCK),
            block_rows=BLOCK,
            blocks=blocks,
            team=team.team_of(workers),
        )

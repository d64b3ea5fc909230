"""The two-layer ReLU network: the mini-batch steps of a slice, and the verdicts of a model on one.

A batch goes through two regions, and all workers meet after each:

- forward: read or pack the rows, list the pixels that are not zero in each group of them; by tiles (panel x rows):
  hidden = relu(X W1) and, while it is at hand, the panel's part of logits = hidden W2;
- backward: the partial logits added in the order of the panels, softmax, dlogits; list the rows that are not zero in
  each group of pixels; by panels: dhidden and the update of W2; by tiles (panel x pixels): W1 += X^T dhidden.

Hidden units and weights are shared out by panels. What every worker needs of the batch's rows, the packed pixels, their
patterns, logits and dlogits, each makes for itself: lines that two cores write and read in turn cost more than to make
them twice. Two workers that shared the packing of 100 rows took 45 us for it, one alone 44.

In each region a batch of many rows goes through in blocks: all of them together would not stay in a cache, and so the
weights do. Packed rows backward has to pack again.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, inlined, kernel
from fastml.kernels.panels import (
    CLASSES,
    ROWS,
    add_up,
    aligned_zeros,
    copy,
    first_tile,
    padded,
    padded_size,
    share,
)
from fastml.kernels.pattern import list_pixels, list_rows
from fastml.kernels.rows import are_neighbours, mark_rows, need_no_packing, pack_rows, tabulate
from fastml.kernels.softmax import (
    BAND,
    add_partial_logits,
    dlogits_band,
    judge_band,
    softmax_band,
    sort_by_label,
    verdicts_from,
)
from fastml.kernels.subnormals import flush_subnormals, restore_subnormals
from fastml.kernels.team import Team, assemble, meet_balanced, now, own_share, run_team, take, team_of
from fastml.kernels.tiles import (
    TILE_OVERHEAD,
    Ahead,
    ahead_from,
    class_tiles,
    dhidden_tiles,
    forward_tiles,
    logit_tiles,
    update_tiles,
)
from fastml.kernels.vectors import MASK_BITS, as_numbers

FORWARD, BACKWARD, JUDGE = 0, 1, 2
# The most rows, and bytes, that go through a region together: with more of them, what all panels read of X leaves the
# second cache. BLOCK is MASK_BITS times a power of two. A larger batch goes through in pieces of up to BLOCK_OF_MANY:
# where nothing is zero, dhidden of 128 rows and a column of X are more than a first cache of 48 KB. In batches of 1000
# dense epochs took 8 % longer with pieces of 128, MNIST's 3 %; but a batch of 128 is 4 % faster as one than as two.
BLOCK, BLOCK_OF_MANY, BLOCK_BYTES = 128, 96, 1 << 20


class Weights(NamedTuple):
    """Both layers in panels of hidden units, and the vector at which a panel begins.

    W2 has a row for each class, and there are two of it: the backward region reads one and writes the other.
    """

    W1: NDArray
    W2: NDArray
    offsets: NDArray
    input_dim: int
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a block: the order of its rows by label, the rows packed and what their bytes mean, patterns, layers.

    The first axis of each array are workers, the second of order and masks the blocks of a batch. When they learn,
    hidden and partial are one for all workers, and hold a whole batch.
    """

    order: NDArray
    labels_begin: NDArray
    X: NDArray
    table: NDArray
    masks: NDArray
    pixels: NDArray
    pixels_listed: NDArray
    rows: NDArray
    rows_listed: NDArray
    begins: NDArray
    logits: NDArray
    dhidden: NDArray
    hidden: NDArray
    partial: NDArray
    team: Team


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: of nothing, rows are padded as they are packed."""
    return 1


def as_read(X: NDArray) -> NDArray[np.uint8]:
    """Return the bytes of X, (rows, input_dim * itemsize)."""
    return X.view(np.uint8)


def pack(dtype: DTypeLike, W1: NDArray, W2: NDArray) -> Weights:
    """Return the weights in panels."""
    first, second = (panels.pack(W, padded(len(W), rows), dtype) for W, rows in ((W1, ROWS), (W2.T, CLASSES)))
    both = aligned_zeros((2, *second.shape), dtype)
    both[0] = second
    return Weights(first, both, panels.panel_offsets(W1.shape[1], dtype), W1.shape[0], W2.shape[1])


def unpack(packed: Weights, W1: NDArray, W2: NDArray) -> None:
    """Write packed weights back to W1 and W2, in place."""
    panels.unpack(packed.W1, W1)
    panels.unpack(packed.W2[0], W2.T)


def block_rows(batch: int, row_bytes: int) -> int:
    """Return how many rows of a batch go through together, MASK_BITS times some number; the last may be fewer.

    For a batch of BLOCK it divides BLOCK, so that evaluation has the same blocks wherever a slice begins.
    """
    rows = BLOCK if batch <= BLOCK else BLOCK_OF_MANY
    while rows > MASK_BITS and rows * row_bytes > BLOCK_BYTES:
        rows = padded(rows // 2, MASK_BITS)
    blocks = padded(batch, rows) // rows
    return padded(padded(batch, blocks) // blocks, MASK_BITS)


def scratch(batch: int, workers: int, learn: bool, packed: Weights, x_dtype: DTypeLike) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows, of an X of x_dtype."""
    dtype = packed.W1.dtype
    packed_dtype = np.dtype(np.uint8 if x_dtype == np.uint8 else dtype)
    rows = block_rows(batch, padded(packed.input_dim, MASK_BITS) * packed_dtype.itemsize)
    team_rows = padded(batch, MASK_BITS) if learn else rows
    row_groups, pixels, pixel_groups = rows // ROWS, padded(packed.input_dim, MASK_BITS), packed.W1.shape[1] // ROWS
    _, count, classes, width = packed.W2.shape
    teams = 1 if learn else workers
    blocks = padded(batch, rows) // rows if learn else 1
    # The update goes down columns of X: of rows that lie a power of two apart the first cache keeps a few. With 3072
    # inputs a row that is a vector longer makes an epoch of hidden 16 or 100 by 6 % faster, of hidden 400 by 3 %.
    stride = pixels + MASK_BITS if pixels * packed_dtype.itemsize % 1024 == 0 else pixels

    def integers(*shape):
        # Whole pairs of cache lines: what two workers write must not share one.
        return aligned_zeros((workers, *shape[:-1], padded(shape[-1], 16)), np.int64)

    return Scratch(
        order=integers(blocks, rows),
        labels_begin=integers(packed.num_classes + 1),
        X=aligned_zeros((workers, rows, stride), packed_dtype),
        # Without bytes there is none, and it takes no time.
        table=aligned_zeros((workers, 256 if packed_dtype == np.uint8 else 0), dtype),
        # Pairs of cache lines, too; in many blocks only what lies between two workers could be shared.
        masks=aligned_zeros(
            (workers, blocks, pixels // MASK_BITS, padded(rows, 64) if blocks == 1 else rows), np.uint16
        ),
        # MASK_BITS more than can be listed: `append_indices` writes so many at once.
        pixels=aligned_zeros((workers, row_groups, pixels + MASK_BITS), np.int32),
        pixels_listed=integers(row_groups),
        rows=aligned_zeros((workers, pixel_groups, rows + MASK_BITS), np.int32),
        rows_listed=integers(pixel_groups),
        begins=integers(max(row_groups, pixel_groups) + 1),
        logits=aligned_zeros((workers, rows // BAND, classes, BAND), dtype),
        dhidden=aligned_zeros((workers, rows, width), dtype),
        hidden=aligned_zeros((teams, count if learn else 1, team_rows, width), dtype),
        partial=aligned_zeros((teams, count, team_rows // BAND, classes, BAND), dtype),
        team=team_of(workers),
    )


@helper
def own_scratch(scratch, worker, team, block):
    """Return a worker's part of the scratch memory, for a block of the batch."""
    return Scratch(
        scratch.order[worker, block],
        scratch.labels_begin[worker],
        scratch.X[worker],
        scratch.table[worker],
        scratch.masks[worker, block],
        scratch.pixels[worker],
        scratch.pixels_listed[worker],
        scratch.rows[worker],
        scratch.rows_listed[worker],
        scratch.begins[worker],
        scratch.logits[worker],
        scratch.dhidden[worker],
        scratch.hidden[team],
        scratch.partial[team],
        scratch.team,
    )


@inlined
def forward(X, labels, ahead, weights, W2, at, own, turn, worker, workers):
    """Write hidden and the partial logits of a worker's tiles of a block, from row `at` of the batch on."""
    offsets, groups = weights.offsets, padded_size(labels.size, ROWS) // ROWS
    sort_by_label(labels, own.labels_begin[: weights.num_classes + 1], own.order)
    for i in range(labels.size, groups * ROWS):
        # Rows that are not there to fill the last group are the last row once more: the same is written twice.
        own.order[i] = own.order[labels.size - 1]
    for g in range(groups):
        own.pixels_listed[g] = list_pixels(own.masks, own.order, g, own.pixels)
    begins = own.begins[: groups + 1]
    add_up(own.pixels_listed, TILE_OVERHEAD, begins)
    low, high = own_share(own.team, turn, offsets[-1] * begins[-1], worker, workers)
    for p in range(offsets.size - 1):
        width, hidden = offsets[p + 1] - offsets[p], own.hidden[p % own.hidden.shape[0], at:]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        now = ahead_from(ahead, offsets[p] * begins[-1] + width * begins[first], width, low, high)
        forward_tiles(width, X, own.order, own.pixels, own.pixels_listed, weights.W1[p], hidden, first, last, now)
        logit_tiles(width, hidden, W2[p], own.partial[p, at // BAND :], first, last)


@inlined
def backward(X, labels, ahead, rate, weights, W2, new_W2, at, own, verdicts, turn, worker, workers):
    """Make dlogits and dhidden of a block, and add to a worker's tiles of the weights.

    The workers take turns to write verdicts on bands, if any are wanted.
    """
    offsets, count = weights.offsets, labels.size
    groups, pixel_groups = padded_size(count, ROWS) // ROWS, weights.W1.shape[1] // ROWS
    for b in range(padded_size(count, BAND) // BAND):
        add_partial_logits(own.partial, at // BAND + b, own.logits[b])
        if verdicts.losses.size and b % workers == worker:
            judge_band(own.logits[b], weights.num_classes, labels, own.order, b * BAND, count, verdicts)
        else:
            softmax_band(own.logits[b], weights.num_classes)
        last = min((b + 1) * BAND, groups * ROWS)
        dlogits_band(own.logits[b], labels, own.order, b * BAND, last, rate, weights.num_classes)
    for g in range(pixel_groups):
        own.rows_listed[g] = list_rows(own.masks, count, g, own.rows)
    begins = own.begins[: pixel_groups + 1]
    if at == 0:
        # Of the first block, for all: no tile of W1 may change its owner between two blocks of a batch.
        add_up(own.rows_listed, TILE_OVERHEAD, begins)
    low, high = own_share(own.team, turn, offsets[-1] * begins[-1], worker, workers)
    first_panel, last_panel = share(offsets.size - 1, worker, workers)
    for p in range(offsets.size - 1):
        width, hidden = offsets[p + 1] - offsets[p], own.hidden[p, at:]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        if first < last:
            dhidden_tiles(width, own.logits, weights.num_classes, W2[p], hidden, own.dhidden, own.order, groups)
        if first_panel <= p < last_panel:
            before = W2[p] if at == 0 else new_W2[p]
            class_tiles(width, own.logits, count, hidden, before, new_W2[p])
        if first < last:
            now = ahead_from(ahead, offsets[p] * begins[-1] + width * begins[first], width, low, high)
            update_tiles(width, X, own.rows, own.rows_listed, own.dhidden, weights.W1[p], first, last, now)


@inlined
def work_region(region, X, rows, labels, rate, scale, weights, scratch, verdicts, before, turn, worker, workers):
    """Do a worker's part of a region, for the rows of a batch or, to judge them, any rows; before them are others."""
    source = turn // 2 % 2
    W2, new_W2 = weights.W2[source], weights.W2[1 - source]
    size, part, parts, team = scratch.X.shape[1], worker, workers, np.intp(0)
    if region == JUDGE:
        # Each takes whole blocks, in the place of tiles of one block: nothing is made twice, and nobody waits.
        part, parts, team = np.intp(0), np.intp(1), worker
    number = take(scratch.team) if region == JUDGE else 0
    while number * size < rows.size:
        start = number * size
        number = take(scratch.team) if region == JUDGE else number + 1
        own = own_scratch(scratch, worker, team, 0 if region == JUDGE else start // size)
        block, block_labels = rows[start : start + size], labels[start : start + size]
        block_verdicts = verdicts_from(verdicts, before + start)
        neighbours = are_neighbours(block)
        stays = neighbours and need_no_packing(X, scale, weights.input_dim, own.X, own.table)
        # What tiles read: the rows where they lie, or packed.
        block_X = as_numbers(X[block[0] : block[0] + block.size], own.X) if stays else own.X
        # To judge, the next blocks are those of the other workers.
        follows = block[-1] + 1 + ((workers - 1) * size if region == JUDGE else 0)
        ahead = Ahead(X, follows, np.intp(0), block.size * X.shape[1] if neighbours else np.intp(0))
        if region == BACKWARD:
            if rows.size > size and not stays:
                pack_rows(X, block, scale, weights.input_dim, own.X)
            backward(
                (block_X, own.table),
                block_labels,
                ahead,
                rate,
                weights,
                W2,
                new_W2,
                start,
                own,
                block_verdicts,
                turn,
                part,
                parts,
            )
        else:
            if region == FORWARD and start + size >= rows.size:
                # Nothing to ask for: backward begins with the first of these rows, in a small batch the ones at hand.
                ahead = Ahead(X, rows[0], np.intp(0), np.intp(0))
            mark_rows(X, block, scale, weights.input_dim, stays, block_X, own.X, own.masks)
            at = start if region == FORWARD else 0
            forward((block_X, own.table), block_labels, ahead, weights, W2, at, own, turn, part, parts)
        if region == JUDGE:
            for b in range(padded_size(block.size, BAND) // BAND):
                add_partial_logits(own.partial, b, own.logits[b])
                judge_band(
                    own.logits[b], weights.num_classes, block_labels, own.order, b * BAND, block.size, block_verdicts
                )


@kernel
def work(X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts, worker, workers):
    """Do a worker's part of a slice."""
    if not assemble(scratch.team, workers):
        return
    control = flush_subnormals()
    tabulate(scale, scratch.table[worker])
    size, regions = (batch, 2) if learn else (max(rows.size, 1), 1)
    for turn in range((rows.size + size - 1) // size * regions):
        start, began = turn // regions * size, now()
        batch_rows, batch_labels = rows[start : start + size], labels[start : start + size]
        factor = rate if batch_rows.size == batch else short_rate
        work_region(
            turn % 2 if learn else JUDGE,
            X,
            batch_rows,
            batch_labels,
            factor,
            scale,
            weights,
            scratch,
            verdicts,
            start,
            turn,
            worker,
            workers,
        )
        meet_balanced(scratch.team, turn, began, worker, workers)
    if learn and worker == 0 and (rows.size + size - 1) // size % 2 == 1:
        # Here, not in Python: there Ctrl-C may come in between.
        copy(weights.W2[1], weights.W2[0])
    restore_subnormals(control)


def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step the weights, in place, over the mini-batches of X[rows], with the given number of workers.

    Write verdicts on X[rows] as well, each those of the weights before the step, unless verdicts are empty; without
    learn, write nothing else.
    """
    arguments = X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts
    run_team(work, scratch.team, workers, arguments)

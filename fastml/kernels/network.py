"""The two-layer ReLU network: the mini-batch steps of a slice, and the verdicts of a model on one.

A batch goes through two regions, and all workers meet after each:

- forward: pack the rows, list the pixels that are not zero in each group of them; by tiles (panel x rows): hidden =
  relu(X W1) and, while it is at hand, the panel's part of logits = hidden W2;
- backward: the partial logits added in the order of the panels, softmax, dlogits; list the rows that are not zero in
  each group of pixels; by panels: dhidden and the update of W2; by tiles (panel x pixels): W1 += X^T dhidden.

Hidden units and weights are shared out by panels. What every worker needs of the batch's rows, the packed pixels, their
patterns, logits and dlogits, each makes for itself: lines that two cores write and read in turn cost more than to make
them twice (packing 100 rows took two workers 45 us together and takes each 21 us alone). A batch of more than `BLOCK`
rows goes through in blocks; what they add to the weights then goes to copies, that take their place at its end.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import (
    CLASSES,
    ROWS,
    add_up,
    aligned_zeros,
    copy_last,
    first_tile,
    padded,
    padded_size,
    share,
)
from fastml.kernels.pattern import list_pixels, list_rows, mask_row
from fastml.kernels.rows import convert_row
from fastml.kernels.softmax import add_partial_logits, dlogits_group, judge_group, sort_by_label
from fastml.kernels.tiles import class_tiles, dhidden_tiles, forward_tiles, logit_tiles, update_tiles
from fastml.kernels.vectors import MASK_BITS

# What the beginning and end of a tile cost, in steps of its loop: a mispredicted branch, and to load and store it.
TILE_OVERHEAD = 6
FORWARD, BACKWARD, JUDGE = 0, 1, 2
# The kernels find the rows of X by their indices, so that an order costs no copy.
GATHERS = True
# Rows that go through the regions together; with more of them, what all panels read of X leaves the second cache. A
# multiple of MASK_BITS.
BLOCK = 128


class Weights(NamedTuple):
    """Both layers in panels of hidden units, W2 with a row for each class, and the vector at which a panel begins.

    The first axis are copies: the backward region reads one W2 and writes the other, and also with W1 if there are two.
    """

    W1: NDArray
    W2: NDArray
    offsets: NDArray
    input_dim: int
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a block: its rows sorted by label, packed, their patterns, and what the layers make of them.

    The first axis of each array are workers; hidden and partial are one for all of them when they learn.
    """

    order: NDArray
    labels_begin: NDArray
    X: NDArray
    masks: NDArray
    pixels: NDArray
    pixels_listed: NDArray
    pixels_begin: NDArray
    rows: NDArray
    rows_listed: NDArray
    rows_begin: NDArray
    logits: NDArray
    dhidden: NDArray
    hidden: NDArray
    partial: NDArray


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: of nothing, rows are padded as they are packed."""
    return 1


def as_read(X: NDArray) -> NDArray[np.uint8]:
    """Return the bytes of X, (rows, input_dim * itemsize)."""
    return X.view(np.uint8)


def pack(dtype: DTypeLike, batch: int, W1: NDArray, W2: NDArray) -> Weights:
    """Return the weights in panels, for batches of a number of rows."""
    offsets = panels.panel_offsets(W1.shape[1], dtype)
    return Weights(
        panels.pack(W1, padded(W1.shape[0], ROWS), dtype, copies=2 if batch > BLOCK else 1),
        panels.pack(W2.T, padded(W2.shape[1], CLASSES), dtype, copies=2),
        offsets,
        W1.shape[0],
        W2.shape[1],
    )


def unpack(packed: Weights, W1: NDArray, W2: NDArray) -> None:
    """Write packed weights back to W1 and W2, in place."""
    panels.unpack(packed.W1[0], W1)
    panels.unpack(packed.W2[0], W2.T)


def scratch(batch: int, workers: int, learn: bool, packed: Weights) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows."""
    dtype = packed.W1.dtype
    rows = padded(min(batch, BLOCK), MASK_BITS)
    row_groups, pixels, pixel_groups = rows // ROWS, padded(packed.input_dim, MASK_BITS), packed.W1.shape[2] // ROWS
    _, count, classes, width = packed.W2.shape
    teams = 1 if learn else workers

    def integers(*shape):
        # Whole pairs of cache lines: what two workers write must not share one.
        return aligned_zeros((workers, *shape[:-1], padded(shape[-1], 16)), np.int64)

    return Scratch(
        order=integers(rows),
        labels_begin=integers(packed.num_classes + 1),
        X=aligned_zeros((workers, rows, pixels), dtype),
        masks=aligned_zeros((workers, pixels // MASK_BITS, padded(rows, 64)), np.uint16),
        # MASK_BITS more than can be listed: `append_indices` writes so many at once.
        pixels=aligned_zeros((workers, row_groups, pixels + MASK_BITS), np.int32),
        pixels_listed=integers(row_groups),
        pixels_begin=integers(row_groups + 1),
        rows=aligned_zeros((workers, pixel_groups, rows + MASK_BITS), np.int32),
        rows_listed=integers(pixel_groups),
        rows_begin=integers(pixel_groups + 1),
        logits=aligned_zeros((workers, row_groups, classes, ROWS), dtype),
        dhidden=aligned_zeros((workers, rows, width), dtype),
        hidden=aligned_zeros((teams, count, rows, width), dtype),
        partial=aligned_zeros((teams, count, row_groups, classes, ROWS), dtype),
    )


@helper
def own_scratch(scratch, worker, team):
    """Return a worker's part of the scratch memory."""
    return Scratch(
        scratch.order[worker],
        scratch.labels_begin[worker],
        scratch.X[worker],
        scratch.masks[worker],
        scratch.pixels[worker],
        scratch.pixels_listed[worker],
        scratch.pixels_begin[worker],
        scratch.rows[worker],
        scratch.rows_listed[worker],
        scratch.rows_begin[worker],
        scratch.logits[worker],
        scratch.dhidden[worker],
        scratch.hidden[team],
        scratch.partial[team],
    )


@helper
def pack_rows(X, rows, itemsize, scale, own):
    """Pack the rows of a block, sorted by label, and mark their pixels that are not zero."""
    cells = own.masks.shape[0]
    for i in range(rows.size):
        convert_row(X, rows[own.order[i]], itemsize, scale, own.X, i, 0, cells)
        # Now, not pixel by pixel: with stores to masks between those to rows that are not in the first cache, 100 rows
        # took 15 us, in the place of 8.
        mask_row(own.X, i, own.masks)
    for i in range(rows.size, padded_size(rows.size, MASK_BITS)):
        for c in range(cells):
            own.masks[c, i] = 0


@helper
def forward(X, rows, labels, scale, W1, W2, weights, own, worker, workers):
    """Pack a block, and write hidden and the partial logits of a worker's tiles."""
    offsets, groups = weights.offsets, padded_size(rows.size, ROWS) // ROWS
    sort_by_label(labels, own.labels_begin[: weights.num_classes + 1], own.order)
    pack_rows(X, rows, X.shape[1] // weights.input_dim, scale, own)
    for g in range(groups):
        own.pixels_listed[g] = list_pixels(own.masks, g, own.pixels)
    begins = own.pixels_begin[: groups + 1]
    add_up(own.pixels_listed, TILE_OVERHEAD, begins)
    low, high = share(offsets[-1] * begins[-1], worker, workers)
    for p in range(offsets.size - 1):
        width = offsets[p + 1] - offsets[p]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        forward_tiles(width, own.X, own.pixels, own.pixels_listed, W1[p], own.hidden[p], first, last)
        logit_tiles(width, own.hidden[p], W2[p], own.partial[p], first, last)


@helper
def backward(labels, rate, W1, W2, new_W1, new_W2, first_block, weights, own, worker, workers):
    """Write what a worker's tiles make of the weights; new_W1 may be W1, to which other blocks added nothing yet."""
    offsets, count = weights.offsets, labels.size
    groups, pixel_groups = padded_size(count, ROWS) // ROWS, W1.shape[1] // ROWS
    for g in range(groups):
        add_partial_logits(own.partial, g, own.logits[g])
        dlogits_group(own.logits[g], labels, own.order, g * ROWS, rate, weights.num_classes)
    for g in range(pixel_groups):
        own.rows_listed[g] = list_rows(own.masks, count, g, own.rows)
    begins = own.rows_begin[: pixel_groups + 1]
    add_up(own.rows_listed, TILE_OVERHEAD, begins)
    low, high = share(offsets[-1] * begins[-1], worker, workers)
    for p in range(offsets.size - 1):
        width = offsets[p + 1] - offsets[p]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        if first < last:
            dhidden_tiles(width, own.logits, weights.num_classes, W2[p], own.hidden[p], own.dhidden, groups)
            before = W1[p] if first_block else new_W1[p]
            update_tiles(width, own.X, own.rows, own.rows_listed, own.dhidden, before, new_W1[p], first, last)
    first, last = share(offsets.size - 1, worker, workers)
    for p in range(first, last):
        before = W2[p] if first_block else new_W2[p]
        class_tiles(offsets[p + 1] - offsets[p], own.logits, count, own.hidden[p], before, new_W2[p])


@helper
def judge(X, rows, labels, scale, weights, own, verdicts, worker, workers):
    """Write the verdicts on a worker's blocks of rows."""
    first, last = share(padded_size(rows.size, BLOCK) // BLOCK, worker, workers)
    for start in range(first * BLOCK, min(last * BLOCK, rows.size), BLOCK):
        stop = min(start + BLOCK, rows.size)
        forward(X, rows[start:stop], labels[start:stop], scale, weights.W1[0], weights.W2[0], weights, own, 0, 1)
        for g in range(padded_size(stop - start, ROWS) // ROWS):
            add_partial_logits(own.partial, g, own.logits[g])
            judge_group(own.logits[g], weights.num_classes, labels, own.order, start, g * ROWS, stop - start, verdicts)


@helper
def work(
    region, X, rows, labels, rate, scale, source, target, first_block, weights, scratch, verdicts, worker, workers
):
    """Do a worker's part of a region, for a block of rows; weights are read from one copy and written to another."""
    W1, new_W1 = weights.W1[source % weights.W1.shape[0]], weights.W1[target % weights.W1.shape[0]]
    W2, new_W2 = weights.W2[source], weights.W2[target]
    if region == JUDGE:
        judge(X, rows, labels, scale, weights, own_scratch(scratch, worker, worker), verdicts, worker, workers)
    elif region == FORWARD:
        forward(X, rows, labels, scale, W1, W2, weights, own_scratch(scratch, worker, 0), worker, workers)
    else:
        own = own_scratch(scratch, worker, 0)
        backward(labels, rate, W1, W2, new_W1, new_W2, first_block, weights, own, worker, workers)


@parallel_kernel
def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step the weights, in place, over the mini-batches of X[rows], with the given number of workers.

    Without learn, write the verdicts of the weights on X[rows] instead.
    """
    region, source, start = FORWARD if learn else JUDGE, 0, 0
    while start < rows.size:
        begin = start // batch * batch
        end = min(begin + batch, rows.size)
        stop = min(start + BLOCK, end) if learn else rows.size
        factor = rate if end - begin == batch else short_rate
        block, block_labels = rows[start:stop], labels[start:stop]
        if workers == 1:
            work(
                region,
                X,
                block,
                block_labels,
                factor,
                scale,
                source,
                1 - source,
                start == begin,
                weights,
                scratch,
                verdicts,
                0,
                1,
            )
        else:
            for worker in numba.prange(workers):
                work(
                    region,
                    X,
                    block,
                    block_labels,
                    factor,
                    scale,
                    source,
                    1 - source,
                    start == begin,
                    weights,
                    scratch,
                    verdicts,
                    np.intp(worker),
                    workers,
                )
        if region == FORWARD:
            region = BACKWARD
        else:
            if region == BACKWARD:
                region = FORWARD
                if stop == end:
                    source = 1 - source
            start = stop
    if source == 1:
        copy_last(weights.W1)
        copy_last(weights.W2)

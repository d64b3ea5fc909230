"""The two-layer ReLU network: logits of a block of rows, and the mini-batch steps of a slice.

A batch goes through four regions; in each, every worker writes only what it owns, and all meet before the next:

1. by groups of rows: pack the rows, list the pixels that are not zero in each group; by panels: the previous batch's
   update of W2, which 4 had still to read;
2. by groups of pixels: list the rows that are not zero in each; by tiles (panel x rows): hidden = relu(X W1) and, while
   it is at hand, the panel's part of logits = hidden W2;
3. by groups of rows: the partial logits added in the order of the panels, softmax, dlogits;
4. by panels: dhidden; by tiles (panel x pixels): W1 += X^T dhidden, the step's factor being in dlogits. Workers that
   share a panel compute its dhidden twice, each in memory of its own, and need not meet in between.

What a worker owns lies in the same panels in 2 and in 4: hidden and dhidden hardly travel between cores.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import CLASSES, ROWS, add_up, aligned_zeros, first_tile, padded, padded_size, share
from fastml.kernels.pattern import list_pixels, list_rows, pack_row
from fastml.kernels.softmax import add_partial_logits, compute_dlogits, sort_by_label
from fastml.kernels.tiles import class_tiles, dhidden_tiles, forward_tiles, logit_tiles, update_tiles
from fastml.kernels.vectors import MASK_BITS

# What the beginning and end of a tile cost, in steps of its loop: a mispredicted branch, and to load and store it.
TILE_OVERHEAD = 6


REGIONS = 4
# Rows of a batch that go through 2 and 4 together: with more of them, what all panels read of X leaves the second cache
# (a batch of 1000 rows takes 3 MB). A multiple of MASK_BITS.
BLOCK = 256
# The kernels find the rows of X by their indices, so that an order costs no copy.
GATHERS = True


class Weights(NamedTuple):
    """Both layers in panels of hidden units, W2 with a row for each class, and the vector at which a panel begins."""

    W1: NDArray
    W2: NDArray
    offsets: NDArray
    input_dim: int
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a batch: its rows sorted by label, packed, their patterns, and what the layers make of them."""

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
    hidden: NDArray
    partial: NDArray
    logits: NDArray
    dhidden: NDArray


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: of nothing, rows are padded as they are packed."""
    return 1


def as_read(X: NDArray) -> NDArray[np.uint8]:
    """Return the bytes of X, (rows, input_dim * itemsize).

    Only `pack_rows` looks at X: for it to tell dtypes apart when it runs saves a whole compilation for each of them.
    """
    return X.view(np.uint8)


def pack(dtype: DTypeLike, W1: NDArray, W2: NDArray) -> Weights:
    """Return the weights in panels."""
    offsets = panels.panel_offsets(W1.shape[1], dtype)
    return Weights(
        panels.pack(W1, padded(W1.shape[0], ROWS), dtype),
        panels.pack(W2.T, padded(W2.shape[1], CLASSES), dtype),
        offsets,
        W1.shape[0],
        W2.shape[1],
    )


def unpack(packed: Weights, W1: NDArray, W2: NDArray) -> None:
    """Write packed weights back to W1 and W2, in place."""
    panels.unpack(packed.W1, W1)
    panels.unpack(packed.W2, W2.T)


def scratch(batch: int, input_dim: int, workers: int, packed: Weights) -> Scratch:
    """Return memory for batches of up to batch rows and a number of workers."""
    dtype = packed.W1.dtype
    rows, row_groups = padded(batch, MASK_BITS), padded(batch, MASK_BITS) // ROWS
    pixels, pixel_groups = padded(input_dim, MASK_BITS), padded(input_dim, ROWS) // ROWS
    blocks = padded(rows, BLOCK) // BLOCK
    count, _, width = packed.W2.shape
    return Scratch(
        order=np.zeros(rows, np.int64),
        labels_begin=np.zeros(packed.num_classes + 1, np.int64),
        X=aligned_zeros((rows, pixels), dtype),
        masks=aligned_zeros((pixels // MASK_BITS, rows), np.uint16),
        # MASK_BITS more than can be listed: `append_indices` writes so many at once.
        pixels=np.zeros((row_groups, pixels + MASK_BITS), np.int32),
        pixels_listed=np.zeros((blocks, BLOCK // ROWS), np.int64),
        pixels_begin=np.zeros((blocks, BLOCK // ROWS + 1), np.int64),
        rows=np.zeros((blocks, pixel_groups, min(rows, BLOCK) + MASK_BITS), np.int32),
        rows_listed=np.zeros((blocks, pixel_groups), np.int64),
        rows_begin=np.zeros(pixel_groups + 1, np.int64),
        hidden=aligned_zeros((count, rows, width), dtype),
        partial=aligned_zeros((count, row_groups, packed.W2.shape[1], ROWS), dtype),
        logits=aligned_zeros((row_groups, packed.W2.shape[1], ROWS), dtype),
        dhidden=aligned_zeros((workers, min(rows, BLOCK), width), dtype),
    )


@helper
def pack_any_row(source, itemsize, scale, row, masks, i):
    """Pack a row of bytes of numbers of a size."""
    if itemsize == 1:
        pack_row(source, scale, row, masks, i)
    elif itemsize == 4:
        pack_row(source.view(np.float32), scale, row, masks, i)
    else:
        pack_row(source.view(np.float64), scale, row, masks, i)


@helper
def pack_rows(X, rows, itemsize, scale, scratch, worker, workers):
    """Region 1: pack a worker's groups of rows and list their pixels that are not zero."""
    first, last = share(padded_size(rows.size, MASK_BITS) // ROWS, worker, workers)
    for g in range(first, last):
        for i in range(g * ROWS, (g + 1) * ROWS):
            if i < rows.size:
                pack_any_row(X[rows[scratch.order[i]]], itemsize, scale, scratch.X, scratch.masks, i)
            else:
                scratch.masks[:, i] = 0
        block, group = g // (BLOCK // ROWS), g % (BLOCK // ROWS)
        scratch.pixels_listed[block, group] = list_pixels(scratch.masks, g, scratch.pixels)


@helper
def update_W2(count, scratch, weights, worker, workers):
    """Region 1: the previous batch's update, of count rows, of a worker's panels of W2."""
    offsets = weights.offsets
    first, last = share(offsets.size - 1, worker, workers)
    for p in range(first, last):
        class_tiles(offsets[p + 1] - offsets[p], scratch.logits, count, scratch.hidden[p], weights.W2[p])


@helper
def block_rows(block, count):
    """Return how many of a batch's count rows are in a block."""
    return min(count - block * BLOCK, BLOCK)


@helper
def list_all_rows(count, scratch, worker, workers):
    """Region 2: list the rows that are not zero in a worker's groups of pixels."""
    first, last = share(scratch.rows_listed.shape[1], worker, workers)
    for b in range(padded_size(count, BLOCK) // BLOCK):
        rows = block_rows(b, count)
        for g in range(first, last):
            scratch.rows_listed[b, g] = list_rows(scratch.masks, b * BLOCK, rows, g, scratch.rows[b])


@helper
def compute_hidden(count, scratch, weights, worker, workers):
    """Region 2: a worker's tiles of hidden and their partial logits."""
    offsets = weights.offsets
    for b in range(padded_size(count, BLOCK) // BLOCK):
        start, group = b * BLOCK, b * (BLOCK // ROWS)
        begins = scratch.pixels_begin[b, : padded_size(block_rows(b, count), ROWS) // ROWS + 1]
        low, high = share(offsets[-1] * begins[-1], worker, workers)
        for p in range(offsets.size - 1):
            width, hidden = offsets[p + 1] - offsets[p], scratch.hidden[p, start:]
            first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
            pixels, listed = scratch.pixels[group:], scratch.pixels_listed[b]
            forward_tiles(width, scratch.X[start:], pixels, listed, weights.W1[p], hidden, first, last)
            logit_tiles(width, hidden, weights.W2[p], scratch.partial[p, group:], first, last)


@helper
def update_W1(count, scratch, weights, worker, workers):
    """Region 4: dhidden of a worker's panels and the update of its tiles of W1, which are the same in all blocks."""
    offsets, begins, dhidden = weights.offsets, scratch.rows_begin, scratch.dhidden[worker]
    low, high = share(offsets[-1] * begins[-1], worker, workers)
    for b in range(padded_size(count, BLOCK) // BLOCK):
        start, group = b * BLOCK, b * (BLOCK // ROWS)
        for p in range(offsets.size - 1):
            width = offsets[p + 1] - offsets[p]
            first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
            if first < last:
                dhidden_tiles(
                    width,
                    scratch.logits[group:],
                    weights.num_classes,
                    weights.W2[p],
                    scratch.hidden[p, start:],
                    dhidden,
                    padded_size(block_rows(b, count), ROWS) // ROWS,
                )
                update_tiles(
                    width,
                    scratch.X[start:],
                    scratch.rows[b],
                    scratch.rows_listed[b],
                    dhidden,
                    weights.W1[p],
                    first,
                    last,
                )


@helper
def prepare(region, labels, count, scratch):
    """Do what a region needs done once, before its workers begin."""
    if region == 1:
        sort_by_label(labels, scratch.labels_begin, scratch.order)
    elif region == 2:
        for b in range(padded_size(count, BLOCK) // BLOCK):
            groups = padded_size(block_rows(b, count), ROWS) // ROWS
            add_up(scratch.pixels_listed[b : b + 1], groups, TILE_OVERHEAD, scratch.pixels_begin[b])
    elif region == 4:
        listed = scratch.rows_listed[: padded_size(count, BLOCK) // BLOCK]
        add_up(listed, listed.shape[1], TILE_OVERHEAD, scratch.rows_begin)


@helper
def work(region, X, rows, labels, before, rate, scale, weights, scratch, worker, workers):
    """Do a worker's part of a region."""
    if region == 1:
        if before > 0:
            update_W2(before, scratch, weights, worker, workers)
        pack_rows(X, rows, X.shape[1] // weights.input_dim, scale, scratch, worker, workers)
    elif region == 2:
        list_all_rows(rows.size, scratch, worker, workers)
        compute_hidden(rows.size, scratch, weights, worker, workers)
    elif region == 3:
        one = weights.W1.dtype.type(1)
        compute_dlogits(
            scratch.partial, labels, scratch.order, rate, one, weights.num_classes, scratch.logits, worker, workers
        )
    else:
        update_W1(rows.size, scratch, weights, worker, workers)


@parallel_kernel
def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch):
    """Step the weights, in place, over the mini-batches of X[rows], with the given number of workers.

    Without learn, end at region 2 of the first batch and write its logits to scratch.logits.
    """
    # One round more than there are batches: region 1 of no rows makes the last update of W2.
    rounds = (rows.size + batch - 1) // batch * REGIONS + 1 if learn else 2
    for step in range(rounds):
        region, start = step % REGIONS + 1, step // REGIONS * batch
        batch_rows, batch_labels = rows[start : start + batch], labels[start : start + batch]
        before = min(batch, rows.size - start + batch) if start > 0 else 0
        factor = rate if batch_rows.size == batch else short_rate
        prepare(region, batch_labels, batch_rows.size, scratch)
        if workers == 1:
            work(region, X, batch_rows, batch_labels, before, factor, scale, weights, scratch, 0, 1)
        else:
            for worker in numba.prange(workers):
                work(
                    region,
                    X,
                    batch_rows,
                    batch_labels,
                    before,
                    factor,
                    scale,
                    weights,
                    scratch,
                    np.intp(worker),
                    workers,
                )
    if not learn:
        for g in range(padded_size(rows.size, ROWS) // ROWS):
            add_partial_logits(scratch.partial, g, weights.W1.dtype.type(1), scratch.logits)

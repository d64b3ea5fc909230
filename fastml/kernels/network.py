"""The two-layer ReLU network: logits of a block of rows, and the mini-batch steps of a slice.

A batch goes through four regions; in each, every worker writes only what it owns, and all meet before the next:

1. by groups of rows: pack the rows, list the pixels that are not zero in each group;
2. by groups of pixels: list the rows that are not zero in each; by tiles (panel x rows): hidden = relu(X W1);
3. by groups of rows: logits = hidden W2, softmax, dlogits, dhidden;
4. by tiles (panel x pixels): W2 += hidden^T dlogits, W1 += X^T dhidden, the step's factor being in dlogits.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import CLASSES, MOST_VECTORS, ROWS, aligned_zeros, first_tile, padded, padded_size, share
from fastml.kernels.pattern import list_pixels, list_rows, pack_row
from fastml.kernels.simd import (
    MASK_BITS,
    add_dot,
    add_outer_columns,
    add_outer_rows,
    lanes_of,
    load_tile,
    mask_tile,
    prefetch,
    relu_tile,
    store_tile,
    sum_tile,
    zero_tile,
)
from fastml.kernels.softmax import softmax_row, sort_by_label

# How far ahead in a list of pixels the rows of W1 are asked for: alone on its machine a core gains 1.5 % by it, with
# neighbours that press on the caches 6 %; 4 and 8 are alike.
AHEAD = 4
# What the beginning and end of a tile cost, in steps of its loop: a mispredicted branch, and to load and store it.
TILE_OVERHEAD = 6


# The kernels find the rows of X by their indices, so that an order costs no copy.
GATHERS = True


class Weights(NamedTuple):
    """Both layers in panels of hidden units, W2 with a row for each class, and the vector at which a panel begins."""

    W1: NDArray
    W2: NDArray
    offsets: NDArray
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
    dhidden: NDArray
    logits: NDArray


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: of nothing, rows are padded as they are packed."""
    return 1


def pack(dtype: DTypeLike, W1: NDArray, W2: NDArray) -> Weights:
    """Return the weights in panels."""
    offsets = panels.panel_offsets(W1.shape[1], dtype)
    return Weights(
        panels.pack(W1, padded(W1.shape[0], ROWS), dtype),
        panels.pack(W2.T, padded(W2.shape[1], CLASSES), dtype),
        offsets,
        W2.shape[1],
    )


def unpack(packed: Weights, W1: NDArray, W2: NDArray) -> None:
    """Write packed weights back to W1 and W2, in place."""
    panels.unpack(packed.W1, W1)
    panels.unpack(packed.W2, W2.T)


def scratch(batch: int, input_dim: int, packed: Weights) -> Scratch:
    """Return memory for batches of up to batch rows."""
    dtype = packed.W1.dtype
    rows, row_groups = padded(batch, MASK_BITS), padded(batch, MASK_BITS) // ROWS
    pixels, pixel_groups = padded(input_dim, MASK_BITS), padded(input_dim, ROWS) // ROWS
    count, _, width = packed.W2.shape
    return Scratch(
        order=np.zeros(rows, np.int64),
        labels_begin=np.zeros(packed.num_classes + 1, np.int64),
        X=aligned_zeros((rows, pixels), dtype),
        masks=aligned_zeros((pixels // MASK_BITS, rows), np.uint16),
        # MASK_BITS more than can be listed: `append_indices` writes so many at once.
        pixels=np.zeros((row_groups, pixels + MASK_BITS), np.int32),
        pixels_listed=np.zeros(row_groups, np.int64),
        pixels_begin=np.zeros(row_groups + 1, np.int64),
        rows=np.zeros((pixel_groups, rows + MASK_BITS), np.int32),
        rows_listed=np.zeros(pixel_groups, np.int64),
        rows_begin=np.zeros(pixel_groups + 1, np.int64),
        hidden=aligned_zeros((count, rows, width), dtype),
        dhidden=aligned_zeros((count, rows, width), dtype),
        logits=aligned_zeros((rows, packed.W2.shape[1]), dtype),
    )


def by_width(make):
    """Return a function whose first argument chooses between make(1), make(2) ... make(MOST_VECTORS).

    The number of vectors of a tile is a part of its type, so each width is compiled on its own.
    """

    def choice(vectors, chosen, otherwise):
        @helper
        def choose(width, *arguments):
            if width == vectors:
                chosen(*arguments)
            else:
                otherwise(*arguments) if vectors == 2 else otherwise(width, *arguments)

        return choose

    function = make(1)
    for vectors in range(2, MOST_VECTORS + 1):
        function = choice(vectors, make(vectors), function)
    return function


@by_width
def forward_tiles(vectors):
    @helper
    def forward_tiles(X, pixels, listed, W1, hidden, first, last):
        """hidden = relu(X W1) for groups of rows first to last of a panel."""
        for g in range(first, last):
            tile = zero_tile(ROWS, vectors, W1)
            for t in range(listed[g]):
                j = np.intp(pixels[g, t])
                ahead = np.intp(pixels[g, t + AHEAD])
                for v in range(vectors):
                    prefetch(W1, ahead, v * lanes_of(W1))
                tile = add_outer_rows(tile, X, g * ROWS, j, W1, j, 0)
            store_tile(relu_tile(tile), hidden, g * ROWS, 0)

    return forward_tiles


@by_width
def dhidden_tiles(vectors):
    @helper
    def dhidden_tiles(dlogits, num_classes, W2, hidden, dhidden, first, last):
        """dhidden = (dlogits W2^T) * (hidden > 0) for groups of rows first to last of a panel."""
        for g in range(first, last):
            tile = zero_tile(ROWS, vectors, W2)
            for k in range(num_classes):
                tile = add_outer_rows(tile, dlogits, g * ROWS, k, W2, k, 0)
            store_tile(mask_tile(tile, hidden, g * ROWS, 0), dhidden, g * ROWS, 0)

    return dhidden_tiles


@by_width
def update_tiles(vectors):
    @helper
    def update_tiles(X, rows, listed, dhidden, W1, first, last):
        """W1 += X^T dhidden for groups of pixels first to last of a panel."""
        for g in range(first, last):
            if listed[g] == 0:
                continue
            tile = load_tile(zero_tile(ROWS, vectors, W1), W1, g * ROWS, 0)
            for t in range(listed[g]):
                i = np.intp(rows[g, t])
                tile = add_outer_columns(tile, X, i, g * ROWS, dhidden, i, 0)
            store_tile(tile, W1, g * ROWS, 0)

    return update_tiles


@by_width
def update_classes(vectors):
    @helper
    def update_classes(dlogits, count, hidden, W2):
        """W2 += dlogits^T hidden, over count rows, for a panel."""
        for k in range(0, W2.shape[0], CLASSES):
            tile = load_tile(zero_tile(CLASSES, vectors, W2), W2, k, 0)
            for i in range(count):
                tile = add_outer_columns(tile, dlogits, i, k, hidden, i, 0)
            store_tile(tile, W2, k, 0)

    return update_classes


@helper
def accumulate(listed, size, begins):
    """Write the work of the groups before each of size groups to begins, and return begins up to the last."""
    for g in range(size):
        begins[g + 1] = begins[g] + listed[g] + TILE_OVERHEAD
    return begins[: size + 1]


@helper
def pack_rows(X, rows, count, scale, scratch, worker, workers):
    """Region 1: pack a worker's groups of rows and list their pixels that are not zero."""
    first, last = share(padded_size(count, MASK_BITS) // ROWS, worker, workers)
    for g in range(first, last):
        for i in range(g * ROWS, (g + 1) * ROWS):
            if i < count:
                pack_row(X[rows[scratch.order[i]]], scale, scratch.X, scratch.masks, i)
            else:
                scratch.masks[:, i] = 0
        scratch.pixels_listed[g] = list_pixels(scratch.masks, g, scratch.pixels)


@helper
def list_all_rows(count, scratch, worker, workers):
    """Region 2, the first part: list the rows that are not zero in a worker's groups of pixels."""
    first, last = share(scratch.rows_listed.size, worker, workers)
    for g in range(first, last):
        scratch.rows_listed[g] = list_rows(scratch.masks, count, g, scratch.rows)


@helper
def compute_hidden(scratch, begins, weights, worker, workers):
    """Region 2, the second part: a worker's tiles of hidden."""
    offsets = weights.offsets
    low, high = share(offsets[-1] * begins[-1], worker, workers)
    for p in range(offsets.size - 1):
        width = offsets[p + 1] - offsets[p]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        forward_tiles(
            width, scratch.X, scratch.pixels, scratch.pixels_listed, weights.W1[p], scratch.hidden[p], first, last
        )


@helper
def compute_logits(first, last, scratch, weights):
    """logits = hidden W2 for groups of rows first to last, each sum over the hidden units in their order."""
    hidden, W2, offsets = scratch.hidden, weights.W2, weights.offsets
    for g in range(first, last):
        for k in range(0, W2.shape[1], CLASSES):
            tile = zero_tile(ROWS, CLASSES, W2)
            for p in range(offsets.size - 1):
                hidden_panel, W2_panel = hidden[p], W2[p]
                for v in range(offsets[p + 1] - offsets[p]):
                    tile = add_dot(tile, hidden_panel, g * ROWS, W2_panel, k, v * lanes_of(W2))
            sum_tile(tile, scratch.logits, g * ROWS, k)


@helper
def compute_dlogits_and_dhidden(labels, count, rate, scratch, weights, worker, workers):
    """Region 3: logits, -rate * dlogits in their place, and dhidden of a worker's groups of rows."""
    first, last = share(padded_size(count, ROWS) // ROWS, worker, workers)
    compute_logits(first, last, scratch, weights)
    for i in range(first * ROWS, min(last * ROWS, count)):
        softmax_row(scratch.logits[i, : weights.num_classes])
        for k in range(weights.num_classes):
            # A label is compared and never an index: none can reach outside the row.
            onehot = rate if k == labels[scratch.order[i]] else rate * 0
            scratch.logits[i, k] = onehot - rate * scratch.logits[i, k]
    for p in range(weights.offsets.size - 1):
        width = weights.offsets[p + 1] - weights.offsets[p]
        dhidden_tiles(
            width,
            scratch.logits,
            weights.num_classes,
            weights.W2[p],
            scratch.hidden[p],
            scratch.dhidden[p],
            first,
            last,
        )


@helper
def update(count, scratch, begins, weights, worker, workers):
    """Region 4: the update of a worker's tiles of W1, and of the panels of W2 whose first tile is its."""
    offsets = weights.offsets
    low, high = share(offsets[-1] * begins[-1], worker, workers)
    for p in range(offsets.size - 1):
        width = offsets[p + 1] - offsets[p]
        first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
        if low <= offsets[p] * begins[-1] < high:
            update_classes(width, scratch.logits, count, scratch.hidden[p], weights.W2[p])
        update_tiles(
            width, scratch.X, scratch.rows, scratch.rows_listed, scratch.dhidden[p], weights.W1[p], first, last
        )


@parallel_kernel
def run_slice(X, rows, labels, batch, rate, short_rate, scale, workers, weights, scratch):
    """Step the weights, in place, over the mini-batches of X[rows], with the given number of workers."""
    for start in range(0, rows.size, batch):
        stop = min(start + batch, rows.size)
        count = stop - start
        step = rate if count == batch else short_rate
        batch_rows, batch_labels = rows[start:stop], labels[start:stop]
        sort_by_label(batch_labels, scratch.labels_begin, scratch.order)
        if workers == 1:
            pack_rows(X, batch_rows, count, scale, scratch, 0, 1)
            begins = accumulate(scratch.pixels_listed, padded_size(count, ROWS) // ROWS, scratch.pixels_begin)
            list_all_rows(count, scratch, 0, 1)
            compute_hidden(scratch, begins, weights, 0, 1)
            begins = accumulate(scratch.rows_listed, scratch.rows_listed.size, scratch.rows_begin)
            compute_dlogits_and_dhidden(batch_labels, count, step, scratch, weights, 0, 1)
            update(count, scratch, begins, weights, 0, 1)
        else:
            for worker in numba.prange(workers):
                pack_rows(X, batch_rows, count, scale, scratch, np.intp(worker), workers)
            begins = accumulate(scratch.pixels_listed, padded_size(count, ROWS) // ROWS, scratch.pixels_begin)
            for worker in numba.prange(workers):
                list_all_rows(count, scratch, np.intp(worker), workers)
                compute_hidden(scratch, begins, weights, np.intp(worker), workers)
            begins = accumulate(scratch.rows_listed, scratch.rows_listed.size, scratch.rows_begin)
            for worker in numba.prange(workers):
                compute_dlogits_and_dhidden(batch_labels, count, step, scratch, weights, np.intp(worker), workers)
            for worker in numba.prange(workers):
                update(count, scratch, begins, weights, np.intp(worker), workers)


@parallel_kernel
def forward(X, rows, scale, workers, weights, scratch):
    """Write the logits of X[rows], at most as many as scratch has room for, to scratch.logits."""
    count = rows.size
    for i in range(count):
        scratch.order[i] = i
    for worker in numba.prange(workers):
        pack_rows(X, rows, count, scale, scratch, np.intp(worker), workers)
    begins = accumulate(scratch.pixels_listed, padded_size(count, ROWS) // ROWS, scratch.pixels_begin)
    for worker in numba.prange(workers):
        compute_hidden(scratch, begins, weights, np.intp(worker), workers)
    for worker in numba.prange(workers):
        first, last = share(padded_size(count, ROWS) // ROWS, np.intp(worker), workers)
        compute_logits(first, last, scratch, weights)

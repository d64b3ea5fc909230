"""Softmax regression: the mini-batch steps of a slice, and the verdicts of a model on one.

With a few classes a panel of columns would be mostly padding, so this is the other way round than the network: pixels
along the vectors, classes as rows of the tile. The pixels are cut into parts, and each part has one worker, who packs
its pixels of the rows, makes its part of the logits and updates its part of theta. So workers exchange nothing but
partial logits, and meet once a batch, in one region:

- backward, of the batch before: the partial logits added in the order of the parts, softmax, dlogits (each worker makes
  them for itself); theta += dlogits^T X, the step's factor being in dlogits;
- forward: pack the rows; partial logits = X theta, dot products of rows of X with rows of theta.

A batch of more than `BLOCK` rows goes through in blocks; theta then has a copy for what they add to it, that takes its
place at the end of the batch.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import CLASSES, ROWS, aligned_zeros, copy_last, padded, padded_size, share
from fastml.kernels.rows import convert_row
from fastml.kernels.simd import add_dot, add_outer_rows, lanes_of, store_sum, sum_tile, zero_tile
from fastml.kernels.softmax import add_partial_logits, compute_dlogits, judge_group
from fastml.kernels.vectors import MASK_BITS

# Rows that go through a region together: packed they stay in the second cache.
BLOCK = 128
# Vectors of pixels of an update tile.
VECTORS = panels.MOST_VECTORS - 1
# Pixels of a part: MNIST's are two. More parts would mean more sums across lanes, fewer could not keep two cores apart.
PART, MOST_PARTS = 384, 16


class Weights(NamedTuple):
    """Copies of theta transposed, a row for each class, padded with zeros, and the cell at which each part begins.

    A cell is `MASK_BITS` pixels.
    """

    theta: NDArray
    parts: NDArray
    input_dim: int
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a block: packed rows and logits of each worker, and the partial logits of this block and the last.

    The first axis of partial are workers when they judge and one for all when they learn.
    """

    order: NDArray
    X: NDArray
    logits: NDArray
    partial: NDArray


def pack(dtype: DTypeLike, batch: int, theta: NDArray) -> Weights:
    """Return the weights transposed, for batches of a number of rows."""
    input_dim, num_classes = theta.shape
    shape = 2 if batch > BLOCK else 1, padded(num_classes, CLASSES), padded(input_dim, MASK_BITS)
    packed = aligned_zeros(shape, dtype)
    packed[0, :num_classes, :input_dim] = theta.T
    parts = min(max(input_dim // PART, 1), MOST_PARTS)
    return Weights(packed, np.arange(parts + 1) * (shape[-1] // MASK_BITS) // parts, input_dim, num_classes)


def unpack(packed: Weights, theta: NDArray) -> None:
    """Write packed weights back to theta, in place."""
    theta[...] = packed.theta[0, : packed.num_classes, : packed.input_dim].T


def scratch(batch: int, workers: int, learn: bool, packed: Weights) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows."""
    _, classes, pixels = packed.theta.shape
    rows, parts, dtype = padded(min(batch, BLOCK), ROWS), len(packed.parts) - 1, packed.theta.dtype
    return Scratch(
        order=np.arange(rows),
        X=aligned_zeros((workers, rows, pixels), dtype),
        logits=aligned_zeros((workers, rows // ROWS, classes, ROWS), dtype),
        partial=aligned_zeros((1 if learn else workers, 2, parts, rows // ROWS, classes, ROWS), dtype),
    )


@helper
def dot_tiles(X, groups, theta, begin, end, partial):
    """Write partial[g, :, r] = theta[:, begin:end] X[g * ROWS + r, begin:end] for a number of groups of rows."""
    for g in range(groups):
        for k in range(0, theta.shape[0], CLASSES):
            tile = zero_tile(ROWS, CLASSES, theta)
            for j in range(begin, end, lanes_of(theta)):
                tile = add_dot(tile, X, g * ROWS, theta, k, j)
            sum_tile(tile, partial[g], k)


def outer_tiles(vectors):
    """Return the function that updates a tile of pixels."""

    @helper
    def outer_tiles(X, count, dlogits, theta, new_theta, j):
        """Write new_theta[:, j:] = theta[:, j:] + dlogits^T X[:, j:] for the pixels of a tile."""
        for k in range(0, theta.shape[0], CLASSES):
            tile = zero_tile(CLASSES, vectors, theta)
            for i in range(count):
                tile = add_outer_rows(tile, dlogits[i // ROWS], k, i % ROWS, X, i, j)
            store_sum(tile, theta, new_theta, k, j)

    return outer_tiles


outer_wide_tiles, outer_single_vectors = outer_tiles(VECTORS), outer_tiles(1)


@helper
def forward(X, rows, scale, theta, weights, first, last, packed, partial):
    """Pack the pixels of parts first to last of a block's rows and write the partial logits."""
    parts = weights.parts
    for i in range(rows.size):
        convert_row(X, rows[i], X.shape[1] // weights.input_dim, scale, packed, i, parts[first], parts[last])
    for p in range(first, last):
        groups = padded_size(rows.size, ROWS) // ROWS
        dot_tiles(packed, groups, theta, parts[p] * MASK_BITS, parts[p + 1] * MASK_BITS, partial[p])


@helper
def backward(labels, rate, theta, new_theta, weights, first, last, packed, order, partial, logits):
    """Update the pixels of parts first to last, in wide tiles and what is left in single vectors."""
    compute_dlogits(partial, labels, order, rate, weights.num_classes, logits)
    begin, end = weights.parts[first] * MASK_BITS, weights.parts[last] * MASK_BITS
    width = VECTORS * lanes_of(theta)
    wide = begin + (end - begin) // width * width
    for j in range(begin, wide, width):
        outer_wide_tiles(packed, labels.size, logits, theta, new_theta, j)
    for j in range(wide, end, lanes_of(theta)):
        outer_single_vectors(packed, labels.size, logits, theta, new_theta, j)


@helper
def judge(X, rows, labels, scale, weights, scratch, verdicts, worker, workers):
    """Write the verdicts on a worker's blocks of rows."""
    partial, logits = scratch.partial[worker, 0], scratch.logits[worker]
    first, last = share(padded_size(rows.size, BLOCK) // BLOCK, worker, workers)
    for start in range(first * BLOCK, min(last * BLOCK, rows.size), BLOCK):
        block = rows[start : start + BLOCK]
        parts = weights.parts.size - 1
        forward(X, block, scale, weights.theta[0], weights, 0, parts, scratch.X[worker], partial)
        for g in range(padded_size(block.size, ROWS) // ROWS):
            add_partial_logits(partial, g, logits[g])
            judge_group(logits[g], weights.num_classes, labels, scratch.order, start, g * ROWS, block.size, verdicts)


@helper
def work(
    X,
    rows,
    labels,
    back,
    start,
    stop,
    rate,
    scale,
    learn,
    step,
    source,
    target,
    begin,
    end,
    weights,
    scratch,
    verdicts,
    worker,
    workers,
):
    """Do a worker's part of a region: rows back to start backward, rows start to stop forward."""
    first, last = share(weights.parts.size - 1, worker, workers)
    packed, logits = scratch.X[worker], scratch.logits[worker]
    theta, new_theta = weights.theta[source], weights.theta[target]
    if not learn:
        judge(X, rows, labels, scale, weights, scratch, verdicts, worker, workers)
    elif first < last:
        if back < start:
            before, partial = theta if back == begin else new_theta, scratch.partial[0, 1 - step % 2]
            backward(
                labels[back:start],
                rate,
                before,
                new_theta,
                weights,
                first,
                last,
                packed,
                scratch.order,
                partial,
                logits,
            )
        if start < stop:
            now = new_theta if start == end else theta
            forward(X, rows[start:stop], scale, now, weights, first, last, packed, scratch.partial[0, step % 2])


@parallel_kernel
def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step theta, in place, over the mini-batches of X[rows], with the given number of workers.

    Without learn, write the verdicts of theta on X[rows] instead.
    """
    # Rows back to start wait for their backward part.
    step, source, back, start = 0, 0, 0, 0
    while start < rows.size or back < start:
        begin, end = back // batch * batch, min(back // batch * batch + batch, rows.size)
        stop = min(start + BLOCK, start // batch * batch + batch, rows.size) if learn else rows.size
        factor = rate if end - begin == batch else short_rate
        target = (source + 1) % weights.theta.shape[0]
        if workers == 1:
            work(
                X,
                rows,
                labels,
                back,
                start,
                stop,
                factor,
                scale,
                learn,
                step,
                source,
                target,
                begin,
                end,
                weights,
                scratch,
                verdicts,
                0,
                1,
            )
        else:
            for worker in numba.prange(workers):
                work(
                    X,
                    rows,
                    labels,
                    back,
                    start,
                    stop,
                    factor,
                    scale,
                    learn,
                    step,
                    source,
                    target,
                    begin,
                    end,
                    weights,
                    scratch,
                    verdicts,
                    np.intp(worker),
                    workers,
                )
        if start == end:
            source = target
        step, back, start = step + 1, start if learn else stop, stop
    if source == 1:
        copy_last(weights.theta)

"""Softmax regression: logits of a block of rows, and the mini-batch steps of a slice.

With a few classes a panel of columns would be mostly padding, so this is the other way round than the network: pixels
along the vectors, classes as rows of the tile. A batch goes through three regions; in each, every worker writes only
what it owns, and all meet before the next:

1. by tiles (part of the pixels x rows): partial logits, dot products of rows of X with rows of theta;
2. by rows: logits, the partial ones added in the order of the parts, softmax, dlogits;
3. by pixels: theta += dlogits^T X, the step's factor being in dlogits.

A worker that owns a part of the pixels in 1 owns nearly the same in 3, so what it read of X is still in its cache.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper, parallel_kernel
from fastml.kernels.panels import CACHE_LINE, CLASSES, ROWS, aligned_zeros, padded, padded_size, share
from fastml.kernels.simd import add_dot, add_outer_rows, add_to_memory, lanes_of, prefetch, sum_tile, zero_tile
from fastml.kernels.softmax import add_partial_logits, compute_dlogits

REGIONS = 3
# Whether the kernels find the rows of X by their indices; these want them one behind the other.
GATHERS = False
# Vectors of pixels of an update tile.
VECTORS = panels.MOST_VECTORS - 1
# More parts would mean more sums across lanes; fewer could not keep two cores apart.
PARTS = 2


class Weights(NamedTuple):
    """theta transposed, a row for each class, padded with zeros."""

    theta: NDArray
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a batch."""

    order: NDArray
    partial: NDArray
    logits: NDArray
    single: NDArray


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: a vector of theta's dtype."""
    return panels.lanes(dtype)


def as_read(X: NDArray) -> NDArray:
    """Return X as the kernels read it: as it is."""
    return X


def pack(dtype: DTypeLike, theta: NDArray) -> Weights:
    """Return the weights transposed."""
    input_dim, num_classes = theta.shape
    packed = aligned_zeros((padded(num_classes, CLASSES), padded(input_dim, panels.lanes(dtype))), dtype)
    packed[:num_classes, :input_dim] = theta.T
    return Weights(packed, num_classes)


def unpack(packed: Weights, theta: NDArray) -> None:
    """Write packed weights back to theta, in place."""
    theta[...] = packed.theta[: packed.num_classes, : theta.shape[0]].T


def scratch(batch: int, input_dim: int, workers: int, packed: Weights) -> Scratch:
    """Return memory for batches of up to batch rows and a number of workers."""
    rows, classes = padded(batch, ROWS), packed.theta.shape[0]
    dtype = packed.theta.dtype
    return Scratch(
        order=np.arange(rows),
        partial=aligned_zeros((PARTS, rows // ROWS, classes, ROWS), dtype),
        logits=aligned_zeros((rows // ROWS, classes, ROWS), dtype),
        single=aligned_zeros((workers, classes, 1), dtype),
    )


def dot_tiles(rows):
    """Return the function that writes the partial logits of a tile of rows."""

    @helper
    def dot_tiles(X, i, theta, begin, end, partial):
        """Write partial[:, r] = theta[:, begin:end] X[i + r, begin:end], a tile of classes after the other."""
        for k in range(0, theta.shape[0], CLASSES):
            tile = zero_tile(rows, CLASSES, theta)
            for j in range(begin, end, lanes_of(theta)):
                if k == 0 and j % (CACHE_LINE // X.itemsize) == 0:
                    for r in range(rows):
                        prefetch(X, i + 16 + r, j)
                tile = add_dot(tile, X, i, theta, k, j)
            sum_tile(tile, partial, k)

    return dot_tiles


dot_whole_tiles, dot_single_rows = dot_tiles(ROWS), dot_tiles(1)


def outer_tiles(vectors):
    """Return the function that updates a tile of pixels."""

    @helper
    def outer_tiles(X, i, count, dlogits, theta, j):
        """Update theta[:, j:] += dlogits^T X[i:, j:] for the pixels of a tile."""
        for k in range(0, theta.shape[0], CLASSES):
            tile = zero_tile(CLASSES, vectors, theta)
            for r in range(count):
                tile = add_outer_rows(tile, dlogits[r // ROWS], k, r % ROWS, X, i + r, j)
            add_to_memory(tile, theta, k, j)

    return outer_tiles


outer_wide_tiles, outer_single_vectors = outer_tiles(VECTORS), outer_tiles(1)


@helper
def compute_partial(X, start, count, weights, scratch, worker, workers):
    """Region 1: the partial logits of a worker's tiles."""
    theta, lanes = weights.theta, lanes_of(weights.theta)
    groups = padded_size(count, ROWS) // ROWS
    vectors = theta.shape[1] // lanes
    first, last = share(PARTS * groups, worker, workers)
    for tile in range(first, last):
        part, i = tile // groups, tile % groups * ROWS
        begin, end = share(vectors, part, PARTS)
        partial, single = scratch.partial[part, tile % groups], scratch.single[worker]
        if i + ROWS <= count:
            dot_whole_tiles(X, start + i, theta, begin * lanes, end * lanes, partial)
        else:
            for r in range(count - i):
                dot_single_rows(X, start + i + r, theta, begin * lanes, end * lanes, single)
                for k in range(theta.shape[0]):
                    partial[k, r] = single[k, 0]


@helper
def update(X, start, count, weights, scratch, worker, workers):
    """Region 3: the update of a worker's pixels, in wide tiles and what is left in single vectors."""
    theta, lanes = weights.theta, lanes_of(weights.theta)
    first, last = share(theta.shape[1] // lanes, worker, workers)
    wide = first + (last - first) // VECTORS * VECTORS
    for vector in range(first, wide, VECTORS):
        outer_wide_tiles(X, start, count, scratch.logits, theta, vector * lanes)
    for vector in range(wide, last):
        outer_single_vectors(X, start, count, scratch.logits, theta, vector * lanes)


@helper
def work(region, X, start, labels, rate, scale, weights, scratch, worker, workers):
    """Do a worker's part of a region, for the rows of X from start on that have the labels."""
    if region == 1:
        compute_partial(X, start, labels.size, weights, scratch, worker, workers)
    elif region == 2:
        compute_dlogits(
            scratch.partial, labels, scratch.order, rate, scale, weights.num_classes, scratch.logits, worker, workers
        )
    else:
        update(X, start, labels.size, weights, scratch, worker, workers)


@parallel_kernel
def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch):
    """Step theta, in place, over the mini-batches of X[rows], with the given number of workers.

    Without learn, end at region 1 of the first batch and write its logits to scratch.logits.
    """
    rounds = (rows.size + batch - 1) // batch * REGIONS if learn else 1
    for step in range(rounds):
        region, start = step % REGIONS + 1, step // REGIONS * batch
        batch_labels = labels[start : start + batch]
        factor = rate if batch_labels.size == batch else short_rate
        if workers == 1:
            work(region, X, rows[start], batch_labels, factor, scale, weights, scratch, 0, 1)
        else:
            for worker in numba.prange(workers):
                work(region, X, rows[start], batch_labels, factor, scale, weights, scratch, np.intp(worker), workers)
    if not learn:
        for g in range(padded_size(rows.size, ROWS) // ROWS):
            add_partial_logits(scratch.partial, g, scale, scratch.logits)

"""Softmax regression: the mini-batch steps of a slice, and the verdicts of a model on one.

With a few classes a panel of columns would be mostly padding, so this is the other way round than the network: pixels
along the vectors, classes as rows of the tile, and X is read where it lies.

A batch is one region. Its rows are cut into parts, how many its size decides, and each part has one worker: who makes
its logits (dot products of rows of X with rows of theta), softmax, dlogits, and of them the part's gradient, dlogits^T
X. Each worker has a theta of its own, and begins a region by adding the gradients of the batch before to it, part by
part. So workers meet once a batch, and all that goes from one to the other are gradients.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import address_of, call_at, helper, kernel, parallel_kernel
from fastml.kernels.panels import CACHE_LINE, CLASSES, ROWS, aligned_zeros, copy, padded, padded_size, share
from fastml.kernels.simd import (
    add_dot,
    add_outer_rows,
    lanes_of,
    prefetch,
    store_sum,
    store_tile,
    sum_tile,
    zero_tile,
)
from fastml.kernels.softmax import dlogits_group, judge_group, scale_group, softmax_group, verdicts_from
from fastml.kernels.subnormals import flush_subnormals, restore_subnormals

# Whether the kernels find the rows of X by their indices; these want them one behind the other.
GATHERS = False
# Rows that are read twice in a row, for logits and for the gradient: the second time from the second cache.
BLOCK = 128
# Rows of a part, and the most parts of a batch: each is a gradient to be added by every worker.
PART, MOST_PARTS = 48, 16
# Vectors of pixels of an update tile.
VECTORS = panels.MOST_VECTORS - 1


class Weights(NamedTuple):
    """theta transposed, a row for each class, padded with zeros."""

    theta: NDArray
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a batch: theta and logits of each worker, the gradients of the parts of this batch and the last."""

    order: NDArray
    theta: NDArray
    logits: NDArray
    single: NDArray
    gradients: NDArray


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


def number_of_parts(rows: int) -> int:
    """Return how many parts a batch of a number of rows has."""
    return min(max(rows // PART, 1), MOST_PARTS)


parts_of = helper(number_of_parts)


def scratch(batch: int, workers: int, learn: bool, packed: Weights) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows."""
    classes, dtype = len(packed.theta), packed.theta.dtype
    return Scratch(
        order=np.arange(BLOCK),
        theta=aligned_zeros((workers, *packed.theta.shape), dtype),
        logits=aligned_zeros((workers, BLOCK // ROWS, classes, ROWS), dtype),
        single=aligned_zeros((workers, classes, CACHE_LINE // dtype.itemsize), dtype),
        gradients=aligned_zeros((2, number_of_parts(batch) if learn else 0, *packed.theta.shape), dtype),
    )


def dot_tiles(rows):
    """Return the function that writes the logits of a tile of rows."""

    @helper
    def dot_tiles(X, i, theta, logits, ahead):
        """Write logits[:, r] = theta X[i + r], a tile of classes after the other; ask for rows ahead, if any."""
        for k in range(0, theta.shape[0], CLASSES):
            tile = zero_tile(rows, CLASSES, theta)
            for j in range(0, theta.shape[1], lanes_of(theta)):
                if ahead > 0 and k == 0 and j % (CACHE_LINE // X.itemsize) == 0:
                    for r in range(rows):
                        prefetch(X, i + ahead + r, j)
                tile = add_dot(tile, X, i, theta, k, j)
            sum_tile(tile, logits, k)

    return dot_tiles


dot_whole_tiles, dot_single_rows = dot_tiles(ROWS), dot_tiles(1)


def outer_tiles(vectors):
    """Return the function that makes the gradient of a tile of pixels."""

    @helper
    def outer_tiles(X, i, count, dlogits, gradient, j, first_block, ahead):
        """Add dlogits^T X[i : i + count, j:] to gradient[:, j:], or write it if nothing is there yet.

        Ask for the same pixels of rows ahead.
        """
        for k in range(0, gradient.shape[0], CLASSES):
            tile = zero_tile(CLASSES, vectors, gradient)
            for r in range(count):
                if k == 0:
                    for v in range(0, vectors * lanes_of(gradient), CACHE_LINE // X.itemsize):
                        prefetch(X, i + r + ahead, j + v)
                tile = add_outer_rows(tile, dlogits[r // ROWS], k, r % ROWS, X, i + r, j)
            if first_block:
                store_tile(tile, gradient, k, j)
            else:
                store_sum(tile, gradient, gradient, k, j)

    return outer_tiles


outer_wide_tiles, outer_single_vectors = outer_tiles(VECTORS), outer_tiles(1)


@helper
def compute_logits(X, start, count, scale, theta, logits, single, ahead):
    """Write the logits of count rows of X, from start on; ask for those that are so many rows ahead, if any."""
    for g in range(padded_size(count, ROWS) // ROWS):
        i = g * ROWS
        if i + ROWS <= count:
            dot_whole_tiles(X, start + i, theta, logits[g], ahead)
        else:
            row = single.reshape(single.size)[: theta.shape[0]].reshape((theta.shape[0], 1))
            for r in range(count - i):
                dot_single_rows(X, start + i + r, theta, row, ahead)
                for k in range(theta.shape[0]):
                    logits[g, k, r] = row[k, 0]
        scale_group(logits[g], scale)


@helper
def compute_gradient(X, start, count, dlogits, gradient, first_block, ahead):
    """Add what count rows of X, from start on, say of the gradient: wide tiles, and what is left in single vectors.

    Meanwhile ask for the rows that a worker needs next, so many rows ahead: an epoch of floats takes 18.0 ms, in the
    place of 19.6 with rows asked for in `dot_tiles`, 16 rows ahead, as judging does.
    """
    lanes, pixels = lanes_of(gradient), gradient.shape[1]
    wide = pixels // (VECTORS * lanes) * VECTORS * lanes
    for j in range(0, wide, VECTORS * lanes):
        outer_wide_tiles(X, start, count, dlogits, gradient, j, first_block, ahead)
    for j in range(wide, pixels, lanes):
        outer_single_vectors(X, start, count, dlogits, gradient, j, first_block, ahead)


@helper
def add_gradients(gradients, parts, theta):
    """Add the gradients of a batch's parts to theta, in place."""
    flat = theta.reshape(theta.size)
    for p in range(parts):
        gradient = gradients[p].reshape(theta.size)
        for i in range(flat.size):
            flat[i] += gradient[i]


@helper
def learn_part(X, start, labels, others, rate, scale, num_classes, theta, order, logits, single, gradient, verdicts):
    """Write the gradient of a part of a batch, block after block, and the verdicts on it, if any are wanted.

    others are the rows between this part and those that its worker needs next.
    """
    for first in range(0, labels.size, BLOCK):
        block = labels[first : first + BLOCK]
        compute_logits(X, start + first, block.size, scale, theta, logits, single, np.intp(0))
        for g in range(padded_size(block.size, ROWS) // ROWS):
            if verdicts.losses.size:
                judge_group(logits[g], num_classes, block, order, g * ROWS, block.size, verdicts_from(verdicts, first))
            else:
                softmax_group(logits[g], num_classes)
            last = min((g + 1) * ROWS, block.size)
            dlogits_group(logits[g], block, order, g * ROWS, last, rate * scale, num_classes)
        ahead = block.size if first + BLOCK < labels.size else block.size + others
        compute_gradient(X, start + first, block.size, logits, gradient, first == 0, ahead)


@helper
def judge(X, start, labels, scale, weights, scratch, verdicts, worker, workers):
    """Write the verdicts on a worker's blocks of rows."""
    logits = scratch.logits[worker]
    first, last = share(padded_size(labels.size, BLOCK) // BLOCK, worker, workers)
    for begin in range(first * BLOCK, min(last * BLOCK, labels.size), BLOCK):
        count = min(BLOCK, labels.size - begin)
        compute_logits(X, start + begin, count, scale, weights.theta, logits, scratch.single[worker], np.intp(16))
        for g in range(padded_size(count, ROWS) // ROWS):
            judge_group(
                logits[g],
                weights.num_classes,
                labels[begin:],
                scratch.order,
                g * ROWS,
                count,
                verdicts_from(verdicts, begin),
            )


@kernel
def work(X, start, labels, parts_before, step, rate, scale, learn, weights, scratch, verdicts, before, worker, workers):
    """Do a worker's part of a batch, whose first row in X is start, and before which the slice has others."""
    control = flush_subnormals()
    if not learn:
        judge(X, start, labels, scale, weights, scratch, verdicts, worker, workers)
        restore_subnormals(control)
        return
    theta, gradients = scratch.theta[worker], scratch.gradients[step % 2]
    if step == 0:
        copy(weights.theta, theta)
    add_gradients(scratch.gradients[1 - step % 2], parts_before, theta)
    parts, groups = parts_of(labels.size), padded_size(labels.size, ROWS) // ROWS
    first, last = share(parts, worker, workers)
    others = labels.size - (share(groups, last, parts)[0] - share(groups, first, parts)[0]) * ROWS
    for p in range(first, last):
        begin, end = share(groups, p, parts)
        learn_part(
            X,
            start + begin * ROWS,
            labels[begin * ROWS : end * ROWS],
            np.intp(0) if p + 1 < last else others,
            rate,
            scale,
            weights.num_classes,
            theta,
            scratch.order,
            scratch.logits[worker],
            scratch.single[worker],
            gradients[p],
            verdicts_from(verdicts, before + begin * ROWS),
        )
    restore_subnormals(control)


@parallel_kernel
def run_batches(address, X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Do `run`; the workers' part is at an address."""
    size = batch if learn else max(rows.size, 1)
    parts = np.intp(0)
    for start in range(0, rows.size, size):
        step, batch_labels = start // size, labels[start : start + size]
        factor = rate if batch_labels.size == batch else short_rate
        if workers == 1:
            call_at(
                address,
                work,
                (
                    X,
                    rows[start],
                    batch_labels,
                    parts,
                    step,
                    factor,
                    scale,
                    learn,
                    weights,
                    scratch,
                    verdicts,
                    start,
                    np.intp(0),
                    workers,
                ),
            )
        else:
            for worker in numba.prange(workers):
                call_at(
                    address,
                    work,
                    (
                        X,
                        rows[start],
                        batch_labels,
                        parts,
                        step,
                        factor,
                        scale,
                        learn,
                        weights,
                        scratch,
                        verdicts,
                        start,
                        np.intp(worker),
                        workers,
                    ),
                )
        parts = parts_of(batch_labels.size)
    if learn and parts > 0:
        control = flush_subnormals()
        copy(scratch.theta[0], weights.theta)
        add_gradients(scratch.gradients[(rows.size - 1) // size % 2], parts, weights.theta)
        restore_subnormals(control)


def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step theta, in place, over the mini-batches of X[rows], with the given number of workers.

    Write verdicts on X[rows] as well, each those of theta before the step, unless verdicts are empty; without learn,
    write nothing else.
    """
    address = address_of(work, X, 0, labels, 0, 0, rate, scale, learn, weights, scratch, verdicts, 0, 0, workers)
    run_batches(address, X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts)

"""Softmax regression: the mini-batch steps of a slice, and the verdicts of a model on one.

With a few classes a panel of columns would be mostly padding, so this is the other way round than the network: pixels
along the vectors, classes as rows of the tile, and X is read where it lies.

The pixels are cut into parts, how many their number decides, and each part has one worker, who owns its weights. Of a
block of rows he makes the part's share of the logits (dot products of rows of X with rows of theta); then all workers
meet, and each adds up the shares of all parts, makes of them dlogits, and steps his own part of theta by dlogits^T X.
So workers meet once a block, and what goes from one to the other are logits alone: 4 KB for 100 rows.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import apart, helper
from fastml.kernels.panels import CLASSES, aligned_zeros, padded, padded_size, share
from fastml.kernels.simd import (
    add_dot,
    add_outer_rows,
    add_stored,
    lanes_of,
    prefetch_second,
    store_tile,
    zero_tile,
)
from fastml.kernels.softmax import (
    BAND,
    add_partial_logits,
    dlogits_band,
    judge_band,
    scale_band,
    softmax_band,
    verdicts_from,
)
from fastml.kernels.subnormals import flush_subnormals, restore_subnormals
from fastml.kernels.team import Team, assemble, meet, run_team, take, team_of
from fastml.kernels.vectors import as_rows, sum_tile

# Rows that go through together. They are read twice, for logits and for the gradient: the second time from the cache.
BLOCK = 128
# The least vectors of pixels of a part, and the most parts. The sums across lanes of a part take as long as 4 vectors.
PART, MOST_PARTS = 24, 8
# Tiles of twice as many classes where there are so many: X is loaded, and converted, half as often. The dot products of
# so many are of 2 rows at a time, of the others 4; the gradient tile is of 2 vectors of pixels.
WIDE, VECTORS = 2 * CLASSES, 2

# How many rows ahead are asked for where nothing is read twice. A block that is, asks for the next one: for every
# second row as it makes logits, for the others as it makes the gradient: so memory has something to do all the time.
AHEAD = 16


class Weights(NamedTuple):
    """theta transposed, a row for each class, padded with zeros."""

    theta: NDArray
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a block: each part's share of the logits, the logits of each worker; the gradient of many blocks.

    There are two of partial, so that who is early doesn't write what others still read; to judge, one a worker.
    """

    order: NDArray
    partial: NDArray
    logits: NDArray
    gradient: NDArray
    team: Team


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


def scratch(batch: int, workers: int, learn: bool, packed: Weights, x_dtype: DTypeLike) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows; it is the same for any X."""
    (classes, pixels), dtype = packed.theta.shape, packed.theta.dtype
    parts = min(max(pixels // panels.lanes(dtype) // PART, 1), MOST_PARTS)
    block = classes, BAND
    return Scratch(
        order=np.arange(BLOCK),
        partial=aligned_zeros((2 if learn else workers, parts, BLOCK // BAND, *block), dtype),
        logits=aligned_zeros((workers, BLOCK // BAND, *block), dtype),
        gradient=aligned_zeros((classes, pixels if learn and batch > BLOCK else 0), dtype),
        team=team_of(workers),
    )


def dot_tiles(rows, classes):
    """Make the dot products of a number of rows with a number of classes."""

    @helper
    def dot_tiles(X, group, asked, theta, first, last, k, band, i):
        """Write band[k:, i:] = theta[k:] X[group], of pixels first to last; ask for those of two other rows."""
        tile = zero_tile(rows, classes, theta)
        for j in range(first, last, lanes_of(theta)):
            for r in range(2):
                prefetch_second(X, asked[r], j)
            tile = add_dot(tile, X, group, theta, k, j)
        sum_tile(tile, band, k, i)

    return dot_tiles


dot_wide_tiles, dot_narrow_tiles = dot_tiles(2, WIDE), dot_tiles(4, CLASSES)


@helper
def pair(rows, i, every):
    """Return rows i and i + 1, or row i twice if only every second is wanted; behind the last row it comes again."""
    return rows[min(i, rows.size - 1)], rows[min((i + 1) // every * every, rows.size - 1)]


@helper
def compute_logits(X, rows, ahead, every, theta, first, last, partial):
    """Write what pixels first to last add to the logits of X[rows]; ask for every row, or every second, ahead."""
    for i in range(0, rows.size, 4):
        band, at = partial[i // BAND], i % BAND
        (a, b), (c, d) = pair(rows, i, 1), pair(rows, i + 2, 1)
        asked, more = (a, b), (c, d)
        if i < ahead.size:
            asked, more = pair(ahead, i, every), pair(ahead, i + 2, every)
        k = 0
        while k + WIDE <= theta.shape[0]:
            dot_wide_tiles(X, (a, b), asked, theta, first, last, k, band, at)
            dot_wide_tiles(X, (c, d), more, theta, first, last, k, band, at + 2)
            k += WIDE
        if k < theta.shape[0]:
            dot_narrow_tiles(X, (a, b, c, d), asked, theta, first, last, k, band, at)


def outer_tiles(classes, vectors):
    """Make the gradient of a number of classes and vectors of pixels."""

    @helper
    def outer_tiles(X, rows, ahead, dlogits, k, j, total):
        """Update total[k:, j:] += dlogits[k:] X[rows, j:]; ask for these pixels of every second row ahead."""
        tile = zero_tile(classes, vectors, total)
        bands = as_rows(dlogits, BAND)
        for i in range(rows.size):
            asked = ahead[i | 1] if i | 1 < ahead.size else rows[i]
            prefetch_second(X, asked, j + i % vectors * lanes_of(total))
            tile = add_outer_rows(tile, bands, i // BAND * total.shape[0] + k, i % BAND, X, rows[i], j)
        store_tile(add_stored(tile, total, k, j), total, k, j)

    return outer_tiles


wide_pairs, wide_singles = outer_tiles(WIDE, VECTORS), outer_tiles(WIDE, 1)
narrow_pairs, narrow_singles = outer_tiles(CLASSES, VECTORS), outer_tiles(CLASSES, 1)


@helper
def add_gradient(X, rows, ahead, dlogits, first, last, total):
    """Update total += dlogits X[rows], of pixels first to last."""
    lanes, classes = lanes_of(total), total.shape[0]
    whole = first + (last - first) // (VECTORS * lanes) * VECTORS * lanes
    k = 0
    while k + WIDE <= classes:
        for j in range(first, whole, VECTORS * lanes):
            wide_pairs(X, rows, ahead, dlogits, k, j, total)
        if whole < last:
            wide_singles(X, rows, ahead, dlogits, k, whole, total)
        k += WIDE
    if k < classes:
        for j in range(first, whole, VECTORS * lanes):
            narrow_pairs(X, rows, ahead, dlogits, k, j, total)
        if whole < last:
            narrow_singles(X, rows, ahead, dlogits, k, whole, total)


@helper
def part_begin(part, parts, theta):
    """Return the pixel at which a part begins."""
    return theta.shape[1] // lanes_of(theta) * part // parts * lanes_of(theta)


@helper
def judge(X, rows, labels, scale, weights, scratch, verdicts, worker):
    """Write the verdicts on blocks of rows, until no block is left."""
    theta, partial, logits = weights.theta, scratch.partial[worker], scratch.logits[worker]
    parts, number = partial.shape[0], take(scratch.team)
    while number * BLOCK < rows.size:
        start, number = number * BLOCK, take(scratch.team)
        block, ahead = rows[start : start + BLOCK], rows[start + AHEAD : start + BLOCK + AHEAD]
        for p in range(parts):
            begin, end = part_begin(p, parts, theta), part_begin(p + 1, parts, theta)
            compute_logits(X, block, ahead, 1, theta, begin, end, partial[p])
        bands = padded_size(block.size, BAND) // BAND
        add_partial_logits(partial, 0, bands, logits)
        for b in range(bands):
            scale_band(logits[b], scale)
            some = verdicts_from(verdicts, start)
            judge_band(logits[b], weights.num_classes, labels[start:], scratch.order, b * BAND, block.size, some)


@helper
def learn_block(X, rows, labels, ahead, rate, scale, weights, scratch, turn, total, verdicts, worker, workers):
    """Update a worker's parts of total += -rate * dlogits^T X for a block, and write verdicts if any are wanted."""
    theta, partial, logits = weights.theta, scratch.partial[turn % 2], scratch.logits[worker]
    parts = partial.shape[0]
    first, last = share(parts, worker, workers)
    for p in range(first, last):
        begin, end = part_begin(p, parts, theta), part_begin(p + 1, parts, theta)
        compute_logits(X, rows, ahead, 2, theta, begin, end, partial[p])
    meet(scratch.team, worker, workers)
    bands = padded_size(rows.size, BAND) // BAND
    add_partial_logits(partial, 0, bands, logits)
    for b in range(bands):
        scale_band(logits[b], scale)
        if verdicts.losses.size and b % workers == worker:
            judge_band(logits[b], weights.num_classes, labels, scratch.order, b * BAND, rows.size, verdicts)
        else:
            softmax_band(logits[b], weights.num_classes)
        end = min((b + 1) * BAND, rows.size)
        dlogits_band(logits[b], labels, scratch.order, b * BAND, end, rate * scale, weights.num_classes)
    begin, end = part_begin(first, parts, theta), part_begin(last, parts, theta)
    add_gradient(X, rows, ahead, logits, begin, end, total)


@apart
def work(X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts, worker, workers):
    """Do a worker's part of a slice."""
    if not assemble(scratch.team, workers):
        return
    control = flush_subnormals()
    if not learn:
        judge(X, rows, labels, scale, weights, scratch, verdicts, worker)
        restore_subnormals(control)
        return
    theta, gradient, parts = weights.theta, scratch.gradient, scratch.partial.shape[1]
    first, last = share(parts, worker, workers)
    begin, end = part_begin(first, parts, theta), part_begin(last, parts, theta)
    turn = 0
    for start in range(0, rows.size, batch):
        stop = min(start + batch, rows.size)
        factor = rate if stop - start == batch else short_rate
        # Of many blocks the gradients are added up before theta changes.
        is_one = stop - start <= BLOCK
        if not is_one:
            gradient[:, begin:end] = 0
        for at in range(start, stop, BLOCK):
            until = min(at + BLOCK, stop)
            learn_block(
                X,
                rows[at:until],
                labels[at:until],
                rows[until : until + BLOCK],
                factor,
                scale,
                weights,
                scratch,
                turn,
                theta if is_one else gradient,
                verdicts_from(verdicts, at),
                worker,
                workers,
            )
            turn += 1
        if not is_one:
            for k in range(theta.shape[0]):
                for j in range(begin, end):
                    theta[k, j] += gradient[k, j]
    restore_subnormals(control)


def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step theta, in place, over the mini-batches of X[rows], with the given number of workers.

    Write verdicts on X[rows] as well, each those of theta before the step, unless verdicts are empty; without learn,
    write nothing else.
    """
    arguments = X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts
    run_team(work, scratch.team, workers, arguments)

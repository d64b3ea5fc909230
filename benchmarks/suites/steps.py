"""The steps of a batch as the models take them, on one thread, each a function that Numba compiles.

Each can be repeated: what it reads is not what it writes, or what it adds are zeros. All take a batch, the weights, and
the memory of a worker.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import network, network_memory, pattern, rows, softmax, softmax_regression, tiles
from fastml.kernels.masks import MASK_BITS
from fastml.kernels.panels import ROWS
from fastml.kernels.softmax import BAND, empty_verdicts
from fastml.kernels.vectors import as_numbers, exp, load_vector, store_vector

from . import problems

BATCH, HIDDEN_DIM = 100, 400
GROUPS = BATCH // ROWS


class Batch(NamedTuple):
    """A batch of MNIST as the models read it, and what it is multiplied by."""

    X: NDArray
    rows: NDArray
    labels: NDArray
    scale: np.floating


def after_a_batch(model, hidden_dim):
    """Return a batch, the weights, and the memory of a worker that has been through it with a step of 0."""
    X, labels = problems.images("float32")[:BATCH].view(), problems.mnist()[1][:BATCH].astype(np.int64)
    X.flags.writeable = False
    one, zero = np.float32(1), np.float32(0)
    batch = Batch(model.as_read(X), np.arange(BATCH), labels, one)
    weights = model.pack(X.dtype, *problems.weights(hidden_dim))
    scratch = model.scratch(BATCH, 1, True, weights, X.dtype)
    verdicts = empty_verdicts(0, problems.NUM_CLASSES, X.dtype)
    model.run(batch.X, batch.rows, labels, BATCH, zero, zero, one, True, 1, weights, scratch, verdicts)
    return batch, weights, scratch


def network_batch():
    """Return what the steps of the network take."""
    batch, weights, scratch = after_a_batch(network, HIDDEN_DIM)
    return batch, weights, network_memory.own_scratch.py_func(scratch, 0, 0, 0)


def softmax_regression_batch():
    """Return what the steps of softmax regression take."""
    return after_a_batch(softmax_regression, 0)


def mark_rows(batch, weights, own):
    X, dim = as_numbers(batch.X, own.X), weights.input_dim
    rows.mark_rows(batch.X, batch.rows, batch.scale, dim, True, X, own.X, own.masks)


def pack_rows(batch, weights, own):
    rows.pack_rows(batch.X, batch.rows, batch.scale, weights.input_dim, own.X)


def list_pixels(batch, weights, own):
    for g in range(GROUPS):
        pattern.list_pixels(own.masks, own.order, g, weights.pieces, own.pixels, own.pixels_listed)


def forward_tiles(batch, weights, own):
    X, ahead = (as_numbers(batch.X, own.X), own.table), tiles.Ahead(batch.X, np.intp(0), np.intp(0), np.intp(0))
    for p in range(weights.offsets.size - 1):
        listed, W1, hidden, begins = own.pixels_listed[:2], weights.W1[p], own.hidden[p], own.begins
        tiles.forward_tiles(own.tiles, p, X, own.order, own.pixels, listed, 0, W1, hidden, 0, GROUPS, begins, ahead)


def logit_tiles(batch, weights, own):
    for p in range(weights.offsets.size - 1):
        width = weights.offsets[p + 1] - weights.offsets[p]
        tiles.logit_tiles(width, own.hidden[p], weights.W2[0, p], own.partial[p], 0, GROUPS)


def dlogits(batch, weights, own):
    bands = own.logits.shape[0]
    softmax.add_partial_logits(own.partial, 0, bands, own.logits)
    for b in range(bands):
        softmax.softmax_band(own.logits[b], weights.num_classes)
        first, last, rate = b * BAND, min((b + 1) * BAND, BATCH), 0 * batch.scale
        softmax.dlogits_band(own.logits[b], batch.labels, own.order, first, last, rate, weights.num_classes)


def list_rows(batch, weights, own):
    for g in range(weights.W1.shape[1] // ROWS):
        own.rows_listed[g] = pattern.list_rows(own.masks, BATCH, g, own.rows)


def dhidden_tiles(batch, weights, own):
    for p in range(weights.offsets.size - 1):
        W2, hidden = weights.W2[0, p], own.hidden[p]
        tiles.dhidden_tiles(
            own.tiles, p, own.logits, weights.num_classes, W2, hidden, own.dhidden[0], own.order, GROUPS
        )


def update_tiles(batch, weights, own):
    groups = weights.W1.shape[1] // ROWS
    X, ahead = (as_numbers(batch.X, own.X), own.table), tiles.Ahead(batch.X, np.intp(0), np.intp(0), np.intp(0))
    for p in range(weights.offsets.size - 1):
        listed, W1, dhidden, begins = own.rows_listed, weights.W1[p], own.dhidden[0], own.begins
        tiles.update_tiles(own.tiles, p, X, own.rows, listed, dhidden, W1, 0, groups, begins, ahead)


def class_tiles(batch, weights, own):
    for p in range(weights.offsets.size - 1):
        tiles.class_tiles(own.tiles, p, own.logits, BATCH, own.hidden[p], weights.W2[0, p], weights.W2[1, p])


def exp_of_pixels(batch, weights, own):
    X = as_numbers(batch.X, own.X)
    pixels = X.reshape(X.size // MASK_BITS, MASK_BITS)
    result = own.hidden.reshape(own.hidden.size // MASK_BITS, MASK_BITS)
    for i in range(min(pixels.shape[0], result.shape[0])):
        store_vector(exp(load_vector(MASK_BITS, pixels, i)), result, i)


def logits(batch, weights, scratch):
    theta, ahead = weights.theta, batch.rows[:0]
    for p in range(scratch.partial.shape[1]):
        begin = softmax_regression.part_begin(p, scratch.partial.shape[1], theta)
        end = softmax_regression.part_begin(p + 1, scratch.partial.shape[1], theta)
        softmax_regression.compute_logits(batch.X, batch.rows, ahead, 2, theta, begin, end, scratch.partial[0, p])


def gradient(batch, weights, scratch):
    theta, ahead = weights.theta, batch.rows[:0]
    softmax_regression.add_gradient(batch.X, batch.rows, ahead, scratch.logits[0], 0, theta.shape[1], theta)

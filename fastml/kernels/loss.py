"""From logits to the gradient of the loss, and to verdicts: losses, predictions, probabilities.

Logits lie in bands of `BAND` rows, (bands, classes, BAND): exp then works on whole vectors for any number of classes.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper, kernel
from fastml.kernels.panels import ROWS, padded_size
from fastml.kernels.simd.vectors import exp, lane, load_vector, store_vector

BAND = 16
# From this many classes on, the last layer is in panels of classes, and the workers share out the bands. With fewer,
# each worker makes all dlogits for itself: this takes less time than to fetch them from the cache of another core.
MANY_CLASSES = 48


class Verdicts(NamedTuple):
    """The losses, predictions and probabilities of a model on rows."""

    losses: NDArray  # (rows,), or (0,) if no verdicts are requested
    predictions: NDArray[np.int64]  # (rows,)
    probabilities: NDArray  # (rows, classes), or (0, classes) if only the others are requested


def empty_verdicts(rows: int, num_classes: int, dtype: DTypeLike, probabilities: bool = False) -> Verdicts:
    """Return memory for verdicts on a number of rows."""
    return Verdicts(
        np.empty(rows, dtype), np.empty(rows, np.int64), np.empty((rows if probabilities else 0, num_classes), dtype)
    )


@helper
def verdicts_from(verdicts, start):
    """Return the verdicts on the rows from start on; empty verdicts stay empty."""
    return Verdicts(verdicts.losses[start:], verdicts.predictions[start:], verdicts.probabilities[start:])


@helper
def softmax_band(logits, num_classes):
    """Replace the logits of a band by their softmax; return the sums of exp.

    The maximum is subtracted first. If the maximum ignores a NaN, the sum and the row are NaN anyway, as in NumPy.
    """
    highest = load_vector(BAND, logits, 0)
    for k in range(1, num_classes):
        highest = max(highest, load_vector(BAND, logits, k))
    total = highest - highest
    for k in range(num_classes):
        power = exp(load_vector(BAND, logits, k) - highest)
        store_vector(power, logits, k)
        total = total + power
    for k in range(num_classes):
        store_vector(load_vector(BAND, logits, k) / total, logits, k)
    return total


@helper
def in_range(label, num_classes):
    """Return the label clipped to the classes: labels become addresses, and may have changed after their check."""
    return min(max(label, 0), num_classes - 1)


@helper
def judge_band(logits, num_classes, labels, order, first, verdicts):
    """Write the verdicts on rows order[first : first + BAND] of a block, and replace the logits by their softmax.

    The loss is log(sum(exp(z))) - z[label], the prediction the index of the highest logit, the first of equals.
    """
    last = min(first + BAND, labels.size)
    for i in range(first, last):
        row, r, best = order[i], i - first, 0
        for k in range(1, num_classes):
            # A NaN counts as higher than all numbers, as in numpy.argmax.
            if not logits[k, r] <= logits[best, r] and logits[best, r] == logits[best, r]:
                best = k
        verdicts.predictions[row] = best
        verdicts.losses[row] = logits[best, r] - logits[in_range(labels[row], num_classes), r]
    total = softmax_band(logits, num_classes)
    for i in range(first, last):
        row, r = order[i], i - first
        verdicts.losses[row] += np.log(lane(total, r))
        if verdicts.probabilities.shape[0]:
            for k in range(num_classes):
                verdicts.probabilities[row, k] = logits[k, r]


class Logits(NamedTuple):
    """Logits of a block that lie in parts: start + factor * the sum of the parts, in bands."""

    has_start: bool
    start: NDArray  # (1, classes or more): the bias, or zeros
    parts: NDArray  # (bands, parts, classes, BAND)
    factor: np.floating
    sums: NDArray  # (bands, classes, BAND): memory for the sums, which become dlogits


class Targets(NamedTuple):
    """The labels of the rows of a block, and their weights."""

    labels: NDArray[np.int64]  # (rows,)
    order: NDArray[np.int64]  # for each row of the bands, its row of the block
    weights: NDArray  # (rows,), or (0,) if all weights are 1
    has_reference: bool  # whether class 0 has no gradient


@helper
def targets_of(examples, start, stop, order):
    """Return the targets of rows start to stop of a slice."""
    return Targets(examples.labels[start:stop], order, examples.weights[start:stop], examples.has_reference)


@helper
def add_parts(logits, bands, num_classes, first, every):
    """Write the sums of the parts, only for each `every`-th band from the first on.

    Other workers wrote the parts, so all bands are fetched before any is used.
    """
    parts, sums = logits.parts, logits.sums
    for b in range(first, bands, every):
        for k in range(sums.shape[1]):
            store_vector(load_vector(BAND, parts[b, 0], k), sums[b], k)
        for p in range(1, parts.shape[1]):
            for k in range(sums.shape[1]):
                store_vector(load_vector(BAND, sums[b], k) + load_vector(BAND, parts[b, p], k), sums[b], k)
    if logits.has_start or logits.factor != 1:
        for b in range(first, bands, every):
            for k in range(num_classes):
                store_vector(load_vector(BAND, sums[b], k) * logits.factor + logits.start[0, k], sums[b], k)


@helper
def make_dlogits(logits, targets, num_classes, verdicts, worker):
    """Write weight * (softmax - onehot) of a block to `logits.sums`, and verdicts unless they are empty.

    The dlogits of a reference class are 0, so its weights stay as they are. With `MANY_CLASSES` the sums belong to all
    workers, and each makes its share of the bands. Verdicts are always shared out.
    """
    first, every = (worker.number, worker.count) if num_classes >= MANY_CLASSES else (0, 1)
    labels, order, sums = targets.labels, targets.order, logits.sums
    bands = padded_size(labels.size, BAND) // BAND
    add_parts(logits, bands, num_classes, first, every)
    for b in range(first, bands, every):
        if verdicts.losses.size and b % worker.count == worker.number:
            judge_band(sums[b], num_classes, labels, order, b * BAND, verdicts)
        else:
            softmax_band(sums[b], num_classes)
        # The rows that fill the last group repeat the last row of the block.
        for i in range(b * BAND, min((b + 1) * BAND, padded_size(labels.size, ROWS))):
            row, r = min(order[i], labels.size - 1), i - b * BAND
            sums[b, in_range(labels[row], num_classes), r] -= 1
            if targets.weights.size:
                for k in range(num_classes):
                    sums[b, k, r] *= targets.weights[row]
        if targets.has_reference:
            sums[b, 0, :] = 0


@helper
def sum_rows(dlogits, count, num_classes, sums):
    """Write the sum over count rows of dlogits, (bands, classes, BAND), to sums[0]."""
    for k in range(num_classes):
        total = sums.dtype.type(0)
        for b in range(count // BAND):
            for r in range(BAND):
                total += dlogits[b, k, r]
        for r in range(count % BAND):
            total += dlogits[count // BAND, k, r]
        sums[0, k] = total


@helper
def judge_block(logits, targets, num_classes, verdicts):
    """Write the verdicts on a block."""
    bands = padded_size(targets.labels.size, BAND) // BAND
    add_parts(logits, bands, num_classes, 0, 1)
    for b in range(bands):
        judge_band(logits.sums[b], num_classes, targets.labels, targets.order, b * BAND, verdicts)


@kernel
def judge_logits(logits, labels, band, order, verdicts):
    """Write the verdicts on rows of logits, (rows, num_classes), in order; band is memory for a band of them."""
    for first in range(0, order.size, BAND):
        for r in range(BAND):
            row = order[min(first + r, order.size - 1)]
            for k in range(logits.shape[1]):
                band[k, r] = logits[row, k]
        judge_band(band, band.shape[0], labels, order, first, verdicts)

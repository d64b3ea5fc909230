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
# With so many classes the workers share out the bands. With fewer, each makes all dlogits for itself: that takes less
# time than to fetch them from the cache of another core.
MANY_CLASSES = 48


class Verdicts(NamedTuple):
    """What a model says of rows."""

    losses: NDArray  # (rows,), or (0,) if no verdicts are wanted
    predictions: NDArray[np.int64]  # (rows,)
    probabilities: NDArray  # (rows, classes), or (0, classes) if only the others are wanted


def empty_verdicts(rows: int, num_classes: int, dtype: DTypeLike, probabilities: bool = False) -> Verdicts:
    """Return memory for verdicts on a number of rows."""
    return Verdicts(
        np.empty(rows, dtype), np.empty(rows, np.int64), np.empty((rows if probabilities else 0, num_classes), dtype)
    )


@helper
def verdicts_from(verdicts, start):
    """Return the verdicts on the rows from start on; of none where none are wanted."""
    return Verdicts(verdicts.losses[start:], verdicts.predictions[start:], verdicts.probabilities[start:])


@helper
def softmax_band(logits, num_classes):
    """Replace the logits of a band by their softmax; return the sums of exp.

    The maximum is subtracted first. It may ignore a NaN; then the sum is NaN, and with it the row, as in NumPy.
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
    """Return the label in range: it was checked, but its array may have changed since, and it becomes an address."""
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


@helper
def add_parts(partial, factor, logits, first, every):
    """Write logits = factor * the sum of partial logits (bands, parts, classes, BAND).

    Only each `every`-th band from the first on is written. Other workers wrote the parts, so all bands are fetched
    before any is used.
    """
    for b in range(first, logits.shape[0], every):
        for k in range(logits.shape[1]):
            store_vector(load_vector(BAND, partial[b, 0], k), logits[b], k)
        for p in range(1, partial.shape[1]):
            for k in range(logits.shape[1]):
                store_vector(load_vector(BAND, logits[b], k) + load_vector(BAND, partial[b, p], k), logits[b], k)
    if factor != 1:
        for b in range(first, logits.shape[0], every):
            for k in range(logits.shape[1]):
                store_vector(load_vector(BAND, logits[b], k) * factor, logits[b], k)


@helper
def make_dlogits(bands, factor, labels, order, num_classes, verdicts, worker):
    """Write softmax - onehot of a block, and verdicts if any are wanted.

    bands are the parts of the logits, and the array that is written: see `add_parts`. With `MANY_CLASSES` that array
    belongs to all workers, and each makes its share of the bands. Verdicts are always shared out.
    """
    first, every = (worker.number, worker.count) if num_classes >= MANY_CLASSES else (0, 1)
    logits = bands[1][: padded_size(labels.size, BAND) // BAND]
    add_parts(bands[0], factor, logits, first, every)
    for b in range(first, logits.shape[0], every):
        if verdicts.losses.size and b % worker.count == worker.number:
            judge_band(logits[b], num_classes, labels, order, b * BAND, verdicts)
        else:
            softmax_band(logits[b], num_classes)
        # The rows that fill the last group repeat the last row of the block.
        for i in range(b * BAND, min((b + 1) * BAND, padded_size(labels.size, ROWS))):
            label = labels[min(order[i], labels.size - 1)]
            logits[b, in_range(label, num_classes), i - b * BAND] -= 1


@helper
def judge_block(bands, factor, labels, order, num_classes, verdicts):
    """Write the verdicts on a block; bands are the parts of its logits, and memory for their sums."""
    logits = bands[1][: padded_size(labels.size, BAND) // BAND]
    add_parts(bands[0], factor, logits, 0, 1)
    for b in range(logits.shape[0]):
        judge_band(logits[b], num_classes, labels, order, b * BAND, verdicts)


@kernel
def judge_logits(logits, labels, band, order, verdicts):
    """Write the verdicts on rows of logits, (rows, num_classes), in order; band is memory for a band of them."""
    for first in range(0, order.size, BAND):
        for r in range(BAND):
            row = order[min(first + r, order.size - 1)]
            for k in range(logits.shape[1]):
                band[k, r] = logits[row, k]
        judge_band(band, band.shape[0], labels, order, first, verdicts)

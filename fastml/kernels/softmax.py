"""From logits to dlogits, and to verdicts: losses, predictions, probabilities."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.jit import helper, kernel
from fastml.kernels.vectors import exp, first_places, higher, lane, load_vector, store_vector

# Rows whose logits lie side by side, (num_classes, BAND): exp works on whole vectors, whatever the number of classes.
BAND = 16


class Verdicts(NamedTuple):
    """What a model says of rows: losses and predictions, (rows,), probabilities, (rows, classes) or (0, classes)."""

    losses: NDArray
    predictions: NDArray
    probabilities: NDArray


def empty_verdicts(rows: int, num_classes: int, dtype: DTypeLike, probabilities: bool = False) -> Verdicts:
    """Return memory for verdicts on a number of rows."""
    return Verdicts(
        np.empty(rows, dtype), np.empty(rows, np.int64), np.empty((rows if probabilities else 0, num_classes), dtype)
    )


@helper
def softmax_band(logits, num_classes):
    """Replace the logits of a band, (num_classes, BAND), by their softmax; return the sums of exp.

    The maximum is subtracted first. It may pass over a NaN; then the sum is NaN, and with it the row, as in NumPy.
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
def bend(label, num_classes):
    """Return the label in range: it was checked, but as an index it is a place in memory, and it may have changed."""
    return min(max(label, 0), num_classes - 1)


@helper
def add_partial_logits(partial, first, bands, logits):
    """Write the logits of bands from the first on: partial logits, (parts, bands, classes, BAND), added in their order.

    They come from other workers' caches: those of all bands together, for if some work lies between two bands each is
    waited for. With the parts in the inner loop two of them took five times as long.
    """
    for b in range(bands):
        for k in range(logits.shape[1]):
            store_vector(load_vector(BAND, partial[0, first + b], k), logits[b], k)
        for p in range(1, partial.shape[0]):
            for k in range(logits.shape[1]):
                total = load_vector(BAND, logits[b], k) + load_vector(BAND, partial[p, first + b], k)
                store_vector(total, logits[b], k)


@helper
def scale_band(logits, scale):
    """Multiply the logits of a band, in place."""
    for k in range(logits.shape[0]):
        store_vector(load_vector(BAND, logits, k) * scale, logits, k)


@helper
def dlogits_band(logits, labels, order, first, last, rate, num_classes):
    """Replace the softmax of rows first to last of a block, at most BAND, by -rate * dlogits.

    The label of row i is labels[order[i]].
    """
    for k in range(num_classes):
        store_vector(load_vector(BAND, logits, k) * -rate, logits, k)
    for i in range(first, last):
        logits[bend(labels[order[i]], num_classes), i - first] += rate


@helper
def verdicts_from(verdicts, start):
    """Return the verdicts on the rows from start on; of none where none are wanted."""
    return Verdicts(verdicts.losses[start:], verdicts.predictions[start:], verdicts.probabilities[start:])


@helper
def judge_band(logits, num_classes, labels, order, first, count, verdicts):
    """Write the verdicts on rows order[first : first + BAND] of count rows.

    The loss is log(sum(exp(z))) - z[label], the prediction the index of the highest logit, the first of equals. The
    logits are replaced by their softmax.
    """
    last = min(first + BAND, count)
    highest = load_vector(BAND, logits, 0)
    best = first_places(highest)
    for k in range(1, num_classes):
        highest, best = higher(highest, best, load_vector(BAND, logits, k), k)
    for i in range(first, last):
        row, r = order[i], i - first
        verdicts.predictions[row] = lane(best, r)
        verdicts.losses[row] = lane(highest, r) - logits[bend(labels[row], num_classes), r]
    total = softmax_band(logits, num_classes)
    for i in range(first, last):
        row, r = order[i], i - first
        verdicts.losses[row] += np.log(lane(total, r))
        if verdicts.probabilities.shape[0]:
            for k in range(num_classes):
                verdicts.probabilities[row, k] = logits[k, r]


@kernel
def judge(logits, labels, order, band, verdicts):
    """Write the verdicts on rows of logits, (rows, num_classes), in order; band is memory for a band of them."""
    for first in range(0, order.size, BAND):
        for r in range(BAND):
            row = order[min(first + r, order.size - 1)]
            for k in range(logits.shape[1]):
                band[k, r] = logits[row, k]
        judge_band(band, band.shape[0], labels, order, first, order.size, verdicts)

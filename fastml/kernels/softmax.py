"""From logits to dlogits, and to verdicts: losses, predictions, probabilities."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.jit import helper, kernel
from fastml.kernels.panels import ROWS
from fastml.kernels.vectors import exp, lane, load_vector, store_vector


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
def softmax_group(logits, num_classes):
    """Replace the logits of a group of rows, (num_classes, ROWS), by their softmax; return the sums of exp.

    The maximum is subtracted first. It may pass over a NaN; then the sum is NaN, and with it the row, as in NumPy.
    """
    highest = load_vector(ROWS, logits, 0)
    for k in range(1, num_classes):
        highest = max(highest, load_vector(ROWS, logits, k))
    total = highest - highest
    for k in range(num_classes):
        power = exp(load_vector(ROWS, logits, k) - highest)
        store_vector(power, logits, k)
        total = total + power
    for k in range(num_classes):
        store_vector(load_vector(ROWS, logits, k) / total, logits, k)
    return total


@helper
def bend(label, num_classes):
    """Return the label in range: it was checked, but as an index it is a place in memory, and it may have changed."""
    return min(max(label, 0), num_classes - 1)


@helper
def sort_by_label(labels, begins, order):
    """Write the indices of labels, sorted by label, to order: rows of one class share many of their zero pixels."""
    begins[:] = 0
    num_classes = begins.size - 1
    for label in labels:
        begins[bend(label, num_classes) + 1] += 1
    for k in range(num_classes):
        begins[k + 1] += begins[k]
    for i in range(labels.size):
        label = bend(labels[i], num_classes)
        order[begins[label]] = i
        begins[label] += 1


@helper
def add_partial_logits(partial, g, logits):
    """Write the logits of a group of rows: the partial logits of all panels, added in their order.

    partial is (panels, groups, classes, ROWS), logits (classes, ROWS): with the rows of a group side by side, vectors
    of rows have no lane to spare, however few the classes are.
    """
    for k in range(logits.shape[0]):
        total = load_vector(ROWS, partial[0, g], k)
        for p in range(1, partial.shape[0]):
            total = total + load_vector(ROWS, partial[p, g], k)
        store_vector(total, logits, k)


@helper
def scale_group(logits, scale):
    """Multiply the logits of a group of rows, in place."""
    for k in range(logits.shape[0]):
        store_vector(load_vector(ROWS, logits, k) * scale, logits, k)


@helper
def dlogits_group(logits, labels, order, first, last, rate, num_classes):
    """Replace the softmax of rows first to last of a block, at most ROWS, by -rate * dlogits.

    The label of row i is labels[order[i]].
    """
    for k in range(num_classes):
        store_vector(load_vector(ROWS, logits, k) * -rate, logits, k)
    for i in range(first, last):
        logits[bend(labels[order[i]], num_classes), i - first] += rate


@helper
def verdicts_from(verdicts, start):
    """Return the verdicts on the rows from start on; of none where none are wanted."""
    return Verdicts(verdicts.losses[start:], verdicts.predictions[start:], verdicts.probabilities[start:])


@helper
def judge_group(logits, num_classes, labels, order, first, count, verdicts):
    """Write the verdicts on rows order[first : first + ROWS] of count rows.

    The loss is log(sum(exp(z))) - z[label], the prediction the index of the highest logit, the first of equals. The
    logits are replaced by their softmax.
    """
    last = min(first + ROWS, count)
    for i in range(first, last):
        row, r = order[i], i - first
        best = 0
        for k in range(1, num_classes):
            if logits[k, r] > logits[best, r] or (np.isnan(logits[k, r]) and not np.isnan(logits[best, r])):
                best = k
        verdicts.predictions[row] = best
        verdicts.losses[row] = logits[best, r] - logits[bend(labels[row], num_classes), r]
    total = softmax_group(logits, num_classes)
    for i in range(first, last):
        row, r = order[i], i - first
        verdicts.losses[row] += np.log(lane(total, r))
        if verdicts.probabilities.shape[0]:
            for k in range(num_classes):
                verdicts.probabilities[row, k] = logits[k, r]


@kernel
def judge(logits, labels, order, group, verdicts):
    """Write the verdicts on rows of logits, (rows, num_classes), in order; group is memory for a group of them."""
    for first in range(0, order.size, ROWS):
        for r in range(ROWS):
            row = order[min(first + r, order.size - 1)]
            for k in range(logits.shape[1]):
                group[k, r] = logits[row, k]
        judge_group(group, group.shape[0], labels, order, first, order.size, verdicts)

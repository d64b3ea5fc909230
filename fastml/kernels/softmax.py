"""From logits to losses, predictions and dlogits, a row at a time."""

import numpy as np

from fastml.kernels.jit import helper, kernel
from fastml.kernels.panels import ROWS, padded_size, share
from fastml.kernels.vectors import exp, load_vector, store_vector


@helper
def softmax_group(logits, num_classes):
    """Replace the logits of a group of rows, (num_classes, ROWS), by their softmax.

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
def add_partial_logits(partial, g, scale, logits):
    """Write the logits of a group of rows: scale times the partial logits of all panels, added in their order.

    partial is (panels, groups, classes, ROWS), logits (groups, classes, ROWS): with the rows of a group side by side,
    vectors of rows have no lane to spare, however few the classes are.
    """
    for k in range(logits.shape[1]):
        total = load_vector(ROWS, partial[0, g], k)
        for p in range(1, partial.shape[0]):
            total = total + load_vector(ROWS, partial[p, g], k)
        store_vector(total * scale, logits[g], k)


@helper
def compute_dlogits(partial, labels, order, rate, scale, num_classes, logits, worker, workers):
    """Write the logits, and in their place -rate * scale * dlogits, of a worker's groups of rows.

    The label of row i is labels[order[i]].
    """
    first, last = share(padded_size(labels.size, ROWS) // ROWS, worker, workers)
    for g in range(first, last):
        add_partial_logits(partial, g, scale, logits)
        group = logits[g]
        softmax_group(group, num_classes)
        for k in range(num_classes):
            store_vector(load_vector(ROWS, group, k) * (-rate * scale), group, k)
        for i in range(g * ROWS, min((g + 1) * ROWS, labels.size)):
            group[bend(labels[order[i]], num_classes), i - g * ROWS] += rate * scale


@kernel
def losses_and_predictions(logits, labels, losses, predictions):
    """Write each row's loss log(sum(exp(z))) - z[label] and the index of its highest logit, the first of equals."""
    for i in range(logits.shape[0]):
        row = logits[i]
        best = 0
        for k in range(1, row.size):
            if row[k] > row[best] or (np.isnan(row[k]) and not np.isnan(row[best])):
                best = k
        highest = row[best]
        total = highest - highest
        wanted = total
        for k in range(row.size):
            total += np.exp(row[k] - highest)
            if k == labels[i]:
                wanted = row[k]
        losses[i] = np.log(total) + (highest - wanted)
        predictions[i] = best

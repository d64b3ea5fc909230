"""From logits to losses, predictions and dlogits, a row at a time."""

import numpy as np

from fastml.kernels.jit import helper, kernel
from fastml.kernels.panels import CLASSES, ROWS, padded_size, share


@helper
def softmax_row(row):
    """Replace a row of logits by its softmax; the row's maximum is subtracted first."""
    highest = row[0]
    for k in range(1, row.size):
        # A NaN must win, as in np.max: then the whole row becomes NaN.
        if row[k] > highest or np.isnan(row[k]):
            highest = row[k]
    total = row[0] - row[0]
    for k in range(row.size):
        row[k] = np.exp(row[k] - highest)
        total += row[k]
    for k in range(row.size):
        row[k] /= total


@kernel
def softmax_rows(logits):
    """Replace each row of logits by its softmax."""
    for i in range(logits.shape[0]):
        softmax_row(logits[i])


@helper
def sort_by_label(labels, begins, order):
    """Write the indices of labels, sorted by label, to order: rows of one class share many of their zero pixels.

    Labels were checked, but an index is a place in memory: one that changed since is bent into range.
    """
    begins[:] = 0
    last = begins.size - 2
    for label in labels:
        begins[min(max(label, 0), last) + 1] += 1
    for k in range(last + 1):
        begins[k + 1] += begins[k]
    for i in range(labels.size):
        label = min(max(labels[i], 0), last)
        order[begins[label]] = i
        begins[label] += 1


@helper
def add_partial_logits(partial, g, scale, logits):
    """Write the logits of a group of rows: scale times the partial logits of all panels, added in their order.

    partial (panels, groups, class tiles, ROWS * CLASSES) is as `sum_tile` stores it.
    """
    for c in range(partial.shape[2]):
        for number in range(ROWS * CLASSES):
            total = partial[0, g, c, number]
            for p in range(1, partial.shape[0]):
                total += partial[p, g, c, number]
            logits[g * ROWS + number // CLASSES, c * CLASSES + number % CLASSES] = total * scale


@helper
def compute_dlogits(partial, labels, order, rate, scale, num_classes, logits, worker, workers):
    """Write the logits, and in their place -rate * scale * dlogits, of a worker's groups of rows.

    The label of row i is labels[order[i]].
    """
    first, last = share(padded_size(labels.size, ROWS) // ROWS, worker, workers)
    for g in range(first, last):
        add_partial_logits(partial, g, scale, logits)
    for i in range(first * ROWS, min(last * ROWS, labels.size)):
        softmax_row(logits[i, :num_classes])
        label = labels[order[i]]
        for k in range(num_classes):
            # The label is compared and never an index: none can reach outside the row.
            onehot = rate if k == label else rate * 0
            logits[i, k] = (onehot - rate * logits[i, k]) * scale


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

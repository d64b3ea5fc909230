"""From logits to losses, predictions and dlogits, a row at a time."""

import numpy as np

from fastml.kernels.jit import jit


@jit
def softmax_rows(logits):
    """Replace each row of logits (rows, num_classes) by its softmax; the row's maximum is subtracted first."""
    for i in range(logits.shape[0]):
        row = logits[i]
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


@jit
def subtract_onehot(probabilities, labels):
    """Turn softmax rows into dlogits = probabilities - onehot(labels), in place.

    The label is compared with each class and never used as an index: no label can reach outside the row.
    """
    for i in range(probabilities.shape[0]):
        for k in range(probabilities.shape[1]):
            if k == labels[i]:
                probabilities[i, k] -= 1


@jit
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

"""The two-layer ReLU network: logits of a block of rows, and the mini-batch steps of a slice."""

import numba
import numpy as np

from fastml.kernels.jit import parallel_jit
from fastml.kernels.softmax import softmax_rows, subtract_onehot


def pack(dtype, W1, W2):
    """Return the weights as the kernels read them."""
    return np.array(W1, dtype, order="C"), np.array(W2, dtype, order="C")


def unpack(packed, W1, W2):
    """Write packed weights back to W1 and W2, in place."""
    np.copyto(W1, packed[0])
    np.copyto(W2, packed[1])


def scratch(batch, W1, W2):
    """Return memory for the hidden units and the logits of a batch."""
    return np.empty((batch, W1.shape[1]), W1.dtype), np.empty((batch, W2.shape[1]), W1.dtype)


@parallel_jit
def forward(X, rows, scale, W1, W2, hidden, logits):
    """Write hidden = relu(scale * X[rows] @ W1) and logits = hidden @ W2; each thread owns rows of both."""
    for i in numba.prange(rows.size):
        row = X[rows[i]]
        hidden[i] = 0
        for j in range(row.size):
            x = W1.dtype.type(row[j]) * scale
            if x != 0:
                for h in range(W1.shape[1]):
                    hidden[i, h] += x * W1[j, h]
        logits[i] = 0
        for h in range(W1.shape[1]):
            # Written so that a NaN passes through, as in np.maximum.
            if hidden[i, h] < 0:
                hidden[i, h] = 0
            for k in range(W2.shape[1]):
                logits[i, k] += hidden[i, h] * W2[h, k]


@parallel_jit
def run_slice(X, rows, labels, batch, rate, short_rate, scale, W1, W2, hidden, logits):
    """Step W1 and W2, in place, over the mini-batches of X[rows].

    hidden (batch, hidden_dim) and logits (batch, num_classes) are scratch memory. Each thread owns rows of both on the
    way forward, then columns of hidden with the rows of W2 that they meet, then rows of W1.
    """
    for start in range(0, rows.size, batch):
        stop = min(start + batch, rows.size)
        dlogits = logits[: stop - start]
        forward(X, rows[start:stop], scale, W1, W2, hidden[: stop - start], dlogits)
        softmax_rows(dlogits)
        subtract_onehot(dlogits, labels[start:stop])
        step = rate if stop - start == batch else short_rate
        for h in numba.prange(W1.shape[1]):
            gradient = np.zeros(W2.shape[1], W2.dtype)
            for i in range(stop - start):
                active = hidden[i, h]
                dhidden = active * 0
                for k in range(W2.shape[1]):
                    gradient[k] += active * dlogits[i, k]
                    if active > 0:
                        dhidden += dlogits[i, k] * W2[h, k]
                hidden[i, h] = dhidden
            for k in range(W2.shape[1]):
                W2[h, k] -= step * gradient[k]
        for j in numba.prange(W1.shape[0]):
            gradient = np.zeros(W1.shape[1], W1.dtype)
            for i in range(stop - start):
                x = W1.dtype.type(X[rows[start + i], j])
                if x != 0:
                    for h in range(W1.shape[1]):
                        gradient[h] += x * hidden[i, h]
            for h in range(W1.shape[1]):
                W1[j, h] -= step * scale * gradient[h]

"""Softmax regression: logits of a block of rows, and the mini-batch steps of a slice."""

import numba
import numpy as np

from fastml.kernels.jit import parallel_jit
from fastml.kernels.softmax import softmax_rows, subtract_onehot


def pack(dtype, theta):
    """Return theta as the kernels read it."""
    return (np.array(theta, dtype, order="C"),)


def unpack(packed, theta):
    """Write packed weights back to theta, in place."""
    np.copyto(theta, packed[0])


def scratch(batch, theta):
    """Return memory for the logits of a batch."""
    return (np.empty((batch, theta.shape[1]), theta.dtype),)


@parallel_jit
def forward(X, rows, scale, theta, logits):
    """Write logits[i] = scale * X[rows[i]] @ theta; each thread owns rows of logits."""
    for i in numba.prange(rows.size):
        row = X[rows[i]]
        logits[i] = 0
        for j in range(row.size):
            x = theta.dtype.type(row[j]) * scale
            if x != 0:
                for k in range(theta.shape[1]):
                    logits[i, k] += x * theta[j, k]


@parallel_jit
def run_slice(X, rows, labels, batch, rate, short_rate, scale, theta, logits):
    """Step theta, in place, over the mini-batches of X[rows]; logits (batch, num_classes) is scratch memory.

    Each thread owns rows of logits on the way forward and rows of theta in the update.
    """
    for start in range(0, rows.size, batch):
        stop = min(start + batch, rows.size)
        dlogits = logits[: stop - start]
        forward(X, rows[start:stop], scale, theta, dlogits)
        softmax_rows(dlogits)
        subtract_onehot(dlogits, labels[start:stop])
        step = (rate if stop - start == batch else short_rate) * scale
        for j in numba.prange(theta.shape[0]):
            gradient = np.zeros(theta.shape[1], theta.dtype)
            for i in range(stop - start):
                x = theta.dtype.type(X[rows[start + i], j])
                if x != 0:
                    for k in range(theta.shape[1]):
                        gradient[k] += x * dlogits[i, k]
            for k in range(theta.shape[1]):
                theta[j, k] -= step * gradient[k]

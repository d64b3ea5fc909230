"""Plain loops compiled by Numba: what most people would write, fused, in parallel over the rows of a batch."""

import numba
import numpy as np
from numba import njit, prange

from implementations.base import Implementation


@njit
def make_dlogits(logits, label):
    """Replace the logits of a row by softmax - onehot."""
    highest, total = logits.max(), logits.dtype.type(0)
    for k in range(logits.size):
        logits[k] = np.exp(logits[k] - highest)
        total += logits[k]
    for k in range(logits.size):
        logits[k] /= total
    logits[label] -= 1


@njit
def add_product(x, W, out):
    """Add x @ W to out."""
    for p in range(x.size):
        for j in range(out.size):
            out[j] += x[p] * W[p, j]


@njit(parallel=True, fastmath=True)
def add_gradient(X, D, rate, W):
    """Add rate * X.T @ D to W."""
    for p in prange(W.shape[0]):
        for i in range(X.shape[0]):
            step = rate * X[i, p]
            for j in range(W.shape[1]):
                W[p, j] += step * D[i, j]


@njit(parallel=True, fastmath=True)
def softmax_regression_epoch(X, y, theta, lr, batch):
    """Run an epoch of softmax regression."""
    for start in range(0, X.shape[0], batch):
        rows = X[start : start + batch]
        D = np.zeros((rows.shape[0], theta.shape[1]), theta.dtype)
        for i in prange(rows.shape[0]):
            add_product(rows[i], theta, D[i])
            make_dlogits(D[i], y[start + i])
        add_gradient(rows, D, theta.dtype.type(-lr / batch), theta)


@njit(parallel=True, fastmath=True)
def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch of the network."""
    for start in range(0, X.shape[0], batch):
        rows = X[start : start + batch]
        H = np.zeros((rows.shape[0], W1.shape[1]), W1.dtype)
        G, D = np.zeros_like(H), np.zeros((rows.shape[0], W2.shape[1]), W1.dtype)
        for i in prange(rows.shape[0]):
            add_product(rows[i], W1, H[i])
            for j in range(H.shape[1]):
                H[i, j] = max(H[i, j], 0)
            add_product(H[i], W2, D[i])
            make_dlogits(D[i], y[start + i])
            for j in range(H.shape[1]):
                if H[i, j] > 0:
                    for k in range(D.shape[1]):
                        G[i, j] += D[i, k] * W2[j, k]
        rate = W1.dtype.type(-lr / batch)
        add_gradient(rows, G, rate, W1)
        add_gradient(H, D, rate, W2)


class PlainLoops(Implementation):
    """The six steps of an epoch as loops, with `prange` where a loop can be shared out."""

    name = "Numba, plain loops"
    version = numba.__version__

    def epoch(self):
        run = nn_epoch if len(self.start) == 2 else softmax_regression_epoch
        run(self.X, self.y, *self.weights, self.lr, self.batch)


IMPLEMENTATIONS = [PlainLoops]

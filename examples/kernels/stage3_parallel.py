"""Stage 3: fewer passes over memory, on all threads. This is what most people would write.

A row of the batch goes through steps 1 to 4 at once, while its hidden units are still in the first cache. The gradient
of a row of weights is added to them as soon as it is summed. `prange` shares out rows of the batch, and in the gradient
rows of the weights: two threads never add to the same number.
"""

import numpy as np
from numba import njit, prange
from stage2_loops import add_product, make_dlogits


@njit(parallel=True, fastmath=True)
def add_gradient(X, D, rate, W):
    """Add rate * X.T @ D to W. The sum comes first: to add each product to the weight would round a hundred times."""
    for p in prange(W.shape[0]):
        gradient = np.zeros(W.shape[1], W.dtype)
        for i in range(X.shape[0]):
            x = X[i, p]
            for j in range(gradient.size):
                gradient[j] += x * D[i, j]
        for j in range(gradient.size):
            W[p, j] += rate * gradient[j]


@njit(parallel=True, fastmath=True)
def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place."""
    for start in range(0, X.shape[0], batch):
        rows = X[start : start + batch]
        hidden = np.zeros((rows.shape[0], W1.shape[1]), W1.dtype)
        dhidden, dlogits = np.zeros_like(hidden), np.zeros((rows.shape[0], W2.shape[1]), W1.dtype)
        for i in prange(rows.shape[0]):
            add_product(rows[i], W1, hidden[i])
            for j in range(hidden.shape[1]):
                hidden[i, j] = max(hidden[i, j], 0)
            add_product(hidden[i], W2, dlogits[i])
            make_dlogits(dlogits[i], y[start + i])
            for j in range(hidden.shape[1]):
                if hidden[i, j] > 0:
                    for k in range(dlogits.shape[1]):
                        dhidden[i, j] += dlogits[i, k] * W2[j, k]
        rate = W1.dtype.type(-lr / batch)
        add_gradient(rows, dhidden, rate, W1)
        add_gradient(hidden, dlogits, rate, W2)


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

"""Stage 2: the same six steps as plain loops, which Numba compiles; on one thread.

The innermost loop of each product runs along a row of the weights: so it reads memory in order, and the compiler makes
vector instructions of the loop.
"""

import numpy as np
from numba import njit


@njit
def add_product(x, W, out):
    """Add x @ W to out."""
    for p in range(x.size):
        for j in range(out.size):
            out[j] += x[p] * W[p, j]


@njit
def add_gradient(X, D, dW):
    """Add X.T @ D to dW."""
    for i in range(X.shape[0]):
        for p in range(X.shape[1]):
            for j in range(D.shape[1]):
                dW[p, j] += X[i, p] * D[i, j]


@njit
def make_dlogits(logits, label):
    """Replace the logits of a row by softmax - onehot."""
    highest, total = logits[0], logits.dtype.type(0)
    for k in range(1, logits.size):
        highest = max(highest, logits[k])
    for k in range(logits.size):
        logits[k] = np.exp(logits[k] - highest)
        total += logits[k]
    for k in range(logits.size):
        logits[k] /= total
    logits[label] -= 1


@njit
def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place."""
    rate = W1.dtype.type(lr / batch)
    for start in range(0, X.shape[0], batch):
        rows = X[start : start + batch]
        hidden = np.zeros((rows.shape[0], W1.shape[1]), W1.dtype)
        dlogits = np.zeros((rows.shape[0], W2.shape[1]), W1.dtype)
        dhidden, dW1, dW2 = np.zeros_like(hidden), np.zeros_like(W1), np.zeros_like(W2)
        for i in range(rows.shape[0]):  # 1. the hidden units
            add_product(rows[i], W1, hidden[i])
            for j in range(hidden.shape[1]):
                hidden[i, j] = max(hidden[i, j], 0)
        for i in range(rows.shape[0]):  # 2. and 3. the logits, softmax - onehot
            add_product(hidden[i], W2, dlogits[i])
            make_dlogits(dlogits[i], y[start + i])
        for i in range(rows.shape[0]):  # 4. the gradient of the hidden units
            for j in range(hidden.shape[1]):
                if hidden[i, j] > 0:
                    for k in range(W2.shape[1]):
                        dhidden[i, j] += dlogits[i, k] * W2[j, k]
        add_gradient(rows, dhidden, dW1)  # 5. the gradients of the weights
        add_gradient(hidden, dlogits, dW2)
        for W, dW in ((W1, dW1), (W2, dW2)):  # 6. the update
            for p in range(W.shape[0]):
                for j in range(W.shape[1]):
                    W[p, j] -= rate * dW[p, j]


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

"""Both epochs and the evaluation in NumPy, in the dtype of X and the weights: fastml is compared with these.

They are as fast as NumPy allows: BLAS makes the products, and an operation is in place wherever that saves an array.
"""

import numpy as np
from numpy.typing import NDArray


def softmax_in_place(logits: NDArray) -> NDArray:
    """Replace logits (rows, num_classes) by their softmax and return them."""
    logits -= logits.max(axis=1, keepdims=True)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=1, keepdims=True)
    return logits


def softmax_regression_epoch(X: NDArray, y: NDArray, theta: NDArray, lr: float, batch: int) -> None:
    """Run one epoch of softmax regression, modifying theta in place."""
    for start in range(0, len(X), batch):
        rows, labels = X[start : start + batch], y[start : start + batch]
        dlogits = softmax_in_place(rows @ theta)
        dlogits[np.arange(len(rows)), labels] -= 1
        theta -= lr / batch * (rows.T @ dlogits)


def nn_epoch(X: NDArray, y: NDArray, W1: NDArray, W2: NDArray, lr: float, batch: int) -> None:
    """Run one epoch of the two-layer ReLU network, modifying W1 and W2 in place."""
    for start in range(0, len(X), batch):
        rows, labels = X[start : start + batch], y[start : start + batch]
        hidden = rows @ W1
        np.maximum(hidden, 0, out=hidden)
        dlogits = softmax_in_place(hidden @ W2)
        dlogits[np.arange(len(rows)), labels] -= 1
        dhidden = dlogits @ W2.T
        dhidden *= hidden > 0
        W2 -= lr / batch * (hidden.T @ dlogits)
        W1 -= lr / batch * (rows.T @ dhidden)


def evaluate(X: NDArray, y: NDArray, W1: NDArray, W2: NDArray) -> tuple[float, float]:
    """Return the mean softmax loss and the error of the two-layer ReLU network."""
    hidden = X @ W1
    np.maximum(hidden, 0, out=hidden)
    logits = hidden @ W2
    error = np.mean(logits.argmax(axis=1) != y)
    logits -= logits.max(axis=1, keepdims=True)
    losses = -logits[np.arange(len(y)), y]
    np.exp(logits, out=logits)
    losses += np.log(logits.sum(axis=1))
    return float(losses.mean(dtype=np.float64)), float(error)

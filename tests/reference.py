"""The oracle: both models in plain NumPy, in the dtype of the weights; imports nothing of the package."""

import numpy as np


def softmax(logits):
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def loss_err(logits, y):
    highest = logits.max(axis=1)
    losses = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - logits[np.arange(len(y)), y]
    return losses.mean(dtype=np.float64), np.mean(logits.argmax(axis=1) != y)


def batches(X, y, weights, lr, batch, scale, order, last_batch):
    X, y = (X, y) if order is None else (X[order], y[order])
    for start in range(0, len(X), batch):
        rows = X[start : start + batch].astype(weights.dtype) * weights.dtype.type(scale)
        divisor = len(rows) if last_batch == "mean" else batch
        yield rows, np.eye(weights.shape[1], dtype=weights.dtype)[y[start : start + batch]], lr / divisor


def softmax_regression_epoch(X, y, theta, lr=0.1, batch=100, scale=1.0, order=None, last_batch="nominal"):
    for rows, onehot, rate in batches(X, y, theta, lr, batch, scale, order, last_batch):
        theta -= theta.dtype.type(rate) * (rows.T @ (softmax(rows @ theta) - onehot))


def nn_epoch(X, y, W1, W2, lr=0.1, batch=100, scale=1.0, order=None, last_batch="nominal"):
    for rows, onehot, rate in batches(X, y, W2, lr, batch, scale, order, last_batch):
        hidden = np.maximum(rows @ W1, 0)
        dlogits = softmax(hidden @ W2) - onehot
        dhidden = (dlogits @ W2.T) * (hidden > 0)
        W2 -= W2.dtype.type(rate) * (hidden.T @ dlogits)
        W1 -= W1.dtype.type(rate) * (rows.T @ dhidden)

"""The oracle: both models in plain NumPy, in the dtype of the weights; imports nothing of the package."""

import numpy as np


def softmax(logits):
    exps = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)


def loss_err(logits, y):
    highest = logits.max(axis=1)
    losses = np.log(np.exp(logits - highest[:, None]).sum(axis=1)) + highest - logits[np.arange(len(y)), y]
    return losses.mean(dtype=np.float64), np.mean(logits.argmax(axis=1) != y)


class SGD:
    def change(self, name, W, gradient, lr):
        W -= W.dtype.type(lr) * gradient

    def begin_step(self):
        pass


class Momentum(SGD):
    def __init__(self, momentum=0.9, nesterov=True):
        self.momentum, self.nesterov, self.velocity = momentum, nesterov, {}

    def change(self, name, W, gradient, lr):
        v = self.velocity.setdefault(name, np.zeros_like(W))
        step = W.dtype.type(lr) * gradient
        v[...] = self.momentum * v - step
        W += self.momentum * v - step if self.nesterov else v


class AdamW(SGD):
    def __init__(self, beta1=0.9, beta2=0.999, epsilon=1e-8, decay=0.0):
        self.beta1, self.beta2, self.epsilon, self.decay = beta1, beta2, epsilon, decay
        self.mean, self.square, self.t = {}, {}, 0

    def begin_step(self):
        self.t += 1

    def change(self, name, W, gradient, lr):
        p, q = (state.setdefault(name, np.zeros_like(W)) for state in (self.mean, self.square))
        p[...] = self.beta1 * p + (1 - self.beta1) * gradient
        q[...] = self.beta2 * q + (1 - self.beta2) * gradient**2
        corrected = np.sqrt(1 - self.beta2**self.t) / (1 - self.beta1**self.t)
        W -= (lr * (corrected * p / (np.sqrt(q) + self.epsilon) + self.decay * W)).astype(W.dtype)


def batches(X, y, weights, batch, scale, shift, order, last_batch, sample_weight):
    rows = (X.astype(weights.dtype) - np.asarray(shift, weights.dtype)) * np.asarray(scale, weights.dtype)
    s = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight)
    if order is not None:
        rows, y, s = rows[order], y[order], s[order]
    onehot = np.eye(weights.shape[1], dtype=weights.dtype)[y]
    for start in range(0, len(rows), batch):
        some = slice(start, start + batch)
        divisor = (s[some].sum() or len(rows[some])) if last_batch == "mean" else batch
        yield rows[some], onehot[some], s[some, None].astype(weights.dtype), weights.dtype.type(divisor)


def penalty(l2, W):
    return W.dtype.type(l2) * W if l2 else 0


def dlogits(logits, onehot, s, has_reference):
    D = s * (softmax(logits) - onehot)
    return D * (np.arange(D.shape[1]) > 0) if has_reference else D


def softmax_regression_epoch(
    X, y, theta, lr=0.1, batch=100, scale=1.0, shift=0.0, order=None, last_batch="nominal", bias=None,
    sample_weight=None, l2=0.0, optimizer=None, has_reference=False,
):  # fmt: skip
    optimizer = optimizer or SGD()
    for Z, onehot, s, divisor in batches(X, y, theta, batch, scale, shift, order, last_batch, sample_weight):
        optimizer.begin_step()
        D = dlogits(Z @ theta + (0 if bias is None else bias), onehot, s, has_reference)
        optimizer.change("theta", theta, (Z.T @ D + penalty(l2, theta)) / divisor, lr)
        if bias is not None:
            optimizer.change("bias", bias, D.sum(axis=0) / divisor, lr)


def nn_epoch(
    X, y, W1, W2, lr=0.1, batch=100, scale=1.0, shift=0.0, order=None, last_batch="nominal", b1=None, b2=None,
    sample_weight=None, l2=0.0, optimizer=None, has_reference=False,
):  # fmt: skip
    optimizer = optimizer or SGD()
    for Z, onehot, s, divisor in batches(X, y, W2, batch, scale, shift, order, last_batch, sample_weight):
        optimizer.begin_step()
        H = np.maximum(Z @ W1 + (0 if b1 is None else b1), 0)
        D = dlogits(H @ W2 + (0 if b2 is None else b2), onehot, s, has_reference)
        G = (D @ W2.T) * (H > 0)
        changes = {"W2": (W2, H.T @ D + penalty(l2, W2)), "W1": (W1, Z.T @ G + penalty(l2, W1))}
        changes |= {"b2": (b2, D.sum(axis=0)), "b1": (b1, G.sum(axis=0))}
        for name, (W, gradient) in changes.items():
            if W is not None:
                optimizer.change(name, W, gradient / divisor, lr)

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


def nn_epoch(X: NDArray, y: NDArray, W1: NDArray, W2: NDArray, lr: float, batch: int, optimizer: str = "sgd") -> None:
    """Run one epoch of the two-layer ReLU network, modifying W1 and W2 in place; the optimizer begins anew."""
    change = OPTIMIZERS[optimizer](lr)
    for start in range(0, len(X), batch):
        rows, labels = X[start : start + batch], y[start : start + batch]
        hidden = rows @ W1
        np.maximum(hidden, 0, out=hidden)
        dlogits = softmax_in_place(hidden @ W2)
        dlogits[np.arange(len(rows)), labels] -= 1
        dhidden = dlogits @ W2.T
        dhidden *= hidden > 0
        change([W2, W1], [hidden.T @ dlogits, rows.T @ dhidden], batch)


class Sgd:
    """Plain stochastic gradient descent."""

    def __init__(self, lr: float):
        self.lr = lr

    def __call__(self, weights: list[NDArray], gradients: list[NDArray], batch: int) -> None:
        """Change the weights in place by the sums of their gradients over a batch."""
        for W, G in zip(weights, gradients, strict=True):
            G *= self.lr / batch
            W -= G


class Nesterov(Sgd):
    """Nesterov's momentum of 0.9."""

    def __init__(self, lr: float):
        super().__init__(lr)
        self.velocities = None

    def __call__(self, weights: list[NDArray], gradients: list[NDArray], batch: int) -> None:
        """Change the weights and the velocities in place."""
        self.velocities = self.velocities or [np.zeros_like(W) for W in weights]
        for W, G, v in zip(weights, gradients, self.velocities, strict=True):
            G *= self.lr / batch
            v *= 0.9
            v -= G
            W -= G
            W += 0.9 * v


class AdamW(Sgd):
    """AdamW with a decay of 0.1."""

    def __init__(self, lr: float):
        super().__init__(lr)
        self.states, self.t = None, 0

    def __call__(self, weights: list[NDArray], gradients: list[NDArray], batch: int) -> None:
        """Change the weights and the running means in place."""
        self.states = self.states or [(np.zeros_like(W), np.zeros_like(W)) for W in weights]
        self.t += 1
        step = self.lr * np.sqrt(1 - 0.999**self.t) / (1 - 0.9**self.t)
        for W, G, (p, q) in zip(weights, gradients, self.states, strict=True):
            G /= batch
            p *= 0.9
            p += 0.1 * G
            q *= 0.999
            np.square(G, out=G)
            G *= 0.001
            q += G
            np.sqrt(q, out=G)
            G += 1e-8
            np.divide(p, G, out=G)
            G *= step
            G += 0.1 * self.lr * W
            W -= G


OPTIMIZERS = {"sgd": Sgd, "nesterov": Nesterov, "adamw": AdamW}


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

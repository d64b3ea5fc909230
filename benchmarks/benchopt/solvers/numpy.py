"""NumPy: the six steps of each mini-batch, as on the page about the mathematics."""

import numpy as np
from benchopt import BaseSolver


class Solver(BaseSolver):
    """Plain SGD in NumPy."""

    name = "NumPy"
    requirements = ["numpy"]
    parameters = {"lr": [0.1], "batch": [100]}
    sampling_strategy = "callback"

    def set_objective(self, X, y, weights):
        """Keep the problem."""
        self.X, self.y, self.start = X, y, weights

    def run(self, callback):
        """Train epoch by epoch, as long as benchopt wants."""
        self.weights = {name: W.copy() for name, W in self.start.items()}
        while callback():
            for first in range(0, len(self.X), self.batch):
                self.step(self.X[first : first + self.batch], self.y[first : first + self.batch])

    def step(self, X, y):
        """Change the weights by the gradients of a mini-batch."""
        W1, b1, W2, b2 = (self.weights[name] for name in ("W1", "b1", "W2", "b2"))
        H = np.maximum(X @ W1 + b1, 0)
        Z = H @ W2 + b2
        D = np.exp(Z - Z.max(axis=1, keepdims=True))
        D /= D.sum(axis=1, keepdims=True)
        D[np.arange(len(y)), y] -= 1
        G = (D @ W2.T) * (H > 0)
        rate = np.float32(self.lr / self.batch)
        W1 -= rate * (X.T @ G)
        b1 -= rate * G.sum(axis=0)
        W2 -= rate * (H.T @ D)
        b2 -= rate * D.sum(axis=0)

    def get_result(self):
        """Return the weights."""
        return {"weights": self.weights}

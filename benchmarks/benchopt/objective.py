"""The objective: the mean loss of the two-layer ReLU network on the training set."""

import numpy as np
from benchopt import BaseObjective
from numpy.typing import NDArray


def loss_err(X: NDArray, y: NDArray, weights: dict[str, NDArray]) -> tuple[float, float]:
    """Return the mean softmax loss and the error of the network, in float64."""
    W1, b1, W2, b2 = (weights[name].astype(np.float64) for name in ("W1", "b1", "W2", "b2"))
    Z = np.maximum(X @ W1 + b1, 0) @ W2 + b2
    Z -= Z.max(axis=1, keepdims=True)
    loss = np.log(np.exp(Z).sum(axis=1)) - Z[np.arange(len(y)), y]
    return float(loss.mean()), float((Z.argmax(axis=1) != y).mean())


class Objective(BaseObjective):
    """Train W1, b1, W2, b2 so that the loss on the training set is small; report the error on the test set as well."""

    name = "Two-layer ReLU network"
    min_benchopt_version = "1.8"
    requirements = ["numpy"]
    parameters = {"hidden_dim": [100]}
    test_dataset_name = "Simulated"

    def set_data(self, X, y, X_test, y_test):
        """Keep the data."""
        self.X, self.y, self.X_test, self.y_test = X, y, X_test, y_test

    def get_objective(self):
        """Return what a solver gets: the training set and initial weights."""
        input_dim, num_classes = self.X.shape[1], int(self.y.max()) + 1
        random = np.random.default_rng(0)
        weights = {
            "W1": random.standard_normal((input_dim, self.hidden_dim)) * np.sqrt(2 / input_dim),
            "b1": np.zeros(self.hidden_dim),
            "W2": random.standard_normal((self.hidden_dim, num_classes)) * np.sqrt(2 / self.hidden_dim),
            "b2": np.zeros(num_classes),
        }
        return {"X": self.X, "y": self.y, "weights": {name: W.astype(np.float32) for name, W in weights.items()}}

    def evaluate_result(self, weights):
        """Return the loss on the training set, which is minimised, and the test loss and error."""
        train_loss, _ = loss_err(self.X, self.y, weights)
        test_loss, test_err = loss_err(self.X_test, self.y_test, weights)
        return {"value": train_loss, "test_loss": test_loss, "test_err": test_err}

    def get_one_result(self):
        """Return a result as a solver returns it."""
        return {"weights": self.get_objective()["weights"]}

"""scikit-learn: one call of partial_fit is one epoch. Its MLPClassifier draws its own initial weights."""

import numpy as np
from benchopt import BaseSolver
from sklearn.neural_network import MLPClassifier


class Solver(BaseSolver):
    """The MLPClassifier of scikit-learn, with both of its stochastic solvers."""

    name = "scikit-learn"
    requirements = ["pip::scikit-learn"]
    parameters = {"solver": ["sgd", "adam"], "batch": [100]}
    sampling_strategy = "callback"

    def set_objective(self, X, y, weights):
        """Keep the problem."""
        self.X, self.y, self.start = X, y, weights

    def run(self, callback):
        """Train epoch by epoch, as long as benchopt wants."""
        self.model = MLPClassifier(
            (self.start["W1"].shape[1],),
            solver=self.solver,
            batch_size=self.batch,
            alpha=0.0,
            learning_rate_init=0.02 if self.solver == "sgd" else 0.001,
            random_state=0,
        )
        classes = np.arange(len(self.start["b2"]))
        while callback():
            self.model.partial_fit(self.X, self.y, classes=classes)

    def get_result(self):
        """Return the weights; before the first epoch those that the objective begins with."""
        if not hasattr(self.model, "coefs_"):
            return {"weights": self.start}
        (W1, W2), (b1, b2) = self.model.coefs_, self.model.intercepts_
        return {"weights": {"W1": W1, "b1": b1, "W2": W2, "b2": b2}}

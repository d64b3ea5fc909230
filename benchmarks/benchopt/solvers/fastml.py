"""fastml: one call of nn_epoch is one epoch."""

from benchopt import BaseSolver

from fastml import SGD, AdamW, Momentum, nn_epoch

OPTIMIZERS = {"sgd": (SGD, 0.1), "momentum": (Momentum, 0.02), "adamw": (AdamW, 0.001)}


class Solver(BaseSolver):
    """The network of fastml, with each of its optimizers."""

    name = "fastml"
    requirements = ["pip::fastml"]
    parameters = {"optimizer": ["sgd", "momentum", "adamw"], "batch": [100]}
    sampling_strategy = "callback"

    def set_objective(self, X, y, weights):
        """Keep the problem; the kernels are compiled in `warm_up`."""
        self.X, self.y, self.start = X, y, weights

    def warm_up(self):
        """Compile the kernels before the time is taken."""
        self.run_once(1)

    def run(self, callback):
        """Train epoch by epoch, as long as benchopt wants."""
        self.weights = {name: W.copy() for name, W in self.start.items()}
        W1, W2, biases = self.weights["W1"], self.weights["W2"], {name: self.weights[name] for name in ("b1", "b2")}
        make, lr = OPTIMIZERS[self.optimizer]
        optimizer = make()
        while callback():
            nn_epoch(self.X, self.y, W1, W2, lr, self.batch, optimizer=optimizer, **biases)

    def get_result(self):
        """Return the weights."""
        return {"weights": self.weights}

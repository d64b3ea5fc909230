"""NumPy, with BLAS for the products."""

import numpy as np
from suites import numpy_epochs

from implementations.base import Implementation


class NumPy(Implementation):
    """The functions of `numpy_epochs`, which work in place wherever that saves an array."""

    name = "NumPy"
    version = np.__version__
    optimizers = tuple(numpy_epochs.OPTIMIZERS)

    def epoch(self):
        if len(self.start) == 2:
            numpy_epochs.nn_epoch(self.X, self.y, *self.weights, self.lr, self.batch, self.optimizer)
        else:
            numpy_epochs.softmax_regression_epoch(self.X, self.y, *self.weights, self.lr, self.batch)

    def evaluate(self):
        return numpy_epochs.evaluate(self.X, self.y, *self.weights)


IMPLEMENTATIONS = [NumPy]

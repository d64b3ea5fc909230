"""NumPy, with BLAS for the products."""

import numpy as np
from suites import numpy_epochs

from implementations.base import Implementation


class NumPy(Implementation):
    """The functions of `numpy_epochs`, which work in place wherever that saves an array."""

    name = "NumPy"
    version = np.__version__

    def epoch(self):
        function = numpy_epochs.nn_epoch if len(self.start) == 2 else numpy_epochs.softmax_regression_epoch
        function(self.X, self.y, *self.weights, lr=self.lr, batch=self.batch)

    def evaluate(self):
        return numpy_epochs.evaluate(self.X, self.y, *self.weights)


IMPLEMENTATIONS = [NumPy]

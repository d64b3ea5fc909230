"""Peak memory of a process. What a function needs beside the data is its difference to `peakmem_reference`."""

import numpy as np

import fastml
from fastml.datasets import read_idx, write_idx

from . import problems


class Process:
    """A process that has loaded 60,000 images as uint8 and the machine code."""

    def setup_cache(self):
        # The compiler and the reader of MNIST's compressed file need memory too, so this process runs them beforehand.
        X, y = problems.mnist()
        np.savez("mnist.npz", X=X, y=y)
        write_idx("images.gz", X)
        self.setup()

    def setup(self):
        with np.load("mnist.npz") as mnist:
            self.X, self.y = mnist["X"], mnist["y"]
        self.theta, self.network = problems.weights(0), problems.weights(400)
        self.run(self.X[:1], self.y[:1])

    def run(self, X, y):
        """Run each measured function on a few rows."""
        fastml.softmax_regression_epoch(X, y, *self.theta, lr=0.0, scale=1 / 255)
        fastml.nn_epoch(X, y, *self.network, lr=0.0, scale=1 / 255)
        fastml.evaluate(X, y, *self.network, scale=1 / 255)
        fastml.predict_proba(X, *self.network, scale=1 / 255)

    def peakmem_reference(self):
        pass

    def peakmem_softmax_regression_epoch(self):
        fastml.softmax_regression_epoch(self.X, self.y, *self.theta, lr=0.0, scale=1 / 255)

    def peakmem_nn_epoch(self):
        fastml.nn_epoch(self.X, self.y, *self.network, lr=0.0, scale=1 / 255)

    def peakmem_nn_epoch_of_reversed_rows(self):
        fastml.nn_epoch(self.X[::-1], self.y, *self.network, lr=0.0, scale=1 / 255)

    def peakmem_nn_epoch_batch_10_000(self):
        fastml.nn_epoch(self.X, self.y, *self.network, lr=0.0, scale=1 / 255, batch=10_000)

    def peakmem_evaluate(self):
        fastml.evaluate(self.X, self.y, *self.network, scale=1 / 255)

    def peakmem_predict_proba(self):
        fastml.predict_proba(self.X, *self.network, scale=1 / 255)

    def peakmem_read_idx_gzip(self):
        read_idx("images.gz")

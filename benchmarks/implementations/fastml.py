"""fastml, from this repository."""

from importlib.metadata import version

import numpy as np

import fastml
from implementations.base import Implementation

OPTIMIZERS = {"sgd": fastml.SGD, "nesterov": fastml.Momentum, "adamw": lambda: fastml.AdamW(decay=0.1)}


class Fastml(Implementation):
    """The public functions, with their checks of the arguments. They read raw pixels without a copy."""

    name = "fastml"
    version = version("fastml")
    reads_uint8 = True
    optimizers = tuple(OPTIMIZERS)

    def settings(self) -> dict[str, float]:
        return {"scale": 1 / 255} if self.X.dtype == np.uint8 else {}

    def epoch(self):
        function = fastml.nn_epoch if len(self.start) == 2 else fastml.softmax_regression_epoch
        optimizer = OPTIMIZERS[self.optimizer]()
        function(self.X, self.y, *self.weights, self.lr, self.batch, optimizer=optimizer, **self.settings())

    def evaluate(self):
        return fastml.evaluate(self.X, self.y, *self.weights, **self.settings())


IMPLEMENTATIONS = [Fastml]

"""Epochs, the work that users wait for, most of MNIST's 60,000 images; 0 hidden units mean softmax regression."""

import functools

import numpy as np

from . import problems

# An epoch takes 10 to 500 ms, so each is timed alone. asv takes the median of ten, five in each of two processes. After
# a pause a virtual processor wakes with cold caches and a low clock; the warm-up is longer than that lasts.
number = 1
repeat = (2, 5, 2.0)
warmup_time = 0.2


class Shapes:
    """Sizes and dtypes."""

    params = ([0, 100, 400], [100, 1000], ["float32", "float64", "uint8"])
    param_names = ("hidden", "batch", "dtype")

    def setup(self, *case):
        self.run = problems.epoch(*case)

    def time_epoch(self, *case):
        self.run()


class Wide:
    """1,000 rows of many inputs: colour pictures of 32 x 32 and 64 x 64 pixels.

    A batch goes through in several blocks, because a block has at most 1 MiB of X.
    """

    params = ([3072, 12288], [100, 400], [100, 1000], [0.2, 1.0])
    param_names = ("inputs", "hidden", "batch", "density")

    def setup(self, inputs, hidden, batch, density):
        self.run = problems.wide_epoch(inputs, hidden, batch, density)

    def time_epoch(self, *case):
        self.run()


class SubnormalPixels:
    """Pixels below the smallest normal number. A CPU that computes with such numbers is many times slower."""

    params = (0, 400)
    param_names = ("hidden",)

    def setup(self, hidden):
        self.run = problems.epoch(hidden, largest=1e-39)

    def time_epoch(self, hidden):
        self.run()


class Densities:
    """Shares of pixels that are not zero. The network skips zeros, softmax regression with few classes does not."""

    params = ([0, 400], [0.05, problems.MNIST, 0.5, 1.0])
    param_names = ("hidden", "density")

    def setup(self, hidden, density):
        self.run = problems.epoch(hidden, density=density)

    def time_epoch(self, *case):
        self.run()


class Shuffled:
    """An epoch of the network with the rows in order, and in random order."""

    params = ([100, 400], ["in order", "random"])
    param_names = ("hidden", "order")

    def setup(self, hidden, order):
        rows = np.random.default_rng(0).permutation(len(problems.mnist()[1])) if order == "random" else None
        self.run = functools.partial(problems.epoch(hidden), order=rows)

    def time_epoch(self, hidden, order):
        self.run()


class Options:
    """What an option adds to an epoch of the network with 400 hidden units."""

    params = [
        "none",
        "biases",
        "l2",
        "weights of examples",
        "nesterov",
        "adamw",
        "pixels with a scale",
        "pixels with scale and shift",
        "floats normalised before",
    ]
    param_names = ("option",)

    def setup(self, option):
        self.run = problems.epoch_with(option)

    def time_epoch(self, option):
        self.run()

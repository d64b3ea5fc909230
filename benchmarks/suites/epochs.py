"""Epochs, the work that users wait for, nearly all of MNIST's 60,000 images; 0 hidden units are softmax regression."""

from . import problems

# An epoch takes 10 to 500 ms, so each is timed alone; asv takes the median of ten, five in each of two processes. After
# a pause a virtual processor wakes with cold caches and a low clock: that is over within the warm-up.
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
    """1,000 rows of more inputs than the network takes in one piece: color pictures of 32 x 32 and 64 x 64 pixels.

    Batches of 1,000 are shared out by rows where there are 100 hidden units, by panels where there are 400.
    """

    params = ([3072, 12288], [100, 400], [100, 1000], [0.2, 1.0])
    param_names = ("inputs", "hidden", "batch", "density")

    def setup(self, inputs, hidden, batch, density):
        self.run = problems.wide_epoch(inputs, hidden, batch, density)

    def time_epoch(self, *case):
        self.run()


class SubnormalPixels:
    """Pixels below the smallest normal number; where the CPU has to compute with them, many times as slow."""

    params = (0, 400)
    param_names = ("hidden",)

    def setup(self, hidden):
        self.run = problems.epoch(hidden, largest=1e-39)

    def time_epoch(self, hidden):
        self.run()


class Densities:
    """Shares of pixels that are not zero: what the patterns of the network are good for."""

    params = ([0, 400], [0.05, problems.MNIST, 0.5, 1.0])
    param_names = ("hidden", "density")

    def setup(self, hidden, density):
        self.run = problems.epoch(hidden, density=density)

    def time_epoch(self, *case):
        self.run()

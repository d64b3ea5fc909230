"""The steps of a batch of 100 images, and the passes over the weights before and after an epoch, each on its own.

One thread does all of it, and the batch stays in the caches; in an epoch it comes from memory.
"""

import functools

import numba

from . import problems

# A step takes 2 to 130 us, and to hand these arrays over from Python some: it is repeated where it is compiled.
REPEATS = 100
number = 1
repeat = (5, 20, 0.5)
warmup_time = 0.1


@functools.cache
def repeated(name, arguments):
    """Return a step of `steps`, compiled, on arguments that another of its functions makes; it has run once."""
    from fastml.kernels.jit import OPTIONS

    from . import steps

    step = numba.njit(**OPTIONS)(getattr(steps, name))

    @numba.njit(**OPTIONS)
    def run(batch, weights, memory):
        for _ in range(REPEATS):
            step(batch, weights, memory)

    run_here = functools.partial(run, *getattr(steps, arguments)())
    run_here()
    return run_here


class Network:
    """The steps of the network, with 400 hidden units, in their order."""

    params = [
        "mark_rows",
        "pack_rows",
        "list_pixels",
        "forward_tiles",
        "logit_tiles",
        "dlogits",
        "list_rows",
        "dhidden_tiles",
        "update_tiles",
        "class_tiles",
        "exp_of_pixels",
    ]
    param_names = ("step",)

    def setup(self, step):
        with problems.skipping_older_commits():
            self.run = repeated(step, "network_batch")

    def time_hundred_times(self, step):
        self.run()


class SoftmaxRegression:
    """The steps of softmax regression that are not the network's too."""

    params = ["logits", "gradient"]
    param_names = ("step",)

    def setup(self, step):
        with problems.skipping_older_commits():
            self.run = repeated(step, "softmax_regression_batch")

    def time_hundred_times(self, step):
        self.run()


class Weights:
    """The weights of 400 hidden units, packed when an epoch begins, unpacked when it ends."""

    params = [problems.INPUT_DIM, 3072]
    param_names = ("inputs",)

    def setup(self, inputs):
        self.weights = problems.start_weights(inputs, 400, problems.NUM_CLASSES, dtype="float32")
        with problems.skipping_older_commits():
            from fastml.kernels import network

            self.network = network
            self.packed = network.pack(self.weights[0].dtype, *self.weights)
            network.unpack(self.packed, *self.weights)

    def time_pack(self, inputs):
        self.network.pack(self.weights[0].dtype, *self.weights)

    def time_unpack(self, inputs):
        self.network.unpack(self.packed, *self.weights)

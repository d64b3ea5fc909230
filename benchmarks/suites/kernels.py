"""The steps of a batch of 100 images, and the passes over the weights before and after an epoch, each on its own.

All runs on one thread, and the batch stays in the caches. In an epoch a batch comes from memory.
"""

import functools

import numba

from . import problems

# A step takes 1 to 200 us, and a call from Python with these arguments takes some microseconds too. So compiled code
# repeats the step.
REPEATS = 100
number = 1
repeat = (5, 20, 0.5)
warmup_time = 0.1


@functools.cache
def repeating(name):
    """Return a compiled function of a batch, weights and memory that repeats a step of `steps`."""
    from fastml.kernels.compile.options import OPTIONS

    from . import steps

    step = numba.njit(**OPTIONS)(getattr(steps, name))

    @numba.njit(**OPTIONS)
    def run(batch, weights, memory):
        for _ in range(REPEATS):
            step(batch, weights, memory)

    return run


@functools.cache
def repeated(name, arguments):
    """Return a function that repeats a step of `steps` on what the function `arguments` makes; it has run once."""
    from . import steps

    run_here = functools.partial(repeating(name), *getattr(steps, arguments)())
    run_here()
    return run_here


class Network:
    """The steps of the network with 400 hidden units, in their order; `pack` takes raw pixels, the others floats."""

    params = [
        "pack",
        "mark",
        "list_features",
        "forward",
        "logits",
        "make_dlogits",
        "list_rows",
        "backward",
        "logits_gradient",
        "gradient",
        "exp_of_pixels",
    ]
    param_names = ("step",)

    def setup(self, step):
        with problems.skipping_older_commits():
            self.run = repeated(step, "network_batch")

    def time_100_steps(self, step):
        self.run()


class SoftmaxRegression:
    """The products of softmax regression with 10 classes; its other steps are steps of the network as well."""

    params = ["logits", "logits_gradient"]
    param_names = ("step",)

    def setup(self, step):
        with problems.skipping_older_commits():
            self.run = repeated(f"{step}_of_few_classes", "softmax_regression_batch")

    def time_100_steps(self, step):
        self.run()


class Weights:
    """The weights of 400 hidden units: an epoch packs them when it begins and unpacks them when it ends."""

    params = [problems.INPUT_DIM, 3072]
    param_names = ("inputs",)

    def setup(self, inputs):
        self.weights = problems.start_weights(inputs, 400, problems.NUM_CLASSES, dtype="float32")
        with problems.skipping_older_commits():
            from fastml.kernels.network import Network
            from fastml.kernels.panels import Arrays

            self.model, self.layers = Network, tuple(Arrays(W, None) for W in self.weights)
            self.kernels = Network(self.layers, 1)
            self.kernels.unpack()

    def time_pack(self, inputs):
        self.model(self.layers, 1)

    def time_unpack(self, inputs):
        self.kernels.unpack()

"""What an epoch takes beside X and the weights: the weights once more, a batch of intermediates, and 16 MB.

Not in this: the gradient, which takes the weights once more where a batch has several blocks; and a bit for each
feature of a batch and each worker, which take more than a batch of floats from 32 workers on.
"""

import itertools

import numpy as np
import pytest

from fastml.kernels.panels import Arrays
from fastml.kernels.softmax_regression import SoftmaxRegression
from fastml.kernels.update import Sgd, Update
from fastml.models import network_kernels

CONSTANT_BYTES = 16e6


def plain(dtype):
    """Return an update of plain stochastic gradient descent."""
    return Update(Sgd(np.zeros((1, 1), dtype)), 0, (), True, True)


def bytes_of(values):
    """Return the bytes of the arrays in a tuple, and in the tuples in it."""
    return sum(bytes_of(v) if isinstance(v, tuple) else v.nbytes if isinstance(v, np.ndarray) else 0 for v in values)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network(workers, dtype):
    for inputs, hidden, classes, batch in itertools.product((20, 784, 3072), (16, 400, 1000), (2, 62), (1, 100, 1000)):
        weights = np.zeros((inputs, hidden), dtype), np.zeros((hidden, classes), dtype)
        kernels = network_kernels(tuple(Arrays(W, None) for W in weights), workers, False)
        kernels.reserve(batch, plain(dtype))
        intermediates = batch * (inputs + 2 * hidden + 2 * classes) * weights[0].itemsize
        taken, several = bytes_of(kernels.weights) + bytes_of(kernels.memory), batch > kernels.memory.block_rows
        allowed = bytes_of(weights) * (1 + several) + intermediates + CONSTANT_BYTES
        assert taken <= allowed, (inputs, hidden, classes, batch)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_regression(workers, dtype):
    for batch in (1, 100, 5000):
        theta = np.zeros((784, 10), dtype)
        kernels = SoftmaxRegression((Arrays(theta, None),), workers, packs=False)
        kernels.reserve(batch, plain(dtype))
        taken = bytes_of(kernels.weights) + bytes_of(kernels.memory)
        assert taken <= theta.nbytes + batch * 2 * 10 * theta.itemsize + CONSTANT_BYTES, batch

"""What an epoch takes beside X and the weights: the weights once more, a batch of intermediates, and 16 MB.

Two things are not in this. Partial logits, one for each panel, take more with 62 classes and batches of 5,000 rows.
Which pixels are not zero takes a bit for each pixel of a batch and each worker: more than a batch of floats from 32
workers on.
"""

import itertools

import numpy as np
import pytest

from fastml.kernels import network, softmax_regression

CONSTANT_BYTES = 16e6


def bytes_of(arrays):
    return sum(array.nbytes for array in arrays if isinstance(array, np.ndarray))


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_network(workers, dtype):
    for inputs, hidden, classes, batch in itertools.product((20, 784, 3072), (16, 400, 1000), (2, 62), (1, 100, 1000)):
        weights = np.zeros((inputs, hidden), dtype), np.zeros((hidden, classes), dtype)
        packed = network.pack(dtype, *weights)
        intermediates = batch * (inputs + 2 * hidden + 2 * classes) * weights[0].itemsize
        taken = bytes_of(packed) + bytes_of(network.scratch(batch, workers, True, packed, weights[0].dtype))
        assert taken <= bytes_of(weights) + intermediates + CONSTANT_BYTES, (inputs, hidden, classes, batch)


@pytest.mark.parametrize("workers", [1, 2, 8])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_regression(workers, dtype):
    for batch in (1, 100, 5000):
        theta = np.zeros((784, 10), dtype)
        packed = softmax_regression.pack(dtype, theta)
        taken = bytes_of(packed) + bytes_of(softmax_regression.scratch(batch, workers, True, packed, theta.dtype))
        assert taken <= theta.nbytes + batch * 2 * 10 * theta.itemsize + CONSTANT_BYTES, batch

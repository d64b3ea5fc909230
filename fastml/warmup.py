"""Compile the kernels for the usual dtypes before the first epoch."""

import numpy as np

from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate
from fastml.kernels.loss import MANY_CLASSES
from fastml.kernels.panels import MOST_VECTORS, lanes
from fastml.kernels.simd.tiles import UNITS


def warmup() -> None:
    """Compile the kernels of epochs and evaluations with float32 weights on float32 and uint8 data, for any shape.

    The machine code is cached on disk, so later processes on the same machine only load it. Kernels for other dtypes
    are compiled when they are first used.

    Examples
    --------
    >>> import fastml
    >>> fastml.warmup()
    """
    y = np.zeros(1, np.uint8)
    for dtype in (np.float32, np.uint8):
        X = np.zeros((1, 16), dtype)
        for num_classes in (2, MANY_CLASSES):
            theta = np.zeros((16, num_classes), np.float32)
            softmax_regression_epoch(X, y, theta)
            evaluate(X, y, theta)
            W1, W2 = np.zeros((16, 16), np.float32), np.zeros((16, num_classes), np.float32)
            nn_epoch(X, y, W1, W2)
            evaluate(X, y, W1, W2)
    for columns in range(MOST_VECTORS * lanes(np.float32), 0, -lanes(np.float32) // UNITS):
        W1, W2 = np.zeros((16, columns), np.float32), np.zeros((columns, 2), np.float32)
        nn_epoch(X, y, W1, W2)
        evaluate(X, y, W1, W2)

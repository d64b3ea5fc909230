"""Compile the kernels that the usual dtypes need, before the first epoch that somebody waits for."""

import numpy as np

from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate
from fastml.kernels.panels import MOST_VECTORS, lanes


def warmup() -> None:
    """Compile what epochs and evaluations of float32 weights on float32 and uint8 data need, for any shape.

    Machine code is kept on disk, so that all but the first process of a machine return at once. Other dtypes compile
    when they are first used.

    Examples
    --------
    >>> import fastml
    >>> fastml.warmup()
    """
    y = np.zeros(1, np.uint8)
    for dtype in (np.float32, np.uint8):
        X, theta = np.zeros((1, 16), dtype), np.zeros((16, 2), np.float32)
        softmax_regression_epoch(X, y, theta)
        evaluate(X, y, theta)
        for width in range(1, MOST_VECTORS + 1):
            hidden_dim = width * lanes(np.float32)
            W1, W2 = np.zeros((16, hidden_dim), np.float32), np.zeros((hidden_dim, 2), np.float32)
            nn_epoch(X, y, W1, W2)
            evaluate(X, y, W1, W2)

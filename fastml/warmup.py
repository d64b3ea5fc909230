"""Compile the kernels that the usual dtypes need, before the first epoch that somebody waits for."""

import numpy as np

from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate


def warmup() -> None:
    """Compile what epochs and evaluations of float32 weights on float32 and uint8 data need.

    Machine code is kept on disk, so that all but the first process of a machine return at once. Other dtypes compile
    when they are first used.

    Examples
    --------
    >>> import fastml
    >>> fastml.warmup()
    """
    y = np.zeros(1, np.uint8)
    for dtype in (np.float32, np.uint8):
        X = np.zeros((1, 16), dtype)
        theta, W1, W2 = (np.zeros(shape, np.float32) for shape in ((16, 2), (16, 2), (2, 2)))
        softmax_regression_epoch(X, y, theta)
        nn_epoch(X, y, W1, W2)
        evaluate(X, y, theta)
        evaluate(X, y, W1, W2)

"""Exactly the names of homework 0 (hw0) of CMU 10-714: ``from fastml.hw0 import *`` in the place of its module.

The functions are those of `fastml`, except `add`. hw0's tests and scripts also take `np` from its module. hw0 has the
epoch of softmax regression a second time, in C++: here both are the same function.

Examples
--------
>>> from fastml.hw0 import *
>>> X, y, theta = np.array([[1, 2], [3, 4], [5, 6]]), np.array([0, 1, 0]), np.zeros((2, 2))
>>> softmax_regression_epoch_cpp(X, y, theta, 0.1, 3)
>>> theta.round(3)
array([[ 0.05 , -0.05 ],
       [ 0.067, -0.067]])
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastml.datasets import parse_mnist
from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.evaluation import loss_err, softmax_loss
from fastml.training import train_nn, train_softmax

__all__ = [
    "add",
    "loss_err",
    "nn_epoch",
    "np",
    "parse_mnist",
    "softmax_loss",
    "softmax_regression_epoch",
    "softmax_regression_epoch_cpp",
    "train_nn",
    "train_softmax",
]

softmax_regression_epoch_cpp = softmax_regression_epoch


def add(x: Any, y: Any) -> Any:
    """Return ``x + y``, hw0's first exercise.

    Parameters
    ----------
    x, y : number or ndarray
        Anything that can be added.

    Returns
    -------
    number or ndarray
        The sum.

    Examples
    --------
    >>> add(5, 6)
    11
    """
    return x + y

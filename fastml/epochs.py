"""The epoch functions: check the arguments, pack the weights, run the kernels slice by slice, unpack the weights."""

from __future__ import annotations

from typing import Any, NamedTuple

from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.learner import EpochData, Learner
from fastml.models import NETWORK, SOFTMAX_REGRESSION, Parameters
from fastml.optimizers import Optimizer
from fastml.options import LastBatch, Options, Progress


def softmax_regression_epoch(
    X: ArrayLike,
    y: ArrayLike,
    theta: NDArray[Any],
    lr: float = 0.1,
    batch: int = 100,
    *,
    bias: NDArray[Any] | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    order: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    progress: Progress | None = None,
) -> None:
    """Run one epoch of mini-batches for softmax regression, modifying theta, bias and the optimizer in place.

    For each mini-batch of B rows, in their given order, with weights s of its rows (1 by default)::

        Z = scale * (X - shift);  D = s * (softmax(Z @ theta + bias) - onehot(y))
        g(theta) = (Z.T @ D + l2 * theta) / divisor;  g(bias) = D.sum(axis=0) / divisor

    and the optimizer changes theta and bias by these gradients; by default it is `SGD`, ``theta -= lr * g(theta)``.

    Parameters
    ----------
    X : array_like, shape (num_examples, input_dim)
        Examples. C-contiguous uint8, float32 and float64 arrays are read in place, also from a read-only memory map.
        Other strides, booleans, other integers, float16 and non-native byte orders are converted a few MB at a time.
        With few classes, this function also converts X if its rows are not a whole number of vector registers long;
        `nn_epoch` does not.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).
    theta : ndarray of float32 or float64, shape (input_dim, num_classes)
        Weights, any strides; their dtype is the precision of the arithmetic.
    lr : float
        Step size (learning rate), at least 0.
    batch : int
        Rows of a mini-batch, at least 1. If X has fewer rows, all of them make one batch.
    bias : ndarray of the dtype of theta, shape (num_classes,), optional
        A bias that is added to the logits, and trained. None for a model without bias.
    scale, shift : float or array_like, shape (input_dim,)
        A number for all features, or one for each: X becomes ``scale * (X - shift)``, without a copy. Raw pixels of 0
        to 255 with ``scale=1/255`` train like floats in [0, 1]. With a shift, zeros still take no time: see Notes.
    order : array_like of integers, optional
        Indices of the rows of X in the order to visit them: a permutation shuffles without copying X.
    sample_weight : array_like, shape (num_examples,), optional
        Weights of the examples, finite and at least 0: each multiplies the gradient of its row.
    l2 : float
        Strength of the L2 penalty, at least 0, as scikit-learn's `alpha`. Biases have no penalty.
    optimizer : SGD, Momentum or AdamW, optional
        Changes the weights, and keeps its state for the next epoch. `SGD` by default.
    last_batch : {"nominal", "mean"}
        The divisor of the gradient of a batch: "nominal" is batch, for a shorter last batch too, so that all examples
        have the same weight; "mean" is the sum of the weights of the batch, without `sample_weight` the number of its
        rows. If all weights of a batch are 0, "mean" is the number of its rows as well.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice of about 50 ms; loss is the mean softmax loss
        of the examples so far, each computed with the weights before its step. With `sample_weight`, it is the mean of
        the batches' weighted means.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. Nothing has been changed then.

    Notes
    -----
    After KeyboardInterrupt or an error in `progress`, theta, bias and the state of the optimizer are those after one
    and the same batch, the last of a finished slice. A slice is about 50 ms long, but at least a batch.

    NaN and infinity propagate as in NumPy; with 48 classes or more there is the exception that `nn_epoch` describes. On
    x86 CPUs, subnormal numbers (in float32 those below 1.2e-38) are flushed to zero, because arithmetic on them is
    slow. The result has the same bits for any number of threads and any threading layer.

    ``scale * (X - shift)`` has no zeros where X has zeros, so the kernels do not compute this array. They multiply
    ``scale * X`` instead, and add ``-scale * shift`` as one row that all examples share.

    References
    ----------
    Bishop, *Pattern Recognition and Machine Learning* (2006), section 4.3.4, equation 4.109.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import softmax_regression_epoch
    >>> X = np.array([[1, 2], [3, 4], [5, 6]])
    >>> theta = np.array([[0.1, 0.2], [0.3, 0.4]])
    >>> softmax_regression_epoch(X, np.array([0, 1, 0]), theta, lr=0.1, batch=2)
    >>> theta.round(8)
    array([[0.28018745, 0.01981255],
           [0.53256639, 0.16743361]])
    """
    parameters = Parameters(SOFTMAX_REGRESSION, (theta,), (bias,))
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    run_epoch(EpochArguments(X, y, order, sample_weight), parameters, options, progress)


def nn_epoch(
    X: ArrayLike,
    y: ArrayLike,
    W1: NDArray[Any],
    W2: NDArray[Any],
    lr: float = 0.1,
    batch: int = 100,
    *,
    b1: NDArray[Any] | None = None,
    b2: NDArray[Any] | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    order: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    progress: Progress | None = None,
) -> None:
    """Run one epoch of mini-batches for the two-layer ReLU network, modifying weights, biases and optimizer in place.

    For each mini-batch of B rows, in their given order, with weights s of its rows (1 by default)::

        Z = scale * (X - shift);  H = relu(Z @ W1 + b1)
        D = s * (softmax(H @ W2 + b2) - onehot(y));  G = (D @ W2.T) * (H > 0)
        g(W2) = (H.T @ D + l2 * W2) / divisor;  g(b2) = D.sum(axis=0) / divisor
        g(W1) = (Z.T @ G + l2 * W1) / divisor;  g(b1) = G.sum(axis=0) / divisor

    and the optimizer changes all of them by these gradients; by default it is `SGD`, ``W1 -= lr * g(W1)``.

    Parameters
    ----------
    X, y, lr, batch, scale, shift, order, sample_weight, l2, optimizer, last_batch, progress
        As in `softmax_regression_epoch`.
    W1 : ndarray of float32 or float64, shape (input_dim, hidden_dim)
        Weights of the first layer, any strides; their dtype is the precision of the arithmetic.
    W2 : ndarray of the same dtype, shape (hidden_dim, num_classes)
        Weights of the second layer.
    b1, b2 : ndarray of the same dtype, shapes (hidden_dim,) and (num_classes,), optional
        Biases, which are trained. None for a layer without bias.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. Nothing has been changed then.

    Notes
    -----
    As for `softmax_regression_epoch`, with one exception for NaN and infinity: these kernels process several rows
    together, and skip a feature that is exactly 0 in all of them. A skipped feature contributes 0, even if its weight
    is not finite. With 48 classes or more, the logits skip hidden units in the same way.

    References
    ----------
    Goodfellow, Bengio and Courville, *Deep Learning* (2016), algorithms 6.3 and 6.4.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import evaluate, nn_epoch
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> y = np.array([0, 1, 1, 0])
    >>> random = np.random.default_rng(0)
    >>> W1, W2 = random.standard_normal((2, 8)), random.standard_normal((8, 2))
    >>> before, _ = evaluate(X, y, W1, W2)
    >>> nn_epoch(X, y, W1, W2, lr=0.5, batch=4)
    >>> after, _ = evaluate(X, y, W1, W2)
    >>> after < before
    True
    """
    parameters = Parameters(NETWORK, (W1, W2), (b1, b2))
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    run_epoch(EpochArguments(X, y, order, sample_weight), parameters, options, progress)


class EpochArguments(NamedTuple):
    """The arguments of an epoch that have a number for each row of X."""

    X: ArrayLike
    y: ArrayLike
    order: ArrayLike | None = None
    sample_weight: ArrayLike | None = None

    def checked(self, parameters: Parameters) -> EpochData:
        """Return the arguments as arrays after their checks."""
        X = checks.check_features(self.X, parameters.weights[0].shape[0])
        return EpochData(
            X,
            checks.check_labels(self.y, X.shape[0], parameters.num_classes),
            checks.check_order(self.order, X.shape[0]),
            checks.check_sample_weight(self.sample_weight, X.shape[0]),
        )


def run_epoch(
    arguments: EpochArguments,
    parameters: Parameters,
    options: Options,
    progress: Progress | None,
    backgrounds: NDArray[Any] | None = None,
) -> None:
    """Run one epoch of a model, modifying the parameters and the optimizer's state in place.

    Invalid arguments are rejected before anything changes. If an exception ends the epoch, the weights after the last
    finished slice are written back. `backgrounds` are found in X unless they are given: see `fastml.transforms`.
    """
    parameters.check()
    data = arguments.checked(parameters)
    X, order = data.X, data.order
    checked, named = options.checked(X.shape[1]), parameters.named()
    optimizer = checked.optimizer
    optimizer.check_state(named)
    checks.check_updatable(data._asdict(), named | optimizer.named_state())
    if (X.shape[0] if order is None else order.size) == 0:
        return

    if backgrounds is None:
        backgrounds = parameters.model.backgrounds_of(X, parameters.num_classes)
    learner = Learner(data, parameters, checked, backgrounds)
    try:
        learner.run_pass(order, checked.lr, progress)
    finally:
        learner.unpack()

"""The epoch functions: check the arguments, pack the weights, run the kernels slice by slice, unpack the weights."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.kernels.compile import forks
from fastml.kernels.loss import empty_verdicts
from fastml.models import NETWORK, SOFTMAX_REGRESSION, Model
from fastml.options import Options, Progress
from fastml.slices import Rows, slices


def softmax_regression_epoch(
    X: ArrayLike,
    y: ArrayLike,
    theta: NDArray,
    lr: float = 0.1,
    batch: int = 100,
    *,
    scale: float = 1.0,
    order: ArrayLike | None = None,
    last_batch: str = "nominal",
    progress: Progress | None = None,
) -> None:
    """Run one epoch of mini-batch SGD for softmax regression, modifying theta in place.

    For each mini-batch of B rows, in their given order::

        P = softmax(scale * X @ theta)
        theta -= lr / batch * scale * X.T @ (P - onehot(y))

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
        Step size (learning rate).
    batch : int
        Rows of a mini-batch, at least 1. If X has fewer rows, all of them make one batch.
    scale : float
        Multiplies X: raw pixels of 0 to 255 with ``scale=1/255`` train like floats in [0, 1].
    order : array_like of integers, optional
        Indices of the rows of X in the order to visit them: a permutation shuffles without copying X.
    last_batch : {"nominal", "mean"}
        The divisor of the gradient of a shorter last batch: "nominal" divides by batch, so that all examples have the
        same weight, "mean" by the number of rows in that batch.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice of about 50 ms; loss is the mean softmax loss
        of the examples so far, each computed with the weights before its step.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. Nothing has been changed then.

    Notes
    -----
    After KeyboardInterrupt or an error in `progress`, theta holds the result of the last finished slice of whole
    batches. NaN and infinity propagate as in NumPy; with 48 classes or more there is the exception that `nn_epoch`
    describes. On x86 CPUs, subnormal numbers (in float32 those below 1.2e-38) are flushed to zero, because arithmetic
    on them is slow. The result has the same bits for any number of threads and any threading layer.

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
    options = Options(lr, batch, scale, last_batch)
    run_epoch(SOFTMAX_REGRESSION, X, y, (theta,), options, order, progress)


def nn_epoch(
    X: ArrayLike,
    y: ArrayLike,
    W1: NDArray,
    W2: NDArray,
    lr: float = 0.1,
    batch: int = 100,
    *,
    scale: float = 1.0,
    order: ArrayLike | None = None,
    last_batch: str = "nominal",
    progress: Progress | None = None,
) -> None:
    """Run one epoch of mini-batch SGD for the two-layer ReLU network, modifying W1 and W2 in place.

    For each mini-batch of B rows, in their given order, where G uses the W2 from before the step::

        H = relu(scale * X @ W1);  D = softmax(H @ W2) - onehot(y);  G = (D @ W2.T) * (H > 0)
        W2 -= lr / batch * H.T @ D
        W1 -= lr / batch * scale * X.T @ G

    Parameters
    ----------
    X, y, lr, batch, scale, order, last_batch, progress
        As in `softmax_regression_epoch`.
    W1 : ndarray of float32 or float64, shape (input_dim, hidden_dim)
        Weights of the first layer, any strides; their dtype is the precision of the arithmetic.
    W2 : ndarray of the same dtype, shape (hidden_dim, num_classes)
        Weights of the second layer.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid. Nothing has been changed then.

    Notes
    -----
    As for `softmax_regression_epoch`, with one exception for NaN and infinity: these kernels process several rows
    together, and skip a feature that is exactly 0 in all of them. A skipped feature contributes 0, even if its weight
    is not finite.

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
    options = Options(lr, batch, scale, last_batch)
    run_epoch(NETWORK, X, y, (W1, W2), options, order, progress)


def run_epoch(
    model: Model,
    X: ArrayLike,
    y: ArrayLike,
    weights: tuple[NDArray, ...],
    options: Options,
    order: ArrayLike | None,
    progress: Progress | None,
) -> None:
    """Run one epoch of a model, modifying the weights in place.

    Invalid arguments are rejected before any weight changes. If an exception ends the epoch, the weights from the end
    of the last finished slice are written back.
    """
    named = model.named(weights)
    checks.check_weights(**named)
    input_dim, num_classes = weights[0].shape[0], weights[-1].shape[1]
    X = checks.check_features(X, input_dim)
    order = checks.check_order(order, X.shape[0])
    y = checks.check_labels(y, X.shape[0], num_classes)
    checks.check_updatable({"X": X, "y": y, "order": order}, named)
    options = options.checked()

    threads = forks.available_threads()
    with forks.parallel_lock:  # may compile
        kernels = model.kernels(*weights)
    rows = Rows(X, order, kernels, options.scale)
    if rows.count == 0:
        return
    descent = options.descent(rows.count, kernels.dtype)
    with forks.parallel_lock:  # may compile
        kernels.reserve(descent.batch, threads, learn=True)
    verdicts, losses = empty_verdicts(0, num_classes, kernels.dtype), 0.0
    try:
        for start, stop, workers in slices(rows, descent.batch, threads, 4 * sum(W.size for W in weights)):
            examples = rows.take(start, stop, y)
            if progress is not None:
                verdicts = empty_verdicts(stop - start, num_classes, kernels.dtype)
            with forks.parallel_lock:
                kernels.learn(examples, descent, verdicts, workers)
            if progress is not None:
                with np.errstate(over="ignore"):  # a sum beyond the range of float64 is infinity
                    losses += float(verdicts.losses.sum(dtype=np.float64))
                progress(stop, rows.count, losses / stop)
    finally:
        kernels.unpack(*weights)

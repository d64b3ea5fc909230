"""The epoch functions: check what is given, pack the weights, drive the slices, unpack."""

import sys
from collections.abc import Callable
from types import ModuleType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.kernels import jit, network, softmax_regression
from fastml.kernels.softmax import empty_verdicts
from fastml.slices import Rows, slices

# Called with the examples done, their number, and the mean loss of those that are done.
Progress = Callable[[int, int, float], object]


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
        Examples. C-contiguous uint8, float32 and float64 are read where they lie, also from a read-only memory map.
        Other strides, booleans, other integers, float16 and foreign byte orders are converted a few MB at a time, and
        so are, for this function but not for `nn_epoch`, rows that are not a whole number of vectors long.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).
    theta : ndarray of float32 or float64, shape (input_dim, num_classes)
        Weights, any strides; their dtype is the precision of the arithmetic.
    lr : float
        Step size (learning rate).
    batch : int
        Rows of a mini-batch, at least 1; more than there are means one batch.
    scale : float
        Multiplies X: raw pixels of 0 to 255 with ``scale=1/255`` train like floats in [0, 1].
    order : array_like of integers, optional
        Indices of the rows of X in the order to visit them: a permutation shuffles without copying X.
    last_batch : {"nominal", "mean"}
        What a shorter last batch is divided by: batch, so that each example weighs the same, or its own number of rows.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice of about 50 ms; loss is the mean softmax loss
        of the examples so far, each with the weights from before its step.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above; nothing has been changed then.

    Notes
    -----
    KeyboardInterrupt, or an error in `progress`, leaves theta as after the last finished slice of whole batches. NaN
    and infinity travel as in NumPy; subnormal numbers, in float32 those below 1.2e-38, count as zero, where the CPU is
    an x86: it is slow with them. The result has the same bits for any number of threads and any threading layer.

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
    run_epoch(softmax_regression, X, y, {"theta": theta}, lr, batch, scale, order, last_batch, progress)


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

    For each mini-batch of B rows, in their given order, with the W2 from before the step in G::

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
        For an argument that is not as above; nothing has been changed then.

    Notes
    -----
    As for `softmax_regression_epoch`, with one exception for NaN and infinity: the kernels skip a pixel that is exactly
    0 in each of the rows that they take together, so it contributes nothing, even to a weight that is not finite.

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
    run_epoch(network, X, y, {"W1": W1, "W2": W2}, lr, batch, scale, order, last_batch, progress)


def run_epoch(
    model: ModuleType,
    X: ArrayLike,
    y: ArrayLike,
    weights: dict[str, NDArray],
    lr: float,
    batch: int,
    scale: float,
    order: ArrayLike | None,
    last_batch: str,
    progress: Progress | None,
) -> None:
    """Run one epoch of a model, a module of kernels, modifying the weights in place.

    All checks come before the first change. The weights live in the form that the kernels want for as long as the
    epoch runs; whatever ends it, they are written back as after the last whole slice.
    """
    checks.check_weights(**weights)
    input_dim, num_classes = next(iter(weights.values())).shape[0], list(weights.values())[-1].shape[1]
    X = checks.check_features(X, input_dim)
    order = checks.check_order(order, X.shape[0])
    y = checks.check_labels(y, X.shape[0], num_classes)
    checks.check_updatable({"X": X, "y": y, "order": order}, weights)
    lr, scale = checks.check_real("lr", lr), checks.check_real("scale", scale)
    batch = checks.check_integer("batch", batch, minimum=1)
    checks.check_choice("last_batch", last_batch, checks.LAST_BATCH)

    dtype = model_dtype(weights.values())
    rows = Rows(X, order, dtype, model)
    if rows.count == 0:
        return
    size = min(batch, rows.count)
    with np.errstate(over="ignore"):  # beyond float32's range is infinity, as NumPy has it
        rate, short_rate = (dtype.type(step) for step in rates(lr, batch, rows.count, last_batch))
        scale = dtype.type(scale)
    threads = jit.available_threads()
    packed = model.pack(dtype, *weights.values())
    scratch = model.scratch(size, threads, True, packed, rows.dtype)
    verdicts, losses = empty_verdicts(0, num_classes, dtype), 0.0
    try:
        for start, stop, workers in slices(rows, size, threads, 4 * size * sum(W.size for W in weights.values())):
            features, indices, wanted = rows.take(start, stop)
            labels = y[wanted].astype(np.int64)
            if progress is not None:
                verdicts = empty_verdicts(stop - start, num_classes, dtype)
            with jit.parallel_lock:
                model.run(
                    features, indices, labels, size, rate, short_rate, scale, True, workers, packed, scratch, verdicts
                )
            if progress is not None:
                losses += float(verdicts.losses.sum(dtype=np.float64))
                progress(stop, rows.count, losses / stop)
    finally:
        model.unpack(packed, *weights.values())


def rates(lr: float, batch: int, num_examples: int, last_batch: str) -> tuple[float, float]:
    """Return lr divided as a whole batch and as a shorter last one is."""
    # No set has more rows than sys.maxsize, and a float divided by a longer integer would overflow.
    nominal = lr / min(batch, sys.maxsize)
    if last_batch == "nominal":
        return nominal, nominal
    return lr / min(batch, num_examples), lr / (num_examples % batch or batch)


def model_dtype(weights) -> np.dtype:
    """Return the native dtype of the weights."""
    return next(iter(weights)).dtype.newbyteorder("=")

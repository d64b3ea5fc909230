"""Losses, errors and predictions: of logits that are there, and of weights without a matrix of logits for the set."""

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.epochs import Progress, model_dtype
from fastml.kernels import jit, network, softmax_regression
from fastml.kernels.softmax import BAND, Verdicts, empty_verdicts, judge
from fastml.slices import Rows, slices

# Blocks of rows for each thread, and rows of logits, whose verdicts are in memory at once: a few megabytes.
MOST_BLOCKS, LOGITS_ROWS = 64, 8192
# Rows whose losses are added up in one go. Ranges begin at multiples of it.
SUM_ROWS = 128
MODELS = {1: (softmax_regression, ("theta",)), 2: (network, ("W1", "W2"))}


def softmax_loss(Z: ArrayLike, y: ArrayLike) -> float:
    """Return the mean softmax (cross-entropy) loss of logits.

    Parameters
    ----------
    Z : array_like, shape (num_examples, num_classes)
        Logits. float32 and float64 are computed in their own precision, anything else in float64; the mean is summed
        in float64.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).

    Returns
    -------
    float
        Mean over the rows of ``log(sum(exp(Z[i]))) - Z[i, y[i]]``, in nats.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above.

    References
    ----------
    Bishop, *Pattern Recognition and Machine Learning* (2006), equation 4.108.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import softmax_loss
    >>> round(softmax_loss(np.zeros((3, 10)), np.array([7, 0, 9])), 6)
    2.302585
    """
    return loss_err(Z, y)[0]


def loss_err(h: ArrayLike, y: ArrayLike) -> tuple[float, float]:
    """Return the mean softmax loss of logits and the fraction of rows whose highest logit is not the label's.

    Parameters
    ----------
    h : array_like, shape (num_examples, num_classes)
        Logits, as in `softmax_loss`.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).

    Returns
    -------
    loss, err : float
        Loss in nats; error in [0, 1]. Of equal logits the first counts as the highest, as in `numpy.argmax`.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import loss_err
    >>> loss, err = loss_err(np.array([[0.0, 1.0], [1.0, 0.0]]), np.array([1, 1]))
    >>> round(loss, 6), err
    (0.813262, 0.5)
    """
    logits = checks.check_logits(h)
    y = checks.check_labels(y, *logits.shape)
    dtype = np.float32 if logits.dtype.kind == "f" and logits.dtype.itemsize == 4 else np.float64
    return mean_loss_err(verdicts_on_logits(logits, y, dtype), y)


def evaluate(
    X: ArrayLike, y: ArrayLike, *weights: NDArray, scale: float = 1.0, progress: Progress | None = None
) -> tuple[float, float]:
    """Return the mean softmax loss and the error of a model on a set, without making a matrix of logits for the set.

    Parameters
    ----------
    X : array_like, shape (num_examples, input_dim)
        Examples, at least one, of the dtypes that `softmax_regression_epoch` takes.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).
    *weights : ndarray of float32 or float64
        ``theta`` of shape (input_dim, num_classes), or ``W1, W2`` of shapes (input_dim, hidden_dim) and (hidden_dim,
        num_classes).
    scale : float
        Multiplies X.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice of about 50 ms, with the mean loss so far.

    Returns
    -------
    loss, err : float
        As `loss_err` returns them.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import evaluate
    >>> evaluate(np.eye(2), [0, 0], np.array([[1.0, 0.0], [0.0, 1.0]]))[1]
    0.5
    """
    X, scale = check_model_input(X, weights, scale)
    checks.check_examples(X)
    y = checks.check_labels(y, X.shape[0], weights[-1].shape[1])
    return mean_loss_err(verdicts_of_model(X, y, weights, scale), y, progress)


def predict(X: ArrayLike, *weights: NDArray, scale: float = 1.0) -> NDArray[np.int64]:
    """Return the class of the highest logit for each row of X.

    Parameters
    ----------
    X, *weights, scale
        As in `evaluate`; X may have no rows.

    Returns
    -------
    ndarray of int64, shape (num_examples,)
        Labels in [0, num_classes); of equal logits the first.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as in `evaluate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import predict
    >>> predict(np.array([[0, 255], [255, 0]], np.uint8), np.eye(2), scale=1 / 255)
    array([1, 0])
    """
    X, scale = check_model_input(X, weights, scale)
    predictions = np.empty(X.shape[0], np.int64)
    for start, verdicts in verdicts_of_model(X, None, weights, scale):
        predictions[start : start + len(verdicts.predictions)] = verdicts.predictions
    return predictions


def predict_proba(X: ArrayLike, *weights: NDArray, scale: float = 1.0) -> NDArray:
    """Return the softmax of the logits for each row of X.

    Parameters
    ----------
    X, *weights, scale
        As in `evaluate`; X may have no rows.

    Returns
    -------
    ndarray of the weights' dtype, shape (num_examples, num_classes)
        Probabilities; each row sums to 1.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as in `evaluate`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import predict_proba
    >>> predict_proba(np.zeros((1, 2)), np.ones((2, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    X, scale = check_model_input(X, weights, scale)
    probabilities = np.empty((X.shape[0], weights[-1].shape[1]), model_dtype(weights))
    for start, verdicts in verdicts_of_model(X, None, weights, scale, probabilities=True):
        probabilities[start : start + len(verdicts.probabilities)] = verdicts.probabilities
    return probabilities


def check_model_input(X: ArrayLike, weights: tuple[NDArray, ...], scale: float) -> tuple[NDArray, float]:
    """Return X and scale as they are used, after the checks that all functions on a model and a set share."""
    if len(weights) not in MODELS:
        raise TypeError(f"weights must be theta, or W1 and W2; got {len(weights)} arrays")
    checks.check_weights(**dict(zip(MODELS[len(weights)][1], weights, strict=True)))
    return checks.check_features(X, weights[0].shape[0]), checks.check_real("scale", scale)


def verdicts_of_model(
    X: NDArray,
    y: NDArray | None,
    weights: tuple[NDArray, ...],
    scale: float,
    probabilities: bool = False,
) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows; without y the losses mean nothing."""
    model, _ = MODELS[len(weights)]
    dtype, num_classes = model_dtype(weights), weights[-1].shape[1]
    rows, threads = Rows(X, None, dtype, model), jit.available_threads()
    packed = model.pack(dtype, *weights)
    scratch = model.scratch(model.BLOCK, threads, False, packed, rows.dtype)
    with np.errstate(over="ignore"):
        scale = dtype.type(scale)
    zero = dtype.type(0)
    # A block for each thread is the least that shows what threads are good for.
    batch = model.BLOCK * threads
    operations = 2 * batch * sum(W.size for W in weights)
    for start, stop, workers in slices(rows, batch, threads, operations, most=MOST_BLOCKS):
        features, indices, wanted = rows.take(start, stop)
        labels = np.zeros(stop - start, np.int64) if y is None else y[wanted].astype(np.int64)
        verdicts = empty_verdicts(stop - start, num_classes, dtype, probabilities)
        with jit.parallel_lock:
            model.run(features, indices, labels, 1, zero, zero, scale, False, workers, packed, scratch, verdicts)
        yield start, verdicts


def verdicts_on_logits(logits: NDArray, y: NDArray, dtype: np.dtype) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows of logits."""
    for start in range(0, len(logits), LOGITS_ROWS):
        part = np.array(logits[start : start + LOGITS_ROWS], dtype, order="C")
        labels = y[start : start + LOGITS_ROWS].astype(np.int64)
        verdicts = empty_verdicts(*part.shape, dtype)
        judge(part, labels, np.arange(len(part)), np.empty((part.shape[1], BAND), dtype), verdicts)
        yield start, verdicts


def mean_loss_err(
    judged: Iterator[tuple[int, Verdicts]], y: NDArray, progress: Progress | None = None
) -> tuple[float, float]:
    """Return the mean loss and the error over ranges of rows.

    The sum of the losses is rounded once, at the end, so it does not depend on where the ranges end: that is a matter
    of time, and of the number of threads.
    """
    sums, wrong = [], 0
    for start, verdicts in judged:
        sums += np.add.reduceat(
            verdicts.losses, np.arange(0, len(verdicts.losses), SUM_ROWS), dtype=np.float64
        ).tolist()
        stop = start + len(verdicts.predictions)
        wrong += int(np.count_nonzero(verdicts.predictions != y[start:stop]))
        if progress is not None:
            progress(stop, len(y), math.fsum(sums) / stop)
    return math.fsum(sums) / len(y), wrong / len(y)

"""Losses, errors and predictions, from given logits or from the weights of a model.

The logits of a model are computed block by block: there is never a matrix of logits for the whole set.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.kernels.compile import forks
from fastml.kernels.input import BLOCK
from fastml.kernels.loss import BAND, Verdicts, empty_verdicts, judge_logits
from fastml.models import Parameters, parameters_of
from fastml.options import Progress
from fastml.slices import Rows, slices
from fastml.transforms import reads_in_place, transform_of
from fastml.weights import Weights

# The most blocks of rows for each thread, and the most rows of given logits, that are evaluated at once. These limits
# keep the memory of the verdicts to a few megabytes.
MOST_BLOCKS, LOGITS_ROWS = 64, 8192
# Losses are first summed over groups of this many rows. Each range of rows begins at a multiple of this number, so the
# groups do not depend on the ranges.
SUM_ROWS = 128


def softmax_loss(Z: ArrayLike, y: ArrayLike) -> float:
    """Return the mean softmax (cross-entropy) loss of logits.

    Parameters
    ----------
    Z : array_like, shape (num_examples, num_classes)
        Logits. float32 and float64 are computed in their own precision, other dtypes in float64. The mean is computed
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
        If an argument is invalid.

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
    """Return the mean softmax loss of logits and the fraction of rows with a wrong highest logit.

    Parameters
    ----------
    h : array_like, shape (num_examples, num_classes)
        Logits, as in `softmax_loss`.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).

    Returns
    -------
    loss, err : float
        Loss in nats; error in [0, 1]. Among equal logits the first counts as the highest, as in `numpy.argmax`.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

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
    X: ArrayLike,
    y: ArrayLike,
    *weights: NDArray | Weights,
    bias: NDArray | None = None,
    b1: NDArray | None = None,
    b2: NDArray | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    progress: Progress | None = None,
) -> tuple[float, float]:
    """Return the mean softmax loss and the error of a model on a set, without a matrix of logits for the set.

    Parameters
    ----------
    X : array_like, shape (num_examples, input_dim)
        Examples, at least one, of the dtypes that `softmax_regression_epoch` takes.
    y : array_like of integers, shape (num_examples,)
        Labels in [0, num_classes).
    *weights : ndarray of float32 or float64, or Weights
        ``theta`` of shape (input_dim, num_classes), or ``W1, W2`` of shapes (input_dim, hidden_dim) and (hidden_dim,
        num_classes). Or one `Weights`, such as ``history.weights``, with their own biases, scale and shift.
    bias, b1, b2 : ndarray of the same dtype, optional
        The bias of theta, (num_classes,), or those of W1 and W2, (hidden_dim,) and (num_classes,).
    scale, shift : float or array_like, shape (input_dim,)
        As in `softmax_regression_epoch`.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice of about 50 ms, with the mean loss so far.

    Returns
    -------
    loss, err : float
        As `loss_err` returns them.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import evaluate
    >>> evaluate(np.eye(2), [0, 0], np.array([[1.0, 0.0], [0.0, 1.0]]))[1]
    0.5
    """
    given = check_input(X, weights, {"bias": bias, "b1": b1, "b2": b2}, scale, shift)
    checks.check_examples(given.X)
    y = checks.check_labels(y, given.X.shape[0], given.parameters.num_classes)
    return loss_err_of_model(given, y, progress)


def predict(
    X: ArrayLike,
    *weights: NDArray | Weights,
    bias: NDArray | None = None,
    b1: NDArray | None = None,
    b2: NDArray | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
) -> NDArray[np.int64]:
    """Return the class of the highest logit for each row of X.

    Parameters
    ----------
    X, *weights, bias, b1, b2, scale, shift
        As in `evaluate`; X may have no rows.

    Returns
    -------
    ndarray of int64, shape (num_examples,)
        Labels in [0, num_classes). Among equal logits the first counts as the highest.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import predict
    >>> predict(np.array([[0, 255], [255, 0]], np.uint8), np.eye(2), scale=1 / 255)
    array([1, 0])
    """
    return predictions_of(check_input(X, weights, {"bias": bias, "b1": b1, "b2": b2}, scale, shift))


def predict_proba(
    X: ArrayLike,
    *weights: NDArray | Weights,
    bias: NDArray | None = None,
    b1: NDArray | None = None,
    b2: NDArray | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
) -> NDArray:
    """Return the softmax of the logits for each row of X.

    Parameters
    ----------
    X, *weights, bias, b1, b2, scale, shift
        As in `evaluate`; X may have no rows.

    Returns
    -------
    ndarray of the weights' dtype, shape (num_examples, num_classes)
        Probabilities; each row sums to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import predict_proba
    >>> predict_proba(np.zeros((1, 2)), np.ones((2, 4)))
    array([[0.25, 0.25, 0.25, 0.25]])
    """
    return probabilities_of(check_input(X, weights, {"bias": bias, "b1": b1, "b2": b2}, scale, shift))


class ModelInput(NamedTuple):
    """What a model is asked about: its parameters, and X with what becomes of it."""

    parameters: Parameters
    X: NDArray
    scale: float | NDArray
    shift: float | NDArray
    rows: NDArray | None = None  # the rows of X, or None for all


def check_input(
    X: ArrayLike,
    weights: tuple[NDArray | Weights, ...],
    biases: dict[str, NDArray | None],
    scale: float | ArrayLike,
    shift: float | ArrayLike,
) -> ModelInput:
    """Check weights, biases, X, scale and shift; one `Weights` brings its own biases, scale and shift."""
    if len(weights) == 1 and isinstance(weights[0], Weights):
        (model,) = weights
        scale, shift = model.transform_beside(scale, shift)
        weights, biases = tuple(model), model.biases_beside(biases)
    parameters = parameters_of(weights, biases)
    X = checks.check_features(X, parameters.weights[0].shape[0])
    return ModelInput(parameters, X, checks.check_scale(scale, X.shape[1]), checks.check_shift(shift, X.shape[1]))


def predictions_of(given: ModelInput) -> NDArray[np.int64]:
    """Return the class of the highest logit for each row of X."""
    predictions = np.empty(len(given.X), np.int64)
    for start, verdicts in verdicts_of_model(given, None):
        predictions[start : start + len(verdicts.predictions)] = verdicts.predictions
    return predictions


def probabilities_of(given: ModelInput) -> NDArray:
    """Return the softmax of the logits for each row of X."""
    dtype = given.parameters.weights[0].dtype.newbyteorder("=")
    probabilities = np.empty((len(given.X), given.parameters.num_classes), dtype)
    for start, verdicts in verdicts_of_model(given, None, probabilities=True):
        probabilities[start : start + len(verdicts.probabilities)] = verdicts.probabilities
    return probabilities


def loss_err_of_model(given: ModelInput, y: NDArray, progress: Progress | None) -> tuple[float, float]:
    """Return the mean loss and the error of a model; y are the labels of all rows of X."""
    labels = y if given.rows is None else y[given.rows]
    return mean_loss_err(verdicts_of_model(given, y), labels, progress)


def verdicts_of_model(
    given: ModelInput, y: NDArray | None, probabilities: bool = False
) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows; if y is None, the losses are meaningless."""
    parameters, X, num_classes = given.parameters, given.X, given.parameters.num_classes
    threads, dtype = forks.available_threads(), parameters.weights[0].dtype.newbyteorder("=")
    transform = transform_of(X, given.scale, given.shift, dtype, parameters.model.backgrounds_of(X, num_classes))
    with forks.parallel_lock:  # may compile
        kernels = parameters.model.kernels(parameters.layers(), threads, not reads_in_place(transform, X))
        kernels.reserve(BLOCK, None)
    rows = Rows(X, given.rows, kernels, transform)
    y = np.zeros(len(X), np.uint8) if y is None else y
    # A slice has at least one block for each thread: with fewer blocks some threads would be idle.
    for start, stop, workers in slices(rows, BLOCK * threads, threads, 2 * parameters.size, MOST_BLOCKS):
        examples = rows.take(start, stop, y)
        verdicts = empty_verdicts(stop - start, num_classes, dtype, probabilities)
        with forks.parallel_lock:
            kernels.judge(examples, verdicts, workers)
        yield start, verdicts


def verdicts_on_logits(logits: NDArray, y: NDArray, dtype: np.dtype) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows of logits."""
    forks.check_not_compiling()
    for start in range(0, len(logits), LOGITS_ROWS):
        part = np.array(logits[start : start + LOGITS_ROWS], dtype, order="C")
        labels = y[start : start + LOGITS_ROWS].astype(np.int64)
        verdicts = empty_verdicts(*part.shape, dtype)
        with forks.parallel_lock:  # may compile
            judge_logits(part, labels, np.empty((part.shape[1], BAND), dtype), np.arange(len(part)), verdicts)
        yield start, verdicts


def mean_loss_err(
    judged: Iterator[tuple[int, Verdicts]], y: NDArray, progress: Progress | None = None
) -> tuple[float, float]:
    """Return the mean loss and the error over ranges of rows.

    The sum over the groups of losses is rounded only once. So the mean does not depend on where the ranges end, which
    varies with the speed of the machine and the number of threads.
    """
    sums, wrong = [], 0
    for start, verdicts in judged:
        with np.errstate(over="ignore"):  # a sum beyond the range of float64 is infinity, as in NumPy
            sums += np.add.reduceat(
                verdicts.losses, np.arange(0, len(verdicts.losses), SUM_ROWS), dtype=np.float64
            ).tolist()
        stop = start + len(verdicts.predictions)
        wrong += int(np.count_nonzero(verdicts.predictions != y[start:stop]))
        if progress is not None:
            progress(stop, len(y), sum_once(sums) / stop)
    return sum_once(sums) / len(y), wrong / len(y)


def sum_once(losses: list[float]) -> float:
    """Return the sum of losses, rounded once; a sum beyond the range of float64 is infinity, as in NumPy."""
    try:
        return math.fsum(losses)
    except OverflowError:
        return math.inf

"""The functions on models and logits: losses, errors and predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.models import parameters_of
from fastml.options import Progress
from fastml.verdicts import (
    ModelInput,
    loss_err_of_model,
    mean_loss_err,
    predictions_of,
    probabilities_of,
    verdicts_on_logits,
)
from fastml.weights import Weights


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
    is_single = logits.dtype.kind == "f" and logits.dtype.itemsize == 4
    dtype = np.dtype(np.float32 if is_single else np.float64)
    return mean_loss_err(verdicts_on_logits(logits, y, dtype), y)


def evaluate(
    X: ArrayLike,
    y: ArrayLike,
    *weights: NDArray[Any] | Weights,
    bias: NDArray[Any] | None = None,
    b1: NDArray[Any] | None = None,
    b2: NDArray[Any] | None = None,
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
    *weights: NDArray[Any] | Weights,
    bias: NDArray[Any] | None = None,
    b1: NDArray[Any] | None = None,
    b2: NDArray[Any] | None = None,
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
    *weights: NDArray[Any] | Weights,
    bias: NDArray[Any] | None = None,
    b1: NDArray[Any] | None = None,
    b2: NDArray[Any] | None = None,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
) -> NDArray[Any]:
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


def check_input(
    X: ArrayLike,
    weights: tuple[NDArray[Any] | Weights, ...],
    biases: Mapping[str, NDArray[Any] | None],
    scale: float | ArrayLike,
    shift: float | ArrayLike,
) -> ModelInput:
    """Check weights, biases, X, scale and shift; one `Weights` brings its own biases, scale and shift."""
    model = weights[0] if len(weights) == 1 else None
    if isinstance(model, Weights):
        scale, shift = model.transform_beside(scale, shift)
        weights, biases = tuple(model), model.biases_beside(biases)
    parameters = parameters_of(weights, biases)
    X = checks.check_features(X, parameters.weights[0].shape[0])
    return ModelInput(parameters, X, checks.check_scale(scale, X.shape[1]), checks.check_shift(shift, X.shape[1]))

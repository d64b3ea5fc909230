"""Estimators in the files of `fastml.weights`: the arrays of the weights, and settings in JSON; no pickle.

The settings of an estimator are ``estimator``, the name of its class; ``format``, the version of these settings;
``parameters``; ``classes`` with their dtype; ``input``, the dtype that X had; and names of the features if it had any.
"""

import json
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.validation import check_is_fitted

from fastml.estimators.base import BaseClassifier
from fastml.estimators.mlp_classifier import MLPClassifier
from fastml.estimators.softmax_regression import SoftmaxRegression
from fastml.estimators.start import set_untrained
from fastml.history import History
from fastml.weights import Weights, WeightsError, load_weights, save_weights

FORMAT = 1
ESTIMATORS = {made.__name__: made for made in (MLPClassifier, SoftmaxRegression)}


def save(estimator: BaseClassifier, path: str | os.PathLike[str]) -> None:
    """Save a fitted estimator: its weights, parameters, classes and features."""
    check_is_fitted(estimator)
    settings = {
        "estimator": type(estimator).__name__,
        "format": FORMAT,
        "parameters": saved_parameters(estimator),
        "classes": {"dtype": estimator.classes_.dtype.str, "labels": estimator.classes_.tolist()},
        "input": estimator._input_dtype,
        "features": getattr(estimator, "feature_names_in_", np.array([])).tolist(),
    }
    save_weights(path, estimator._weights(), settings)


def saved_parameters(estimator: BaseClassifier) -> dict[str, Any]:
    """Return the parameters that differ from their defaults and that JSON can express."""
    defaults, parameters = type(estimator)().get_params(), {}
    for name, value in estimator.get_params(deep=False).items():
        value = value.item() if isinstance(value, np.generic) else value
        if name == "dtype" and value is not None:
            value = np.dtype(value).name
        try:
            if value != defaults[name] and json.loads(json.dumps(value)) == (
                list(value) if isinstance(value, tuple) else value
            ):
                parameters[name] = value
        except (TypeError, ValueError):
            pass
    return parameters


def load(path: str | os.PathLike[str]) -> BaseClassifier:
    """Load a classifier that its method `save`, `save_weights` or the command ``fastml train --save`` has saved.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file.

    Returns
    -------
    MLPClassifier or SoftmaxRegression
        A fitted classifier. If no classifier saved the weights, the classes are 0, 1, 2, ... Parameters that JSON
        cannot express, such as callbacks and generators of random numbers, have their defaults. The state of the
        optimizer is not saved, so `partial_fit` begins with a new state.

    Raises
    ------
    WeightsError
        A ValueError: if the file does not hold a model, or if a later version of fastml saved it.
    OSError
        If the file is missing or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import fastml
    >>> from fastml.estimators import SoftmaxRegression
    >>> X, y = [[0.0, 1.0], [1.0, 0.0]], ["cat", "dog"]
    >>> model = SoftmaxRegression(learning_rate_init=0.1, max_iter=50, tol=0.01).fit(X, y)
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "model.npz")
    ...     model.save(path)
    ...     fastml.load(path).predict(X).tolist()
    ['cat', 'dog']
    """
    weights, settings = load_weights(path)
    try:
        return estimator_of(weights, settings)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} holds weights, but not the settings of an estimator: {error!r}") from error


def estimator_of(weights: Weights, settings: dict[str, Any]) -> BaseClassifier:
    """Return a fitted estimator with the weights."""
    num_classes = weights[-1].shape[1]
    if "estimator" in settings:
        if settings["format"] > FORMAT:
            raise ValueError(f"its format is {settings['format']}, and this version of fastml reads {FORMAT}")
        estimator = ESTIMATORS[settings["estimator"]](**settings["parameters"])
        classes = np.array(settings["classes"]["labels"], settings["classes"]["dtype"])
        features, input_dtype = settings["features"], settings["input"]
    else:
        if len(weights) == 1:
            estimator = SoftmaxRegression(fit_intercept=bool(weights.biases))
        else:
            estimator = MLPClassifier((weights[0].shape[1],))
        classes, features, input_dtype = np.arange(num_classes), [], "uint8"
    if len(classes) != num_classes:
        raise ValueError(f"it has {len(classes)} classes, but weights for {num_classes}")
    set_fitted(estimator, weights, classes)
    estimator._input_dtype = input_dtype
    if features:
        estimator.feature_names_in_ = np.array(features, dtype=object)
    return estimator


def set_fitted(estimator: BaseClassifier, weights: Weights, classes: NDArray[Any]) -> None:
    """Set the attributes of a fitted estimator."""
    if isinstance(estimator, MLPClassifier) or weights.biases:
        names = weights.parameters.model.bias_names
        zeros = {name: np.zeros(W.shape[1], W.dtype) for name, W in zip(names, weights, strict=True)}
        weights = Weights(weights, zeros | weights.biases, weights.scale, weights.shift)
    if len(classes) == 2:
        weights = with_reference(weights)
    estimator.classes_ = classes
    estimator.n_features_in_ = len(weights[0])
    set_untrained(estimator, len(weights) + 1)
    estimator.scale_, estimator.shift_ = weights.scale, weights.shift
    estimator.history_ = History(weights)
    estimator.__dict__.update(estimator._attributes(weights))


def with_reference(weights: Weights) -> Weights:
    """Return weights of two classes with the same probabilities, in which the first class has the logit 0."""
    *others, last = weights
    biases = dict(weights.biases)
    for name in list(biases)[len(others) :]:
        biases[name] = np.array([0, biases[name][1] - biases[name][0]], last.dtype)
    differences = last[:, 1:] - last[:, :1]
    return Weights(
        [*others, np.hstack([np.zeros_like(differences), differences])], biases, weights.scale, weights.shift
    )

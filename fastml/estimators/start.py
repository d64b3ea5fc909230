"""How a fit starts: initial weights, examples held out, standardisation, options of its epochs with their optimizer."""

import warnings
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from fastml.arrays import RowSource
from fastml.estimators.fitting import Examples, State
from fastml.history import History
from fastml.optimizers import SGD, AdamW, Momentum, Optimizer
from fastml.options import CheckedOptions, Options
from fastml.preparation import mean_and_deviation
from fastml.weights import Weights

# The dtypes of X whose digits all fit into float32, for which the weights are float32. For others they are float64.
SINGLE_DTYPES = tuple(np.dtype(name) for name in ("bool", "uint8", "int8", "uint16", "int16", "float16", "float32"))
# The most examples of a mini-batch by default.
AUTO_BATCH = 200


def set_initial(estimator: Any, units: list[int], X: RowSource, random: Any) -> None:
    """Set the attributes of an estimator that is about to be trained for the first time.

    The weights of the network follow Glorot and Bengio, *Understanding the difficulty of training deep feedforward
    neural networks* (2010), equation 16, drawn in scikit-learn's order. Softmax regression starts from zeros.
    """
    set_untrained(estimator, len(units) + 2)
    estimator._input_dtype = X.dtype.name
    sizes = [X.shape[1], *units, estimator.n_outputs_]
    dtype = estimator.dtype
    if dtype is None:
        dtype = np.float32 if X.dtype in SINGLE_DTYPES else np.float64
    estimator.coefs_, estimator.intercepts_ = [], []
    for inputs, outputs in pairwise(sizes):
        bound = estimator._initial_bound(inputs, outputs)
        estimator.coefs_.append(random.uniform(-bound, bound, (inputs, outputs)).astype(dtype))
        if estimator._has_intercepts():
            estimator.intercepts_.append(random.uniform(-bound, bound, outputs).astype(dtype))
    estimator.scale_, estimator.shift_ = 1.0, 0.0
    estimator.history_ = History(Weights(estimator.coefs_))


def set_untrained(estimator: Any, layers: int) -> None:
    """Set the attributes of an estimator to their values before the first fit; `classes_` is set already."""
    classes = len(estimator.classes_)
    estimator.n_layers_, estimator.n_outputs_ = layers, 1 if classes == 2 else classes
    estimator.out_activation_ = "logistic" if classes == 2 else "softmax"
    estimator.t_, estimator.n_iter_, estimator.loss_, estimator.loss_curve_ = 0, 0, np.nan, []
    estimator.best_loss_ = estimator.validation_scores_ = estimator.best_validation_score_ = None
    estimator._state = State(SGD(), estimator.learning_rate_init)


def set_monitors(estimator: Any) -> None:
    """Set the best loss, or the best validation score, to the worst value, unless an earlier fit has set one."""
    if estimator.early_stopping and estimator.validation_scores_ is None:
        estimator.validation_scores_, estimator.best_validation_score_ = [], -np.inf
    if not estimator.early_stopping and estimator.best_loss_ is None:
        estimator.best_loss_ = np.inf


def set_transform(estimator: Any, train: Examples) -> None:
    """Set the scale and the shift of the features that the model takes."""
    if estimator.standardize:
        estimator.shift_, deviation = mean_and_deviation(train.X, train.rows)
        estimator.scale_ = 1 / deviation


def check_validation_size(estimator: Any, train: Examples) -> None:
    """Reject a set that is too small to hold examples out."""
    if estimator.validation_fraction * len(train.X) < 1.0:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")


def held_out(estimator: Any, examples: Examples, random: Any) -> tuple[Examples, Examples]:
    """Return the examples to train on, and those that are held out, as scikit-learn draws them."""
    rows = train_test_split(
        np.arange(examples.num_examples),
        random_state=random,
        test_size=estimator.validation_fraction,
        stratify=examples.labels if estimator.n_outputs_ == 1 else None,
    )
    train, valid = (examples._replace(rows=each) for each in rows)
    return train, valid


def optimizer_of(estimator: Any) -> Optimizer:
    """Return the optimizer of an estimator's parameters, with the state of its last fit."""
    if estimator.solver == "adam":
        made: Optimizer = AdamW(beta1=estimator.beta_1, beta2=estimator.beta_2, epsilon=estimator.epsilon)
    elif estimator.momentum > 0:
        made = Momentum(momentum=estimator.momentum, nesterov=estimator.nesterovs_momentum)
    else:
        made = SGD()
    last = estimator._state.optimizer
    return replace(made, state=last.state, steps=last.steps) if type(last) is type(made) else made


def options_of(estimator: Any, count: int) -> CheckedOptions:
    """Return the options of the epochs of a fit on a number of examples; set the optimizer and its step size."""
    state, size = estimator._state, estimator.batch_size
    state.optimizer = optimizer_of(estimator)
    if estimator.solver == "adam" or estimator.learning_rate == "constant":
        state.step_size = estimator.learning_rate_init
    if size == "auto":
        size = AUTO_BATCH
    elif size > count:
        warnings.warn(
            f"Got `batch_size` {size}, larger than the sample size {count}. It is going to be clipped", stacklevel=4
        )
    return Options(
        lr=state.step_size,
        batch=min(size, count),
        scale=estimator.scale_,
        shift=estimator.shift_,
        last_batch="mean",
        l2=float(estimator.alpha),
        optimizer=state.optimizer,
        has_reference=estimator.n_outputs_ == 1,
    ).checked(estimator.n_features_in_)

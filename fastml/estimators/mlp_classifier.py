"""The estimator `MLPClassifier`: the network."""

from collections.abc import Iterable, Mapping
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from sklearn.utils._param_validation import Interval, StrOptions

from fastml.callbacks import Callback
from fastml.estimators.base import BaseClassifier, not_here
from fastml.estimators.constraints import CONSTRAINTS


class MLPClassifier(BaseClassifier):
    """The network of scikit-learn's `MLPClassifier` with one hidden layer of ReLUs, or none, several times as fast.

    Parameters and attributes have scikit-learn's names, defaults and meaning, and the same `random_state` gives the
    same initial weights, orders and validation sets; so the coefficients equal scikit-learn's up to rounding.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of at most one int
        Units of the hidden layer; ``()`` for none.
    activation : {"relu"}
        The activation of the hidden layer.
    solver : {"adam", "sgd"}
        The optimizer.
    alpha : float
        Strength of the L2 penalty, at least 0; it is divided by the sum of the weights of a mini-batch.
    batch_size : int or "auto"
        Examples of a mini-batch; "auto" is the smaller of 200 and the number of examples.
    learning_rate : {"constant", "invscaling", "adaptive"}
        How the step size of "sgd" changes. "constant": not at all. "invscaling": to
        ``learning_rate_init / (t_ + 1)**power_t`` after each epoch. "adaptive": to a fifth when the loss, or the
        validation score, has not improved for `n_iter_no_change` epochs.
    learning_rate_init : float
        The first step size.
    power_t : float
        The exponent of "invscaling".
    max_iter : int
        The largest number of epochs.
    shuffle : bool
        Whether each epoch has a new random order. Rows of a memory map are shuffled in blocks.
    random_state : int, RandomState or None
        Seed of the initial weights, the orders and the validation set.
    tol : float
        The smallest improvement of the loss or the score that counts.
    verbose : bool
        Whether to print the loss of each epoch, and to show a bar for long epochs.
    warm_start : bool
        Whether `fit` continues from the last fit, with the state of its optimizer.
    momentum : float
        Momentum of "sgd", in [0, 1).
    nesterovs_momentum : bool
        Whether to use Nesterov's momentum.
    early_stopping : bool
        Whether examples are held out, training ends when their score no longer improves, and the best weights are kept.
    validation_fraction : float
        The part of the examples that is held out.
    beta_1, beta_2, epsilon : float
        Parameters of "adam".
    n_iter_no_change : int
        Training ends after more than this many epochs in a row without an improvement.
    class_weight : dict, "balanced" or None
        Weights of the classes, by label. Not in scikit-learn.
    standardize : bool
        Whether to train on ``(X - mean) / deviation`` of each feature, without a copy of X. Not in scikit-learn.
    n_jobs : int or None
        Threads: None for those of `numba.set_num_threads`, -1 for all. Not in scikit-learn.
    dtype : "float32", "float64" or None
        The precision. None is float32 for X of float32, float16 and integers of at most 16 bits, else float64. Not in
        scikit-learn.
    callback : callable or iterable of callables, optional
        Called with `history_` after each epoch: see `fastml.callbacks`. Not in scikit-learn.

    Attributes
    ----------
    coefs_ : list of ndarray, shapes (n_features, hidden) and (hidden, n_outputs)
        The weights of each layer.
    intercepts_ : list of ndarray, shapes (hidden,) and (n_outputs,)
        The biases of each layer.
    classes_ : ndarray, shape (n_classes,)
        The labels, sorted.
    n_features_in_, feature_names_in_ : int, ndarray of str
        Features of X; their names if X is a data frame.
    n_iter_, t_ : int
        Epochs of the last fit; examples seen by all fits.
    n_layers_, n_outputs_, out_activation_ : int, int, str
        Layers, input included; outputs, 1 for two classes; "softmax", or "logistic" for two classes.
    loss_, best_loss_, loss_curve_ : float, float, list of float
        Mean loss of the examples of an epoch, each with the weights before its step; plus the L2 penalty, averaged over
        the beginning and the end of the epoch.
    validation_scores_, best_validation_score_ : list of float, float
        Accuracies on the validation set with `early_stopping`, else None.
    history_ : fastml.History
        Losses, errors and seconds of each epoch, for `fastml.plotting.plot_history`.
    scale_, shift_ : float or ndarray, shape (n_features,)
        The network takes ``scale_ * (X - shift_)``: 1 and 0 unless `standardize`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastml.estimators import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((10,), learning_rate_init=0.03, standardize=True, tol=0.003, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints = CONSTRAINTS | {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [StrOptions({"relu"})],
    }

    def __init__(
        self,
        hidden_layer_sizes: int | Iterable[int] = (100,),
        activation: str = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: int = 10,
        class_weight: Mapping[Any, float] | str | None = None,
        standardize: bool = False,
        n_jobs: int | None = None,
        dtype: DTypeLike | None = None,
        callback: Callback | Iterable[Callback] | None = None,
    ):
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.standardize = standardize
        self.n_jobs = n_jobs
        self.dtype = dtype
        self.callback = callback

    def _check_parameters(self) -> list[int]:
        if self.activation in ("identity", "logistic", "tanh"):
            raise not_here(f"activation={self.activation!r} is not supported, only 'relu'")
        units = self.hidden_layer_sizes
        units = list(units) if isinstance(units, Iterable) else [units]
        if len(units) > 1:
            raise not_here(f"hidden_layer_sizes must have at most one layer, got {len(units)}: {tuple(units)}")
        super()._check_parameters()
        if np.any(np.asarray(units) <= 0):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {units}.")
        return units

    def _initial_bound(self, inputs: int, outputs: int) -> float:
        return float(np.sqrt(6.0 / (inputs + outputs)))

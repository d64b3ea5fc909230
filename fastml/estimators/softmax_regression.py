"""The estimator `SoftmaxRegression`: the linear model."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from sklearn.utils.validation import check_is_fitted

from fastml.callbacks import Callback
from fastml.estimators import inputs
from fastml.estimators.base import BaseClassifier
from fastml.estimators.constraints import CONSTRAINTS

# Logits of this many rows are computed at a time.
LOGITS_ROWS = 8192


class SoftmaxRegression(BaseClassifier):
    """Softmax (multinomial logistic) regression, trained by mini-batches from zero weights.

    Parameters
    ----------
    fit_intercept : bool
        Whether the model has biases.
    solver, alpha, batch_size, learning_rate
        As in `MLPClassifier`.
    learning_rate_init : float
        The first step size; by default ten times that of `MLPClassifier`, because the loss is convex.
    power_t, max_iter, shuffle, random_state, tol, verbose
        As in `MLPClassifier`.
    warm_start, momentum, nesterovs_momentum, early_stopping, validation_fraction, beta_1, beta_2, epsilon
        As in `MLPClassifier`.
    n_iter_no_change, class_weight, standardize, n_jobs, dtype, callback
        As in `MLPClassifier`.

    Attributes
    ----------
    coef_ : ndarray, shape (n_classes, n_features), or (1, n_features) for two classes
        The weights.
    intercept_ : ndarray, shape (n_classes,), or (1,) for two classes
        The biases; zeros without `fit_intercept`.
    classes_, n_features_in_, feature_names_in_, n_iter_, t_, loss_, best_loss_, loss_curve_
        As in `MLPClassifier`.
    validation_scores_, best_validation_score_, history_, scale_, shift_, coefs_, intercepts_
        As in `MLPClassifier`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastml.estimators import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxRegression(learning_rate_init=0.1, standardize=True, tol=0.003, random_state=0)
    >>> model.fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints = CONSTRAINTS | {"fit_intercept": ["boolean"]}

    def __init__(
        self,
        *,
        fit_intercept: bool = True,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.01,
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
        self.fit_intercept = fit_intercept
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

    @property
    def coef_(self) -> NDArray[Any]:
        """The weights, (n_classes or 1, n_features)."""
        theta: NDArray[Any] = self.coefs_[0]
        return theta.T

    @property
    def intercept_(self) -> NDArray[Any]:
        """The biases, (n_classes or 1,)."""
        (weights,) = self.coefs_
        return self.intercepts_[0] if self.intercepts_ else np.zeros(weights.shape[1], weights.dtype)

    def decision_function(self, X: Any) -> NDArray[Any]:
        """Return the logits of each row of X.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Examples.

        Returns
        -------
        ndarray, shape (n_samples, n_classes), or (n_samples,) for two classes
            Logits; for two classes only that of the second class, which is above 0 if this class is the more probable.
        """
        check_is_fitted(self)
        X = inputs.check_X(self, X)
        theta, intercept = self.coefs_[0], self.intercept_
        logits = np.empty((len(X), theta.shape[1]), theta.dtype)
        for first in range(0, len(X), LOGITS_ROWS):
            part = slice(first, first + LOGITS_ROWS)
            logits[part] = (self.scale_ * (X[part] - self.shift_)) @ theta + intercept
        return logits[:, 0] if self.n_outputs_ == 1 else logits

    def _has_intercepts(self) -> bool:
        return self.fit_intercept

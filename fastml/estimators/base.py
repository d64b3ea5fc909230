"""The methods of both estimators: fit, partial_fit, predict, save."""

import os
import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from fastml.callbacks import callbacks_of
from fastml.estimators import inputs, start
from fastml.estimators.fitting import Examples, Fit
from fastml.estimators.tasks import CallbackSupportMixin, Tasks, with_callbacks
from fastml.estimators.threads import thread_count, threads
from fastml.history import History
from fastml.models import NETWORK, SOFTMAX_REGRESSION
from fastml.progress import progress_bar
from fastml.verdicts import ModelInput, predictions_of, probabilities_of
from fastml.weights import Weights


def not_here(what: str) -> ValueError:
    """Return the error for a parameter that only scikit-learn's network supports."""
    return ValueError(f"{what}; for others, use scikit-learn's own sklearn.neural_network.MLPClassifier")


class BaseClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):
    """A classifier with scikit-learn's interface.

    Its parameters are in `coefs_` and `intercepts_`. With two classes the last layer has one output, the logit of the
    second class, as in scikit-learn: the first class is then a reference with logit 0 (see `fastml.options`).
    """

    _parameter_constraints: ClassVar[dict[str, Any]]
    classes_: NDArray[Any]

    @with_callbacks
    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: ArrayLike | None = None,
        X_val: Any = None,
        y_val: Any = None,
    ) -> "BaseClassifier":
        """Train until the loss, or with `early_stopping` the validation score, no longer improves.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Examples. uint8, float32 and float64 arrays are read in place, also from a memory map; other arrays and
            sparse matrices are converted a few MB at a time.
        y : array-like, shape (n_samples,)
            Labels: numbers, strings or booleans.
        sample_weight : array-like, shape (n_samples,), optional
            Weights of the examples, finite and at least 0.
        X_val, y_val : array-like, optional
            A validation set of your own. The history then has its losses and errors, and with `early_stopping` the set
            takes the place of examples held out from X.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            If an argument or a parameter is invalid, or if the weights have grown without bound.
        """
        return self._fit(X, y, sample_weight, (X_val, y_val))

    def partial_fit(
        self, X: Any, y: Any, sample_weight: ArrayLike | None = None, classes: ArrayLike | None = None
    ) -> "BaseClassifier":
        """Train for one epoch, and keep the state of the optimizer for the next call.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`.
        classes : array-like, shape (n_classes,), optional
            All classes of all calls; required in the first call.

        Returns
        -------
        self : estimator

        Raises
        ------
        TypeError, ValueError
            As in `fit`; and if the first call has no classes, or a label is none of them.
        """
        if self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if isinstance(self.class_weight, str):
            raise ValueError("class_weight='balanced' needs the labels of all calls; pass a dict to partial_fit")
        classes = inputs.check_all_classes(classes, getattr(self, "classes_", None))
        return self._fit(X, y, sample_weight, (None, None), classes)

    def predict(self, X: Any) -> NDArray[Any]:
        """Return the most probable class of each row of X.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Examples.

        Returns
        -------
        ndarray, shape (n_samples,)
            Labels of the kind that y had.
        """
        given = self._model_input(X)
        with threads(self.n_jobs):
            return self.classes_[predictions_of(given)]

    def predict_proba(self, X: Any) -> NDArray[Any]:
        """Return the probability of each class, in the order of `classes_`, for each row of X.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Examples.

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            Probabilities in the dtype of the weights; each row sums to 1.
        """
        given = self._model_input(X)
        with threads(self.n_jobs):
            return probabilities_of(given)

    def predict_log_proba(self, X: Any) -> NDArray[Any]:
        """Return the logarithm of the probability of each class for each row of X.

        Parameters
        ----------
        X : array-like or sparse matrix, shape (n_samples, n_features)
            Examples.

        Returns
        -------
        ndarray, shape (n_samples, n_classes)
            Logarithms of probabilities; minus infinity for a probability of 0.
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            np.log(probabilities, out=probabilities)
        return probabilities

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the classifier in a file without pickles, for `fastml.load` and the command `fastml`.

        Parameters
        ----------
        path : str or os.PathLike
            The file to write, completely or not at all; its name usually ends in ``.npz``.

        Raises
        ------
        NotFittedError
            If the classifier is not fitted.
        OSError
            If the file cannot be written.
        """
        from fastml.estimators.files import save  # imported here because `files` imports this module

        save(self, path)

    def __sklearn_tags__(self) -> Any:
        """Return scikit-learn's tags of the estimator: it accepts sparse matrices."""
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _check_parameters(self) -> list[int]:
        """Check the parameters; return the number of units of each hidden layer."""
        if self.solver == "lbfgs":
            raise not_here("solver='lbfgs' is not supported, only 'sgd' and 'adam'")
        self._validate_params()
        if self.dtype is not None and np.dtype(self.dtype) not in (np.float32, np.float64):
            raise ValueError(f"dtype must be None, 'float32' or 'float64', got {self.dtype!r}")
        callbacks_of(self.callback)
        thread_count(self.n_jobs)
        return []

    def _has_intercepts(self) -> bool:
        """Return whether the layers have biases."""
        return True

    def _initial_bound(self, inputs: int, outputs: int) -> float:
        """Return the bound of the uniform initial weights and biases of a layer."""
        return 0.0

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, validation: tuple[Any, Any], all_classes: NDArray[Any] | None = None
    ) -> "BaseClassifier":
        """Train: for one epoch if all classes are given, otherwise for up to `max_iter` epochs."""
        units, incremental = self._check_parameters(), all_classes is not None
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        tasks = Tasks(self, {"X": X, "y": y, "metadata": metadata})
        X, y = inputs.check_X_y(self, X, y, reset=first)
        classes = inputs.check_classes(y, None if first else self.classes_, all_classes)
        labels = inputs.encoded(y, classes)
        weights = inputs.weights_of_examples(sample_weight, self.class_weight, labels, classes)
        train, valid = Examples(X, labels, weights), self._check_validation(*validation, classes)
        random = check_random_state(self.random_state)
        if self.early_stopping and valid is None:
            start.check_validation_size(self, train)
        # All is checked: from here on the estimator changes.
        if first:
            self.classes_ = classes
            start.set_initial(self, units, X, random)
        if self.early_stopping and valid is None:
            train, valid = start.held_out(self, train, random)
        if first:
            start.set_transform(self, train)
        start.set_monitors(self)
        history = History(self._weights(), list(self.history_.rows))
        fit = Fit(self, history, train, valid, random)
        tasks.fitted = lambda: self._attributes(history.weights)
        epochs = 1 if incremental else self.max_iter
        with threads(self.n_jobs), progress_bar(shown=bool(self.verbose)) as progress:
            if not incremental:
                tasks.begin_fit(epochs)
            has_ended = fit.run(epochs, start.options_of(self, train.num_examples), tasks, progress)
            tasks.end_fit()
        self.__dict__.update(self._attributes(history.weights), history_=history)
        if not all(np.isfinite(array).all() for array in (*self.coefs_, *self.intercepts_)):
            raise ValueError(
                "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
                "preprocessed."
            )
        if not (has_ended or incremental):
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({epochs}) reached and the optimization hasn't converged "
                "yet.",
                ConvergenceWarning,
                stacklevel=3,
            )
        return self

    def _check_validation(self, X_val: Any, y_val: Any, classes: NDArray[Any]) -> Examples | None:
        """Return the validation set of the caller, or None."""
        if (X_val is None) != (y_val is None):
            given, missing = ("y_val", "X_val") if X_val is None else ("X_val", "y_val")
            raise ValueError(f"{given} is given without {missing}; pass both, or neither")
        if X_val is None:
            return None
        X, y = inputs.check_X_y(self, X_val, y_val, reset=False, names=("X_val", "y_val"))
        return Examples(X, inputs.encoded(y, classes, "y_val"), None)

    def _weights(self) -> Weights:
        """Return copies of the coefficients as weights of two or more classes."""
        coefs, intercepts = [W.copy() for W in self.coefs_], [b.copy() for b in self.intercepts_]
        if self.n_outputs_ == 1:
            coefs[-1] = np.hstack([np.zeros_like(coefs[-1]), coefs[-1]])
            intercepts[-1:] = [np.concatenate([np.zeros_like(b), b]) for b in intercepts[-1:]]
        model = SOFTMAX_REGRESSION if len(coefs) == 1 else NETWORK
        return Weights(coefs, dict(zip(model.bias_names, intercepts, strict=False)), self.scale_, self.shift_)

    def _attributes(self, weights: Weights) -> dict[str, list[NDArray[Any]]]:
        """Return `coefs_` and `intercepts_` of weights."""
        coefs, intercepts = list(weights), list(weights.biases.values())
        if self.n_outputs_ == 1:
            coefs[-1] = coefs[-1][:, 1:].copy()
            intercepts[-1:] = [b[1:].copy() for b in intercepts[-1:]]
        return {"coefs_": coefs, "intercepts_": intercepts}

    def _model_input(self, X: Any) -> ModelInput:
        """Return the model and a checked X."""
        check_is_fitted(self)
        X, weights = inputs.check_X(self, X), self._weights()
        return ModelInput(weights.parameters, X, weights.scale, weights.shift)

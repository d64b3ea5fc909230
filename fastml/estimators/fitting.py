"""One fit of an estimator: epochs with their orders and step sizes, until the loss or a score no longer improves."""

import math
import time
import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml import advice, callbacks
from fastml.arrays import RowSource
from fastml.estimators.tasks import Tasks
from fastml.history import EpochResult, History
from fastml.learner import EpochData, Learner
from fastml.mapping import mapping_of
from fastml.optimizers import Optimizer
from fastml.options import CheckedOptions, Progress
from fastml.orders import epoch_order
from fastml.verdicts import ModelInput, verdicts_of_model

# As in scikit-learn: "adaptive" divides the step size by the first number while it is above the second.
ADAPTIVE_DIVISOR, LEAST_ADAPTIVE = 5.0, 1e-6
# After a fit, the loss of this many examples shows whether raw pixels were the wrong input.
ADVISED_ROWS = 1000


class Examples(NamedTuple):
    """Some rows of X. The labels, as indices of the classes, and the weights, if any, are those of all rows of X."""

    X: RowSource
    labels: NDArray[np.int64]
    weights: NDArray[np.float64] | None
    rows: NDArray[np.int64] | None = None  # None for all

    @property
    def num_examples(self) -> int:
        """The number of examples."""
        return len(self.X) if self.rows is None else len(self.rows)


@dataclass
class State:
    """The state that the next fit of an estimator continues from, beside the weights."""

    optimizer: Optimizer
    step_size: float
    epochs: int = 0  # of all fits
    stalled: int = 0  # how many of the last epochs in a row were no improvement


class Fit:
    """The epochs of one call of `fit` or `partial_fit`.

    The weights of `history` and the `state` change in place. The losses, the scores and the numbers of epochs and
    examples become attributes of the estimator.
    """

    def __init__(self, estimator: Any, history: History, train: Examples, valid: Examples | None, random: Any):
        self.estimator, self.history, self.state = estimator, history, estimator._state
        self.train, self.valid, self.random = train, valid, random
        self.parameters = history.weights.parameters
        self.called = callbacks.callbacks_of(estimator.callback)
        self.best: dict[str, NDArray[Any]] = {}

    def run(self, epochs: int, options: CheckedOptions, tasks: Tasks, progress: Progress | None) -> bool:
        """Train for a number of epochs; return whether the estimator's settings, or a callback, ended the training."""
        estimator, train, state = self.estimator, self.train, self.state
        order = train.rows
        if estimator.shuffle and order is None:
            order = np.arange(len(train.X))
        backgrounds = self.parameters.model.backgrounds_of(train.X, self.parameters.num_classes)
        data = EpochData(train.X, train.labels, order, train.weights)
        learner = Learner(data, self.parameters, options, backgrounds)
        estimator.n_iter_, penalty, has_ended = 0, self.penalty(options.l2), False
        if self.is_stopping_early():
            self.keep_best()
        try:
            for _ in range(epochs):
                tasks.begin_epoch()
                if order is not None and estimator.shuffle:
                    order = next_order(train, order, self.random, state.epochs)
                began = time.perf_counter()
                loss, err = learner.run_pass(order, state.step_size, progress or ignore)
                learner.unpack()
                seconds = time.perf_counter() - began
                before, penalty = penalty, self.penalty(options.l2)
                loss += (before + penalty) / 2 * batches_per_weight(train, order, learner.batch)
                has_ended = self.ends_after(loss, err, seconds, tasks)
                if has_ended:
                    break
        except KeyboardInterrupt:
            has_ended = True
            warnings.warn("Training interrupted by user.", stacklevel=4)
        finally:
            learner.unpack()
        if epochs > 1:
            self.advise()
        for name, best in self.best.items():
            self.parameters.named()[name][...] = best
        callbacks.end(self.called, self.history)
        return has_ended

    def penalty(self, l2: float) -> float:
        """Return l2 / 2 times the sum of the squares of the weights."""
        return 0.5 * l2 * sum(float(np.einsum("ij,ij->", W, W, dtype=np.float64)) for W in self.parameters.weights)

    def is_stopping_early(self) -> bool:
        """Return whether the score on the validation set decides when training ends."""
        return self.estimator.early_stopping and self.valid is not None

    def keep_best(self) -> None:
        """Keep a copy of the weights and biases."""
        self.best = {name: W.copy() for name, W in self.parameters.named().items()}

    def ends_after(self, loss: float, err: float, seconds: float, tasks: Tasks) -> bool:
        """Record the results of an epoch; return whether it is the last."""
        estimator, state = self.estimator, self.state
        valid: tuple[float | None, float | None] = (None, None)
        estimator.n_iter_ += 1
        state.epochs += 1
        estimator.t_ += self.train.num_examples
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        if self.valid is not None:
            valid_loss, score = self.judge(self.valid)
            valid = valid_loss, 1 - score
        if self.is_stopping_early():
            estimator.validation_scores_.append(score)
            if estimator.verbose:
                print(f"Validation score: {score:f}")
            improved = score >= estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                self.keep_best()
        else:
            improved = not loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(loss, estimator.best_loss_)
        state.stalled = 0 if improved else state.stalled + 1
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            state.step_size = estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t
        self.history.rows.append(EpochResult(len(self.history), loss, err, None, None, *valid, seconds))
        asked = callbacks.asks_to_stop(self.called, self.history)
        return tasks.end_epoch() or asked or self.is_stalled() or not math.isfinite(loss)

    def advise(self) -> None:
        """Warn if the model has learned nothing, most likely because of raw pixels."""
        X, labels, _, rows = self.train
        weights, remedy = self.history.weights, "standardize=True, or X divided by {largest}?"
        found = advice.scale_of_raw_pixels(X, weights.scale, weights.shift, remedy=remedy)
        if found is not None:
            sample = np.linspace(0, self.train.num_examples - 1, min(ADVISED_ROWS, self.train.num_examples)).astype(
                np.int64
            )
            sample = sample if rows is None else rows[sample]
            loss, _ = self.judge(Examples(X, labels, None, sample))
            advice.warn_of_raw_pixels(loss, labels[sample], found, "the fit")

    def is_stalled(self) -> bool:
        """Return whether nothing has improved for too many epochs, and no smaller step size is left to be tried."""
        estimator, state = self.estimator, self.state
        if state.stalled <= estimator.n_iter_no_change:
            return False
        what = "Validation score" if self.is_stopping_early() else "Training loss"
        message = f"{what} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change} epochs."
        adaptive = estimator.solver == "sgd" and estimator.learning_rate == "adaptive"
        if adaptive and state.step_size > LEAST_ADAPTIVE:
            state.step_size /= ADAPTIVE_DIVISOR
            state.stalled = 0
            if estimator.verbose:
                print(f"{message} Setting learning rate to {state.step_size:f}")
            return False
        if estimator.verbose:
            print(f"{message} Stopping.")
        return True

    def judge(self, examples: Examples) -> tuple[float, float]:
        """Return the weighted mean loss and the weighted accuracy of the model on examples."""
        weights, rows = self.history.weights, examples.rows
        given = ModelInput(self.parameters, examples.X, weights.scale, weights.shift, rows)
        parts = [verdicts for _, verdicts in verdicts_of_model(given, examples.labels)]
        losses = np.concatenate([verdicts.losses for verdicts in parts])
        predictions = np.concatenate([verdicts.predictions for verdicts in parts])
        labels, of_rows = examples.labels, examples.weights
        if rows is not None:
            labels, of_rows = labels[rows], None if of_rows is None else of_rows[rows]
        loss = np.average(losses.astype(np.float64), weights=of_rows)
        return float(loss), float(np.average(predictions == labels, weights=of_rows))


def ignore(done: int, total: int, loss: float) -> None:
    """Show nothing of the progress of an epoch."""


def next_order(train: Examples, order: NDArray[Any], random: Any, epoch: int) -> NDArray[Any]:
    """Return the order of the next epoch: a permutation as scikit-learn draws it, or blocks of a mapped file."""
    if train.rows is None and mapping_of(train.X) is not None:
        return epoch_order(train.X, random.randint(2**31), epoch)
    # As sklearn.utils.shuffle does, but its checks take as long as an epoch of a few rows.
    places = np.arange(len(order))
    random.shuffle(places)
    return order[places]


def batches_per_weight(train: Examples, order: NDArray[Any] | None, batch: int) -> float:
    """Return the mean over all examples of 1 / (the sum of the weights of its batch)."""
    weights, count = train.weights, train.num_examples
    starts = np.arange(0, count, batch)
    if weights is None:
        return len(starts) / count
    sums = np.add.reduceat(weights if order is None else weights[order], starts)
    rows = np.minimum(batch, count - starts)
    return float((rows / np.where(sums > 0, sums, rows)).sum() / count)

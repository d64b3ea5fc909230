"""A training run: epochs with an evaluation after each. A run can stop between two slices and be resumed."""

import copy
import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from fastml import advice, callbacks, checks
from fastml.callbacks import Callback
from fastml.checkpoints import Checkpoint, CheckpointError, RunState, fingerprint
from fastml.datasets import deform
from fastml.epochs import EpochArguments, run_epoch
from fastml.history import EpochResult, History, table_head
from fastml.kernels.compile import forks
from fastml.mapping import mapping_of
from fastml.models import Parameters
from fastml.options import Progress
from fastml.orders import epoch_order
from fastml.schedules import scheduled_lr
from fastml.settings import CheckedSettings, LabelledSet, describe
from fastml.verdicts import ModelInput, loss_err_of_model
from fastml.weights import Weights

# The time between two checkpoints within an epoch.
CHECKPOINT_SECONDS = 60.0
# Rows that are deformed at a time: 6 MB of MNIST images, enough to make the overhead of a few calls negligible.
DEFORMED_ROWS = 8192
# The rows to hold out are drawn from the seed and this number, which no epoch has.
VALIDATION_SEED = 2**40


# A mean loss and an error, or None for both without a set.
LossErr: TypeAlias = tuple[float | None, float | None]


class CheckpointDue(Exception):
    """Raised between two slices, to end a call of an epoch function when the last checkpoint is a minute old."""


class Run:
    """Trains the weights of a history, in place, and fills its rows.

    `run_epoch` calls `progress` between two slices, and an exception from `progress` interrupts the epoch. The weights
    are then those after a known row. Another call continues from that row, and the result has the same bits.
    """

    def __init__(
        self,
        train_set: LabelledSet,
        test_set: LabelledSet | None,
        weights: Weights,
        settings: CheckedSettings,
        progress: Progress | None,
    ):
        forks.check_not_compiling()
        self.train_set, self.test_set = train_set, test_set
        self.settings, self.progress = settings, progress
        self.state = RunState(History(weights), settings.options.optimizer)
        self.history, self.parameters = self.state.history, weights.parameters
        # The rows to train on and the rows that are held out, both in order; None and None if none are held out.
        self.train_rows, self.valid_rows = held_out(len(train_set.X), settings.validation_fraction, settings.seed)
        self.num_examples = len(train_set.X) if self.train_rows is None else len(self.train_rows)
        # Found once, because all parts of an epoch must have the same backgrounds. NaN is for no background.
        found = self.parameters.model.backgrounds_of(train_set.X, self.parameters.num_classes)
        self.backgrounds = np.full(train_set.X.shape[1], np.nan) if found is None else found
        # The position in the epoch after those in the history: the rows done, and the seconds that they took.
        self.row, self.seconds = 0, 0.0
        # The number of these rows that this process has trained on, and the sum of their losses.
        self.judged, self.losses = 0, 0.0
        self.checkpoint: Checkpoint | None = None
        self.saved_at = time.monotonic()

    @contextmanager
    def kept_in(self, directory: str | os.PathLike[str], resume: bool) -> Iterator[None]:
        """Save the state in a directory while the block runs; with resume, first load a state that is saved there."""
        self.checkpoint = Checkpoint(directory, self.describe(), self.num_examples, self.settings.options.batch)
        with self.checkpoint.held():
            if resume and self.checkpoint.path.exists():
                self.row, self.seconds = self.checkpoint.load(self.state)
                begun = len(self.history) + (self.row > 0)
                if begun > self.settings.epochs:
                    raise CheckpointError(
                        f"{self.checkpoint.path} is in epoch {begun}; epochs must be at least {begun}, "
                        f"got {self.settings.epochs}"
                    )
            else:
                self.checkpoint.begin(self.state)
            yield

    def describe(self) -> dict[str, object]:
        """Return the properties that a resumed run must share with the run that saved the checkpoint."""
        settings = self.settings
        shuffled = "rows" if mapping_of(self.train_set.X) is None else "blocks of a mapped file"
        return {
            "weights of shapes": [list(W.shape) for W in self.parameters.named().values()],
            "biases": list(self.history.weights.biases),
            "training set": fingerprint(*self.train_set),
            "test set": None if self.test_set is None else fingerprint(*self.test_set),
            **describe(settings),
            "shuffle": settings.shuffle and shuffled,
            "deform": settings.deform,
            "validation_fraction": settings.validation_fraction,
            "restore_best": settings.restore_best,
            "min_delta": settings.min_delta,
        }

    def train(self, verbose: bool, called: list[Callback]) -> History:
        """Run the remaining epochs. After each, add a row to the history, print a line and call the callbacks."""
        settings = self.settings
        if verbose:
            print(table_head(self.valid_rows is not None, self.test_set is not None))
        if len(self.history) < settings.epochs:
            self.load_kernels()
        for epoch in range(len(self.history), settings.epochs):
            if self.is_patience_over():
                break
            self.finish_epoch(epoch)
            result = self.evaluate_sets(epoch)
            self.check_losses(result)
            self.history.rows.append(result)
            if settings.restore_best and self.history.epochs_since_best(settings.min_delta) == 0:
                self.state.best = {name: W.copy() for name, W in self.parameters.named().items()}
            self.row, self.seconds = 0, 0.0
            self.judged, self.losses = 0, 0.0
            self.save()
            if verbose:
                print(result, flush=True)
            if epoch == 0:
                advice.warn_of_raw_pixels(result.train_loss, self.train_set.y, self.advice_on_scale())
            if callbacks.asks_to_stop(called, self.history):
                break
        for name, best in self.state.best.items():
            self.parameters.named()[name][...] = best
        callbacks.end(called, self.history)
        return self.history

    def is_patience_over(self) -> bool:
        """Return whether the validation loss has not fallen for more epochs than the patience."""
        patience = self.settings.patience
        return patience is not None and self.history.epochs_since_best(self.settings.min_delta) > patience

    def load_kernels(self) -> None:
        """Compile the kernels of an epoch, or load them from the cache, so that no epoch's seconds include this time.

        This trains copies of the parameters on one example.
        """
        settings, (X, y, weights), parameters = self.settings, self.train_set, self.parameters
        one, order = X[:1], None
        if settings.deform is not None:
            one = deform(X[:1].reshape(-1, *settings.deform), [0], settings.seed).reshape(1, -1)
        elif settings.shuffle or self.train_rows is not None:
            order = np.zeros(1, np.int64)
        copies = Parameters(parameters.model, *copy.deepcopy((parameters.weights, parameters.biases)))
        options = replace(settings.options, optimizer=copy.deepcopy(settings.options.optimizer))
        data = EpochArguments(one, y[:1], order, None if weights is None else weights[:1])
        run_epoch(data, copies, options, None, self.backgrounds)

    def finish_epoch(self, epoch: int) -> None:
        """Run an epoch from self.row to its end; save a checkpoint once a minute."""
        settings, order = self.settings, self.train_rows
        if settings.shuffle:
            order = epoch_order(self.train_set.X, settings.seed, epoch)
            if self.valid_rows is not None:
                trained_on = np.ones(len(order), bool)
                trained_on[self.valid_rows] = False
                order = order[trained_on[order]]
        lr = scheduled_lr(settings.schedule, settings.options.lr, epoch, settings.epochs, settings.warmup_epochs)
        while self.row < self.num_examples:
            with suppress(CheckpointDue):
                self.run_rows(epoch, order, lr)

    def next_rows(self, epoch: int, order: NDArray[Any] | None) -> EpochArguments:
        """Return the next part of an epoch: all remaining rows, or whole batches of deformations."""
        X, y, weights = self.train_set
        if self.settings.deform is None:
            if order is None:
                return EpochArguments(
                    X[self.row :], y[self.row :], None, None if weights is None else weights[self.row :]
                )
            return EpochArguments(X, y, order[self.row :], weights)
        batch = self.settings.options.batch
        stop = min(self.row + max(1, DEFORMED_ROWS // batch) * batch, self.num_examples)
        rows = np.arange(self.row, stop) if order is None else order[self.row : stop]
        images = X.reshape(-1, *self.settings.deform)
        # In epoch e, row i of the n rows of X becomes image number e * n + i of the series that `deform` makes.
        images = deform(images, epoch * len(X) + rows.astype(np.int64), self.settings.seed)
        return EpochArguments(images.reshape(len(rows), -1), y[rows], None, None if weights is None else weights[rows])

    def run_rows(self, epoch: int, order: NDArray[Any] | None, lr: float) -> None:
        """Train on the next part of an epoch. If `progress` raises, save the state and raise the exception again."""
        began = time.perf_counter()
        data = self.next_rows(epoch, order)
        begin, row, reason = self.row, self.row + np.shape(data.X if data.order is None else data.order)[0], None
        judged, losses = self.judged, self.losses

        def after_slice(done: int, _: int, loss: float) -> None:
            nonlocal row, reason
            try:
                self.judged, self.losses = judged + done, losses + done * loss
                if self.progress is not None:
                    self.progress(begin + done, self.num_examples, self.losses / self.judged)
                if self.checkpoint is not None and time.monotonic() - self.saved_at > CHECKPOINT_SECONDS:
                    raise CheckpointDue
            except BaseException as error:
                row, reason = begin + done, error
                raise

        progress = None if self.progress is None and self.checkpoint is None else after_slice
        options = replace(self.settings.options, lr=lr)
        try:
            run_epoch(data, self.parameters, options, progress, self.backgrounds)
        except BaseException as error:
            # Any other exception comes at an unknown row, in a slice or while the weights are unpacked: save nothing.
            if error is not reason:
                raise
            self.row, self.seconds = row, self.seconds + time.perf_counter() - began
            self.save()
            raise
        self.row, self.seconds = row, self.seconds + time.perf_counter() - began

    def evaluate_sets(self, epoch: int) -> EpochResult:
        """Evaluate the model on the sets of the run. If interrupted, save the finished epoch first."""
        try:
            train = self.evaluate(self.train_set, self.train_rows)
            valid: LossErr = (None, None) if self.valid_rows is None else self.evaluate(self.train_set, self.valid_rows)
            test: LossErr = (None, None) if self.test_set is None else self.evaluate(self.test_set, None)
        except BaseException:
            self.save()
            raise
        return EpochResult(epoch, *train, *test, *valid, self.seconds)

    def evaluate(self, labelled: LabelledSet, rows: NDArray[Any] | None) -> tuple[float, float]:
        """Return the loss and the error of the model on rows of a set, or on all."""
        options = self.settings.options
        given = ModelInput(self.parameters, labelled.X, options.scale, options.shift, rows)
        return loss_err_of_model(given, labelled.y, self.progress)

    def check_losses(self, result: EpochResult) -> None:
        """Reject a loss that is not finite; the error names the element of X that caused it, if there is one."""
        train = {"X_tr": self.train_set.X}
        sets = {"training": (result.train_loss, train), "validation": (result.valid_loss, train)}
        if self.test_set is not None:
            sets["test"] = result.test_loss, {"X_te": self.test_set.X}
        for which, (loss, X) in sets.items():
            if loss is not None and not math.isfinite(loss):
                reason = checks.first_not_finite(self.parameters.weights[0].dtype, **X) or (
                    "the weights have grown without bound; a smaller lr may help. "
                    + (self.advice_on_scale() or "X scaled to [0, 1] may help, too")
                )
                raise FloatingPointError(f"the {which} loss is {loss} after epoch {result.epoch}: {reason}")

    def advice_on_scale(self) -> str | None:
        """Return the advice to scale X, or None if the training set does not hold raw pixels without a scale."""
        options = self.settings.options
        return advice.scale_of_raw_pixels(self.train_set.X, options.scale, options.shift, "X_tr")

    def save(self) -> None:
        """Save the state if the run has a checkpoint."""
        if self.checkpoint is not None:
            self.checkpoint.save(self.state, self.row, self.seconds)
            self.saved_at = time.monotonic()


def held_out(count: int, fraction: float, seed: int) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    """Return the rows to train on and the rows that are held out, both in order; None and None if none are."""
    if fraction == 0:
        return None, None
    chosen = np.random.default_rng([seed, VALIDATION_SEED]).permutation(count)
    size = min(max(round(fraction * count), 1), count - 1)
    return np.sort(chosen[size:]), np.sort(chosen[:size])

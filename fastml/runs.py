"""A training run: epochs with an evaluation after each. A run can stop between two slices and be resumed."""

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.checkpoints import Checkpoint, CheckpointError, fingerprint
from fastml.datasets import deform
from fastml.evaluation import evaluate
from fastml.history import TABLE_HEAD, EpochResult, History
from fastml.kernels.compile import forks
from fastml.mapping import mapping_of
from fastml.options import Progress
from fastml.orders import epoch_order
from fastml.schedules import scheduled_lr

# The time between two checkpoints within an epoch.
CHECKPOINT_SECONDS = 60.0
# Rows that are deformed at a time: 6 MB of MNIST images, enough to make the overhead of a few calls negligible.
DEFORMED_ROWS = 8192

Callback = Callable[[History], object]
LabelledSet = tuple[NDArray, NDArray]


class Settings(NamedTuple):
    """Checked settings. With the sets and the initial weights, they determine the result of a run bit for bit."""

    epochs: int
    lr: float
    batch: int
    scale: float
    last_batch: str
    shuffle: bool
    seed: int
    schedule: str
    deform: Sequence[int] | None


class CheckpointDue(Exception):
    """Raised between two slices, to end a call of an epoch function when the last checkpoint is a minute old."""


class Run:
    """Trains the weights of a history, in place, and fills its rows.

    The epoch functions call `progress` between two slices, and an exception from `progress` interrupts the epoch. The
    weights are then those after a known row. Another call continues from that row, and the result has the same bits.
    """

    def __init__(
        self,
        epoch_function: Callable[..., None],
        train_set: LabelledSet,
        test_set: LabelledSet,
        weights: tuple[NDArray, ...],
        settings: Settings,
        progress: Progress | None,
    ):
        forks.check_not_compiling()
        self.epoch_function = epoch_function
        self.train_set, self.test_set = train_set, test_set
        self.num_examples = len(train_set[0])
        self.history = History(weights)
        self.settings, self.progress = settings, progress
        # The position in the epoch after those in the history: the rows done, and the seconds that they took.
        self.row, self.seconds = 0, 0.0
        # The number of these rows that this process has trained on, and the sum of their losses.
        self.judged, self.losses = 0, 0.0
        self.checkpoint: Checkpoint | None = None
        self.saved_at = time.monotonic()

    @contextmanager
    def kept_in(self, directory: str | os.PathLike, resume: bool) -> Iterator[None]:
        """Save the state in a directory while the block runs; with resume, first load the state that is saved there."""
        self.checkpoint = Checkpoint(directory, self.describe(), self.num_examples, self.settings.batch)
        with self.checkpoint.held(make=not resume):
            if resume:
                self.row, self.seconds = self.checkpoint.load(self.history)
                begun = len(self.history) + (self.row > 0)
                if begun > self.settings.epochs:
                    raise CheckpointError(
                        f"{self.checkpoint.path} is in epoch {begun}, beyond the {self.settings.epochs} asked for"
                    )
            else:
                self.checkpoint.begin(self.history)
            yield

    def describe(self) -> dict[str, object]:
        """Return the properties that a resumed run must share with the run that saved the checkpoint."""
        settings = self.settings._asdict()
        # A resumed run may have more epochs, unless the schedule depends on their number.
        epochs = settings.pop("epochs")
        if self.settings.schedule != "constant":
            settings["schedule"] += f" over {epochs} epochs"
        if self.settings.shuffle:
            settings["shuffle"] = "rows" if mapping_of(self.train_set[0]) is None else "blocks of a mapped file"
        return {
            "weights of shapes": [list(W.shape) for W in self.history.weights],
            "training set": fingerprint(*self.train_set),
            "test set": fingerprint(*self.test_set),
            **settings,
        }

    def train(self, verbose: bool, callback: Callback | None) -> History:
        """Run the remaining epochs. After each, add a row to the history, print a line and call the callback."""
        if verbose:
            print(TABLE_HEAD)
        for epoch in range(len(self.history), self.settings.epochs):
            self.finish_epoch(epoch)
            result = EpochResult(epoch, *self.evaluate_sets(), self.seconds)
            self.check_losses(result)
            self.history.rows.append(result)
            self.row, self.seconds = 0, 0.0
            self.judged, self.losses = 0, 0.0
            self.save()
            if verbose:
                print(result, flush=True)
            if callback is not None and callback(self.history):
                break
        return self.history

    def finish_epoch(self, epoch: int) -> None:
        """Run an epoch from self.row to its end; save a checkpoint once a minute."""
        X, _ = self.train_set
        order = epoch_order(X, self.settings.seed, epoch) if self.settings.shuffle else None
        lr = scheduled_lr(self.settings.schedule, self.settings.lr, epoch, self.settings.epochs)
        while self.row < self.num_examples:
            with suppress(CheckpointDue):
                self.run_rows(epoch, order, lr)

    def next_rows(self, epoch: int, order: NDArray | None) -> tuple[NDArray, NDArray, NDArray | None]:
        """Return X, y and order for the next part of an epoch: all remaining rows, or whole batches of deformations."""
        X, y = self.train_set
        if self.settings.deform is None:
            if order is None:
                return X[self.row :], y[self.row :], None
            return X, y, order[self.row :]
        batch = self.settings.batch
        stop = min(self.row + max(1, DEFORMED_ROWS // batch) * batch, self.num_examples)
        rows = np.arange(self.row, stop) if order is None else order[self.row : stop]
        images = X.reshape(-1, *self.settings.deform)
        # In epoch e, row i of the n rows of X becomes image number e * n + i of the series that `deform` makes.
        images = deform(images, epoch * self.num_examples + rows.astype(np.int64), self.settings.seed)
        return images.reshape(len(rows), -1), y[rows], None

    def run_rows(self, epoch: int, order: NDArray | None, lr: float) -> None:
        """Train on the next part of an epoch. If `progress` raises, save the state and raise the exception again."""
        began = time.perf_counter()
        X, y, order = self.next_rows(epoch, order)
        begin, row, reason = self.row, self.row + (len(X) if order is None else len(order)), None
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

        settings = {"scale": self.settings.scale, "last_batch": self.settings.last_batch}
        if self.progress is not None or self.checkpoint is not None:
            settings["progress"] = after_slice
        if order is not None:
            settings["order"] = order
        try:
            self.epoch_function(X, y, *self.history.weights, lr, self.settings.batch, **settings)
        except BaseException as error:
            # Any other exception comes at an unknown row, in a slice or while the weights are unpacked: save nothing.
            if error is not reason:
                raise
            self.row, self.seconds = row, self.seconds + time.perf_counter() - began
            self.save()
            raise
        self.row, self.seconds = row, self.seconds + time.perf_counter() - began

    def evaluate_sets(self) -> tuple[float, float, float, float]:
        """Return train loss, train error, test loss and test error. If interrupted, save the finished epoch first."""
        settings = {"scale": self.settings.scale, "progress": self.progress}
        try:
            train, test = (
                evaluate(*data, *self.history.weights, **settings) for data in (self.train_set, self.test_set)
            )
        except BaseException:
            self.save()
            raise
        return *train, *test

    def check_losses(self, result: EpochResult) -> None:
        """Reject a loss that is not finite; the error names the element of X that caused it, if there is one."""
        sets = {"training": (result.train_loss, {"X_tr": self.train_set[0]})}
        sets["test"] = result.test_loss, {"X_te": self.test_set[0]}
        for which, (loss, X) in sets.items():
            if not math.isfinite(loss):
                reason = checks.first_not_finite(self.history.weights[0].dtype, **X) or (
                    "the weights have grown without bound; a smaller lr (or X scaled to [0, 1]) may help"
                )
                raise FloatingPointError(f"the {which} loss is {loss} after epoch {result.epoch}: {reason}")

    def save(self) -> None:
        """Save the state if the run has a checkpoint."""
        if self.checkpoint is not None:
            self.checkpoint.save(self.history, self.row, self.seconds)
            self.saved_at = time.monotonic()

"""A run: epochs in a row, each with an evaluation after it, that can stop between two slices and go on from there."""

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.checkpoints import Checkpoint, CheckpointError, fingerprint
from fastml.datasets import deform
from fastml.epochs import Progress
from fastml.evaluation import evaluate
from fastml.history import TABLE_HEAD, EpochResult, History
from fastml.mapping import mapping_of
from fastml.orders import epoch_order
from fastml.schedules import scheduled_lr

# Writing one of 1.3 MB takes 3 ms on a fast disk.
CHECKPOINT_SECONDS = 60.0
# Rows that are deformed at a time: 6 MB of MNIST's, in which a few calls of the kernels are nothing.
DEFORMED_ROWS = 8192

Callback = Callable[[History], object]
LabelledSet = tuple[NDArray, NDArray]


class Settings(NamedTuple):
    """What decides, with the sets and the weights at the start, which bits a run ends with; all of it checked."""

    epochs: int
    lr: float
    batch: int
    scale: float
    last_batch: str
    shuffle: bool
    seed: int
    schedule: str
    deform: list[int] | None


class CheckpointDue(Exception):
    """Ends a call of an epoch function between two slices: the last checkpoint is a minute old."""


class Run:
    """Trains the weights of a history, in place, and fills its rows.

    Epochs are interrupted by exceptions out of `progress`, which the epoch functions call between two slices: the
    weights are then those after a known row, and another call goes on there to the same bits.
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
        self.epoch_function = epoch_function
        self.train_set, self.test_set = train_set, test_set
        self.num_examples = len(train_set[0])
        self.history = History(weights)
        self.settings, self.progress = settings, progress
        # Of the epoch after the history's: the rows that are done, and the seconds that they took.
        self.row, self.seconds = 0, 0.0
        # Of these rows: those that this process has trained on, and the sum of their losses.
        self.judged, self.losses = 0, 0.0
        self.checkpoint: Checkpoint | None = None
        self.saved_at = time.monotonic()

    @contextmanager
    def kept_in(self, directory: str | os.PathLike, resume: bool) -> Iterator[None]:
        """Save the state in a directory; with resume, first go back to the state that it holds."""
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
        """Return what a run that goes on from a checkpoint must share with the one that left it."""
        settings = self.settings._asdict()
        # More epochs may follow, unless the schedule has looked at their number.
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
        """Run the epochs that are left, each with a row of history, a line of the table and the callback."""
        if verbose:
            print(TABLE_HEAD)
        for epoch in range(len(self.history), self.settings.epochs):
            self.finish_epoch(epoch)
            result = EpochResult(epoch, *self.evaluate_sets(), self.seconds)
            if not math.isfinite(result.train_loss):
                raise FloatingPointError(
                    f"the training loss is {result.train_loss} after epoch {epoch}: the weights have grown without "
                    f"bound; a smaller lr (or X scaled to [0, 1]) may help"
                )
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
        """Run an epoch from self.row to its end, with a checkpoint once a minute."""
        X, _ = self.train_set
        order = epoch_order(X, self.settings.seed, epoch) if self.settings.shuffle else None
        lr = scheduled_lr(self.settings.schedule, self.settings.lr, epoch, self.settings.epochs)
        while self.row < self.num_examples:
            with suppress(CheckpointDue):
                self.run_rows(epoch, order, lr)

    def next_rows(self, epoch: int, order: NDArray | None) -> tuple[NDArray, NDArray, NDArray | None]:
        """Return X, y and order of what comes next in an epoch: all the rest, or some whole batches of deformations."""
        X, y = self.train_set
        if self.settings.deform is None:
            if order is None:
                return X[self.row :], y[self.row :], None
            return X, y, order[self.row :]
        batch = self.settings.batch
        stop = min(self.row + max(1, DEFORMED_ROWS // batch) * batch, self.num_examples)
        rows = np.arange(self.row, stop) if order is None else order[self.row : stop]
        images = X.reshape(-1, *self.settings.deform)
        # The n rows of epoch e are the images e * n to (e + 1) * n of the series that `deform` makes of them.
        images = deform(images, epoch * self.num_examples + rows.astype(np.int64), self.settings.seed)
        return images.reshape(len(rows), -1), y[rows], None

    def run_rows(self, epoch: int, order: NDArray | None, lr: float) -> None:
        """Train on what comes next until it ends or `progress` raises; then save the state, and raise it again."""
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
            # Any other comes at a moment of its own: in a slice, or while the weights are unpacked.
            if error is not reason:
                raise
            self.row, self.seconds = row, self.seconds + time.perf_counter() - began
            self.save()
            raise
        self.row, self.seconds = row, self.seconds + time.perf_counter() - began

    def evaluate_sets(self) -> tuple[float, float, float, float]:
        """Return train loss, train error, test loss and test error; what interrupts that saves the epoch before it."""
        settings = {"scale": self.settings.scale, "progress": self.progress}
        try:
            train, test = (
                evaluate(*data, *self.history.weights, **settings) for data in (self.train_set, self.test_set)
            )
        except BaseException:
            self.save()
            raise
        return *train, *test

    def save(self) -> None:
        """Save the state if a directory was named for it."""
        if self.checkpoint is not None:
            self.checkpoint.save(self.history, self.row, self.seconds)
            self.saved_at = time.monotonic()

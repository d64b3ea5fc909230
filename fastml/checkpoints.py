"""Checkpoints: one file in a directory holds the complete state of a training run.

A checkpoint is a file of weights (`fastml.weights`) with the state among its settings, so `fastml evaluate` reads it
too. Saving replaces the whole file, so the file always holds the state at one moment.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.files import check_destination, locked_directory, remove_leftovers
from fastml.history import EpochResult, History
from fastml.weights import load_weights, save_weights

FILE_NAME = "checkpoint.npz"
SAMPLED_ROWS = 64


class CheckpointError(ValueError):
    """A checkpoint belongs to another run, or already exists where a new run would be saved."""


class Checkpoint:
    """The file in a directory that holds the state of a run.

    Parameters
    ----------
    directory : str or os.PathLike
        The directory of the file.
    run : dict
        The settings that, with the weights, determine how the run continues: readable names, and values that JSON can
        express.
    num_examples, batch : int
        The number of training examples, and of examples in a batch. An epoch can be interrupted after whole batches.
    """

    def __init__(self, directory: str | os.PathLike, run: dict[str, Any], num_examples: int, batch: int):
        self.path = Path(directory, FILE_NAME)
        self.run = run
        self.num_examples, self.batch = num_examples, batch

    @contextmanager
    def held(self, make: bool) -> Iterator[None]:
        """Lock the directory against other runs; create it first if `make` is true.

        Raises
        ------
        OSError
            If the directory does not exist or cannot be created; BlockingIOError if another run is using it.
        """
        if make:
            self.path.parent.mkdir(exist_ok=True)
        with locked_directory(self.path.parent):
            yield

    def begin(self, history: History) -> None:
        """Save the state before the first epoch; reject a directory that holds a checkpoint or cannot be written.

        Raises
        ------
        CheckpointError
            If there is a checkpoint already: saving would overwrite it.
        OSError
            If the file cannot be written.
        """
        if self.path.exists():
            raise CheckpointError(f"{self.path} is there already: resume it, or take another directory")
        check_destination(self.path)
        self.save(history, 0, 0.0)

    def save(self, history: History, row: int, seconds: float) -> None:
        """Save the history and the position in the epoch after it: the rows done, and the seconds that they took."""
        remove_leftovers(self.path)
        settings = {"run": self.run, "history": history.rows, "row": row, "seconds": seconds}
        save_weights(self.path, history.weights, settings)

    def load(self, history: History) -> tuple[int, float]:
        """Restore the saved weights and rows into a new history; return the row and the seconds that `save` was given.

        Raises
        ------
        WeightsError, CheckpointError
            ValueErrors: if the file is damaged or belongs to another run. The history is then unchanged.
        OSError
            If the file is missing or cannot be read.
        """
        weights, settings = load_weights(self.path)
        if settings.keys() != {"run", "history", "row", "seconds"} or not isinstance(settings["run"], dict):
            raise CheckpointError(f"{self.path} holds weights, but no run to go on with")
        for name, value in self.run.items():
            found = settings["run"].get(name)
            if found != value:
                raise CheckpointError(f"{self.path} is of a run with {name} {found!r:.100}, this one has {value!r}")
        if [(W.shape, W.dtype) for W in weights] != [(W.shape, W.dtype) for W in history.weights]:
            raise CheckpointError(f"{self.path} holds weights of other shapes or dtypes than it says")
        row, seconds = settings["row"], settings["seconds"]
        if not (is_history(settings["history"]) and self.is_position(row) and isinstance(seconds, float)):
            raise CheckpointError(f"{self.path} holds a history or a position that no run comes to")
        for W, saved in zip(history.weights, weights, strict=True):
            W[...] = saved
        history.rows[:] = [EpochResult(*result) for result in settings["history"]]
        return row, seconds

    def is_position(self, row: object) -> bool:
        """Return whether a batch can end after `row` rows of an epoch."""
        if type(row) is not int or not 0 <= row <= self.num_examples:
            return False
        return row == self.num_examples or row % self.batch == 0


def is_history(rows: object) -> bool:
    """Return whether a value loaded from JSON is the list of rows of a `History`."""
    if not isinstance(rows, list):
        return False
    types = [int] + [float] * (len(EpochResult._fields) - 1)
    return all(
        isinstance(row, list) and [type(value) for value in row] == types and row[0] == epoch and row[-1] > 0
        for epoch, row in enumerate(rows)
    )


def fingerprint(X: NDArray, y: NDArray) -> str:
    """Return the shape and dtype of X, with a digest of all labels and of some rows spread evenly over X."""
    digest = hashlib.sha256(np.ascontiguousarray(y))
    for row in np.linspace(0, len(X) - 1, min(SAMPLED_ROWS, len(X))).astype(np.int64):
        digest.update(np.ascontiguousarray(X[row]))
    return f"{X.shape[0]} x {X.shape[1]} {X.dtype.str}, digest {digest.hexdigest()[:16]}"

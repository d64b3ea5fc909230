"""Checkpoints: the state of a run in one file of a directory, always the whole of one moment.

It is a file of weights (`fastml.weights`) with the state among its settings, so `fastml evaluate` takes it too.
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
    """A checkpoint is not of the run that it is to go on with, or is in the way of another."""


class Checkpoint:
    """The file that keeps a run in a directory.

    Parameters
    ----------
    directory : str or os.PathLike
        Where it lies.
    run : dict
        What decides, with the weights, how the run goes on: names that people understand, with what JSON can express.
    num_examples, batch : int
        Where an epoch can be broken off: after whole batches.
    """

    def __init__(self, directory: str | os.PathLike, run: dict[str, Any], num_examples: int, batch: int):
        self.path = Path(directory, FILE_NAME)
        self.run = run
        self.num_examples, self.batch = num_examples, batch

    @contextmanager
    def held(self, make: bool) -> Iterator[None]:
        """Keep other runs out of the directory, and make it if need be.

        Raises
        ------
        OSError
            If there is no such directory; BlockingIOError if another run is kept in it now.
        """
        if make:
            self.path.parent.mkdir(exist_ok=True)
        with locked_directory(self.path.parent):
            yield

    def begin(self, history: History) -> None:
        """Save the state before the first epoch; refuse a directory that holds a checkpoint or can't take one.

        Raises
        ------
        CheckpointError
            If there is a checkpoint: it would be lost.
        OSError
            If the file cannot be written.
        """
        if self.path.exists():
            raise CheckpointError(f"{self.path} is there already: resume it, or take another directory")
        check_destination(self.path)
        self.save(history, 0, 0.0)

    def save(self, history: History, row: int, seconds: float) -> None:
        """Save the state: the rows of the epoch after the history's that are done, and the seconds that they took."""
        remove_leftovers(self.path)
        settings = {"run": self.run, "history": history.rows, "row": row, "seconds": seconds}
        save_weights(self.path, history.weights, settings)

    def load(self, history: History) -> tuple[int, float]:
        """Set the weights and the rows of a new history to the saved ones; return row and seconds as `save` took them.

        Raises
        ------
        WeightsError, CheckpointError
            ValueErrors: if the file is damaged, or of another run. The history is as it was.
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
        """Tell whether a batch can end after that many rows of an epoch."""
        if type(row) is not int or not 0 <= row <= self.num_examples:
            return False
        return row == self.num_examples or row % self.batch == 0


def is_history(rows: object) -> bool:
    """Tell whether rows, as JSON has them, are those of a `History`."""
    if not isinstance(rows, list):
        return False
    types = [int] + [float] * (len(EpochResult._fields) - 1)
    return all(
        isinstance(row, list) and [type(value) for value in row] == types and row[0] == epoch and row[-1] > 0
        for epoch, row in enumerate(rows)
    )


def fingerprint(X: NDArray, y: NDArray) -> str:
    """Return the shape and dtype of a set, with a digest of all of its labels and of rows spread over all of X."""
    digest = hashlib.sha256(np.ascontiguousarray(y))
    for row in np.linspace(0, len(X) - 1, min(SAMPLED_ROWS, len(X))).astype(np.int64):
        digest.update(np.ascontiguousarray(X[row]))
    return f"{X.shape[0]} x {X.shape[1]} {X.dtype.str}, digest {digest.hexdigest()[:16]}"

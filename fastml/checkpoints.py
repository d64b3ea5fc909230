"""Checkpoints: one file in a directory holds the complete state of a training run.

A checkpoint is a file of weights (`fastml.weights`) with the state among its settings, so `fastml evaluate` reads it
too. Saving replaces the whole file, so the file always holds the state at one moment.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.files import check_destination, locked_directory, remove_leftovers
from fastml.history import EpochResult, History
from fastml.optimizers import Optimizer
from fastml.weights import arrays_of, load_arrays, save_arrays

FILE_NAME = "checkpoint.npz"
SAMPLED_ROWS = 64


class CheckpointError(ValueError):
    """A checkpoint belongs to another run, or already exists where a new run would be saved."""


@dataclass
class RunState:
    """The parts of a run that change while it trains, except its position in an epoch."""

    history: History
    optimizer: Optimizer
    best: dict[str, NDArray[Any]] = field(default_factory=dict)  # with restore_best, copies of the best epoch's arrays


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

    def __init__(self, directory: str | os.PathLike[str], run: dict[str, Any], num_examples: int, batch: int):
        self.path = Path(directory, FILE_NAME)
        self.run = run
        self.num_examples, self.batch = num_examples, batch

    @contextmanager
    def held(self) -> Iterator[None]:
        """Lock the directory against other runs; create it first if it is missing.

        Raises
        ------
        OSError
            If the directory cannot be created; BlockingIOError if another run is using it.
        """
        self.path.parent.mkdir(exist_ok=True)
        with locked_directory(self.path.parent):
            yield

    def begin(self, state: RunState) -> None:
        """Save the state before the first epoch; reject a directory that holds a checkpoint or cannot be written.

        Raises
        ------
        CheckpointError
            If there is a checkpoint already: saving would overwrite it.
        OSError
            If the file cannot be written.
        """
        if self.path.exists():
            raise CheckpointError(f"{self.path} exists already: resume this run, or choose another directory")
        check_destination(self.path)
        self.save(state, 0, 0.0)

    def save(self, state: RunState, row: int, seconds: float) -> None:
        """Save a run and the position in the epoch after its history: the rows done, and the seconds that they took."""
        remove_leftovers(self.path)
        settings = {"run": self.run, "history": state.history.rows, "row": row, "seconds": seconds}
        settings["steps"] = int(state.optimizer.steps[0])
        arrays = arrays_of(state.history.weights)
        arrays |= {f"best.{name}": array for name, array in state.best.items()}
        for name, of_name in state.optimizer.state.items():
            arrays |= {f"state.{name}.{key}": array for key, array in of_name.items()}
        save_arrays(self.path, arrays, settings)

    def load(self, state: RunState) -> tuple[int, float]:
        """Restore the saved state into a new run; return the row and the seconds that `save` was given.

        Raises
        ------
        WeightsError, CheckpointError
            ValueErrors: if the file is damaged or belongs to another run. The run is then unchanged.
        OSError
            If the file is missing or cannot be read.
        """
        weights, others, settings = load_arrays(self.path, ("best.", "state."))
        if settings.keys() != {"run", "history", "row", "seconds", "steps"} or not isinstance(settings["run"], dict):
            raise CheckpointError(f"{self.path} holds weights, but no run to resume")
        for name, value in self.run.items():
            found = settings["run"].get(name)
            if found != value:
                raise CheckpointError(f"{self.path} is of a run with {name} {found!r:.100}, this one has {value!r}")
        saved, named = weights.parameters.named(), state.history.weights.parameters.named()
        if {name: (W.shape, W.dtype) for name, W in saved.items()} != {
            name: (W.shape, W.dtype) for name, W in named.items()
        }:
            raise CheckpointError(f"{self.path} holds weights of other shapes or dtypes than its settings say")
        row, seconds, steps = settings["row"], settings["seconds"], settings["steps"]
        if not (is_history(settings["history"]) and self.is_position(row) and isinstance(seconds, float)):
            raise CheckpointError(f"{self.path} holds a history or a position that no run can reach")
        restored: dict[str, dict[str, NDArray[Any]]] = {}
        best: dict[str, NDArray[Any]] = {}
        for name, array in others.items():
            kind, _, of = name.partition(".")
            if kind == "best" and of in named and array.shape == named[of].shape:
                best[of] = array
            elif kind == "state":
                of, _, key = of.partition(".")
                restored.setdefault(of, {})[key] = array
        try:
            replace(state.optimizer, state=restored).check_state(named)
            if type(steps) is not int or not 0 <= steps < 2**63:
                raise ValueError(f"it claims {steps!r} steps")
        except ValueError as error:
            raise CheckpointError(
                f"{self.path} holds a state of the optimizer that no run can reach: {error}"
            ) from error
        for name, W in named.items():
            W[...] = saved[name]
        state.optimizer.state, state.optimizer.steps[0], state.best = restored, steps, best
        state.history.rows[:] = [EpochResult(*result) for result in settings["history"]]
        return row, seconds

    def is_position(self, row: object) -> bool:
        """Return whether a batch can end after `row` rows of an epoch."""
        if type(row) is not int or not 0 <= row <= self.num_examples:
            return False
        return row == self.num_examples or row % self.batch == 0


def is_history(rows: object) -> bool:
    """Return whether a value loaded from JSON is the list of rows of a `History`."""
    if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 8 for row in rows):
        return False
    return all(
        type(row[0]) is int
        and row[0] == epoch
        and all(type(row[i]) is float for i in (1, 2, 7))
        and all(row[i] is None or type(row[i]) is float for i in range(3, 7))
        and row[7] > 0
        for epoch, row in enumerate(rows)
    )


def fingerprint(X: NDArray[Any], y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> str:
    """Return the shape and dtype of X, with a digest of all labels and weights and of some rows spread over X."""
    digest = hashlib.sha256(np.ascontiguousarray(y).data)
    if sample_weight is not None:
        digest.update(np.ascontiguousarray(sample_weight).data)
    for row in np.linspace(0, len(X) - 1, min(SAMPLED_ROWS, len(X))).astype(np.int64):
        digest.update(np.ascontiguousarray(X[row]).data)
    return f"{X.shape[0]} x {X.shape[1]} {X.dtype.str}, digest {digest.hexdigest()[:16]}"

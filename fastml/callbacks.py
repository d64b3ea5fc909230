"""Callbacks of the training functions and the estimators: called with the history after each epoch.

A callback returns a true value to end the training. A method `end` of a callback is called with the history when the
training is over.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

from fastml import scalars
from fastml.history import EpochResult, History

Callback = Callable[[History], object]

MONITORS = tuple(name for name in EpochResult._fields if name.endswith(("_loss", "_err")))


@dataclass
class EarlyStopping:
    """Ends the training when a loss or an error has not fallen for some epochs.

    For the validation loss, the training functions have parameters of their own: `patience`, `min_delta` and
    `restore_best`. These also work across an interruption, because a checkpoint keeps the best weights.

    Parameters
    ----------
    monitor : str
        A column of the history: "train_loss", "train_err", "test_loss", "test_err", "valid_loss" or "valid_err".
    patience : int
        Training ends after more than this many epochs in a row without a better value.
    min_delta : float
        A value is better if it is lower than the best before by more than this.
    restore_best : bool
        Whether the weights become those after the best epoch, when the training is over.

    Raises
    ------
    TypeError, ValueError
        If a parameter is invalid, or, after the first epoch, if the history does not have the column.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import train_softmax
    >>> from fastml.callbacks import EarlyStopping
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> stopping = EarlyStopping("train_err", patience=2)
    >>> len(train_softmax(X, y, epochs=50, batch=3, verbose=False, callback=stopping))
    4
    """

    monitor: str = "valid_loss"
    patience: int = 10
    min_delta: float = 0.0
    restore_best: bool = False
    best: list[NDArray[Any]] = field(default_factory=list, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the parameters."""
        self.monitor = scalars.check_choice("monitor", self.monitor, MONITORS)
        self.patience = scalars.check_integer("patience", self.patience, minimum=0)
        self.min_delta = scalars.check_at_least("min_delta", self.min_delta, 0.0)
        self.restore_best = scalars.check_flag("restore_best", self.restore_best)

    def __call__(self, history: History) -> bool:
        """Return whether the training should end; keep a copy of the weights after the best epoch."""
        if getattr(history[-1], self.monitor) is None:
            found = ", ".join(name for name in MONITORS if getattr(history[-1], name) is not None)
            raise ValueError(f"monitor must be a column of the history, {found}, got {self.monitor!r}")
        since = history.epochs_since_best(self.min_delta, self.monitor)
        if self.restore_best and since == 0:
            self.best = [W.copy() for W in history.weights.parameters.named().values()]
        return since > self.patience

    def end(self, history: History) -> None:
        """Write the best weights to the history."""
        for W, best in zip(history.weights.parameters.named().values(), self.best, strict=False):
            W[...] = best
        self.best = []


def callbacks_of(callback: Callback | Iterable[Callback] | None) -> list[Callback]:
    """Return a list of the callbacks in an argument: one, some or none."""
    if callback is None:
        return []
    callbacks = [callback] if callable(callback) or not isinstance(callback, Iterable) else list(callback)
    for each in callbacks:
        if not callable(each):
            raise TypeError(f"callback must be a function of the history, or an iterable of them, got {each!r:.80}")
    return callbacks


def asks_to_stop(callbacks: list[Callback], history: History) -> bool:
    """Call all callbacks; return whether one of them returns a true value, to end the training."""
    answers = [bool(callback(history)) for callback in callbacks]
    return any(answers)


def end(callbacks: list[Callback], history: History) -> None:
    """Call the methods `end` of the callbacks when the training is over."""
    for callback in callbacks:
        if hasattr(callback, "end"):
            callback.end(history)

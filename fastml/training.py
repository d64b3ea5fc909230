"""Epochs in a row: train a model on a training set, watch it on a test set, return the weights and the history."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.epochs import Progress, nn_epoch, softmax_regression_epoch
from fastml.evaluation import evaluate

TABLE_HEAD = "| Epoch | Train Loss | Train Err | Test Loss | Test Err |"


class EpochResult(NamedTuple):
    """One row of a `History`: losses in nats, errors in [0, 1], seconds of the epoch itself (not its evaluation)."""

    epoch: int
    train_loss: float
    train_err: float
    test_loss: float
    test_err: float
    seconds: float

    def __str__(self) -> str:
        """Return the row of hw0's table."""
        return (
            f"|  {self.epoch:>4} |    {self.train_loss:.5f} |   {self.train_err:.5f} |"
            f"   {self.test_loss:.5f} |  {self.test_err:.5f} |"
        )


@dataclass
class History:
    """What a training run leaves: the weights and one `EpochResult` an epoch.

    Attributes
    ----------
    weights : tuple of ndarray
        ``(theta,)`` or ``(W1, W2)``, as after the last epoch.
    rows : list of EpochResult
        One for each epoch that was finished.
    """

    weights: tuple[NDArray, ...]
    rows: list[EpochResult] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.rows)

    def __getitem__(self, index: int) -> EpochResult:
        """Return the row of an epoch; -1 is the last."""
        return self.rows[index]


Callback = Callable[[History], object]


def train_softmax(
    X_tr: ArrayLike,
    y_tr: ArrayLike,
    X_te: ArrayLike,
    y_te: ArrayLike,
    epochs: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    cpp: bool = False,
    *,
    scale: float = 1.0,
    last_batch: str = "nominal",
    verbose: bool = True,
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> History:
    """Train softmax regression from zero weights in float32 and print a table of losses and errors, a row an epoch.

    Parameters
    ----------
    X_tr, X_te : array_like, shape (num_examples, input_dim)
        Training and test examples, as `softmax_regression_epoch` takes them.
    y_tr, y_te : array_like of integers, shape (num_examples,)
        Labels; ``y_tr.max() + 1`` is the number of classes.
    epochs : int
        How many epochs, at least 0.
    lr, batch, scale, last_batch, progress
        As in `softmax_regression_epoch`.
    cpp : bool
        Accepted because hw0 has it, for its choice between NumPy and C++; the kernels are the same either way.
    verbose : bool
        Whether to print the table.
    callback : callable, optional
        Called as ``callback(history)`` after each epoch; training ends early when it returns a true value.

    Returns
    -------
    History
        Weights ``(theta,)`` and a row for each epoch.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above.
    FloatingPointError
        When the training loss is no longer finite after an epoch.

    References
    ----------
    Homework 0 of CMU 10-714, *Deep Learning Systems*, whose functions and table these are.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import train_softmax
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> history = train_softmax(X, y, X, y, epochs=2, batch=3)
    | Epoch | Train Loss | Train Err | Test Loss | Test Err |
    |     0 |    0.99064 |   0.00000 |   0.99064 |  0.00000 |
    |     1 |    0.89476 |   0.00000 |   0.89476 |  0.00000 |
    """
    input_dim, num_classes = check_sets(X_tr, y_tr, X_te, y_te)
    theta = np.zeros((input_dim, num_classes), np.float32)
    settings = {"scale": scale, "last_batch": last_batch, "progress": progress}
    run_epoch = partial(softmax_regression_epoch, X_tr, y_tr, theta, lr, batch, **settings)
    run_evaluate = partial(evaluate_sets, (X_tr, y_tr), (X_te, y_te), theta, scale=scale)
    return train(History((theta,)), run_epoch, run_evaluate, epochs, verbose, callback)


def train_nn(
    X_tr: ArrayLike,
    y_tr: ArrayLike,
    X_te: ArrayLike,
    y_te: ArrayLike,
    hidden_dim: int = 500,
    epochs: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    *,
    scale: float = 1.0,
    last_batch: str = "nominal",
    seed: int = 0,
    verbose: bool = True,
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> History:
    """Train the two-layer ReLU network in float32 and print a table of losses and errors, a row an epoch.

    Parameters
    ----------
    X_tr, y_tr, X_te, y_te, epochs, lr, batch, scale, last_batch, verbose, callback, progress
        As in `train_softmax`.
    hidden_dim : int
        Hidden units, at least 1.
    seed : int
        Seed of the initial weights, drawn as hw0 draws them after ``np.random.seed(seed)``; NumPy's global generator
        is left alone.

    Returns
    -------
    History
        Weights ``(W1, W2)`` and a row for each epoch.

    Raises
    ------
    TypeError, ValueError
        For an argument that is not as above.
    FloatingPointError
        When the training loss is no longer finite after an epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import train_nn
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> history = train_nn(X, y, X, y, hidden_dim=8, epochs=50, batch=3, verbose=False)
    >>> history[-1].test_err
    0.0
    >>> [W.shape for W in history.weights]
    [(3, 8), (8, 3)]
    """
    input_dim, num_classes = check_sets(X_tr, y_tr, X_te, y_te)
    W1, W2 = initial_weights(input_dim, checks.check_integer("hidden_dim", hidden_dim, minimum=1), num_classes, seed)
    settings = {"scale": scale, "last_batch": last_batch, "progress": progress}
    run_epoch = partial(nn_epoch, X_tr, y_tr, W1, W2, lr, batch, **settings)
    run_evaluate = partial(evaluate_sets, (X_tr, y_tr), (X_te, y_te), W1, W2, scale=scale)
    return train(History((W1, W2)), run_epoch, run_evaluate, epochs, verbose, callback)


def initial_weights(input_dim: int, hidden_dim: int, num_classes: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return hw0's random W1 and W2 in float32: standard normal over the root of each layer's number of outputs."""
    seed = checks.check_integer("seed", seed, minimum=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")
    # RandomState, not the newer Generator: hw0's published numbers come from its stream.
    random = np.random.RandomState(seed)
    W1 = random.randn(input_dim, hidden_dim).astype(np.float32) / np.float32(np.sqrt(hidden_dim))
    W2 = random.randn(hidden_dim, num_classes).astype(np.float32) / np.float32(np.sqrt(num_classes))
    return W1, W2


def check_sets(X_tr: ArrayLike, y_tr: ArrayLike, X_te: ArrayLike, y_te: ArrayLike) -> tuple[int, int]:
    """Return input_dim and num_classes after the checks that need no weights."""
    X = checks.check_features(X_tr)
    checks.check_examples(X)
    y = checks.as_array("y_tr", y_tr)
    checks.check_labels(y, X.shape[0], np.iinfo(np.int32).max, name="y_tr")
    num_classes = int(y.max()) + 1
    test = checks.check_features(X_te, X.shape[1])
    checks.check_examples(test)
    checks.check_labels(y_te, test.shape[0], num_classes, name="y_te")
    return X.shape[1], num_classes


def evaluate_sets(train_set, test_set, *weights: NDArray, scale: float) -> tuple[float, float, float, float]:
    """Return train loss, train error, test loss and test error."""
    return *evaluate(*train_set, *weights, scale=scale), *evaluate(*test_set, *weights, scale=scale)


def train(
    history: History,
    run_epoch: Callable[[], None],
    run_evaluate: Callable[[], tuple[float, float, float, float]],
    epochs: int,
    verbose: bool,
    callback: Callback | None,
) -> History:
    """Run epochs, each followed by an evaluation, a row of history, a line of the table and the callback."""
    epochs = checks.check_integer("epochs", epochs, minimum=0)
    if verbose:
        print(TABLE_HEAD)
    for epoch in range(epochs):
        began = time.perf_counter()
        run_epoch()
        seconds = time.perf_counter() - began
        history.rows.append(EpochResult(epoch, *run_evaluate(), seconds))
        if not math.isfinite(history[-1].train_loss):
            raise FloatingPointError(
                f"the training loss is {history[-1].train_loss} after epoch {epoch}: the weights have grown without "
                f"bound; a smaller lr (or X scaled to [0, 1]) may help"
            )
        if verbose:
            print(history[-1], flush=True)
        if callback is not None and callback(history):
            break
    return history

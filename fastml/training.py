"""The training functions: train a model from its initial weights, and evaluate it after each epoch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, Protocol

from numpy.typing import ArrayLike, NDArray

from fastml import scalars
from fastml.callbacks import Callback, callbacks_of
from fastml.history import History
from fastml.models import NETWORK, SOFTMAX_REGRESSION
from fastml.optimizers import Optimizer
from fastml.options import LastBatch, Options, Progress
from fastml.preparation import ClassWeight, StartWeights, TrainingData, prepare
from fastml.progress import progress_bar
from fastml.runs import Run
from fastml.schedules import Schedule
from fastml.settings import Settings


def train_softmax(
    X_tr: ArrayLike,
    y_tr: ArrayLike,
    X_te: ArrayLike | None = None,
    y_te: ArrayLike | None = None,
    epochs: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    cpp: bool = False,
    *,
    weights: Sequence[NDArray[Any]] | None = None,
    bias: bool = False,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    standardize: bool = False,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    schedule: Schedule = "constant",
    warmup_epochs: int = 0,
    shuffle: bool = False,
    seed: int = 0,
    deform: Sequence[int] | None = None,
    validation_fraction: float = 0.0,
    patience: int | None = None,
    min_delta: float = 0.0,
    restore_best: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | Iterable[Callback] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train softmax regression, from zero weights in float32, and print losses and errors after each epoch.

    Parameters
    ----------
    X_tr, X_te : array_like, shape (num_examples, input_dim)
        Training and test examples, as `softmax_regression_epoch` takes them. Without a test set the table has no
        columns for one.
    y_tr, y_te : array_like of integers, shape (num_examples,)
        Labels; ``y_tr.max() + 1`` is the number of classes.
    epochs : int
        Number of epochs, at least 0.
    lr, batch, scale, shift, sample_weight, l2, optimizer, last_batch
        As in `softmax_regression_epoch`. The optimizer holds its state afterwards.
    cpp : bool
        Ignored. hw0 uses this parameter to choose between NumPy and C++.
    weights : Weights or sequence of ndarray, optional
        Weights to continue from, such as those of an earlier `History` or of a file. They are copied. Their biases are
        trained as well, and their scale and shift are used.
    bias : bool
        Whether the model has biases; they begin at 0.
    standardize : bool
        Whether to compute the mean and the deviation of each feature of the training examples first, and to train on
        ``(X - mean) / deviation``; a constant feature has deviation 1. The weights carry them as shift and scale.
    class_weight : dict of int to float, or "balanced", optional
        Weights of the classes, which multiply those of their examples. Labels that a dict leaves out have weight 1.
        "balanced" is ``num_examples / (classes * examples of the class)``.
    schedule : {"constant", "step", "cosine"} or callable
        How the step size changes from epoch to epoch: see `fastml.schedules.scheduled_lr`.
    warmup_epochs : int
        Epochs in which the step size rises before the schedule begins.
    shuffle : bool
        Whether each epoch visits the rows in a new random order, drawn from seed and the number of the epoch: see
        `fastml.orders.epoch_order`.
    seed : int
        In [0, 2**32).
    deform : (int, int), optional
        Rows and columns of the images in X_tr, which must be uint8. Each epoch then trains on new deformations of the
        images, made as they are needed (see `fastml.datasets.deform`). The history has the losses and errors of the
        original images.
    validation_fraction : float
        In [0, 1). This part of the training examples, drawn from seed, is held out, and evaluated after each epoch.
    patience : int, optional
        Training ends after more than this many epochs in a row without a better validation loss.
    min_delta : float
        A validation loss is better if it is lower than the best before by more than this.
    restore_best : bool
        Whether to return the weights after the epoch with the best validation loss.
    checkpoint : str or os.PathLike, optional
        A directory for the state of the run; it is created if it is missing. The state is saved in one file: at the
        start, after each epoch, once a minute within an epoch, and when `progress` raises. A killed process loses at
        most about one minute of training.
    resume : bool
        Whether to continue from the state in checkpoint; without a state, a new run starts. The result has the same
        bits as that of an uninterrupted run. The sets and the settings must be the same, except epochs if the schedule
        is constant.
    verbose : bool
        Whether to print the table, with a row for each epoch that this call finishes, and to show a bar for an epoch
        longer than half a second, in a terminal or a notebook (requires tqdm).
    callback : callable or iterable of callables, optional
        Called as ``callback(history)`` after each epoch; training ends early when one returns a true value. See
        `fastml.callbacks`.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice, of about 50 ms, of an epoch or of the
        evaluation of a set after it; loss is the mean loss so far, as in the epoch functions and `evaluate`.

    Returns
    -------
    History
        Weights ``(theta,)``, with their bias, scale and shift, and a row for each epoch.

    Raises
    ------
    TypeError, ValueError
        If an argument is invalid.
    CheckpointError, WeightsError
        ValueErrors: if checkpoint holds a run and resume is false, or if it holds another run or a damaged file.
    OSError
        If checkpoint can't be read or written.
    FloatingPointError
        When the training or the test loss is not finite after an epoch. The error names the first element of X that
        is not finite, or says that the weights have grown without bound.

    Notes
    -----
    An exception that ends the training, such as KeyboardInterrupt, has an attribute `history`: the weights after the
    last whole batch, and a row for each finished epoch.

    References
    ----------
    Homework 0 (hw0) of CMU 10-714, *Deep Learning Systems*: the origin of this function and its table.

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
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    stopping = validation_fraction, patience, min_delta, restore_best
    settings = Settings(epochs, options, shuffle, seed, schedule, warmup_epochs, deform, *stopping)
    data = TrainingData(X_tr, y_tr, X_te, y_te, sample_weight, class_weight, standardize)
    run = Run(*prepare(SOFTMAX_REGRESSION, data, StartWeights(weights, bias), settings), progress)
    return train(run, checkpoint, resume, verbose, callback)


def train_nn(
    X_tr: ArrayLike,
    y_tr: ArrayLike,
    X_te: ArrayLike | None = None,
    y_te: ArrayLike | None = None,
    hidden_dim: int = 500,
    epochs: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    *,
    weights: Sequence[NDArray[Any]] | None = None,
    bias: bool = False,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    standardize: bool = False,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight | None = None,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    schedule: Schedule = "constant",
    warmup_epochs: int = 0,
    shuffle: bool = False,
    seed: int = 0,
    deform: Sequence[int] | None = None,
    validation_fraction: float = 0.0,
    patience: int | None = None,
    min_delta: float = 0.0,
    restore_best: bool = False,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | Iterable[Callback] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train the two-layer ReLU network in float32 and print losses and errors after each epoch.

    Parameters
    ----------
    X_tr, y_tr, X_te, y_te, epochs, lr, batch
        As in `train_softmax`.
    hidden_dim : int
        Number of hidden units, at least 1. Ignored with `weights`, which have their own number.
    weights, bias, scale, shift, standardize, sample_weight, class_weight, l2, optimizer, last_batch
        As in `train_softmax`.
    schedule, warmup_epochs, shuffle, validation_fraction, patience, min_delta, restore_best
        As in `train_softmax`.
    seed : int
        As in `train_softmax`, and the seed of the initial weights. They equal the weights that hw0 draws after
        ``np.random.seed(seed)``; NumPy's global generator is not changed.
    deform, checkpoint, resume, verbose, callback, progress
        As in `train_softmax`.

    Returns
    -------
    History
        Weights ``(W1, W2)``, with their biases, scale and shift, and a row for each epoch.

    Raises
    ------
    TypeError, ValueError, OSError, FloatingPointError
        As in `train_softmax`.

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
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    stopping = validation_fraction, patience, min_delta, restore_best
    settings = Settings(epochs, options, shuffle, seed, schedule, warmup_epochs, deform, *stopping)
    data = TrainingData(X_tr, y_tr, X_te, y_te, sample_weight, class_weight, standardize)
    run = Run(*prepare(NETWORK, data, StartWeights(weights, bias, hidden_dim), settings), progress)
    return train(run, checkpoint, resume, verbose, callback)


class Resumable(Protocol):
    """What `train` runs: a `Run`, or the rounds of `fastml.dask`."""

    history: History
    progress: Progress | None

    def kept_in(self, directory: str | os.PathLike[str], resume: bool) -> AbstractContextManager[None]:
        """Save the state in a directory while the block runs; with resume, first load the saved state."""

    def train(self, verbose: bool, called: list[Callback]) -> History:
        """Run the remaining epochs or rounds, and call the callbacks."""


@contextmanager
def leaving(history: History) -> Iterator[None]:
    """Set the attribute `history` of an exception that ends the block."""
    try:
        yield
    except BaseException as error:
        vars(error)["history"] = history
        raise


def train(
    run: Resumable,
    checkpoint: str | os.PathLike[str] | None,
    resume: bool,
    verbose: bool,
    callback: Callback | Iterable[Callback] | None,
) -> History:
    """Train; save the state of the run in the directory checkpoint unless it is None."""
    resume, called = scalars.check_flag("resume", resume), callbacks_of(callback)
    if resume and checkpoint is None:
        raise ValueError("resume needs checkpoint, the directory that the run is kept in")
    with ExitStack() as stack:
        stack.enter_context(leaving(run.history))
        if verbose and run.progress is None:
            run.progress = stack.enter_context(progress_bar())
        if checkpoint is not None:
            stack.enter_context(run.kept_in(checkpoint, resume))
        return run.train(verbose, called)

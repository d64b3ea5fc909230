"""The training functions: train a model from its initial weights, and evaluate it after each epoch on both sets."""

import math
import os
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.datasets.kernels.deformation import MOST_PIXELS
from fastml.epochs import nn_epoch, softmax_regression_epoch
from fastml.history import History
from fastml.options import Options, Progress
from fastml.runs import Callback, LabelledSet, Run, Settings
from fastml.schedules import SCHEDULES


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
    schedule: str = "constant",
    shuffle: bool = False,
    seed: int = 0,
    deform: Sequence[int] | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> History:
    """Train softmax regression from zero weights in float32 and print losses and errors after each epoch.

    Parameters
    ----------
    X_tr, X_te : array_like, shape (num_examples, input_dim)
        Training and test examples, as `softmax_regression_epoch` takes them.
    y_tr, y_te : array_like of integers, shape (num_examples,)
        Labels; ``y_tr.max() + 1`` is the number of classes.
    epochs : int
        Number of epochs, at least 0.
    lr, batch, scale, last_batch
        As in `softmax_regression_epoch`.
    cpp : bool
        Ignored. hw0 uses this parameter to choose between NumPy and C++.
    schedule : {"constant", "step", "cosine"}
        How the step size changes from epoch to epoch: see `fastml.schedules.scheduled_lr`.
    shuffle : bool
        Whether each epoch visits the rows in a new random order, drawn from seed and the number of the epoch: see
        `fastml.orders.epoch_order`.
    seed : int
        In [0, 2**32).
    deform : (int, int), optional
        Rows and columns of the images in X_tr, which must be uint8. Each epoch then trains on new deformations of the
        images, made as they are needed (see `fastml.datasets.deform`). The history has the losses and errors of the
        original images.
    checkpoint : str or os.PathLike, optional
        A directory for the state of the run; it is created if it is missing. The state is saved in one file: at the
        start, after each epoch, once a minute within an epoch, and when `progress` raises. A killed process loses at
        most about one minute of training.
    resume : bool
        Whether to continue from the state in checkpoint. The result has the same bits as that of an uninterrupted run.
        The sets and the settings must be the same, except epochs if the schedule is constant.
    verbose : bool
        Whether to print the table, with a row for each epoch that this call finishes.
    callback : callable, optional
        Called as ``callback(history)`` after each epoch; training ends early when it returns a true value.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` after each slice, of about 50 ms, of an epoch or of the
        evaluation of a set after it; loss is the mean loss so far, as in the epoch functions and `evaluate`.

    Returns
    -------
    History
        Weights ``(theta,)`` and a row for each epoch.

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
    train_set, test_set, num_classes = check_sets(X_tr, y_tr, X_te, y_te)
    settings = Settings(epochs, lr, batch, scale, last_batch, shuffle, seed, schedule, deform)
    settings = check_settings(settings, train_set[0])
    weights = (np.zeros((train_set[0].shape[1], num_classes), np.float32),)
    run = Run(softmax_regression_epoch, train_set, test_set, weights, settings, progress)
    return train(run, checkpoint, resume, verbose, callback)


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
    schedule: str = "constant",
    shuffle: bool = False,
    seed: int = 0,
    deform: Sequence[int] | None = None,
    checkpoint: str | os.PathLike | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | None = None,
    progress: Progress | None = None,
) -> History:
    """Train the two-layer ReLU network in float32 and print losses and errors after each epoch.

    Parameters
    ----------
    X_tr, y_tr, X_te, y_te, epochs, lr, batch, scale, last_batch, schedule, shuffle
        As in `train_softmax`.
    hidden_dim : int
        Hidden units, at least 1.
    seed : int
        As in `train_softmax`, and the seed of the initial weights. They equal the weights that hw0 draws after
        ``np.random.seed(seed)``; NumPy's global generator is not changed.
    deform, checkpoint, resume, verbose, callback, progress
        As in `train_softmax`.

    Returns
    -------
    History
        Weights ``(W1, W2)`` and a row for each epoch.

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
    train_set, test_set, num_classes = check_sets(X_tr, y_tr, X_te, y_te)
    settings = Settings(epochs, lr, batch, scale, last_batch, shuffle, seed, schedule, deform)
    settings = check_settings(settings, train_set[0])
    hidden_dim = checks.check_integer("hidden_dim", hidden_dim, minimum=1)
    weights = initial_weights(train_set[0].shape[1], hidden_dim, num_classes, settings.seed)
    run = Run(nn_epoch, train_set, test_set, weights, settings, progress)
    return train(run, checkpoint, resume, verbose, callback)


def initial_weights(input_dim: int, hidden_dim: int, num_classes: int, seed: int) -> tuple[NDArray, NDArray]:
    """Return hw0's random float32 W1 and W2: standard normal numbers over the square root of a layer's outputs."""
    # RandomState, not the newer Generator: hw0's published numbers come from RandomState.
    random = np.random.RandomState(seed)
    W1 = random.randn(input_dim, hidden_dim).astype(np.float32) / np.float32(np.sqrt(hidden_dim))
    W2 = random.randn(hidden_dim, num_classes).astype(np.float32) / np.float32(np.sqrt(num_classes))
    return W1, W2


def check_sets(
    X_tr: ArrayLike, y_tr: ArrayLike, X_te: ArrayLike, y_te: ArrayLike
) -> tuple[LabelledSet, LabelledSet, int]:
    """Check both sets; return them as arrays, and the number of classes."""
    X = checks.check_features(X_tr, name="X_tr")
    checks.check_examples(X, name="X_tr")
    y = checks.check_labels(y_tr, X.shape[0], np.iinfo(np.int32).max, name="y_tr")
    num_classes = int(y.max()) + 1
    X_test = checks.check_features(X_te, X.shape[1], name="X_te")
    checks.check_examples(X_test, name="X_te")
    y_test = checks.check_labels(y_te, X_test.shape[0], num_classes, name="y_te")
    return (X, y), (X_test, y_test), num_classes


def check_settings(settings: Settings, X: NDArray) -> Settings:
    """Check the settings of a run; return them as values that JSON can express."""
    options = Options(settings.lr, settings.batch, settings.scale, settings.last_batch).checked()
    seed = checks.check_integer("seed", settings.seed, minimum=0)
    if seed >= 2**32:
        raise ValueError(f"seed must be below 2**32, got {seed}")
    return Settings(
        epochs=checks.check_integer("epochs", settings.epochs, minimum=0),
        lr=options.lr,
        batch=options.batch,
        scale=options.scale,
        last_batch=options.last_batch,
        shuffle=checks.check_flag("shuffle", settings.shuffle),
        seed=seed,
        schedule=checks.check_choice("schedule", settings.schedule, SCHEDULES),
        deform=None if settings.deform is None else check_image_shape(settings.deform, X),
    )


def check_image_shape(deform: Sequence[int], X: NDArray) -> list[int]:
    """Return the rows and columns of the images in X; reject images that `fastml.datasets.deform` does not accept."""
    shape = [checks.check_integer("each of deform", side, minimum=1) for side in deform]
    if len(shape) != 2 or math.prod(shape) != X.shape[1]:
        raise ValueError(f"deform must be rows and columns of images of {X.shape[1]} pixels, got {tuple(deform)}")
    if X.dtype != np.uint8:
        raise TypeError(f"X_tr must be uint8 where deform is given, got {X.dtype}")
    checks.check_images(X.reshape(-1, *shape), MOST_PIXELS)
    return shape


def train(
    run: Run, checkpoint: str | os.PathLike | None, resume: bool, verbose: bool, callback: Callback | None
) -> History:
    """Train; save the state of the run in the directory checkpoint unless it is None."""
    resume = checks.check_flag("resume", resume)
    if checkpoint is not None:
        with run.kept_in(checkpoint, resume):
            return run.train(verbose, callback)
    if resume:
        raise ValueError("resume needs checkpoint, the directory that the run was kept in")
    return run.train(verbose, callback)

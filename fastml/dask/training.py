"""The training functions on a Dask cluster: check everything, then run the rounds."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from distributed import Client
from numpy.typing import ArrayLike, NDArray

from fastml import scalars
from fastml.callbacks import Callback
from fastml.dask.cluster import Cluster
from fastml.dask.rounds import Averaging, Rounds, check_averaging
from fastml.dask.shards import GivenShard, check_shards
from fastml.dask.tasks import Facts, check_shard
from fastml.history import History
from fastml.models import NETWORK, SOFTMAX_REGRESSION, Model
from fastml.optimizers import Optimizer
from fastml.options import LastBatch, Options, Progress
from fastml.preparation import (
    StartWeights,
    check_settings,
    check_start,
    check_test_set,
    first_weights,
    transform_of_start,
)
from fastml.schedules import Schedule
from fastml.settings import LabelledSet, Settings
from fastml.training import train
from fastml.weights import Weights


def train_softmax(
    client: Client,
    shards: Iterable[GivenShard],
    X_te: ArrayLike | None = None,
    y_te: ArrayLike | None = None,
    rounds: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    *,
    local_steps: int | None = None,
    outer: Optimizer | None = None,
    outer_lr: float = 1.0,
    weights: Sequence[NDArray[Any]] | None = None,
    bias: bool = False,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    schedule: Schedule = "constant",
    warmup_rounds: int = 0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | Iterable[Callback] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train softmax regression on the workers of a Dask cluster, by local SGD, and print a row after each round.

    In a round, each shard trains from the same weights, in one task; then the weights change by the average of what the
    shards return. On CPUs of one kind, and with the same versions, only the shards and the settings determine the bits
    of the result: not the number of workers, their threads, repeated tasks, or the order in which tasks end.

    Parameters
    ----------
    client : distributed.Client
        A client of the cluster, not asynchronous.
    shards : sequence
        The training set, as `shards_of` cuts it. Or, for each shard, the paths of X, y and, if there are any, the
        weights of the examples, ``.npy`` or IDX files that all workers can read; or a function without arguments that
        returns these arrays, which each task calls on its worker.
    X_te, y_te : array_like, optional
        The test set, evaluated by this process.
    rounds : int
        Number of rounds, at least 0.
    lr, batch, scale, shift, l2, last_batch
        As in `fastml.softmax_regression_epoch`, for the mini-batches of each shard.
    local_steps : int, optional
        Mini-batches of a shard in a round. By default a round is an epoch of each shard.
    outer : SGD or Momentum, optional
        The optimizer that takes the difference of the average and the weights as its step, by default SGD.
    outer_lr : float
        The factor of this difference. 1, with SGD, is plain averaging; 0.7, with Momentum, is the outer step of DiLoCo.
    weights, bias
        As in `fastml.train_softmax`. With weights, their number of classes is that of the run.
    optimizer : SGD, Momentum or AdamW, optional
        The optimizer of the mini-batches. Its state starts anew with each shard and round, and the object does not
        change.
    schedule, warmup_rounds
        How lr changes from round to round: `schedule` and `warmup_epochs` of `fastml.train_softmax`.
    seed : int
        In [0, 2**32). With the numbers of the epoch and the shard, the seed of the order of the examples.
    checkpoint : str or os.PathLike, optional
        A directory of this process for the state of the run, saved at the start and after each round.
    resume : bool
        Whether to continue from the state in checkpoint. The result has the same bits as that of an uninterrupted run.
        The shards and the settings must be the same, except rounds if the schedule is constant.
    verbose, callback
        As in `fastml.train_softmax`.
    progress : callable, optional
        Called as ``progress(done, num_examples, loss)`` whenever a shard has trained or been evaluated.

    Returns
    -------
    History
        Weights ``(theta,)``, with their bias, scale and shift, and a row for each round. The seconds of a row are those
        from the first task to the outer step, without the evaluation.

    Raises
    ------
    TypeError, ValueError
        If an argument or a shard is invalid.
    CheckpointError, WeightsError
        ValueErrors: as in `fastml.train_softmax`.
    ConnectionError
        An OSError: if the client is closed or loses the scheduler.
    OSError
        If a worker cannot read a file, or the checkpoint cannot be read or written.
    RuntimeError
        If a worker has other versions of fastml, numba, llvmlite or numpy; if a shard's function fails; if the workers
        of one task die more often than Dask allows.
    FloatingPointError
        When the training or the test loss is not finite after a round.

    Notes
    -----
    A task that fails is repeated, twice at most, and then ends the run with its error. If a worker dies, its tasks are
    repeated. Any exception, also that of Ctrl-C, cancels the tasks; the checkpoint stays.

    References
    ----------
    T. Lin, S. U. Stich, K. K. Patel and M. Jaggi, *Don't use large mini-batches, use local SGD* (2020). A. Douillard et
    al., *DiLoCo: distributed low-communication training of language models* (2023).

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from fastml.dask import train_softmax
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
    ...     history = train_softmax(client, [lambda: (X, y)] * 2, X, y, rounds=2, batch=3)
    | Round | Train Loss | Train Err | Test Loss | Test Err |
    |     0 |    0.99064 |   0.00000 |   0.99064 |  0.00000 |
    |     1 |    0.89476 |   0.00000 |   0.89476 |  0.00000 |
    """
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    settings = settings_of(rounds, options, seed, schedule, warmup_rounds)
    averaging, start = check_averaging(local_steps, outer, outer_lr), StartWeights(weights, bias)
    run = prepare(client, shards, (X_te, y_te), SOFTMAX_REGRESSION, start, settings, averaging)
    run.progress = progress
    return train(run, checkpoint, resume, verbose, callback)


def train_nn(
    client: Client,
    shards: Iterable[GivenShard],
    X_te: ArrayLike | None = None,
    y_te: ArrayLike | None = None,
    hidden_dim: int = 500,
    rounds: int = 10,
    lr: float = 0.5,
    batch: int = 100,
    *,
    local_steps: int | None = None,
    outer: Optimizer | None = None,
    outer_lr: float = 1.0,
    weights: Sequence[NDArray[Any]] | None = None,
    bias: bool = False,
    scale: float | ArrayLike = 1.0,
    shift: float | ArrayLike = 0.0,
    l2: float = 0.0,
    optimizer: Optimizer | None = None,
    last_batch: LastBatch = "nominal",
    schedule: Schedule = "constant",
    warmup_rounds: int = 0,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    resume: bool = False,
    verbose: bool = True,
    callback: Callback | Iterable[Callback] | None = None,
    progress: Progress | None = None,
) -> History:
    """Train the two-layer ReLU network on the workers of a Dask cluster, by local SGD.

    Parameters
    ----------
    client, shards, X_te, y_te, rounds, lr, batch
        As in `train_softmax`.
    hidden_dim : int
        Hidden units, at least 1. Ignored with `weights`, which have their own number.
    local_steps, outer, outer_lr, weights, bias, scale, shift, l2, optimizer, last_batch, schedule, warmup_rounds
        As in `train_softmax`.
    seed : int
        As in `train_softmax`, and the seed of the initial weights, which are those of `fastml.train_nn`.
    checkpoint, resume, verbose, callback, progress
        As in `train_softmax`.

    Returns
    -------
    History
        Weights ``(W1, W2)``, with their biases, scale and shift, and a row for each round.

    Raises
    ------
    TypeError, ValueError, OSError, RuntimeError, FloatingPointError
        As in `train_softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> from distributed import Client
    >>> from fastml.dask import train_nn
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> with Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=":0") as client:
    ...     history = train_nn(client, [lambda: (X, y)] * 2, hidden_dim=8, rounds=50, batch=3, verbose=False)
    >>> history[-1].train_err
    0.0
    """
    options = Options(lr, batch, scale, shift, last_batch, l2, optimizer)
    settings = settings_of(rounds, options, seed, schedule, warmup_rounds)
    averaging, start = check_averaging(local_steps, outer, outer_lr), StartWeights(weights, bias, hidden_dim)
    run = prepare(client, shards, (X_te, y_te), NETWORK, start, settings, averaging)
    run.progress = progress
    return train(run, checkpoint, resume, verbose, callback)


def settings_of(rounds: int, options: Options, seed: int, schedule: Schedule, warmup_rounds: int) -> Settings[Options]:
    """Return the settings of a run; a round counts as an epoch."""
    return Settings(
        epochs=scalars.check_integer("rounds", rounds, minimum=0),
        options=options,
        shuffle=True,
        seed=seed,
        schedule=schedule,
        warmup_epochs=scalars.check_integer("warmup_rounds", warmup_rounds, minimum=0),
        deform=None,
        validation_fraction=0.0,
        patience=None,
        min_delta=0.0,
        restore_best=False,
    )


def prepare(
    client: Client,
    shards: Iterable[GivenShard],
    test: tuple[ArrayLike | None, ArrayLike | None],
    model: Model,
    start: StartWeights,
    settings: Settings[Options],
    averaging: Averaging,
) -> Rounds:
    """Check the arguments, then the workers, then the shards, so that the first round finds no invalid input."""
    given, checked = check_start(start.weights, model), check_shards(shards)
    cluster = Cluster(client, checked)
    cluster.check_workers()
    facts = cluster.collect(check_shard)
    input_dim, num_classes = check_facts(facts, given)
    # The checks need only the shape of X.
    with_checks = check_settings(settings, np.broadcast_to(np.uint8(0), (facts[0].num_examples, input_dim)))
    with_checks = transform_of_start(given, with_checks)
    test_set: LabelledSet | None = check_test_set(*test, input_dim, num_classes)
    weights = first_weights(given, start, model, (input_dim, num_classes), with_checks)
    return Rounds(cluster, facts, test_set, weights, with_checks, averaging)


def check_facts(facts: Sequence[Facts], start: Weights | None) -> tuple[int, int]:
    """Return input_dim and the number of classes; reject shards that do not fit each other or the weights."""
    input_dim, source = (facts[0].input_dim, "shards[0]") if start is None else (len(start[0]), "weights")
    num_classes = 1 + max(each.highest_label for each in facts) if start is None else start[-1].shape[1]
    for number, each in enumerate(facts):
        if each.input_dim != input_dim:
            raise ValueError(f"X of shards[{number}] must have {input_dim} columns as {source}, got {each.input_dim}")
        if each.highest_label >= num_classes:
            raise ValueError(
                f"y of shards[{number}] has label {each.highest_label}; labels must lie in [0, {num_classes}), there "
                f"are {num_classes} classes"
            )
    return input_dim, num_classes

"""`fastml train --dask`: train on a cluster, on the shards of a directory or of MNIST."""

import argparse
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
from dask import config
from distributed import Client, LocalCluster
from numpy.typing import NDArray

from fastml import dask
from fastml.callbacks import Callback
from fastml.cli.arguments import progress_unless_quiet
from fastml.cli.log import log_of
from fastml.cli.signals import KEPT, Stopped, ignoring_interrupts
from fastml.dask.shards import Shard, open_shard
from fastml.datasets import load_mnist
from fastml.datasets.generate import shard_names
from fastml.datasets.image_set import PIXEL_SCALE, ImageSet
from fastml.datasets.mnist import load_test_set
from fastml.history import History
from fastml.optimizers import Optimizer

DEFAULT_SHARDS = 4
# Dask watches event loops and the stacks of tasks many times a second, which takes time from the training.
QUIET = {"distributed.admin.tick.interval": "500ms", "distributed.worker.profile.enabled": False}
# Dask waits 30 s by default. A running scheduler answers in less than a second.
CONNECT_SECONDS = 10


def train_there(
    arguments: argparse.Namespace, settings: dict[str, Any], optimizer: Optimizer, count_epoch: Callback
) -> tuple[History, int]:
    """Train on the workers of --dask, a round for each epoch; return the history and the number of examples."""
    for option in ("deform", "standardize"):
        if getattr(arguments, option):
            raise ValueError(f"--{option} is not available with --dask")
    bar = progress_unless_quiet(arguments, " examples")
    with connected(arguments.dask, arguments.threads) as client, bar as progress:
        shards, test_set, num_examples = shards_and_test_set(arguments.data, arguments.shards)
        settings |= {"shuffle": True, "shards": len(shards)}
        used = {name: settings[name] for name in ("lr", "schedule", "batch", "seed", "l2", "bias")}
        used |= {"rounds": arguments.epochs, "warmup_rounds": arguments.warmup, "optimizer": optimizer}
        used |= {"checkpoint": arguments.checkpoint, "resume": arguments.resume, "scale": PIXEL_SCALE}
        train = dask.train_softmax
        if arguments.model == "nn":
            train = partial(dask.train_nn, hidden_dim=settings["hidden_dim"])
        sets = () if test_set is None else (test_set,)
        log = log_of(arguments, settings | {"data": arguments.data}, *sets)
        used |= {"progress": progress, "callback": [count_epoch, *([log] if log else [])]}
        try:
            history = train(client, shards, *(test_set or ()), **used, verbose=not arguments.quiet)
        except KeyboardInterrupt:
            if arguments.checkpoint is None:
                raise
            raise Stopped(signal.SIGINT, KEPT.format(arguments.checkpoint)) from None
    if log is not None:
        log(history)
    return history, num_examples


@contextmanager
def connected(where: str | int, threads: int | None) -> Iterator[Client]:
    """Yield a client of the scheduler at the address `where`, or of `where` local processes, which share the threads.

    Raises
    ------
    ValueError
        If threads are given for a scheduler, whose workers have their own.
    OSError
        If no scheduler answers.
    """
    if isinstance(where, str):
        if threads is not None:
            raise ValueError("--threads is for local workers; the workers of a scheduler keep their own threads")
        with Client(where, timeout=CONNECT_SECONDS) as client:
            yield client
        return
    each = max(1, (threads or numba.config.NUMBA_NUM_THREADS) // where)
    with ignoring_interrupts(), config.set(QUIET):
        cluster = LocalCluster(n_workers=where, threads_per_worker=each, dashboard_address=":0")
    with cluster, Client(cluster) as client:
        yield client


def shards_and_test_set(data: str | None, count: int | None) -> tuple[list[Shard], ImageSet | None, int]:
    """Return the shards of a directory, or of MNIST, with the test set and the number of training examples."""
    if data is None:
        count, rows = count or DEFAULT_SHARDS, len(training_set()[1])
        cuts = [number * rows // count for number in range(count + 1)]
        shards: list[Shard] = [partial(rows_of_mnist, cuts[number], cuts[number + 1]) for number in range(count)]
        return shards, load_mnist(raw=True)[1], rows
    if count is None and not shard_names(Path(data)):
        count = DEFAULT_SHARDS
    shards = dask.shards_of(data, count)
    return shards, load_test_set(data), sum(len(open_shard(shard, 0, "here").y) for shard in shards)


def rows_of_mnist(start: int, stop: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return rows of the MNIST inside the package; workers call this."""
    X, y = training_set()
    return X[start:stop], y[start:stop]


@cache
def training_set() -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the training set of MNIST, which a process reads once."""
    return load_mnist(raw=True)[0]

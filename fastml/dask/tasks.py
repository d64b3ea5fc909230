"""What workers do: each task opens a shard, works on it with all threads of its worker, and keeps nothing."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

import numba
import numpy as np
from distributed import get_worker
from distributed.versions import get_package_info
from numpy.typing import NDArray

from fastml import checks
from fastml.checkpoints import fingerprint
from fastml.dask.shards import Shard, open_shard
from fastml.epochs import EpochArguments, run_epoch
from fastml.kernels.compile import forks
from fastml.mapping import mapping_of
from fastml.options import CheckedOptions
from fastml.orders import epoch_order
from fastml.verdicts import ModelInput, loss_err_of_model
from fastml.weights import Weights

# The bits of a result depend on the versions of these packages; Dask compares its own version.
PACKAGES = ("fastml", "numba", "llvmlite", "numpy")

# One task at a time: kernels of one process run one after the other anyway, and so only one shard is in memory.
turn = threading.Lock()


class Job(NamedTuple):
    """The input of a task: a shard and its number, from a driver with these versions of the packages."""

    shard: Shard
    number: int
    versions: dict[str, str | None]


class Facts(NamedTuple):
    """The facts about a shard that the driver needs before the first round."""

    num_examples: int
    input_dim: int
    highest_label: int
    fingerprint: str


class Plan(NamedTuple):
    """How a shard is trained on in a round."""

    options: CheckedOptions
    seed: int
    round: int
    local_steps: int | None
    wants_loss: bool


class Trained(NamedTuple):
    """The weights and biases after a round, the number of its examples, and their mean loss if requested."""

    arrays: list[NDArray[Any]]
    num_examples: int
    loss: float


class Evaluated(NamedTuple):
    """The loss and the error of a model on a shard; the first element of X that is not finite, if the loss is not."""

    num_examples: int
    loss: float
    err: float
    reason: str | None


def package_versions() -> dict[str, str | None]:
    """Return the versions of `PACKAGES` in this process."""
    found = get_package_info(PACKAGES)
    return {name: found[name] for name in PACKAGES}


def difference(where: str, found: dict[str, str | None], wanted: dict[str, str | None]) -> str | None:
    """Return how the versions of a worker differ from those of the driver, or None."""
    for name, version in wanted.items():
        if found.get(name) != version:
            return f"worker {where} has {name} {found.get(name) or 'not installed'}, the driver has {version}"
    return None


@contextmanager
def whole_worker(job: Job) -> Iterator[str]:
    """Use all threads of the worker, and no more, while the block runs; yield the address of the worker.

    Reject a worker with other versions, which may have joined after the driver compared them.
    """
    worker = get_worker()
    differs = difference(worker.address, package_versions(), job.versions)
    if differs:
        raise RuntimeError(differs)
    before = forks.available_threads()
    with turn:
        numba.set_num_threads(min(worker.state.nthreads, numba.config.NUMBA_NUM_THREADS))
        try:
            yield worker.address
        finally:
            numba.set_num_threads(before)


def check_shard(job: Job) -> Facts:
    """Check all of a shard but the elements of X."""
    with whole_worker(job) as where:
        X, y, sample_weight = open_shard(job.shard, job.number, where)
        # A mapped file is shuffled in another order than an array in memory.
        described = fingerprint(X, y, sample_weight) + (", mapped" if mapping_of(X) is not None else "")
        return Facts(len(X), X.shape[1], int(y.max()), described)


def train_shard(job: Job, weights: Weights, plan: Plan) -> Trained:
    """Train copies of the weights on a shard, for an epoch or some steps."""
    with whole_worker(job) as where:
        X, y, sample_weight = open_shard(job.shard, job.number, where)
        parameters = copied(weights).parameters
        optimizer = replace(plan.options.optimizer, state={}, steps=np.zeros(1, np.int64))
        options = replace(plan.options, optimizer=optimizer)
        backgrounds = parameters.model.backgrounds_of(X, parameters.num_classes)
        backgrounds = np.full(X.shape[1], np.nan) if backgrounds is None else backgrounds
        count, losses, mean = 0, 0.0, 0.0

        def keep_loss(done: int, total: int, loss: float) -> None:
            nonlocal mean
            mean = loss

        for epoch, start, stop in parts_of(len(X), plan):
            order = epoch_order(X, plan.seed, epoch, job.number)[start:stop]
            data = EpochArguments(X, y, order, sample_weight)
            run_epoch(data, parameters, options, keep_loss if plan.wants_loss else None, backgrounds)
            count, losses = count + len(order), losses + mean * len(order)
        return Trained(list(parameters.named().values()), count, losses / count)


def parts_of(num_examples: int, plan: Plan) -> Iterator[tuple[int, int, int]]:
    """Yield (epoch, start, stop): the parts of epochs of a shard that make up a round.

    Each epoch has a new order of the rows. Without local_steps, a round is an epoch. With local_steps, a round begins
    at the mini-batch at which the previous round ended.
    """
    if plan.local_steps is None:
        yield plan.round, 0, num_examples
        return
    batch = plan.options.batch
    steps = -(-num_examples // batch)
    step, stop = plan.round * plan.local_steps, (plan.round + 1) * plan.local_steps
    while step < stop:
        epoch, begin = divmod(step, steps)
        end = min(begin + stop - step, steps)
        yield epoch, begin * batch, min(end * batch, num_examples)
        step += end - begin


def evaluate_shard(job: Job, weights: Weights) -> Evaluated:
    """Evaluate the weights on a shard."""
    with whole_worker(job) as where:
        X, y, _ = open_shard(job.shard, job.number, where)
        loss, err = loss_err_of_model(ModelInput(weights.parameters, X, weights.scale, weights.shift), y, None)
        reason = None
        if not np.isfinite(loss):
            reason = checks.first_not_finite(weights[0].dtype, **{f"X of shards[{job.number}]": X})
        return Evaluated(len(X), loss, err, reason)


def copied(weights: Weights) -> Weights:
    """Return a copy of the weights: the arrays that a task receives may be read-only, and shared with other tasks."""
    biases = {name: b.copy() for name, b in weights.biases.items()}
    return Weights([W.copy() for W in weights], biases, weights.scale, weights.shift)

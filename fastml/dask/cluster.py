"""The driver's side of Dask: checks of the workers, and rounds of named tasks, which are repeated if they fail."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, TypeVar

import dask
from distributed import Client, KilledWorker, as_completed

from fastml.dask.shards import FileRows, Shard
from fastml.dask.tasks import PACKAGES, Job, difference, package_versions
from fastml.weights import Weights

# A task that fails runs again this many times. Dask itself repeats the tasks of workers that die, as often as the
# scheduler's setting distributed.scheduler.allowed-failures says.
RETRIES = 2

# What a task returns.
Result = TypeVar("Result")


class Cluster:
    """The workers of a client, for one run."""

    def __init__(self, client: Client, shards: Sequence[Shard]):
        if not isinstance(client, Client) or client.asynchronous:
            raise TypeError(f"client must be a distributed.Client that is not asynchronous, got {client!r:.80}")
        if client.status != "running":
            raise ConnectionError(f"client is {client.status}: there is no scheduler to send tasks to")
        self.client = client
        self.token, self.calls = uuid.uuid4().hex[:12], 0
        versions = package_versions()
        self.jobs = [Job(shard, number, versions) for number, shard in enumerate(shards)]

    def check_workers(self) -> None:
        """Wait for a worker; reject workers with other versions than the driver, or without access to a file."""
        self.result_of(self.client.submit(int, key=f"wait_for_worker-{self.token}"))
        wanted = package_versions()
        for where, found in self.client.get_versions(packages=PACKAGES)["workers"].items():
            differs = difference(where, found["packages"], wanted)
            if differs:
                raise RuntimeError(f"{differs}; install the same version there: the result depends on the versions")
        sources = [source for job in self.jobs if not callable(job.shard) for source in job.shard]
        paths = sorted({source.path if isinstance(source, FileRows) else source for source in sources})
        for where, problem in self.client.run(first_unreadable, paths).items():
            if problem:
                raise OSError(f"worker {where} cannot read {problem}")

    def send(self, weights: Weights) -> Any:
        """Return a future of the weights, which tasks take as an argument.

        The weights are the result of a task, so the scheduler makes them again if the worker that holds them dies.
        """
        self.calls += 1
        with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
            return self.client.submit(same, weights, key=f"weights-{self.token}-{self.calls}", retries=RETRIES)

    def collect(
        self, function: Callable[..., Result], done: Callable[[int, Result], object] | None = None, **arguments: Any
    ) -> list[Result]:
        """Return the results of ``function(job, **arguments)`` for each shard, in the order of shards.

        `done` is called as ``done(number, result)`` when a task ends. An exception, also of `done`, cancels the
        remaining tasks.
        """
        self.calls += 1
        numbers = {f"{function.__name__}-{self.token}-{self.calls}-{job.number}": job.number for job in self.jobs}
        results: dict[int, Result] = {}
        futures = []
        for where, some in self.shares(list(numbers)):
            jobs = [self.jobs[numbers[key]] for key in some]
            futures += self.client.map(
                function, jobs, key=some, workers=where, allow_other_workers=True, retries=RETRIES, **arguments
            )
        try:
            for future in as_completed(futures):
                number = numbers[future.key]
                results[number] = self.result_of(future)
                if done is not None:
                    done(number, results[number])
        except BaseException:
            if self.client.status == "running":
                self.client.cancel(futures)
            raise
        return [results[number] for number in range(len(self.jobs))]

    def shares(self, keys: list[str]) -> Iterator[tuple[str | None, list[str]]]:
        """Yield the current workers, each with the keys of its first tasks.

        Dask alone would give all tasks to the worker that has the weights, and later move some of them.
        """
        workers: list[str | None] = sorted(self.client.nthreads()) or [None]
        for number, where in enumerate(workers):
            if number < len(keys):
                yield where, keys[number :: len(workers)]

    def result_of(self, future: Any) -> Any:
        """Return the result of a future."""
        try:
            return future.result()
        except CancelledError as error:
            raise ConnectionError(f"the scheduler has lost the task {future.key}: {error}") from error
        except KilledWorker as error:
            raise RuntimeError(f"the task {future.key} has failed because its workers died: {error}") from error


def same(weights: Weights) -> Weights:
    """Return the argument."""
    return weights


def first_unreadable(paths: Sequence[str]) -> str | None:
    """Return the first path that can't be opened here, with the reason, or None."""
    for path in paths:
        try:
            with open(path, "rb"):
                pass
        except OSError as error:
            return f"{path}: {error.strerror}"
    return None

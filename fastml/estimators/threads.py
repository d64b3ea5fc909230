"""The number of threads of a call: scikit-learn's `n_jobs` for Numba."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from fastml import scalars
from fastml.kernels.compile import forks


def thread_count(n_jobs: int | None) -> int:
    """Return the number of threads that `n_jobs` means: None is Numba's own number, -1 is all, -2 is all but one."""
    most: int = numba.config.NUMBA_NUM_THREADS
    if n_jobs is None:
        return forks.thread_mask()
    count = scalars.check_integer("n_jobs", n_jobs, minimum=-most)
    if count == 0:
        raise ValueError("n_jobs must not be 0; None is for all threads of Numba")
    return min(count, most) if count > 0 else most + 1 + count


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run a block on the number of threads that `n_jobs` means."""
    before, count = forks.thread_mask(), thread_count(n_jobs)
    if count == before:
        yield
        return
    numba.set_num_threads(count)
    try:
        yield
    finally:
        numba.set_num_threads(before)

"""The number of threads of a call: scikit-learn's `n_jobs` for Numba."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from fastml import checks


def thread_count(n_jobs: int | None) -> int:
    """Return how many threads `n_jobs` asks for: None for Numba's own number, -1 for all, -2 for all but one."""
    most = numba.config.NUMBA_NUM_THREADS
    if n_jobs is None:
        return numba.get_num_threads()
    count = checks.check_integer("n_jobs", n_jobs, minimum=-most)
    if count == 0:
        raise ValueError("n_jobs must not be 0; None is for all threads of Numba")
    return min(count, most) if count > 0 else most + 1 + count


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run a block on as many threads as `n_jobs` asks for."""
    before = numba.get_num_threads()
    numba.set_num_threads(thread_count(n_jobs))
    try:
        yield
    finally:
        numba.set_num_threads(before)

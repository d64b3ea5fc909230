"""The number of threads of a call: scikit-learn's `n_jobs` for Numba."""

from collections.abc import Iterator
from contextlib import contextmanager

import numba

from fastml import checks


@contextmanager
def threads(n_jobs: int | None) -> Iterator[None]:
    """Run a block on `n_jobs` threads: None for those that Numba is set to, -1 for all, -2 for all but one, ..."""
    if n_jobs is None:
        yield
        return
    most, before = numba.config.NUMBA_NUM_THREADS, numba.get_num_threads()
    count = checks.check_integer("n_jobs", n_jobs, minimum=-most)
    if count == 0:
        raise ValueError("n_jobs must not be 0; None is for all threads of Numba")
    numba.set_num_threads(min(count, most) if count > 0 else most + 1 + count)
    try:
        yield
    finally:
        numba.set_num_threads(before)

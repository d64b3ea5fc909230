"""The lock around kernels, what forks and signal handlers may do, and how many threads a kernel has."""

import contextlib
import importlib
import os
import threading
from functools import cache

import numba
from numba.core.compiler_lock import global_compiler_lock
from numba.np.ufunc import parallel

from fastml.threads import apart, is_waiting

# Numba would import this when it starts its threads. A handler may fork at that moment, and leave the child with half
# of the module. Some systems do not have what the module needs.
with contextlib.suppress(ImportError):
    import multiprocessing.synchronize  # noqa: F401

# Held while a kernel runs, and while its code is compiled. The workqueue layer aborts the process when two Python
# threads enter it at once; on other layers two kernels at once only compete for the same cores. The lock is reentrant:
# the handler of a signal that arrives during a kernel runs in the thread that holds the lock, and may call kernels.
parallel_lock = threading.RLock()
is_forked = False


def _wait_for_kernels() -> None:
    parallel_lock.acquire()
    global_compiler_lock.acquire()


def _go_on() -> None:
    global_compiler_lock.release()
    parallel_lock.release()


def _begin_child() -> None:
    global parallel_lock, is_forked
    global_compiler_lock.release()
    parallel_lock, is_forked = threading.RLock(), True


# A fork waits for the running kernel, and for all that Numba compiles, also outside of fastml: the child would inherit
# Numba's lock as taken by a thread that the child does not have.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_wait_for_kernels, after_in_parent=_go_on, after_in_child=_begin_child)


def check_not_compiling() -> None:
    """Reject a call by the handler of a signal that has interrupted a compilation. Numba cannot begin another one."""
    if is_waiting() or global_compiler_lock.is_locked():
        raise RuntimeError(
            "fastml was called by a signal handler while Numba compiles: call it after the handler has returned"
        )


def available_threads() -> int:
    """Return how many threads a parallel kernel may use: Numba's thread mask, or 1 in a forked process.

    A forked process has none of its parent's threads, and not every threading layer notices: GNU OpenMP waits for them
    for ever if any library had used it, TBB waits where several Python threads had used it, or Numba ends the process.
    """
    count = thread_mask()
    return 1 if is_forked else count


def thread_mask() -> int:
    """Return the number of threads that `numba.set_num_threads` has set in this thread.

    `numba.get_num_threads` takes a lock each time. An interrupt at that moment leaves the lock taken, and the next
    thread that loads a parallel kernel waits for ever. So only the first call, which starts Numba's threads, takes it.
    """
    check_not_compiling()
    with parallel_lock:
        start_threads()
    return parallel._get_num_threads()


@cache
def start_threads() -> None:
    """Have Numba choose a threading layer and start its threads, without changing OpenMP for other libraries.

    The OpenMP layer changes the settings of the thread that starts it, so a short-lived thread starts it. TBB must be
    started by the thread that will use it, because TBB takes the starting thread for the main one.
    """
    if numba.config.THREADING_LAYER != "omp" and importable("numba.np.ufunc.tbbpool"):
        numba.get_num_threads()
    else:
        apart(numba.get_num_threads)


def importable(name: str) -> bool:
    """Return whether a module can be imported. A threading layer cannot be imported if its library is missing."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True

"""The lock around parallel kernels, what forks and signal handlers may do, and how many threads a kernel has."""

import importlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numba
from numba.core.compiler_lock import global_compiler_lock

# Held while a parallel kernel runs. The workqueue layer aborts the process when two Python threads enter it at once; on
# other layers two kernels at once only compete for the same cores. The lock is reentrant: the handler of a signal that
# arrives during a kernel runs in the thread that holds the lock, and may call kernels itself.
parallel_lock = threading.RLock()
is_forked = False


def _begin_child() -> None:
    global parallel_lock, is_forked
    parallel_lock, is_forked = threading.RLock(), True


# A fork waits for the running kernel. The kernel may be compiling, and the child would inherit Numba's own lock as
# taken by a thread that the child does not have.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: parallel_lock.acquire(),
        after_in_parent=lambda: parallel_lock.release(),
        after_in_child=_begin_child,
    )


def available_threads() -> int:
    """Return how many threads a parallel kernel may use: Numba's thread mask, or 1 in a forked process.

    A forked process has none of its parent's threads, and not every threading layer notices: GNU OpenMP waits for them
    for ever if any library had used it, TBB waits where several Python threads had used it, or Numba ends the process.
    """
    if global_compiler_lock.is_locked():  # by this thread; another thread's compilation is waited for later
        raise RuntimeError(
            "fastml was called by a signal handler while Numba compiles: call it after the handler has returned"
        )
    start_threads()
    return 1 if is_forked else numba.get_num_threads()


@cache
def start_threads() -> None:
    """Have Numba choose a threading layer and start its threads, without changing OpenMP for other libraries.

    The OpenMP layer changes the settings of the thread that starts it, so a short-lived thread starts it. TBB must be
    started by the thread that will use it, because TBB takes the starting thread for the main one.
    """
    if numba.config.THREADING_LAYER != "omp" and importable("numba.np.ufunc.tbbpool"):
        numba.get_num_threads()
        return
    with ThreadPoolExecutor(1) as starter:
        starter.submit(numba.get_num_threads).result()


def importable(name: str) -> bool:
    """Return whether a module can be imported. A threading layer cannot where the library of the layer is missing."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True

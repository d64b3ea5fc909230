"""The options that every kernel is compiled with, each with its reason, and the decorators that apply them."""

import contextlib
from collections.abc import Callable

import numba

from fastml.kernels.compile.cache import KernelCache

OPTIONS = {
    # Sums may be reordered and contracted to FMA. NaN and infinity must stay what IEEE 754 says: never nnan or ninf.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    # A division by zero gives infinity, as in NumPy: a kernel never raises.
    "error_model": "numpy",
    # Kernels allocate nothing. Reference counts of arrays would be atomic writes to cache lines that all threads share.
    "_nrt": False,
    # Other Python threads (a reader of data, a progress bar) run while a kernel runs.
    "nogil": True,
}


def helper(py_func: Callable) -> Callable:
    """Compile a part of a kernel. Python cannot call the part.

    LLVM must inline each helper. A helper that stays a function of its own has a name that all kernels share, so a
    process would call the first one loaded, and results would depend on the state of the cache.
    """
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, **OPTIONS)(py_func)


def inlined(py_func: Callable) -> Callable:
    """Compile a part of a kernel together with the kernel, as if it stood there.

    LLVM optimizes a `helper` on its own first, and again in each function around it. For large helpers that takes long.
    """
    return numba.njit(inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True, **OPTIONS)(py_func)


def kernel(py_func: Callable) -> Callable:
    """Compile a serial function that Python calls, with a cache on disk."""
    return cached(numba.njit(**OPTIONS)(py_func))


def worker_kernel(py_func: Callable) -> Callable:
    """Compile a function that `calls.run` starts once for each worker, with a cache on disk."""
    return cached(helper(py_func))


def parallel_kernel(py_func: Callable) -> Callable:
    """Compile a function with parallel loops, to be called under `forks.parallel_lock`, with a cache on disk."""
    return cached(numba.njit(parallel=True, **OPTIONS)(py_func))


def cached(dispatcher: Callable) -> Callable:
    """Give a dispatcher a `KernelCache`. Where no directory is writable, each process compiles anew."""
    if not numba.config.DISABLE_JIT:
        with contextlib.suppress(RuntimeError):
            dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher

"""The options that every kernel is compiled with, each with its reason, and the decorators that apply them."""

import contextlib
from collections.abc import Callable
from functools import partial

import numba
from numba.core.compiler_lock import global_compiler_lock

from fastml.kernels.compile import forks
from fastml.kernels.compile.cache import KernelCache
from fastml.threads import apart

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


class NotCompiled:
    """A function that Numba does not compile: NUMBA_DISABLE_JIT is set. In Python, parts of kernels mean nothing."""

    def __init__(self, py_func: Callable):
        self.py_func = py_func

    def __call__(self, *arguments):
        """Refuse the call."""
        raise RuntimeError("NUMBA_DISABLE_JIT is set, but the kernels of fastml must be compiled: unset it")

    compile = __call__


def jit(**options: object) -> Callable:
    """Return Numba's decorator with the options of every kernel and some more."""
    return NotCompiled if numba.config.DISABLE_JIT else numba.njit(**options, **OPTIONS)


def helper(py_func: Callable) -> Callable:
    """Compile a part of a kernel. Python cannot call the part.

    LLVM must inline each helper. A helper that stays a function of its own has a name that all kernels share, so a
    process would call the first one loaded, and results would depend on the state of the cache.
    """
    return jit(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True)(py_func)


def inlined(py_func: Callable) -> Callable:
    """Compile a part of a kernel together with the kernel, as if the part were written there.

    LLVM optimizes a `helper` on its own first, and again in each function around it. For large helpers that takes long.
    """
    return jit(inline="always", no_cpython_wrapper=True, no_cfunc_wrapper=True)(py_func)


def kernel(py_func: Callable) -> Callable:
    """Compile a serial function that Python calls, with a cache on disk."""
    return cached(jit()(py_func))


def worker_kernel(py_func: Callable) -> Callable:
    """Compile a function that `calls.run` starts once for each worker, with a cache on disk."""
    return cached(helper(py_func))


def parallel_kernel(py_func: Callable) -> Callable:
    """Compile a function with parallel loops, to be called under `forks.parallel_lock`, with a cache on disk."""
    return cached(jit(parallel=True)(py_func))


def cached(dispatcher: Callable) -> Callable:
    """Have a dispatcher compile in a thread of its own, and give it a `KernelCache`.

    Without a writable directory or source there is no cache, and each process compiles anew.
    """
    dispatcher.compile = partial(compile_apart, dispatcher.compile)
    with contextlib.suppress(RuntimeError, OSError):
        dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher


def compile_apart(compile: Callable, signature: tuple) -> Callable:
    """Compile for a signature where no handler of a signal runs, unless this thread is in a compilation already.

    Forks wait until the thread that compiles has ended.
    """
    if global_compiler_lock.is_locked():
        return compile(signature)
    with forks.parallel_lock:
        return apart(compile, signature)

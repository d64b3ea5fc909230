"""Compile options, each with its reason; the cache of machine code; the guard around parallel kernels."""

import contextlib
import hashlib
import importlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path

import numba
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.compiler_lock import global_compiler_lock

OPTIONS = {
    # Sums may be reordered and contracted to FMA; NaN and infinity must stay what IEEE 754 says, so never nnan or ninf.
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
    # A division by zero gives infinity as in NumPy: a kernel never raises.
    "error_model": "numpy",
    # Nothing is allocated in a kernel, so nothing need be counted: the counts of references to our arrays, which every
    # slice of one would change, are atomic and lie on cache lines that all threads share.
    "_nrt": False,
    # Other Python threads (a reader of data, a progress bar) run on while a kernel does.
    "nogil": True,
}

# Taken by whoever runs a parallel kernel: workqueue aborts the process when two Python threads enter it at once, and on
# the other layers two kernels at once only fight over the same cores. It may be taken twice: the handler of a signal
# that came during a kernel is called while its thread still holds the lock, and may run kernels of its own.
parallel_lock = threading.RLock()
is_forked = False


def _begin_child() -> None:
    global parallel_lock, is_forked
    parallel_lock, is_forked = threading.RLock(), True


# A fork waits for the kernel at hand: it may be compiling, and the child would find Numba's own lock taken by a thread
# that is not there.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: parallel_lock.acquire(),
        after_in_parent=lambda: parallel_lock.release(),
        after_in_child=_begin_child,
    )


def available_threads() -> int:
    """Return how many threads a parallel kernel may have: as many as Numba's mask says, but one in a forked process.

    None of its parent's threads are there, and not every threading layer knows. GNU's OpenMP waits for them for ever if
    any library had used it, or Numba ends the process; TBB waits where several threads of Python had used it.
    """
    if global_compiler_lock.is_locked():  # by this very thread; for another one is waited later
        raise RuntimeError("fastml was called by the handler of a signal that came while Numba compiles: call it later")
    start_threads()
    return 1 if is_forked else numba.get_num_threads()


@cache
def start_threads() -> None:
    """Have Numba choose a threading layer and start its threads; other libraries find OpenMP as it was.

    The layer of OpenMP sets for the thread that it is started from how many threads a region has, and that regions
    nest. So that is a thread which ends with it; but TBB's takes the thread that it is started from for the main one.
    """
    if numba.config.THREADING_LAYER != "omp" and importable("numba.np.ufunc.tbbpool"):
        numba.get_num_threads()
        return
    with ThreadPoolExecutor(1) as starter:
        starter.submit(numba.get_num_threads).result()


def importable(name: str) -> bool:
    """Tell whether a module can be imported: that of a threading layer can't where the layer's library is missing."""
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


@cache
def source_digest() -> str:
    """SHA-256 of every kernel's source, this file's options too: machine code compiled from anything else is stale."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


class KernelCache(FunctionCache):
    """Numba's cache on disk, with two promises more.

    Numba looks at the file of the kernel alone and would go on using machine code with an old helper inlined; here the
    stamp covers the whole package of kernels. And a cache that is full, read-only or damaged is no cache, not an error.
    """

    def __init__(self, py_func: Callable):
        super().__init__(py_func)
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=source_digest()
        )

    def load_overload(self, sig, target_context):
        """Return the compiled overload, or None where there is none that can be read.

        Two processes that save at the same moment may give their files one name: then an index leads to the code of
        other types, which must not be called.
        """
        try:
            found = super().load_overload(sig, target_context)
        except Exception:  # a truncated or foreign pickle raises nearly anything
            found = None
            self._discard()
        if found is not None and tuple(found.signature.args) != tuple(getattr(sig, "args", sig)):
            found = None
        return found

    def save_overload(self, sig, data):
        """Save the compiled overload if the disk takes it."""
        try:
            super().save_overload(sig, data)
        except Exception:
            self._discard()

    def _discard(self):
        try:
            self.flush()
        except OSError:
            self.disable()


def helper(py_func: Callable) -> Callable:
    """Compile a part of a kernel, which Python cannot call; it is a part of the kernel's machine code and its cache.

    LLVM has to inline it. What it leaves a function has a name that all kernels share, and the one of them is called
    that was there first, in a process that compiles not the same as in one that reads the cache: compiled apart they
    round differently. It takes a fifth more time to compile, but batches of one row take a third less to run. Without
    the wrappers that take arguments from Python and C a cold `nn_epoch` compiled in 15.5 s, with them in 19.3.
    """
    return numba.njit(no_cpython_wrapper=True, no_cfunc_wrapper=True, forceinline=True, **OPTIONS)(py_func)


def kernel(py_func: Callable) -> Callable:
    """Compile what Python calls, serial loops only, with a cache on disk where a directory can be written."""
    return cached(numba.njit(**OPTIONS)(py_func))


def apart(py_func: Callable) -> Callable:
    """Compile what is called only at its address, when it is needed, with a cache on disk where it can be written."""
    return cached(helper(py_func))


def parallel_kernel(py_func: Callable) -> Callable:
    """Compile what is called under `parallel_lock`, with a cache on disk where a directory can be written."""
    return cached(numba.njit(parallel=True, **OPTIONS)(py_func))


def cached(dispatcher: Callable) -> Callable:
    """Give a dispatcher a `KernelCache`; with no directory that can be written it compiles anew in each process."""
    if not numba.config.DISABLE_JIT:
        with contextlib.suppress(RuntimeError):
            dispatcher._cache = KernelCache(dispatcher.py_func)
    return dispatcher

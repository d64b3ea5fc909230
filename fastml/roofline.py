"""The machine: what it is, the most that its cores multiply and add, and the most that they read from memory.

A kernel is as fast as it can be where it is at one of these two limits: that is the roofline model [1]_.

.. [1] Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
   Communications of the ACM 52 (2009).
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import llvmlite
import numba
import numpy as np
from numba.core.registry import cpu_target

from fastml.kernels import jit, limits
from fastml.kernels.simd import REGISTER_BYTES

DTYPES = ("float32", "float64")
STEPS = 1 << 22  # about 10 ms
REPEATS = 5
# Rows of 4 KiB, a multiple of limits.ROWS: 600 MiB, for the last cache of a whole host may serve one virtual machine.
READ_SHAPE = (153_600, 1024)


def fma_peak(dtype: str, threads: int) -> float:
    """Measure how fast a number of threads multiply and add, with all that they need in registers.

    Parameters
    ----------
    dtype : {"float32", "float64"}
        Precision of the arithmetic.
    threads : int
        From 1 to `numba.get_num_threads`.

    Returns
    -------
    float
        Floating-point operations per second, in GFLOP/s; a multiply-add is two of them.

    Examples
    --------
    >>> from fastml.roofline import fma_peak
    >>> fma_peak("float32", threads=1) > 0
    True
    """
    columns = limits.VECTORS * REGISTER_BYTES // np.dtype(dtype).itemsize
    x, w = np.ones((limits.ROWS, 1), dtype), np.ones((1, columns), dtype)
    out = np.zeros((threads * limits.ROWS, columns), dtype)
    return 2 * STEPS * out.size / least_seconds(lambda: limits.multiply_add(STEPS, x, w, out, threads)) / 1e9


def read_bandwidth(threads: int) -> float:
    """Measure how fast a number of threads read memory, 600 MiB of it, in order.

    Parameters
    ----------
    threads : int
        From 1 to `numba.get_num_threads`.

    Returns
    -------
    float
        Bytes per second, in GB/s.

    Raises
    ------
    MemoryError
        If there are no 600 MiB.
    """
    A = np.ones(READ_SHAPE, np.float32)
    ones = np.ones((1, A.shape[1]), A.dtype)
    out = np.zeros((threads * limits.ROWS, REGISTER_BYTES // A.itemsize), A.dtype)
    return A.nbytes / least_seconds(lambda: limits.read(A, ones, out, threads)) / 1e9


def least_seconds(function: Callable[[], object]) -> float:
    """Return the least seconds of a few calls of a parallel kernel, after one that may compile."""
    seconds = []
    with jit.parallel_lock:
        function()
        for _ in range(REPEATS):
            began = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - began)
    return min(seconds)


class Roofline:
    """The best peaks and bandwidths seen in a process; machines that are shared drift, so long runs measure again.

    Attributes
    ----------
    threads : int
        All threads, those of `numba.get_num_threads`.
    peaks : dict of (dtype, threads) to GFLOP/s
        For float32 and float64, for one thread and for all.
    bandwidths : dict of threads to GB/s
        For one thread and for all.
    """

    def __init__(self) -> None:
        self.threads = numba.get_num_threads()
        self.peaks: dict[tuple[str, int], float] = {}
        self.bandwidths: dict[int, float] = {}

    def measure(self) -> None:
        """Measure all, for about a second, and keep what is higher than before."""
        for threads in sorted({1, self.threads}):
            for dtype in DTYPES:
                self.peaks[dtype, threads] = max(fma_peak(dtype, threads), self.peaks.get((dtype, threads), 0.0))
            self.bandwidths[threads] = max(read_bandwidth(threads), self.bandwidths.get(threads, 0.0))

    def peak(self, dtype: str) -> float:
        """Return the peak of all threads."""
        return self.peaks[dtype, self.threads]

    def bandwidth(self) -> float:
        """Return the read bandwidth of all threads."""
        return self.bandwidths[self.threads]

    def facts(self) -> dict[str, str]:
        """Return what was measured, in words."""
        peaks = {
            f"{dtype} FMA peak": {threads: f"{self.peaks[dtype, threads]:.0f} GFLOP/s" for threads in self.bandwidths}
            for dtype in DTYPES
        }
        bandwidths = {threads: f"{bandwidth:.1f} GB/s" for threads, bandwidth in self.bandwidths.items()}
        return {
            name: ", ".join(f"{value} on {n} thread{'s' if n > 1 else ''}" for n, value in values.items())
            for name, values in (peaks | {"read bandwidth": bandwidths}).items()
        }


def machine_facts() -> dict[str, str]:
    """Return what the machine and its software are, in words: what a report of a speed should come with.

    Examples
    --------
    >>> from fastml.roofline import machine_facts
    >>> list(machine_facts())
    ['fastml', 'python', 'numpy', 'blas', 'numba', 'llvmlite', 'cpu', 'compiled for', 'usable cores', 'threads']
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    _, target, _ = cpu_target.target_context.codegen().magic_tuple()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = numba.get_num_threads()  # starts them: before, no threading layer is chosen
    return {
        "fastml": version("fastml"),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": f"{blas['name']} {blas['version']}",
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": cpu_name(),
        "compiled for": f"{target}, vectors of {8 * REGISTER_BYTES} bits",
        "usable cores": str(cores),
        "threads": f"{threads}, on {numba.threading_layer()}",
    }


def cpu_name() -> str:
    """Return the name of the CPU's model."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""Facts about the machine, and its two speed limits: the peak multiply-add rate and the memory read bandwidth.

A kernel that reaches one of these two limits cannot be faster: this is the roofline model [1]_.

.. [1] Williams, Waterman and Patterson, "Roofline: an insightful visual performance model for multicore architectures",
   Communications of the ACM 52 (2009).
"""

import os
import platform
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core.registry import cpu_target
from numpy.typing import NDArray

from fastml.kernels.compile import forks
from fastml.kernels.compile.options import parallel_kernel
from fastml.kernels.simd.registers import REGISTER_BYTES, REGISTERS
from fastml.kernels.simd.tiles import add_dot, add_outer_rows, lanes_of, store_tile, zero_tile

DTYPES = ("float32", "float64")
STEPS = 1 << 22  # about 10 ms
REPEATS = 5
# Rows of 4 KiB; their number is a multiple of ROWS. 600 MiB exceed the last-level cache of a whole host, all of
# which may serve one virtual machine.
READ_SHAPE = (153_600, 1024)


# Enough accumulators to hide the latency of a multiply-add (4 cycles x 2 units, or x 4 on large ARM cores), and few
# enough to stay in registers.
ROWS, VECTORS = (4, 4) if REGISTERS >= 32 else (2, 4)


@parallel_kernel
def multiply_add(steps: int, x: NDArray[Any], w: NDArray[Any], out: NDArray[Any], workers: int) -> None:
    """Write the sum of steps outer products of x (ROWS, 1) and w (1, VECTORS vectors) to out, ROWS rows a worker.

    x and w stay in registers as well, so that multiply-adds alone are measured.
    """
    for worker in numba.prange(workers):
        tile = zero_tile(ROWS, VECTORS, w)
        for _ in range(steps):
            tile = add_outer_rows(tile, x, 0, 0, w, 0, 0)
        store_tile(tile, out, np.intp(worker) * ROWS, 0)


@parallel_kernel
def read(A: NDArray[Any], ones: NDArray[Any], out: NDArray[Any], workers: int) -> None:
    """Write the sums of the vectors of each worker's rows of A to out, ROWS rows of one vector a worker.

    A has a multiple of ROWS rows, and ROWS of them are read at a time.
    """
    groups = A.shape[0] // ROWS
    for worker in numba.prange(workers):
        w = np.intp(worker)
        tile = zero_tile(ROWS, 1, A)
        for g in range(groups * w // workers, groups * (w + 1) // workers):
            for j in range(0, A.shape[1], lanes_of(A)):
                tile = add_dot(tile, A, g * ROWS, ones, 0, j)
        store_tile(tile, out, w * ROWS, 0)


def fma_peak(dtype: str, threads: int) -> float:
    """Measure the multiply-add rate of a number of threads, with all operands in registers.

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
    columns = VECTORS * REGISTER_BYTES // np.dtype(dtype).itemsize
    x, w = np.ones((ROWS, 1), dtype), np.ones((1, columns), dtype)
    out = np.zeros((threads * ROWS, columns), dtype)
    return 2 * STEPS * out.size / least_seconds(lambda: multiply_add(STEPS, x, w, out, threads)) / 1e9


def read_bandwidth(threads: int) -> float:
    """Measure how fast a number of threads read 600 MiB of memory sequentially.

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
        If 600 MiB of memory are not available.
    """
    A = np.ones(READ_SHAPE, np.float32)
    ones = np.ones((1, A.shape[1]), A.dtype)
    out = np.zeros((threads * ROWS, REGISTER_BYTES // A.itemsize), A.dtype)
    return A.nbytes / least_seconds(lambda: read(A, ones, out, threads)) / 1e9


def least_seconds(function: Callable[[], object]) -> float:
    """Return the shortest time, in seconds, of a few calls of a parallel kernel, after a call that may compile."""
    seconds = []
    forks.available_threads()  # starts the threads; a compilation would start them in another thread
    with forks.parallel_lock:
        function()
        for _ in range(REPEATS):
            began = time.perf_counter()
            function()
            seconds.append(time.perf_counter() - began)
    return min(seconds)


class Roofline:
    """The highest peaks and bandwidths measured in this process.

    The speed of a shared machine varies, so long benchmarks should call `measure` repeatedly.

    Attributes
    ----------
    threads : int
        The number of all threads, from `numba.get_num_threads`.
    peaks : dict of (dtype, threads) to GFLOP/s
        For float32 and float64, for one thread and for all.
    bandwidths : dict of threads to GB/s
        For one thread and for all.
    """

    def __init__(self) -> None:
        self.threads = forks.available_threads()
        self.peaks: dict[tuple[str, int], float] = {}
        self.bandwidths: dict[int, float] = {}

    def measure(self) -> None:
        """Measure all limits, in about a second, and keep those that are higher than before."""
        for threads in sorted({1, self.threads}):
            for dtype in DTYPES:
                self.peaks[dtype, threads] = max(fma_peak(dtype, threads), self.peaks.get((dtype, threads), 0.0))
            self.bandwidths[threads] = max(read_bandwidth(threads), self.bandwidths.get(threads, 0.0))

    def peak(self, dtype: str) -> float:
        """Return the peak of all threads in GFLOP/s."""
        return self.peaks[dtype, self.threads]

    def bandwidth(self) -> float:
        """Return the read bandwidth of all threads in GB/s."""
        return self.bandwidths[self.threads]

    def facts(self) -> dict[str, str]:
        """Return the measured limits as text, by name."""
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
    """Return facts about the machine and its software as text, by name, for reports of problems and speeds.

    Examples
    --------
    >>> from fastml.roofline import machine_facts
    >>> list(machine_facts())
    ['fastml', 'python', 'numpy', 'blas', 'numba', 'llvmlite', 'cpu', 'compiled for', 'usable cores', 'threads']
    """
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    _, target, _ = cpu_target.target_context.codegen().magic_tuple()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads = forks.available_threads()  # also starts the threads; only then is the threading layer known
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
    """Return the model name of the CPU."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()

"""The machine: what it is, the most that its cores multiply and add, and the most that they read from memory."""

import datetime
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from fastml.kernels.jit import OPTIONS
from fastml.kernels.simd import REGISTER_BYTES, REGISTERS, add_dot, add_outer_rows, lanes_of, store_tile, zero_tile

# Accumulators enough to hide the latency of a multiply-add (4 cycles x 2 units, or x 4 on large ARM cores), few enough
# to stay in registers: with 16 of them, 3 x 4 spills and is at half of 2 x 4.
ROWS, VECTORS = (4, 4) if REGISTERS >= 32 else (2, 4)
STEPS = 1 << 22  # about 10 ms
REPEATS = 5
# Rows of 4 KiB, a multiple of ROWS: 600 MiB, for the last cache of a whole host may serve one virtual machine.
READ_ROWS = 153_600


@numba.njit(parallel=True, **OPTIONS)
def multiply_add(steps, x, w, out, workers):
    """Write the sum of steps outer products of x (ROWS, 1) and w (1, VECTORS vectors) to out, for each worker.

    x and w stay in registers as well: nothing is measured but multiply-adds.
    """
    for worker in numba.prange(workers):
        tile = zero_tile(ROWS, VECTORS, w)
        for _ in range(steps):
            tile = add_outer_rows(tile, x, 0, 0, w, 0, 0)
        store_tile(tile, out, np.intp(worker) * ROWS, 0)


@numba.njit(parallel=True, **OPTIONS)
def read(A, ones, out, workers):
    """Add up the vectors of each worker's rows of A, ROWS rows at a time: 8 % faster than one after the other."""
    groups = A.shape[0] // ROWS
    for worker in numba.prange(workers):
        w = np.intp(worker)
        tile = zero_tile(ROWS, 1, A)
        for g in range(groups * w // workers, groups * (w + 1) // workers):
            for j in range(0, A.shape[1], lanes_of(A)):
                tile = add_dot(tile, A, g * ROWS, ones, 0, j)
        store_tile(tile, out, w * ROWS, 0)


def fastest(function: Callable[[], object]) -> float:
    """Return the least seconds of a few calls, after one that may compile."""
    function()
    seconds = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def fma_peak(dtype: str, workers: int) -> float:
    """Measure the multiply-add peak of a number of threads, in GFLOP/s."""
    columns = VECTORS * REGISTER_BYTES // np.dtype(dtype).itemsize
    x, w = np.ones((ROWS, 1), dtype), np.ones((1, columns), dtype)
    out = np.zeros((workers * ROWS, columns), dtype)
    seconds = fastest(lambda: multiply_add(STEPS, x, w, out, workers))
    return 2 * STEPS * out.size / seconds / 1e9


def read_bandwidth(A: NDArray, workers: int) -> float:
    """Measure how fast a number of threads read A, with a multiple of ROWS rows, from memory, in GB/s."""
    ones, out = np.ones((1, A.shape[1]), A.dtype), np.zeros((workers * ROWS, A.shape[1]), A.dtype)
    return A.nbytes / fastest(lambda: read(A, ones, out, workers)) / 1e9


class Roofline:
    """The best peaks and bandwidths seen in a run; machines that are shared drift, so a run measures several times.

    Attributes
    ----------
    peaks : dict of (dtype, threads) to GFLOP/s
    bandwidths : dict of threads to GB/s
    """

    def __init__(self) -> None:
        self.threads = numba.get_num_threads()
        self.peaks: dict[tuple[str, int], float] = {}
        self.bandwidths: dict[int, float] = {}

    def measure(self) -> None:
        """Measure all and keep what is higher than before."""
        A = np.ones((READ_ROWS, 1024), np.float32)
        for workers in sorted({1, self.threads}):
            for dtype in ("float32", "float64"):
                peak = fma_peak(dtype, workers)
                self.peaks[dtype, workers] = max(peak, self.peaks.get((dtype, workers), 0.0))
            self.bandwidths[workers] = max(read_bandwidth(A, workers), self.bandwidths.get(workers, 0.0))

    def peak(self, dtype: str) -> float:
        """Return the peak of all threads."""
        return self.peaks[dtype, self.threads]

    def bandwidth(self) -> float:
        """Return the read bandwidth of all threads."""
        return self.bandwidths[self.threads]

    def facts(self) -> dict[str, str]:
        """Return what was measured, in words."""
        one_and_all = sorted({1, self.threads})
        threads = " / ".join(f"{workers} thread{'s' if workers > 1 else ''}" for workers in one_and_all)
        return {
            **{
                f"FMA peak {dtype}, {threads}": " / ".join(f"{self.peaks[dtype, n]:.0f}" for n in one_and_all)
                + " GFLOP/s"
                for dtype in ("float32", "float64")
            },
            f"read bandwidth, {threads}": " / ".join(f"{self.bandwidths[n]:.1f}" for n in one_and_all) + " GB/s",
        }


def cpu_name() -> str:
    """Return the name of the CPU's model."""
    cpuinfo = Path("/proc/cpuinfo")
    for line in cpuinfo.read_text().splitlines() if cpuinfo.exists() else ():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def machine_facts() -> dict[str, str]:
    """Return what the machine and its software are, in words; Numba must have run a parallel kernel."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return {
        "CPU": f"{cpu_name()}, {cores} cores, {REGISTER_BYTES * 8}-bit vectors",
        "threads of fastml": f"{numba.get_num_threads()}, on {numba.threading_layer()}",
        "threads of NumPy": os.environ.get("OPENBLAS_NUM_THREADS", "as BLAS chooses"),
        "software": f"Python {platform.python_version()}, NumPy {np.__version__}, Numba {numba.__version__}, "
        f"{blas['name']} {blas['version']}",
        "date": datetime.date.today().isoformat(),
    }

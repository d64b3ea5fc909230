"""The limits of the machine: loops that do nothing but multiply and add, and nothing but read memory."""

import numba
import numpy as np

from fastml.kernels.jit import parallel_kernel
from fastml.kernels.simd import REGISTERS, add_dot, add_outer_rows, lanes_of, store_tile, zero_tile

# Accumulators enough to hide the latency of a multiply-add (4 cycles x 2 units, or x 4 on large ARM cores), few enough
# to stay in registers: with 16 of them, 3 x 4 spills and is at half of 2 x 4.
ROWS, VECTORS = (4, 4) if REGISTERS >= 32 else (2, 4)


@parallel_kernel
def multiply_add(steps, x, w, out, workers):
    """Write the sum of steps outer products of x (ROWS, 1) and w (1, VECTORS vectors) to out, ROWS rows a worker.

    x and w stay in registers as well: nothing is measured but multiply-adds.
    """
    for worker in numba.prange(workers):
        tile = zero_tile(ROWS, VECTORS, w)
        for _ in range(steps):
            tile = add_outer_rows(tile, x, 0, 0, w, 0, 0)
        store_tile(tile, out, np.intp(worker) * ROWS, 0)


@parallel_kernel
def read(A, ones, out, workers):
    """Write the sums of the vectors of each worker's rows of A to out, ROWS rows of one vector a worker.

    A has a multiple of ROWS rows. ROWS of them are read at a time: 8 % faster than one after the other.
    """
    groups = A.shape[0] // ROWS
    for worker in numba.prange(workers):
        w = np.intp(worker)
        tile = zero_tile(ROWS, 1, A)
        for g in range(groups * w // workers, groups * (w + 1) // workers):
            for j in range(0, A.shape[1], lanes_of(A)):
                tile = add_dot(tile, A, g * ROWS, ones, 0, j)
        store_tile(tile, out, w * ROWS, 0)

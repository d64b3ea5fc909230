"""Weights packed into panels: the shapes of our own memory, how weights get into it and out, and who owns which tile.

A panel is up to `MOST_VECTORS` vectors of neighbouring columns of a matrix, stored row after row: what a register tile
reads is contiguous. BLAS packs at every call; here weights stay packed for as long as an epoch runs.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import jit, simd
from fastml.kernels.jit import apart, helper
from fastml.kernels.simd import lanes_of
from fastml.kernels.team import run_each

# The tile. 4 x 5 registers and 5 + 1 for what is loaded fit AVX-512's 32 registers, 4 x 3 and 3 + 1 AVX2's 16. On a
# Xeon with AVX-512 dense products out of the second cache reach 0.88 of the FMA peak with 4 x 5, 0.83 with 4 x 4, 0.78
# with 6 x 4, 0.81 with 3 x 7; and taller tiles meet more pixels that are zero in some of their rows.
ROWS = 4
MOST_VECTORS = 5 if simd.REGISTERS == 32 else 3
# Classes that go through the registers together: rows of a tile of weights, columns of a tile of dot products.
CLASSES = 5 if simd.REGISTERS == 32 else 2
CACHE_LINE = 64
# What the kernels take of the caller's weights as they lie; others are copied first.
PLAIN = ("C", "ALIGNED", "WRITEABLE")
# Fewer weights are packed by one thread: 784 x 400 take 0.2 ms, of an epoch of 100, and 3072 x 400 with two threads 0.5
# ms in the place of 0.8.
MANY = 1 << 19


def lanes(dtype: DTypeLike) -> int:
    """Return how many numbers of a dtype a vector register holds."""
    return simd.REGISTER_BYTES // np.dtype(dtype).itemsize


def padded(size: int, multiple: int) -> int:
    """Return size rounded up to a multiple."""
    return (size + multiple - 1) // multiple * multiple


padded_size = helper(padded)


def aligned(allocate: Callable[..., NDArray], shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Return an array that begins at a cache line, in memory from np.zeros or np.empty.

    NumPy aligns to 16 bytes: then vectors of 64 straddle two lines, and dense products
    reached 0.60 of the FMA peak in the place of 0.88.
    """
    dtype = np.dtype(dtype)
    memory = allocate(math.prod(shape) * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -memory.ctypes.data % CACHE_LINE
    return memory[start : memory.size - CACHE_LINE + start].view(dtype).reshape(shape)


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Return an array of zeros that begins at a cache line."""
    return aligned(np.zeros, shape, dtype)


def panel_offsets(columns: int, dtype: DTypeLike) -> NDArray[np.int64]:
    """Return the vector at which each panel of a matrix begins, and at the end the number of vectors."""
    return offsets_of_parts(padded(columns, lanes(dtype)) // lanes(dtype), MOST_VECTORS)


def offsets_of_parts(size: int, most: int) -> NDArray[np.int64]:
    """Return where each part of a size begins, and at the end the size: of up to most, and as equal as they can be.

    7 vectors are 3 + 4, not 5 + 2.
    """
    parts = padded(size, most) // most
    return np.arange(parts + 1) * size // parts


def pack(W: NDArray, rows: int, dtype: DTypeLike) -> NDArray:
    """Return W in panels, (panels, rows, columns of the widest), padded with zeros to rows.

    With room for `MOST_VECTORS` in each, rows of 16 hidden units lay 320 bytes apart: epochs on 3072 inputs, batches of
    10, took a quarter longer. With zeros everywhere first, 3072 x 400 weights take 1.4 times as long to pack, or more.
    """
    offsets = panel_offsets(W.shape[1], dtype)
    panels = aligned(np.empty, (len(offsets) - 1, rows, np.diff(offsets).max() * lanes(dtype)), dtype)
    move_all(np.require(W, dtype, PLAIN), panels, offsets, True)
    return panels


def unpack(panels: NDArray, W: NDArray) -> None:
    """Write panels back to W, in place."""
    plain = np.require(W, panels.dtype, PLAIN)
    move_all(plain, panels, panel_offsets(W.shape[1], panels.dtype), False)
    if not np.may_share_memory(plain, W):
        W[...] = plain


def move_all(W: NDArray, panels: NDArray, offsets: NDArray, into: bool) -> None:
    """Move W, of the dtype of the panels, into panels or back, with all threads if there is much to move."""
    threads = jit.available_threads() if W.size >= MANY else 1
    run_each(move, threads, (W, panels, offsets, into))


@apart
def move(W, panels, offsets, into, worker, workers):
    """Write a worker's rows of W to panels, padded with zeros, or those of panels to W."""
    first, last = share(panels.shape[1], worker, workers)
    for i in range(first, last if into else min(last, W.shape[0])):
        for p in range(panels.shape[0]):
            row, begin = panels[p, i], offsets[p] * lanes_of(panels)
            count = min(offsets[p + 1] * lanes_of(panels), W.shape[1]) - begin if i < W.shape[0] else 0
            if into:
                for j in range(count):
                    row[j] = W[i, begin + j]
                row[count:] = 0
            else:
                for j in range(count):
                    W[i, begin + j] = row[j]


@helper
def copy(source, target):
    """Write source to target, of one shape."""
    flat, written = source.reshape(source.size), target.reshape(source.size)
    for i in range(flat.size):
        written[i] = flat[i]


@helper
def add_up(listed, overhead, begins):
    """Write the work before each group to begins, and all work at the end: what is listed, and an overhead for each."""
    begins[0] = 0
    for g in range(begins.size - 1):
        begins[g + 1] = begins[g] + listed[g] + overhead


@helper
def first_tile(begins, offset, width, bound):
    """Return the first row group g of a panel whose middle is at bound or behind it.

    begins (groups + 1) are the sums of the work of the groups so far. All panels' groups in a row, each as long as its
    work, make a line that workers share in equal pieces: a worker keeps the same panels from batch to batch, so they
    stay in its cache. Splitting the batch alone moves all weights between the cores.
    """
    low, high = 0, begins.size - 1
    while low < high:
        middle = (low + high) // 2
        if 2 * offset * begins[-1] + width * (begins[middle] + begins[middle + 1]) >= 2 * bound:
            high = middle
        else:
            low = middle + 1
    return low


@helper
def share(size, worker, workers):
    """Return the first and the end of the piece of range(size) that is a worker's."""
    return size * worker // workers, size * (worker + 1) // workers

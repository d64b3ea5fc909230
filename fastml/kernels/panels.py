"""Weights packed into panels, and the shapes of the kernels' own memory.

A panel is up to `MOST_VECTORS` vectors of neighbouring columns of a matrix, stored row after row, so that a register
tile reads contiguous memory. BLAS packs at every call. Here weights stay packed for as long as an epoch runs. The width
of a panel is counted in units, of which `UNITS` make a vector; its rows are padded with zeros to whole vectors.
"""

import itertools
import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.simd import registers
from fastml.kernels.simd.masks import MASK_BITS
from fastml.kernels.simd.tiles import UNITS, lanes_of

# The tile: 4 x 5 registers and 5 + 1 for operands fit AVX-512's 32 registers, 4 x 3 and 3 + 1 fit AVX2's 16.
ROWS = 4
MOST_VECTORS = 5 if registers.REGISTERS == 32 else 3
# Classes that go through the registers together.
CLASSES = 5 if registers.REGISTERS == 32 else 2
CACHE_LINE = 64


class Layer(NamedTuple):
    """Weights in panels, the memory of their gradient, and the products for the widths of the panels."""

    weights: NDArray  # (panels, rows of the matrix, columns of the widest panel)
    gradient: NDArray  # as weights, or without a panel
    offsets: NDArray[np.int64]  # (panels + 1,): the unit at which each panel begins
    products: NDArray[np.int64]  # (products, panels): addresses, see `layer.PRODUCTS`


def lanes(dtype: DTypeLike) -> int:
    """Return how many numbers of a dtype a vector register holds."""
    return registers.REGISTER_BYTES // np.dtype(dtype).itemsize


def padded(size: int, multiple: int) -> int:
    """Return size rounded up to a multiple."""
    return (size + multiple - 1) // multiple * multiple


padded_size = helper(padded)


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Return an array of zeros that begins at a cache line. NumPy alone aligns to 16 bytes."""
    dtype = np.dtype(dtype)
    memory = np.zeros(math.prod(shape) * dtype.itemsize + CACHE_LINE, np.uint8)
    start = -memory.__array_interface__["data"][0] % CACHE_LINE
    return memory[start : memory.size - CACHE_LINE + start].view(dtype).reshape(shape)


def panel_offsets(columns: int, dtype: DTypeLike) -> NDArray[np.int64]:
    """Return the unit at which each panel of a matrix begins, and at the end the number of units.

    Panels are as equal as whole units allow. Several panels are an even number, so that two workers own whole ones.
    """
    units = padded(columns, lanes(dtype) // UNITS) // (lanes(dtype) // UNITS)
    panels = padded(units, MOST_VECTORS * UNITS) // (MOST_VECTORS * UNITS)
    panels = panels if panels == 1 else padded(panels, 2)
    return np.arange(panels + 1) * units // panels


def pack(W: NDArray, multiple: int) -> Layer:
    """Return a layer of weights W in panels, padded with zeros to a multiple of rows."""
    dtype, rows = W.dtype.newbyteorder("="), padded(len(W), multiple)
    offsets = panel_offsets(W.shape[1], dtype)
    widest = int(np.diff(offsets).max())
    packed = aligned_zeros((len(offsets) - 1, rows, padded(widest, UNITS) // UNITS * lanes(dtype)), dtype)
    layer = Layer(packed, packed, offsets, np.zeros((0, 0), np.int64))
    for panel, columns in panels_of(layer, W):
        panel[...] = columns
    return with_gradient(layer, False)


def panels_of(layer: Layer, W: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield each panel of a layer without its padding, with the columns of the matrix W that it holds."""
    bounds = layer.offsets * (lanes(layer.weights.dtype) // UNITS)
    for panel, (begin, end) in zip(layer.weights, itertools.pairwise(bounds.tolist()), strict=True):
        columns = W[:, begin:end]
        yield panel[: columns.shape[0], : columns.shape[1]], columns


def with_gradient(layer: Layer, needed: bool) -> Layer:
    """Return a layer with memory for its gradient, or with none if the gradient never leaves the registers."""
    panels, *shape = layer.weights.shape
    return layer._replace(gradient=aligned_zeros((panels if needed else 0, *shape), layer.weights.dtype))


def unpack(layer: Layer, W: NDArray) -> None:
    """Write the weights of a layer to W, in place."""
    for panel, columns in panels_of(layer, W):
        columns[...] = panel


def whole_masks(size: int) -> int:
    """Return size rounded up to whole masks."""
    return padded(size, MASK_BITS)


@helper
def columns_of(layer, p):
    """Return the columns of panel p, in whole vectors."""
    return padded_size(layer.offsets[p + 1] - layer.offsets[p], UNITS) // UNITS * lanes_of(layer.weights)


@helper
def first_column(layer, p):
    """Return the column of the matrix at which panel p begins; behind the last panel, the padded number of columns."""
    return layer.offsets[p] * lanes_of(layer.weights) // UNITS

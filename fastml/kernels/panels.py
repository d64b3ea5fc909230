"""Weights packed into panels, and the shapes of the kernels' own memory.

A panel is up to `MOST_VECTORS` vectors of neighbouring columns of a matrix, stored row after row, so that a register
tile reads contiguous memory. BLAS packs at every call. Here weights stay packed for as long as an epoch runs. The width
of a panel is counted in units, of which `UNITS` make a vector; its rows are padded with zeros to whole vectors.
"""

import itertools
import math
import operator
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.simd import registers
from fastml.kernels.simd.masks import MASK_BITS
from fastml.kernels.simd.tiles import UNITS, lanes_of

# The tile: 4 x 5 registers and 5 + 1 for operands fit AVX-512's 32 registers, 4 x 3 and 3 + 1 fit AVX2's 16.
ROWS = 4
# The rows of half a tile, which has a list of its own: see `pattern`.
PAIR = ROWS // 2
MOST_VECTORS = 5 if registers.REGISTERS == 32 else 3
# Classes that go through the registers together.
CLASSES = 5 if registers.REGISTERS == 32 else 2
CACHE_LINE = 64


class Arrays(NamedTuple):
    """The caller's arrays of a layer, which training changes in place."""

    weights: NDArray  # (inputs, outputs)
    bias: NDArray | None  # (outputs,)
    states: tuple[NDArray, ...] = ()  # the optimizer's, each as weights
    bias_states: tuple[NDArray, ...] = ()  # each as bias

    def transposed(self) -> "Arrays":
        """Return views of the weights and their states as (outputs, inputs), without the bias."""
        return Arrays(self.weights.T, None, tuple(state.T for state in self.states))


class Layer(NamedTuple):
    """Weights in panels, the memory of their gradient, and the products for the widths of the panels."""

    weights: NDArray  # (panels, rows of the matrix, columns of the widest panel)
    states: tuple[NDArray, ...]  # each as weights
    gradient: NDArray  # as weights, or without a panel
    offsets: NDArray[np.int64]  # (panels + 1,): the unit at which each panel begins
    products: NDArray[np.int64]  # (products, panels): addresses, see `products.PRODUCTS`
    has_bias: bool  # the bias is row `bias_row`, and is trained


def lanes(dtype: DTypeLike) -> int:
    """Return how many numbers of a dtype a vector register holds."""
    return registers.REGISTER_BYTES // np.dtype(dtype).itemsize


def padded(size: int, multiple: int) -> int:
    """Return size rounded up to a multiple."""
    return (size + multiple - 1) // multiple * multiple


padded_size = helper(padded)


def aligned_zeros(shape: tuple[int, ...], dtype: DTypeLike) -> NDArray:
    """Return an array of zeros that begins at a cache line. NumPy alone aligns to 16 bytes."""
    memory = np.zeros(math.prod(shape) * np.dtype(dtype).itemsize + CACHE_LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.__array_interface__["data"][0] % CACHE_LINE)


def panel_offsets(columns: int, dtype: DTypeLike) -> NDArray[np.int64]:
    """Return the unit at which each panel of a matrix begins, and at the end the number of units.

    Panels are as equal as whole units allow. If there are several, their number is even, so that each of two workers
    owns whole panels.
    """
    units = padded(columns, lanes(dtype) // UNITS) // (lanes(dtype) // UNITS)
    panels = padded(units, MOST_VECTORS * UNITS) // (MOST_VECTORS * UNITS)
    panels = panels if panels == 1 else padded(panels, 2)
    return np.arange(panels + 1) * units // panels


def widths_of(offsets: NDArray[np.int64]) -> list[int]:
    """Return the units of each panel."""
    return [end - begin for begin, end in itertools.pairwise(offsets.tolist())]


def pack(arrays: Arrays, multiple: int, bias_rows: int = 0) -> Layer:
    """Return a layer in panels: the weights, padded with zeros to a multiple of rows, and behind them the bias rows."""
    W, dtype = arrays.weights, arrays.weights.dtype.newbyteorder("=")
    offsets = panel_offsets(W.shape[1], dtype)
    width = padded(max(widths_of(offsets)), UNITS) // UNITS * lanes(dtype)
    layer = empty_layer((len(offsets) - 1, padded(len(W), multiple) + bias_rows, width), arrays, offsets)
    for columns, packed in panel_copies(layer, arrays, bias_rows):
        packed[...] = columns
    return layer


def pack_wide(arrays: Arrays, multiple: int) -> Layer:
    """Return a layer as one panel of all columns."""
    lanes_of_dtype = lanes(arrays.weights.dtype)
    rows, vectors = (
        padded(size, n) // n for size, n in zip(arrays.weights.shape, (multiple, lanes_of_dtype), strict=True)
    )
    layer = empty_layer((1, rows * multiple, vectors * lanes_of_dtype), arrays, np.array([0, vectors * UNITS]))
    for columns, packed in panel_copies(layer, arrays):
        packed[...] = columns
    return layer


def pack_bias(arrays: Arrays, workers: int) -> Layer:
    """Return the bias of a layer with few outputs as a layer, (workers, 1, outputs): each worker has a copy."""
    width = padded(padded(arrays.weights.shape[1], CLASSES), 2 * CACHE_LINE // arrays.weights.itemsize)
    layer = empty_layer((workers, 1, width), arrays, np.zeros(0, np.int64))
    for b, packed in bias_copies(layer, arrays):
        packed[...] = b
    share_bias(layer)
    return with_gradient(layer, True)


def share_bias(layer: Layer) -> None:
    """Copy the first worker's bias to all workers: a worker that had no part in a slice has an older bias."""
    for array in (layer.weights, *layer.states):
        array[1:] = array[0]


def empty_layer(shape: tuple[int, int, int], arrays: Arrays, offsets: NDArray[np.int64]) -> Layer:
    """Return a layer of zeros with as many arrays of states as the caller has, and without memory for its gradient."""
    dtype = arrays.weights.dtype.newbyteorder("=")
    weights, *states = (aligned_zeros(shape, dtype) for _ in (arrays.weights, *arrays.states))
    return Layer(weights, tuple(states), weights[:0], offsets, np.zeros((0, 0), np.int64), arrays.bias is not None)


# Pairs of arrays with the same numbers: a part of the caller's arrays, and a part of a layer.
Copies = list[tuple[NDArray, NDArray]]


def panel_copies(layer: Layer, arrays: Arrays, bias_rows: int = 0) -> Copies:
    """Return the parts of the caller's arrays with the parts of the panels."""
    bounds, bias_row = layer.offsets * (lanes(layer.weights.dtype) // UNITS), layer.weights.shape[1] - bias_rows
    pairs = []
    for p, (begin, end) in enumerate(itertools.pairwise(bounds.tolist())):
        for W, packed in zip((arrays.weights, *arrays.states), (layer.weights, *layer.states), strict=True):
            columns = W[:, begin:end]
            pairs.append((columns, packed[p, : columns.shape[0], : columns.shape[1]]))
        if bias_rows and arrays.bias is not None:
            for b, packed in zip((arrays.bias, *arrays.bias_states), (layer.weights, *layer.states), strict=True):
                pairs.append((b[begin:end], packed[p, bias_row, : b[begin:end].size]))
    return pairs


def bias_copies(layer: Layer, arrays: Arrays) -> Copies:
    """Return the caller's bias and its states with the first worker's copies in a layer of `pack_bias`."""
    if arrays.bias is None:
        return []
    vectors = zip((arrays.bias, *arrays.bias_states), (layer.weights, *layer.states), strict=True)
    return [(b, packed[0, 0, : b.size]) for b, packed in vectors]


def write_back(pairs: Iterable[tuple[NDArray, NDArray]]) -> None:
    """Copy the second array of each pair to the first, without a signal handler running in between.

    Python runs handlers between two bytecodes of the main thread, and all copies are made in one bytecode.
    """
    targets, sources = zip(*pairs, strict=True)
    deque(map(operator.setitem, targets, itertools.repeat(...), sources), maxlen=0)


def with_gradient(layer: Layer, needed: bool) -> Layer:
    """Return a layer with memory for its gradient, or without it if the gradient never leaves the registers."""
    weights = layer.weights
    return layer._replace(gradient=aligned_zeros(weights.shape, weights.dtype) if needed else weights[:0])


def whole_masks(size: int) -> int:
    """Return size rounded up to whole masks."""
    return padded(size, MASK_BITS)


@helper
def columns_of(layer, p):
    """Return the columns of panel p, in whole vectors."""
    return padded_size(layer.offsets[p + 1] - layer.offsets[p], UNITS) // UNITS * lanes_of(layer.weights)


@helper
def unit_of(layer):
    """Return how many columns a unit has."""
    return lanes_of(layer.weights) // UNITS


@helper
def first_column(layer, p):
    """Return the column of the matrix at which panel p begins; behind the last panel, the padded number of columns."""
    return layer.offsets[p] * unit_of(layer)


@helper
def bias_row(layer):
    """Return the row of the bias, in a layer whose panels are of outputs."""
    return layer.weights.shape[1] - ROWS


@helper
def feature_groups(layer):
    """Return how many groups of ROWS features a layer whose panels are of outputs has."""
    return layer.weights.shape[1] // ROWS - 1


@helper
def without_states(layer):
    """Return a layer for products that change no weights."""
    return Layer(layer.weights, (), layer.gradient, layer.offsets, layer.products, layer.has_bias)

"""Where X is read: the examples of a slice, their batches and blocks, and the rows of a block as tiles read them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.panels import CACHE_LINE, padded, padded_size, whole_masks
from fastml.kernels.pattern import mask_row
from fastml.kernels.simd.masks import MASK_BITS, convert, nonzero_mask
from fastml.kernels.simd.tiles import prefetch
from fastml.kernels.simd.vectors import as_numbers

# The most rows, and bytes, of a block: all panels read the same rows of X, which must stay in the second cache, and
# lists have the indices of rows as bytes. A batch of more than BLOCK rows is cut into blocks of at most BLOCK_OF_MANY.
BLOCK, BLOCK_OF_MANY, BLOCK_BYTES = 128, 96, 1 << 20


class Transform(NamedTuple):
    """The transform of the rows of X: factor * (X - background) + offset, feature by feature.

    Tiles read factor * (X - background), which is 0 where X is at its background. The offset, the same for all rows,
    acts like one more row of X: see `layer`.
    """

    factor: NDArray  # (1, features in whole masks)
    background: NDArray  # as factor
    offset: NDArray  # as factor, or (1, 0) if all offsets are 0
    is_identity: bool  # factor is 1 and background 0 everywhere


class Examples(NamedTuple):
    """The examples of a slice: rows of X and their transform, labels, and weights."""

    X: NDArray  # (num_examples, columns): numbers, or the bytes of numbers
    rows: NDArray[np.int64]  # (slice rows,): indices of rows of X
    labels: NDArray[np.int64]  # (slice rows,)
    weights: NDArray  # (slice rows,), or (0,) if all weights are 1
    transform: Transform
    input_dim: int
    has_reference: bool  # whether class 0 has no gradient


class Block(NamedTuple):
    """The rows that go through a layer together."""

    X: NDArray  # (rows or more, features) as tiles read them
    rows: NDArray[np.int64]  # (rows,): where each row of the block is in X
    labels: NDArray[np.int64]
    offset: NDArray  # (1, features), or (1, 0)


class Ahead(NamedTuple):
    """The rows of X that tiles prefetch while they compute, from cache line `position[0]` on."""

    X: NDArray[np.uint8]
    rows: NDArray[np.int64]
    row_lines: int  # the cache lines of a row
    every: int  # one step of so many prefetches a line; a power of two
    position: NDArray[np.int64]


def block_rows(batch: int, input_dim: int, dtype: DTypeLike) -> int:
    """Return the number of rows of a block of a batch, a multiple of MASK_BITS; the last block may have fewer.

    For a batch of BLOCK the number divides BLOCK, so that evaluation has the same blocks wherever a slice begins.
    """
    row_bytes = whole_masks(input_dim) * np.dtype(dtype).itemsize
    rows = BLOCK if batch <= BLOCK else BLOCK_OF_MANY
    while rows > MASK_BITS and rows * row_bytes > BLOCK_BYTES:
        rows = padded(rows // 2, MASK_BITS)
    blocks = padded(batch, rows) // rows
    return padded(padded(batch, blocks) // blocks, MASK_BITS)


@helper
def read(examples, start, stop, packed, identity, masks):
    """Return the block of rows start to stop of the slice, and mark in masks which of its features are not zero.

    Rows are read where they lie if nothing must be converted, transformed or padded. Otherwise they are packed:
    converted to the dtype of packed, transformed, and padded with zeros; identity (0, 1, 2, ...) has their new indices.
    """
    X, dim, rows = examples.X, examples.input_dim, examples.rows[start:stop]
    if X.shape[1] == dim * packed.itemsize and dim % MASK_BITS == 0 and examples.transform.is_identity:
        found, places = as_numbers(X, packed), rows
        for i in range(rows.size):
            mask_row(found, rows[i], masks, i)
    else:
        found, places = packed, identity[: rows.size]
        for i in range(rows.size):
            convert_row(X[rows[i]], (0, dim), examples, packed, i, masks)
    return Block(found, places, examples.labels[start:stop], examples.transform.offset)


@helper
def convert_row(source, features, examples, packed, i, masks):
    """Write factor * (source - background) to packed[i] for a range of features of a row of bytes, and mark them.

    masks may have room for no feature: then none is marked.
    """
    # Telling dtypes apart here saves the compilation of a kernel for each dtype of X.
    itemsize, transform = source.size // examples.input_dim, examples.transform
    if itemsize == 1:
        convert_numbers(source, features, transform, packed, i, masks)
    elif itemsize == 4:
        convert_numbers(as_numbers(source, np.float32), features, transform, packed, i, masks)
    else:
        convert_numbers(as_numbers(source, np.float64), features, transform, packed, i, masks)


@helper
def convert_numbers(source, features, transform, packed, i, masks):
    """Write factor * (source - background) to packed[i] for a range of features, MASK_BITS numbers at a time."""
    begin, end = features[0], min(features[1], source.size)
    whole = begin + (end - begin) // MASK_BITS * MASK_BITS
    for j in range(begin, whole, MASK_BITS):
        mask = convert(source, j, transform.factor, transform.background, packed, i)
        if j < masks.shape[0] * MASK_BITS:
            masks[j // MASK_BITS, i] = mask
    for j in range(whole, end):
        number = packed.dtype.type(source[j]) - transform.background[0, j]
        packed[i, j] = number * transform.factor[0, j]
    if whole < end and whole < masks.shape[0] * MASK_BITS:
        masks[whole // MASK_BITS, i] = nonzero_mask(packed, i, whole)


@helper
def ahead_of(examples, first, last, steps, position):
    """Return rows first to last of the slice, for tiles of a number of steps in all to prefetch."""
    X, rows = examples.X, examples.rows[first:last]
    row_lines, every = padded_size(X.shape[1], CACHE_LINE) // CACHE_LINE, 1
    while 2 * every * max(rows.size, 1) * row_lines <= steps:
        every *= 2
    position[0] = 0
    return Ahead(X, rows, row_lines, every, position)


@helper
def prefetch_next(ahead, step, position):
    """Prefetch the cache line at a position, if this step prefetches a line; return the position of the next line.

    Each line is prefetched once: more requests would delay the weights, which come through the same buffers. Which
    steps prefetch is regular, so the CPU predicts this branch.
    """
    if step & (ahead.every - 1) == 0:
        row = np.uintp(position) // np.uintp(ahead.row_lines)
        if row < np.uintp(ahead.rows.size):
            prefetch(ahead.X, ahead.rows[row], (position - np.intp(row) * ahead.row_lines) * CACHE_LINE)
        position += 1
    return position

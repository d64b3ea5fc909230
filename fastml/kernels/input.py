"""Where X is read: the examples of a slice, their batches and blocks, and the rows of a block as tiles read them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.panels import CACHE_LINE, padded, padded_size, whole_masks
from fastml.kernels.pattern import mask_row
from fastml.kernels.simd.masks import MASK_BITS, convert
from fastml.kernels.simd.tiles import prefetch
from fastml.kernels.simd.vectors import as_numbers

# The most rows, and bytes, of a block: what all panels read of X must stay in the second cache. A batch of more than
# BLOCK rows goes through in blocks of at most BLOCK_OF_MANY.
BLOCK, BLOCK_OF_MANY, BLOCK_BYTES = 128, 96, 1 << 20


class Examples(NamedTuple):
    """The examples of a slice: rows of X, labels, and the number that multiplies X."""

    X: NDArray  # (num_examples, columns): numbers, or the bytes of numbers
    rows: NDArray[np.int64]  # (slice rows,): indices of rows of X
    labels: NDArray[np.int64]  # (slice rows,)
    scale: np.floating
    input_dim: int


class Block(NamedTuple):
    """The rows that go through a layer together."""

    X: NDArray  # (rows, features) as tiles read them
    labels: NDArray[np.int64]


class Ahead(NamedTuple):
    """What tiles prefetch of X, as bytes, while they compute: `step` bytes at each step, on from `position[0]`."""

    X: NDArray[np.uint8]
    rows: NDArray[np.int64]
    step: int
    position: NDArray[np.int64]


def block_rows(batch: int, input_dim: int, dtype: DTypeLike) -> int:
    """Return how many rows of a batch go through together, MASK_BITS times some number; the last may be fewer.

    For a batch of BLOCK the number divides BLOCK, so that evaluation has the same blocks wherever a slice begins.
    """
    row_bytes = whole_masks(input_dim) * np.dtype(dtype).itemsize
    rows = BLOCK if batch <= BLOCK else BLOCK_OF_MANY
    while rows > MASK_BITS and rows * row_bytes > BLOCK_BYTES:
        rows = padded(rows // 2, MASK_BITS)
    blocks = padded(batch, rows) // rows
    return padded(padded(batch, blocks) // blocks, MASK_BITS)


@helper
def read(examples, start, stop, packed):
    """Return the block of rows start to stop of the slice.

    Rows are read where they lie if nothing must be converted, scaled or padded and they follow each other. Otherwise
    they are packed: converted to the dtype of packed, scaled, and padded with zeros.
    """
    X, dim, rows, gaps = examples.X, examples.input_dim, examples.rows[start:stop], 0
    for i in range(rows.size):
        gaps += rows[i] != rows[0] + i
    same = X.shape[1] == dim * packed.itemsize and dim % MASK_BITS == 0 and examples.scale == packed.dtype.type(1)
    found = packed
    if same and gaps == 0:
        found = as_numbers(X[rows[0] : rows[0] + rows.size], packed)
    else:
        for i in range(rows.size):
            convert_row(X[rows[i]], X.shape[1] // dim, examples.scale, packed, i)
    return Block(found, examples.labels[start:stop])


@helper
def convert_row(source, itemsize, scale, packed, i):
    """Write scale * source to packed[i]; source are the bytes of numbers of a size."""
    # Telling dtypes apart here saves the compilation of a kernel for each dtype of X.
    if itemsize == 1:
        convert_numbers(source, scale, packed, i)
    elif itemsize == 4:
        convert_numbers(as_numbers(source, np.float32), scale, packed, i)
    else:
        convert_numbers(as_numbers(source, np.float64), scale, packed, i)


@helper
def convert_numbers(source, scale, packed, i):
    """Write scale * source, converted, to packed[i], MASK_BITS numbers at a time."""
    whole = source.size // MASK_BITS * MASK_BITS
    for j in range(0, whole, MASK_BITS):
        convert(source, j, scale, packed, i)
    for j in range(whole, source.size):
        packed[i, j] = packed.dtype.type(source[j]) * scale


@helper
def mark(block, masks):
    """Mark which features of each row are not zero, and those of absent rows, up to whole masks, as zero."""
    for i in range(block.labels.size):
        mask_row(block.X, i, masks)
    for i in range(block.labels.size, padded_size(block.labels.size, MASK_BITS)):
        for c in range(masks.shape[0]):
            masks[c, i] = 0


@helper
def ahead_of(examples, first, last, steps, position):
    """Return what tiles of so many steps together prefetch: rows first to last of the slice."""
    X, rows = examples.X, examples.rows[first:last]
    position[0] = 0
    return Ahead(X, rows, padded_size(rows.size * X.shape[1], steps) // max(steps, 1), position)


@helper
def prefetch_next(ahead, position):
    """Prefetch the cache line that a position has come to; return the position of the next step.

    Each line is prefetched once: more requests would delay the weights, which come through the same buffers.
    """
    row_bytes = ahead.X.shape[1]
    if position % CACHE_LINE < ahead.step and position < ahead.rows.size * row_bytes:
        row = position // row_bytes
        prefetch(ahead.X, ahead.rows[row], position - row * row_bytes)
    return position + ahead.step

"""Rows of the caller's X: read where they lie, or packed (copied and padded, floats converted and scaled as well).

Pixels of uint8 stay bytes, where there is more than one vector of hidden units: to tiles each means a number in a
table, which has it converted and scaled. To pack 100 images of them as floats took 15 us, of the 190 of a batch, to
mark the bytes takes 5; the look-ups cost 4 of these 10.
"""

import numpy as np
from numba.extending import overload

from fastml.kernels.jit import helper
from fastml.kernels.masks import MASK_BITS, convert
from fastml.kernels.panels import copy, padded_size
from fastml.kernels.pattern import mask_row
from fastml.kernels.vectors import as_numbers


@helper
def convert_pixels(source, scale, packed, i):
    """Write scale * source, converted, to packed[i], MASK_BITS pixels at a time."""
    whole = source.size // MASK_BITS * MASK_BITS
    for j in range(0, whole, MASK_BITS):
        convert(source, j, scale, packed, i)
    # What is packed is padded with zeros; X is not.
    for j in range(whole, source.size):
        packed[i, j] = packed.dtype.type(source[j]) * scale


@helper
def convert_row(X, row, itemsize, scale, packed, i):
    """Write scale * X[row] to packed[i]; X are the bytes of numbers of a size.

    To tell dtypes apart here, when a row is packed, saves a whole compilation for each of them.
    """
    source = X[row]
    if itemsize == 1:
        convert_pixels(source, scale, packed, i)
    elif itemsize == 4:
        convert_pixels(as_numbers(source, np.float32), scale, packed, i)
    else:
        convert_pixels(as_numbers(source, np.float64), scale, packed, i)


def pack_row(X, row, itemsize, scale, packed, i):
    """Write X[row], bytes of numbers of a size, to packed[i]: as they are, or converted and scaled if it has floats."""
    raise NotImplementedError("called by kernels alone")


@overload(pack_row)
def pack_row_of(X, row, itemsize, scale, packed, i):
    """Choose by the dtype of packed."""
    if packed.dtype == X.dtype:
        return lambda X, row, itemsize, scale, packed, i: copy(X[row], packed[i][: X.shape[1]])
    return lambda X, row, itemsize, scale, packed, i: convert_row(X, row, itemsize, scale, packed, i)


@helper
def tabulate(scale, table):
    """Write to table what each byte means: itself, times scale."""
    for byte in range(table.size):
        table[byte] = table.dtype.type(byte) * scale


@helper
def are_neighbours(rows):
    """Return whether rows, indices, follow each other in X."""
    gaps = 0
    for r in range(rows.size):
        gaps += rows[r] != rows[0] + r
    return gaps == 0


@helper
def need_no_packing(X, scale, input_dim, packed, table):
    """Return whether tiles could read rows of X, bytes, where they lie: nothing to convert, to scale or to pad.

    To pack 100 images of floats and to mark their pixels takes 31 us, to mark them alone 23.
    """
    scales = table.size > 0 or scale == table.dtype.type(1)
    return X.shape[1] == input_dim * packed.itemsize and input_dim % MASK_BITS == 0 and scales


@helper
def pack_rows(X, rows, scale, input_dim, packed):
    """Pack X[rows]."""
    for i in range(rows.size):
        pack_row(X, rows[i], X.shape[1] // input_dim, scale, packed, i)


@helper
def mark_rows(X, rows, scale, input_dim, stay, block_X, packed, masks):
    """Mark the pixels of X[rows] that are not zero; block_X are these rows, packed here if they don't stay."""
    for i in range(rows.size):
        if not stay:
            pack_row(X, rows[i], X.shape[1] // input_dim, scale, packed, i)
        # Now, not pixel by pixel as they are packed: with stores to masks between those to rows that are not in the
        # first cache, 100 rows took 15 us, in the place of 8.
        mask_row(block_X, i, masks)
    for i in range(rows.size, padded_size(rows.size, MASK_BITS)):
        for c in range(masks.shape[0]):
            masks[c, i] = 0

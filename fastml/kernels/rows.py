"""Rows of the caller's X, packed: converted to the dtype of the weights, scaled, aligned, padded with zeros."""

import numpy as np

from fastml.kernels.jit import helper
from fastml.kernels.vectors import MASK_BITS, convert


@helper
def convert_pixels(source, scale, packed, i, first, last):
    """Write scale * source, converted, to packed[i], from cell first to last; a cell is MASK_BITS pixels."""
    whole = min(last, source.size // MASK_BITS)
    for c in range(first, whole):
        convert(source, c * MASK_BITS, scale, packed, i)
    # What is packed is padded to whole cells with zeros; X is not.
    for j in range(max(first, whole) * MASK_BITS, min(last * MASK_BITS, source.size)):
        packed[i, j] = packed.dtype.type(source[j]) * scale


@helper
def convert_row(X, row, itemsize, scale, packed, i, first, last):
    """Write cells first to last of scale * X[row] to packed[i]; X are the bytes of numbers of a size.

    To tell dtypes apart here, when a row is packed, saves a whole compilation for each of them.
    """
    source = X[row]
    if itemsize == 1:
        convert_pixels(source, scale, packed, i, first, last)
    elif itemsize == 4:
        convert_pixels(source.view(np.float32), scale, packed, i, first, last)
    else:
        convert_pixels(source.view(np.float64), scale, packed, i, first, last)

"""Rows of the caller's X, packed: converted to the dtype of the weights, scaled, aligned, padded with zeros."""

import numpy as np

from fastml.kernels.jit import helper
from fastml.kernels.vectors import MASK_BITS, convert


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
        convert_pixels(source.view(np.float32), scale, packed, i)
    else:
        convert_pixels(source.view(np.float64), scale, packed, i)

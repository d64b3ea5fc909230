"""The products of the two-layer network, a panel at a time: loops around the register tile, one for each width.

All are one micro-kernel, the outer product that is added to a tile of `ROWS` rows and as many vectors as the panel is
wide; they differ in what the rows are and where the sum goes.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from numba import from_dtype, types
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from fastml.kernels.calls import address_for, call_at
from fastml.kernels.jit import apart, helper
from fastml.kernels.panels import CACHE_LINE, CLASSES, MOST_VECTORS, ROWS, padded_size
from fastml.kernels.simd import (
    add_dot,
    add_outer_columns,
    add_outer_rows,
    add_stored,
    lanes_of,
    mask_tile,
    prefetch,
    relu_tile,
    store_tile,
    zero_tile,
)
from fastml.kernels.softmax import BAND
from fastml.kernels.vectors import sum_tile

# What the beginning and end of a tile cost, in steps of its loop: a mispredicted branch, and to load and store it.
TILE_OVERHEAD = 6
# How far ahead in a list of pixels the rows of W1 are asked for: alone on its machine a core gains 1.5 % by it, with
# neighbours that press on the caches 6 %; 4 and 8 are alike.
STEPS_AHEAD = 4


class Ahead(NamedTuple):
    """What of X, as bytes, tiles ask for while they compute: a number of bytes each step, from a position in a row on.

    To find the pixels of 100 rows of floats takes 23 us, of the 190 of a batch, and 6 if the rows are in the second
    cache. With these asked for in time, forward took 13 us less and backward 4 more.
    """

    X: NDArray
    row: int
    position: int
    step: int


@helper
def ahead_from(ahead, begin, width, low, high):
    """Return what is asked for in a panel that begins at a place in the line of tiles, of which low to high are ours.

    ahead.step are the bytes for the whole line.
    """
    step = padded_size(ahead.step, max(high - low, 1)) // max(high - low, 1)
    return Ahead(ahead.X, ahead.row, (begin - low) * step, width * step)


@helper
def ask(ahead, position):
    """Have the CPU bring the cache line that a position has come to; return the position of the next step.

    Once: on a Zen 4 core epochs of MNIST took 1.3 to 1.6 times as long when each step asked again, for what is asked
    for waits for memory in the few buffers that W1 comes through. Each line, and for the first cache: there an epoch of
    the network takes 2 to 7 % less time than with nothing asked for; each second line, or for the second cache, 0 to 2.
    """
    if position % CACHE_LINE < ahead.step:
        prefetch(ahead.X, ahead.row, position)
    return position + ahead.step


# The kernels of each product, one for each width, and what types its arguments are of.
PRODUCTS: list[tuple[tuple[Callable, ...], Callable[..., tuple]]] = []


def by_width(signature):
    """Return a decorator of make: it gives a product that calls make(vectors) as wide as a panel is, at an address.

    The number of vectors of a tile is a part of its type, so each width is compiled on its own, and when the first
    network has panels of it: few have of more than one. All of them took a third of the time of a cold `nn_epoch`.
    """

    def decorate(make):
        number = len(PRODUCTS)
        PRODUCTS.append((tuple(kernel_of(make, vectors) for vectors in range(1, MOST_VECTORS + 1)), signature))

        @helper
        def product(addresses, p, *arguments):
            call_at(addresses[number, p], arguments)

        return product

    return decorate


def kernel_of(make, vectors):
    """Return the kernel of a product for a width, whose file of machine code no other width has.

    In a file of them all, two processes that save at the same moment could take one for the other: they differ in
    nothing that is looked at.
    """
    product = make(vectors)
    product.__qualname__ = f"{product.__name__}_{vectors}"
    return apart(product)


@cache
def addresses_of(widths: tuple[int, ...], dtype: np.dtype, x_dtype: np.dtype) -> NDArray[np.int64]:
    """Return where the machine code of each product is for each panel of some widths, (products, panels)."""
    number, of_X = from_dtype(dtype), from_dtype(x_dtype)
    X = types.Tuple((types.Array(of_X, 2, "C", readonly=True), number[::1]))
    found = [
        [address_for(kernels[width - 1], signature(X, number[:, ::1])) for width in widths]
        for kernels, signature in PRODUCTS
    ]
    return np.array(found, np.int64)


# Types of what all products read: numbers of rows or groups, lists of them, and what X is asked for.
COUNT, COUNTS, LISTED, LISTS = types.intp, types.int64[::1], types.int64[:, ::1], types.int32[:, ::1]
AHEAD = types.NamedTuple((types.Array(types.uint8, 2, "C", readonly=True), COUNT, COUNT, COUNT), Ahead)


@by_width(lambda X, W: (X, COUNTS, LISTS, LISTED, COUNT, W, W, COUNT, COUNT, COUNTS, AHEAD))
def forward_tiles(vectors):
    """Make the forward product of panels of a number of vectors."""

    def forward_tiles(X, order, pixels, listed, q, W1, hidden, first, last, begins, ahead):
        """Write hidden = relu(X[order] W1) for groups of rows first to last of a panel.

        Before the last piece of the pixels hidden are the sums so far.
        """
        for g in range(first, last):
            position = ahead.position + (begins[g] + listed[q, g]) * ahead.step
            group = to_fixed_tuple(order[g * ROWS :], ROWS)
            tile = zero_tile(ROWS, vectors, W1)
            # A list that is walked from 0 on, or Numba asks at each step whether an index is negative.
            piece = pixels[g, listed[q, g] :]
            for t in range(listed[q + 1, g] - listed[q, g]):
                j, later = np.intp(piece[t]), np.intp(piece[t + STEPS_AHEAD])
                for v in range(vectors):
                    prefetch(W1, later, v * lanes_of(W1))
                position = ask(ahead, position)
                tile = add_outer_rows(tile, X, group, j, W1, j, 0)
            if q > 0:
                tile = add_stored(tile, hidden, g * ROWS, 0)
            if q == listed.shape[0] - 2:
                tile = relu_tile(tile)
            store_tile(tile, hidden, g * ROWS, 0)

    return forward_tiles


@by_width(lambda X, W: (W.copy(ndim=3), COUNT, W, W, W, COUNTS, COUNT))
def dhidden_tiles(vectors):
    """Make the product that takes dlogits back to the hidden units."""

    def dhidden_tiles(dlogits, num_classes, W2, hidden, dhidden, order, groups):
        """Write dhidden[order] = (dlogits W2^T) * (hidden > 0) for that many groups of rows of a panel."""
        for g in range(groups):
            tile = zero_tile(ROWS, vectors, W2)
            for k in range(num_classes):
                tile = add_outer_columns(tile, dlogits[g * ROWS // BAND], k, g * ROWS % BAND, W2, k, 0)
            group = to_fixed_tuple(order[g * ROWS :], ROWS)
            store_tile(mask_tile(tile, hidden, g * ROWS, 0), dhidden, group, 0)

    return dhidden_tiles


@by_width(lambda X, W: (X, LISTS, COUNTS, W, W, COUNT, COUNT, COUNTS, AHEAD))
def update_tiles(vectors):
    """Make the update of W1."""

    def update_tiles(X, rows, listed, dhidden, W1, first, last, begins, ahead):
        """Update W1 += X^T dhidden for groups of pixels first to last of a panel."""
        for g in range(first, last):
            if listed[g] == 0:
                continue
            position = ahead.position + begins[g] * ahead.step
            tile = zero_tile(ROWS, vectors, W1)
            # To begin with a tile of zeros and to have what it is added to brought in meanwhile is 16 % faster than to
            # load it first.
            for r in range(ROWS):
                for v in range(vectors):
                    prefetch(W1, g * ROWS + r, v * lanes_of(W1))
            for t in range(listed[g]):
                i = np.intp(rows[g, t])
                position = ask(ahead, position)
                tile = add_outer_columns(tile, X, i, g * ROWS, dhidden, i, 0)
            store_tile(add_stored(tile, W1, g * ROWS, 0), W1, g * ROWS, 0)

    return update_tiles


@by_width(lambda X, W: (W.copy(ndim=3), COUNT, W, W, W))
def class_tiles(vectors):
    """Make the update of W2."""

    def class_tiles(dlogits, count, hidden, W2, new_W2):
        """Write new_W2 = W2 + dlogits^T hidden, over count rows, for a panel."""
        for k in range(0, W2.shape[0], CLASSES):
            tile = zero_tile(CLASSES, vectors, W2)
            for i in range(count):
                tile = add_outer_rows(tile, dlogits[i // BAND], k, i % BAND, hidden, i, 0)
            store_tile(add_stored(tile, W2, k, 0), new_W2, k, 0)

    return class_tiles


@helper
def logit_tiles(vectors, hidden, W2, partial, first, last):
    """Write partial logits = hidden W2 for groups of rows first to last of a panel."""
    for g in range(first, last):
        for k in range(0, W2.shape[0], CLASSES):
            tile = zero_tile(ROWS, CLASSES, W2)
            for v in range(vectors):
                tile = add_dot(tile, hidden, g * ROWS, W2, k, v * lanes_of(W2))
            sum_tile(tile, partial[g * ROWS // BAND], k, g * ROWS % BAND)

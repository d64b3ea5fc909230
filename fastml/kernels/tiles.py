"""The products of the two-layer network, a panel at a time: loops around the register tile, one for each width.

All are one micro-kernel, the outer product that is added to a tile of `ROWS` rows and as many vectors as the panel is
wide; they differ in what the rows are and where the sum goes.
"""

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastml.kernels.jit import helper
from fastml.kernels.panels import CLASSES, MOST_VECTORS, ROWS
from fastml.kernels.simd import (
    add_dot,
    add_outer_columns,
    add_outer_rows,
    lanes_of,
    mask_tile,
    prefetch,
    relu_tile,
    store_sum,
    store_tile,
    sum_tile,
    zero_tile,
)

# How far ahead in a list of pixels the rows of W1 are asked for: alone on its machine a core gains 1.5 % by it, with
# neighbours that press on the caches 6 %; 4 and 8 are alike.
AHEAD = 4


def by_width(make):
    """Return a function whose first argument chooses between make(1), make(2) ... make(MOST_VECTORS).

    The number of vectors of a tile is a part of its type, so each width is compiled on its own.
    """
    one, two, three, four, five = (make(min(vectors, MOST_VECTORS)) for vectors in range(1, 6))

    @helper
    def choose(width, *arguments):
        if width == 1:
            one(*arguments)
        elif width == 2:
            two(*arguments)
        elif width == 3:
            three(*arguments)
        elif width == 4:
            four(*arguments)
        else:
            five(*arguments)

    return choose


@by_width
def forward_tiles(vectors):
    """Make the forward product of panels of a number of vectors."""

    @helper
    def forward_tiles(X, order, pixels, listed, W1, hidden, first, last):
        """Write hidden = relu(X[order] W1) for groups of rows first to last of a panel."""
        for g in range(first, last):
            group = to_fixed_tuple(order[g * ROWS :], ROWS)
            tile = zero_tile(ROWS, vectors, W1)
            for t in range(listed[g]):
                j = np.intp(pixels[g, t])
                ahead = np.intp(pixels[g, t + AHEAD])
                for v in range(vectors):
                    prefetch(W1, ahead, v * lanes_of(W1))
                tile = add_outer_rows(tile, X, group, j, W1, j, 0)
            store_tile(relu_tile(tile), hidden, g * ROWS, 0)

    return forward_tiles


@by_width
def dhidden_tiles(vectors):
    """Make the product that takes dlogits back to the hidden units."""

    @helper
    def dhidden_tiles(dlogits, num_classes, W2, hidden, dhidden, order, groups):
        """Write dhidden[order] = (dlogits W2^T) * (hidden > 0) for that many groups of rows of a panel."""
        for g in range(groups):
            tile = zero_tile(ROWS, vectors, W2)
            for k in range(num_classes):
                tile = add_outer_columns(tile, dlogits[g], k, 0, W2, k, 0)
            group = to_fixed_tuple(order[g * ROWS :], ROWS)
            store_tile(mask_tile(tile, hidden, g * ROWS, 0), dhidden, group, 0)

    return dhidden_tiles


@by_width
def update_tiles(vectors):
    """Make the update of W1."""

    @helper
    def update_tiles(X, rows, listed, dhidden, W1, first, last):
        """Update W1 += X^T dhidden for groups of pixels first to last of a panel."""
        for g in range(first, last):
            if listed[g] == 0:
                continue
            tile = zero_tile(ROWS, vectors, W1)
            # To begin with a tile of zeros and to have what it is added to brought in meanwhile is 16 % faster than to
            # load it first.
            for r in range(ROWS):
                for v in range(vectors):
                    prefetch(W1, g * ROWS + r, v * lanes_of(W1))
            for t in range(listed[g]):
                i = np.intp(rows[g, t])
                tile = add_outer_columns(tile, X, i, g * ROWS, dhidden, i, 0)
            store_sum(tile, W1, W1, g * ROWS, 0)

    return update_tiles


@by_width
def class_tiles(vectors):
    """Make the update of W2."""

    @helper
    def class_tiles(dlogits, count, hidden, W2, new_W2):
        """Write new_W2 = W2 + dlogits^T hidden, over count rows, for a panel."""
        for k in range(0, W2.shape[0], CLASSES):
            tile = zero_tile(CLASSES, vectors, W2)
            for i in range(count):
                tile = add_outer_rows(tile, dlogits[i // ROWS], k, i % ROWS, hidden, i, 0)
            store_sum(tile, W2, new_W2, k, 0)

    return class_tiles


@helper
def logit_tiles(vectors, hidden, W2, partial, first, last):
    """Write partial logits = hidden W2 for groups of rows first to last of a panel."""
    for g in range(first, last):
        for k in range(0, W2.shape[0], CLASSES):
            tile = zero_tile(ROWS, CLASSES, W2)
            for v in range(vectors):
                tile = add_dot(tile, hidden, g * ROWS, W2, k, v * lanes_of(W2))
            sum_tile(tile, partial[g], k)

"""The products of a layer, as loops around a register tile.

A layer with few outputs and one with many are packed differently. Panels of outputs hold (inputs, outputs), and tiles
walk lists of the inputs that are not zero: `forward` and `gradient`. Panels of inputs hold (outputs, inputs), and the
outputs are rows of a tile: `logits`, `logits_gradient`, and `backward`, which makes the gradient of the inputs.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from fastml.kernels.compile.options import helper, inlined
from fastml.kernels.input import Ahead, Block, prefetch_next
from fastml.kernels.loss import BAND
from fastml.kernels.panels import CLASSES, MOST_VECTORS, PAIR, ROWS, Layer, bias_row
from fastml.kernels.pattern import BOTH, LOWER, UPPER, Lists, listed
from fastml.kernels.products import for_each_width, with_products
from fastml.kernels.simd.tiles import (
    UNITS,
    add_dot,
    add_outer_columns,
    add_outer_rows,
    add_row,
    add_stored,
    join_tiles,
    lanes_of,
    mask_tile,
    prefetch,
    prefetch_second,
    relu_tile,
    repeat_row,
    scale_tile,
    split_tile,
    store_tile,
    sum_tile,
    zero_tile,
)
from fastml.kernels.simd.vectors import as_rows
from fastml.kernels.team import owns_first
from fastml.kernels.update import Update, changes_nothing, finish_tile, prefetch_end, without_l2

# Rows of weights are prefetched this many entries of a list of features ahead.
STEPS_AHEAD = 4
# The tiles of layers with few outputs. Tiles of WIDE outputs load X half as often, so they are used where there are
# enough outputs. Their dot products take 2 rows at a time, others 4. The gradient tile is 2 vectors of inputs wide.
WIDE, VECTORS = 2 * CLASSES, 2


def for_sparse_rows(layer: Layer, lists: Lists, memory: NDArray, outputs: NDArray, update: Update | None) -> Layer:
    """Return a layer with the products `forward` and, for an update, `gradient`, for arguments of these types.

    memory (workers, rows, features) is that of the packed rows, outputs (rows, width).
    """
    X = memory[0].view()
    X.flags.writeable = False
    ahead = Ahead(X.view(np.uint8), np.arange(0), 1, 1, np.arange(0))
    block = Block(X, np.arange(0), np.arange(0), memory[0])
    arguments = {"forward": (block, lists, True, outputs, 0, ahead)}
    if update is not None:
        arguments["gradient"] = block, lists, outputs, update, ahead
    return with_products(layer, **arguments)


@for_each_width
def forward(width):
    """Make the product of a layer with X."""

    def forward(layer, tiles, block, lists, relu, out, column, ahead):
        """Write out[:, column:] = bias + X W, or its relu, for some groups of rows of a panel, in the order of rows."""
        W, position = layer.weights[tiles.panel], ahead.position[0]
        # The bias and the product of the offset of X with W are the same for all rows.
        start = add_stored(zero_tile(1, width, W), W, bias_row(layer), 0)
        for j in range(min(block.offset.shape[1], W.shape[0])):
            start = add_outer_columns(start, block.offset, 0, j, W, j, 0)
        for g in range(tiles.first, tiles.last):
            (upper_rows, lower_rows), features = pairs_of_group(block, lists.order, g), lists.features[BOTH, g]
            tile = repeat_row(ROWS, start)
            for t in range(lists.feature_counts[BOTH, g]):
                j, later = np.intp(features[t]), np.intp(features[t + STEPS_AHEAD])
                prefetch_row(W, later, width)
                position = prefetch_next(ahead, t, position)
                tile = add_outer_rows(tile, block.X, upper_rows + lower_rows, j, W, j, 0)
            upper, lower = split_tile(tile)
            upper = add_features(upper, block, upper_rows, W, lists, UPPER, g)
            lower = add_features(lower, block, lower_rows, W, lists, LOWER, g)
            tile = join_tiles(upper, lower)
            if relu:
                tile = relu_tile(tile)
            store_tile(tile, out, g * ROWS, column)
        ahead.position[0] = position

    return forward


@for_each_width
def gradient(width):
    """Make the gradient of a layer."""

    def gradient(layer, tiles, block, lists, dout, update, ahead):
        """Make the gradient X^T dout of some groups of features of a panel; dout (rows, width).

        The offset of X adds offset^T times the sums of dout over the rows. These sums are the gradient of the bias.
        """
        p, position, has_offset = tiles.panel, ahead.position[0], block.offset.shape[1] > 0
        sums, last_line = zero_tile(1, width, layer.weights), ROWS * layer.weights.shape[2] // lanes_of(dout) - 1
        if has_offset or layer.has_bias:
            for i in range(block.labels.size):
                sums = add_stored(sums, dout, i, 0)
        for g in range(tiles.first, tiles.last):
            if changes_nothing(listed(lists.row_counts, g) + has_offset, layer, update):
                continue
            tile, rows = zero_tile(ROWS, width, layer.weights), lists.rows[BOTH, g]
            for t in range(lists.row_counts[BOTH, g]):
                # The rows of a panel are contiguous: each step prefetches one line of the weights of the tile.
                prefetch_end(layer, p, g * ROWS, min(t, last_line) * lanes_of(dout), update)
                position = prefetch_next(ahead, t, position)
                i = np.intp(rows[t])
                tile = add_outer_columns(tile, block.X, block.rows[np.uintp(i)], g * ROWS, dout, i, 0)
            upper, lower = split_tile(tile)
            upper = add_rows(upper, block, g * ROWS, dout, lists, UPPER, g)
            lower = add_rows(lower, block, g * ROWS + PAIR, dout, lists, LOWER, g)
            tile = join_tiles(upper, lower)
            if has_offset:
                tile = add_row(tile, block.offset, 0, g * ROWS, sums)
            finish_tile(tile, layer, p, g * ROWS, 0, update)
        if layer.has_bias and owns_first(tiles):
            finish_tile(sums, layer, p, bias_row(layer), 0, without_l2(update))
        ahead.position[0] = position

    return gradient


@for_each_width
def backward(width):
    """Make the gradient of the inputs of a layer with few outputs."""

    def backward(layer, tiles, dlogits, num_classes, hidden, dhidden, order):
        """Write dhidden[order] = (dlogits W^T) * (hidden > 0) for some groups of rows of a panel of hidden units."""
        W = layer.weights[tiles.panel]
        for g in range(tiles.first, tiles.last):
            tile = zero_tile(ROWS, width, W)
            for k in range(num_classes):
                tile = add_outer_columns(tile, dlogits[g * ROWS // BAND], k, g * ROWS % BAND, W, k, 0)
            group = to_fixed_tuple(order[g * ROWS :], ROWS)
            store_tile(mask_tile(tile, hidden, g * ROWS, 0), dhidden, group, 0)

    return backward


@inlined
def prefetch_row(A, i, width):
    """Prefetch row i of a panel."""
    for v in range((len(width) + UNITS - 1) // UNITS):
        prefetch(A, i, v * lanes_of(A))


@inlined
def add_features(tile, block, rows, W, lists, which, g):
    """Return tile + X W, for a pair of rows and the features of one list of a group."""
    features = lists.features[which, g]
    for t in range(lists.feature_counts[which, g]):
        j = np.intp(features[t])
        tile = add_outer_rows(tile, block.X, rows, j, W, j, 0)
    return tile


@inlined
def add_rows(tile, block, j, dout, lists, which, g):
    """Return tile + X^T dout, for a pair of features from j on and the rows of one list of a group."""
    rows = lists.rows[which, g]
    for t in range(lists.row_counts[which, g]):
        i = np.intp(rows[t])
        tile = add_outer_columns(tile, block.X, block.rows[np.uintp(i)], j, dout, i, 0)
    return tile


@helper
def pairs_of_group(block, order, g):
    """Return where the rows of the two pairs of a group are in the X of a block."""
    i, rows = g * ROWS, block.rows
    return (rows[order[i]], rows[order[i + 1]]), (rows[order[i + 2]], rows[order[i + 3]])


class Dots(NamedTuple):
    """Rows of X, and the rows ahead that are prefetched meanwhile: every row, or every second row."""

    X: NDArray
    rows: NDArray[np.int64]
    ahead: NDArray[np.int64]
    every: int


def dot_tiles(rows, classes):
    """Make the dot products of a number of rows with a number of outputs."""

    @helper
    def dot_tiles(X, group, soon, W, features, k, band, i):
        """Write band[k:, i:] = W[k:] X[group] over a range of features; prefetch those of two other rows."""
        tile = zero_tile(rows, classes, W)
        for j in range(features[0], features[1], lanes_of(W)):
            for r in range(2):
                prefetch_second(X, soon[r], j)
            tile = add_dot(tile, X, group, W, k, j)
        sum_tile(tile, band, k, i)

    return dot_tiles


dot_wide_tiles, dot_narrow_tiles = dot_tiles(2, WIDE), dot_tiles(4, CLASSES)


@helper
def pair(rows, i, every):
    """Return rows i and i + 1, or row i twice if `every` is 2; past the end, the last row comes again."""
    return rows[min(i, rows.size - 1)], rows[min((i + 1) // every * every, rows.size - 1)]


@helper
def logits(W, dots, tiles, features, partial, part):
    """Write partial[:, part] = X W^T over a range of features, for some groups of rows.

    partial (bands, parts, classes, BAND).
    """
    # If the range of features is at most as wide as a panel, tiles of more rows are faster.
    wide = W.shape[0] // WIDE * WIDE if features[1] - features[0] > MOST_VECTORS * lanes_of(W) else 0
    for i in range(tiles.first * ROWS, min(tiles.last * ROWS, dots.rows.size), ROWS):
        band, at = partial[i // BAND, part], i % BAND
        (a, b), (c, d) = pair(dots.rows, i, 1), pair(dots.rows, i + 2, 1)
        soon, later = (a, b), (c, d)
        if i < dots.ahead.size:
            soon, later = pair(dots.ahead, i, dots.every), pair(dots.ahead, i + 2, dots.every)
        for k in range(0, wide, WIDE):
            dot_wide_tiles(dots.X, (a, b), soon, W, features, k, band, at)
            dot_wide_tiles(dots.X, (c, d), later, W, features, k, band, at + 2)
        for k in range(wide, W.shape[0], CLASSES):
            dot_narrow_tiles(dots.X, (a, b, c, d), soon, W, features, k, band, at)


@helper
def offset_logits(W, offset, features, out):
    """Write out[:, 0] = W offset, over a range of features; W (classes, features), offset (1, features)."""
    for k in range(0, W.shape[0], CLASSES):
        tile = zero_tile(1, CLASSES, W)
        for j in range(features[0], features[1], lanes_of(W)):
            tile = add_dot(tile, offset, 0, W, k, j)
        sum_tile(tile, out, k, 0)


class Outer(NamedTuple):
    """The gradient of a layer with few outputs, made from a sum of outer products: factor * sum + sums^T offset."""

    factor: np.floating
    sums: NDArray  # (1, outputs or more): the sums of dlogits over the rows
    offset: NDArray  # (1, inputs), or (1, 0)


def outer_tiles(classes, vectors):
    """Make the gradient of a number of outputs and vectors of inputs."""

    @helper
    def outer_tiles(dots, dlogits, outer, layer, p, k, j, update):
        """End a tile of dlogits[:, k:]^T X[rows, j:]; prefetch these features of every second row ahead."""
        bands, classes_padded = as_rows(dlogits, BAND), layer.weights.shape[1]
        tile = zero_tile(classes, vectors, layer.weights)
        for i in range(dots.rows.size):
            soon = dots.ahead[i | 1] if i | 1 < dots.ahead.size else dots.rows[i]
            prefetch_second(dots.X, soon, j + i % vectors * lanes_of(layer.weights))
            tile = add_outer_rows(tile, bands, i // BAND * classes_padded + k, i % BAND, dots.X, dots.rows[i], j)
        if outer.factor != 1:
            tile = scale_tile(tile, outer.factor)
        if outer.offset.shape[1]:
            tile = add_outer_columns(tile, outer.sums, 0, k, outer.offset, 0, j)
        finish_tile(tile, layer, p, k, j, update)

    return outer_tiles


wide_pairs, wide_singles = outer_tiles(WIDE, VECTORS), outer_tiles(WIDE, 1)
narrow_pairs, narrow_singles = outer_tiles(CLASSES, VECTORS), outer_tiles(CLASSES, 1)


@helper
def logits_gradient(layer, p, dots, dlogits, outer, features, update):
    """Make the gradient of dlogits and X over a range of features of panel p; dlogits (bands, classes, BAND)."""
    step, classes = VECTORS * lanes_of(layer.weights), layer.weights.shape[1]
    whole, wide = features[0] + (features[1] - features[0]) // step * step, classes // WIDE * WIDE
    for k in range(0, wide, WIDE):
        for j in range(features[0], whole, step):
            wide_pairs(dots, dlogits, outer, layer, p, k, j, update)
        if whole < features[1]:
            wide_singles(dots, dlogits, outer, layer, p, k, whole, update)
    for k in range(wide, classes, CLASSES):
        for j in range(features[0], whole, step):
            narrow_pairs(dots, dlogits, outer, layer, p, k, j, update)
        if whole < features[1]:
            narrow_singles(dots, dlogits, outer, layer, p, k, whole, update)

"""Stage 6: lists of what is not zero. A product with 0 adds nothing, so it need not be made.

Four of five pixels of MNIST are 0. A tile takes 4 rows at a time, so it can leave out the features that are 0 in all 4:
two thirds of them, if rows of one label, which look alike, go together. The tile of the update takes 4 features, and
leaves out the rows where all 4 are 0. The lists of a batch serve all panels.
"""

import numpy as np
from numba import njit, prange
from stage4_tile import ROWS, VECTORS, output, update
from stage5_panels import pack, unpack

from fastml.kernels.simd import tiles


@njit
def group_of(order, g):
    """Return the rows of a group; the last group may repeat the last row."""
    first, last = g * ROWS, order.size - 1
    return order[first], order[min(first + 1, last)], order[min(first + 2, last)], order[min(first + 3, last)]


@njit
def list_features(X, rows, features):
    """Write the features that are not 0 in one of the rows; return how many. Without a branch, none is mispredicted."""
    count, (a, b, c, d) = 0, rows
    for p in range(X.shape[1]):
        features[count] = p
        count += (X[a, p] != 0) | (X[b, p] != 0) | (X[c, p] != 0) | (X[d, p] != 0)
    return count


@njit
def list_rows(X, order, p, rows):
    """Write the places in order of the rows where one of the features p : p + ROWS is not 0; return how many."""
    count = 0
    for i in range(order.size):
        rows[count], row = i, X[order[i]]
        count += (row[p] != 0) | (row[p + 1] != 0) | (row[p + 2] != 0) | (row[p + 3] != 0)
    return count


@njit
def forward(X, rows, features, panel, hidden, g, h):
    """hidden[g : g + ROWS, h : h + width] = relu(X[rows] @ panel), by the listed features."""
    tile = tiles.zero_tile(ROWS, VECTORS, panel)
    for p in features:
        tile = tiles.add_outer_rows(tile, X, rows, p, panel, p, 0)
    tiles.store_tile(tiles.relu_tile(tile), hidden, g, h)


@njit
def update_listed(X, order, rows, p, dhidden, h, rate, panel):
    """panel[p : p + ROWS] -= rate * X[order, p : p + ROWS].T @ dhidden[:, h : h + width], by the listed rows."""
    tile = tiles.zero_tile(ROWS, VECTORS, panel)
    for i in rows:
        tile = tiles.add_outer_columns(tile, X, order[i], p, dhidden, i, h)
    tiles.store_tile(tiles.add_stored(tiles.scale_tile(tile, -rate), panel, p, 0), panel, p, 0)


@njit(parallel=True)
def run(X, y, order, memory, lists, classes, rate):
    """Run an epoch in the memory of `pack`; order has the rows of each batch, sorted by label."""
    (W1, W2, hidden, dhidden, dlogits), (features, feature_counts, rows, row_counts) = memory, lists
    panels, bands, width, batch = W1.shape[0], W1.shape[1] // ROWS, W1.shape[2], dlogits.shape[0]
    for start in range(0, X.shape[0], batch):
        some, groups = order[start : start + batch], (min(batch, order.size - start) + ROWS - 1) // ROWS
        for g in prange(groups):
            feature_counts[g] = list_features(X, group_of(some, g), features[g])
        for b in prange(bands):
            row_counts[b] = list_rows(X, some, b * ROWS, rows[b])
        for task in prange(panels * groups):
            panel, g = task // groups, task % groups
            forward(X, group_of(some, g), features[g, : feature_counts[g]], W1[panel], hidden, g * ROWS, panel * width)
        for i in prange(some.size):
            output(hidden[i], y[some[i]], W2, dlogits[i, :classes], dhidden[i])
        for task in prange(panels * bands):
            panel, b = task // bands, task % bands
            update_listed(X, some, rows[b, : row_counts[b]], b * ROWS, dhidden, panel * width, rate, W1[panel])
        for panel in prange(panels):
            for k in range(0, W2.shape[0], ROWS):
                update(dlogits, 0, some.size, k, hidden, rate, W2, panel * width)


def room_for_lists(features, batch):
    """Return room for the features of each group of rows, for the rows of each band of features, and their counts."""
    sizes = (batch // ROWS + 1, features + 1), batch // ROWS + 1, (features // ROWS, batch + 1), features // ROWS
    return tuple(np.zeros(size, np.int64) for size in sizes)


def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place. The number of features is a multiple of ROWS."""
    memory, lists = pack(W1, W2, batch), room_for_lists(len(W1), batch)
    order = np.lexsort((y, np.arange(len(y)) // batch))  # by batch, then by label
    run(X, y, order, memory, lists, W2.shape[1], W1.dtype.type(lr / batch))
    unpack(memory, W1, W2)


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

"""Stage 5: panels. The weights lie in memory in the order in which the tiles read them.

A tile of stage 4 reads 5 vectors of a row of W1, then 5 of the next row, 1600 bytes later: each turn of the loop is in
another place, and over all rows they meet in few sets of the cache. Here these vectors lie one behind the other, a
panel: one stream, which the CPU recognises and fetches ahead of the tile. Panels begin at a cache line, and no vector
lies across two of them. The rest, the output layer and the shares of the threads, is that of stage 4.
"""

import numpy as np
from numba import njit, prange
from stage4_tile import ROWS, VECTORS, output, update

from fastml.kernels.panels import aligned_zeros
from fastml.kernels.simd import tiles
from fastml.kernels.simd.registers import REGISTER_BYTES


@njit
def forward(X, rows, panel, hidden, g, h):
    """hidden[g : g + ROWS, h : h + width] = relu(X[rows] @ panel)."""
    tile = tiles.zero_tile(ROWS, VECTORS, panel)
    for p in range(X.shape[1]):
        tile = tiles.add_outer_rows(tile, X, rows, p, panel, p, 0)
    tiles.store_tile(tiles.relu_tile(tile), hidden, g, h)


@njit
def update_panel(X, start, count, p, dhidden, h, rate, panel):
    """panel[p : p + ROWS] -= rate * X[start : start + count, p : p + ROWS].T @ dhidden[:, h : h + width]."""
    tile = tiles.zero_tile(ROWS, VECTORS, panel)
    for i in range(count):
        tile = tiles.add_outer_columns(tile, X, start + i, p, dhidden, i, h)
    tiles.store_tile(tiles.add_stored(tiles.scale_tile(tile, -rate), panel, p, 0), panel, p, 0)


@njit(parallel=True)
def run(X, y, memory, classes, rate):
    """Run an epoch in the memory of `pack`."""
    W1, W2, hidden, dhidden, dlogits = memory
    panels, features, width, batch = W1.shape[0], W1.shape[1] // ROWS, W1.shape[2], dlogits.shape[0]
    for start in range(0, X.shape[0], batch):
        count = min(batch, X.shape[0] - start)
        groups, last = (count + ROWS - 1) // ROWS, start + count - 1
        for task in prange(panels * groups):
            panel, g = task // groups, start + task % groups * ROWS
            rows = g, min(g + 1, last), min(g + 2, last), min(g + 3, last)
            forward(X, rows, W1[panel], hidden, g - start, panel * width)
        for i in prange(count):
            output(hidden[i], y[start + i], W2, dlogits[i, :classes], dhidden[i])
        for task in prange(panels * features):
            panel, p = task // features, task % features * ROWS
            update_panel(X, start, count, p, dhidden, panel * width, rate, W1[panel])
        for panel in prange(panels):
            for k in range(0, W2.shape[0], ROWS):
                update(dlogits, 0, count, k, hidden, rate, W2, panel * width)


def pack(W1, W2, batch):
    """Return W1 in panels (panels, features, width), W2 transposed, and room for hidden, dhidden and dlogits."""
    (features, units), classes, width = W1.shape, W2.shape[1], VECTORS * REGISTER_BYTES // W1.itemsize
    padded = units + -units % width  # units and classes that are not there have weights of 0
    panels = aligned_zeros((padded // width, features, width), W1.dtype)
    panels[...] = np.pad(W1, ((0, 0), (0, padded - units))).reshape(features, -1, width).swapaxes(0, 1)
    transposed = np.pad(W2.T.copy(), ((0, -classes % ROWS), (0, padded - units)))
    hidden, dhidden = (aligned_zeros((batch + ROWS, padded), W1.dtype) for _ in range(2))
    return panels, transposed, hidden, dhidden, np.zeros((batch, len(transposed)), W1.dtype)


def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place. The number of features is a multiple of ROWS."""
    memory = pack(W1, W2, batch)
    run(X, y, memory, W2.shape[1], W1.dtype.type(lr / batch))
    unpack(memory, W1, W2)


def unpack(memory, W1, W2):
    """Write the weights in memory to W1 and W2."""
    panels, transposed, *_ = memory
    W1[:] = np.hstack(list(panels))[:, : W1.shape[1]]
    W2[:] = transposed[: W2.shape[1], : W1.shape[1]].T


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

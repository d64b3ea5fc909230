"""Stage 4: a register tile. Sums stay in registers, and each number that is loaded takes part in several products.

A tile has 4 rows x 5 vectors of sums, in 20 registers. One turn of its loop loads 4 numbers and 5 vectors, for 20
multiply-adds of vectors; the loops of stage 3 load two vectors, and store one, for each. Numba has no word for a value
of 20 registers: the tile is a type of `fastml.kernels.simd`, and `add_outer_rows` is one turn of the loop.
"""

import numpy as np
from numba import njit, prange
from stage2_loops import make_dlogits

from fastml.kernels.simd import tiles
from fastml.kernels.simd.registers import REGISTER_BYTES, REGISTERS

ROWS, VECTORS = 4, 5 if REGISTERS >= 32 else 2


@njit
def forward(X, rows, W1, hidden, g, h):
    """hidden[g : g + ROWS, h : h + width] = relu(X[rows] @ W1[:, h : h + width]), width = VECTORS vectors."""
    tile = tiles.zero_tile(ROWS, VECTORS, W1)
    for p in range(X.shape[1]):
        tile = tiles.add_outer_rows(tile, X, rows, p, W1, p, h)  # tile += outer(X[rows, p], W1[p, h : h + width])
    tiles.store_tile(tiles.relu_tile(tile), hidden, g, h)


@njit
def update(X, start, count, p, dhidden, rate, W1, h):
    """W1[p : p + ROWS, h : h + width] -= rate * (X of count rows from start on)[:, p : p + ROWS].T @ dhidden."""
    tile = tiles.zero_tile(ROWS, VECTORS, W1)
    for i in range(count):
        tile = tiles.add_outer_columns(tile, X, start + i, p, dhidden, i, h)
    tiles.store_tile(tiles.add_stored(tiles.scale_tile(tile, -rate), W1, p, h), W1, p, h)


@njit(fastmath=True)
def output(hidden, label, W2, dlogits, dhidden):
    """Make dlogits and dhidden of a row. W2 is transposed: so its rows are long enough for whole vectors."""
    for k in range(dlogits.size):
        row, logit = W2[k], hidden.dtype.type(0)
        for j in range(row.size):
            logit += hidden[j] * row[j]
        dlogits[k] = logit
    make_dlogits(dlogits, label)
    dhidden[:] = 0
    for k in range(dlogits.size):
        row, dlogit = W2[k], dlogits[k]
        for j in range(row.size):
            dhidden[j] += dlogit * row[j]
    for j in range(hidden.size):
        dhidden[j] = dhidden[j] if hidden[j] > 0 else 0


@njit(parallel=True)
def run(X, y, W1, W2, batch, classes, rate):
    """Run an epoch, with whole tiles of hidden units and of classes, and W2 transposed."""
    width, features = VECTORS * tiles.lanes_of(W1), W1.shape[0] // ROWS
    hidden = np.zeros((batch + ROWS, W1.shape[1]), W1.dtype)
    dhidden, dlogits = np.zeros_like(hidden), np.zeros((batch, W2.shape[0]), W1.dtype)
    for start in range(0, X.shape[0], batch):
        count = min(batch, X.shape[0] - start)
        groups, last = (count + ROWS - 1) // ROWS, start + count - 1
        for task in prange(W1.shape[1] // width * groups):
            h, g = task // groups * width, start + task % groups * ROWS
            rows = g, min(g + 1, last), min(g + 2, last), min(g + 3, last)  # the last group may repeat the last row
            forward(X, rows, W1, hidden, g - start, h)
        for i in prange(count):
            output(hidden[i], y[start + i], W2, dlogits[i, :classes], dhidden[i])
        for task in prange(W1.shape[1] // width * features):
            update(X, start, count, task % features * ROWS, dhidden, rate, W1, task // features * width)
        for tile in prange(W2.shape[1] // width):
            for k in range(0, W2.shape[0], ROWS):
                update(dlogits, 0, count, k, hidden, rate, W2, tile * width)


def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place. The number of features is a multiple of ROWS."""
    (units, classes), width = W2.shape, VECTORS * REGISTER_BYTES // W1.itemsize
    missing = -units % width  # units and classes that are not there have weights of 0
    padded, transposed = np.pad(W1, ((0, 0), (0, missing))), np.pad(W2.T.copy(), ((0, -classes % ROWS), (0, missing)))
    run(X, y, padded, transposed, batch, classes, W1.dtype.type(lr / batch))
    W1[:], W2[:] = padded[:, :units], transposed[:classes, :units].T


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

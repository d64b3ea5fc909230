"""The optimizer: the only place where weights change. Plain SGD: w -= rate * gradient."""

from typing import NamedTuple

import numpy as np

from fastml.kernels.compile.options import helper, inlined
from fastml.kernels.simd.tiles import add_stored, add_to_stored, lanes_of, store_tile, zero_tile


class Update(NamedTuple):
    """What becomes of the gradient of a block: the step size, and where the block stands in its batch."""

    rate: np.floating  # learning rate / divisor of the batch
    is_first: bool  # no block of the batch came before
    is_last: bool  # the weights change now


@helper
def changes_nothing(count, update):
    """Return whether a tile whose gradient sums count rows may be left out: a gradient of zero changes no weight."""
    return count == 0 and update.is_first and update.is_last


@inlined
def end_of(layer, p, update):
    """Return what `finish_tile` will add to first: the weights or the gradient of panel p."""
    return layer.weights[p] if update.is_first and update.is_last else layer.gradient[p]


@inlined
def finish_tile(tile, layer, p, i, j, update):
    """End the gradient of a tile at row i and column j of panel p: change the weights, or keep it for later blocks."""
    if not update.is_first:
        tile = add_stored(tile, layer.gradient[p], i, j)
    if update.is_last:
        store_tile(add_to_stored(tile, -update.rate, layer.weights[p], i, j), layer.weights[p], i, j)
    else:
        store_tile(tile, layer.gradient[p], i, j)


@helper
def apply(layer, p, rate):
    """Change the weights of panel p by its stored gradient."""
    update = Update(rate, False, True)
    for i in range(layer.weights.shape[1]):
        for j in range(0, layer.weights.shape[2], lanes_of(layer.weights)):
            finish_tile(zero_tile(1, 1, layer.weights), layer, p, i, j, update)

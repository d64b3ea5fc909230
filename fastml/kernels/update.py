"""The optimizers: the only place where weights change.

A rule says how a weight, and its numbers of the optimizer's state, change by a gradient. Its `change` is a formula on
numbers: here it generates the instructions for vectors, and a test applies it to NumPy arrays. A rule's table has the
numbers that its formula names, a row for each batch of a slice. The gradient of a batch is the sum over its rows; the
numbers contain the divisor.
"""

from typing import NamedTuple

from numpy.typing import NDArray

from fastml.kernels.compile.options import helper, inlined
from fastml.kernels.simd.change import change_stored, prefetch_stored
from fastml.kernels.simd.tiles import add_stored, lanes_of, prefetch, store_tile, zero_tile


class Sgd(NamedTuple):
    """Plain stochastic gradient descent."""

    numbers: NDArray  # (batches, names)
    names = ("rate",)  # learning rate / divisor

    @staticmethod
    def change(n, gradient, weight):
        """Return the changed weight."""
        return (weight - n.rate * gradient,)


class Momentum(NamedTuple):
    """Descent with a velocity, or Nesterov's variant, which adds momentum * velocity and the step once more."""

    numbers: NDArray
    names = ("rate", "momentum", "of_velocity", "of_step")

    @staticmethod
    def change(n, gradient, weight, velocity):
        """Return the changed weight and velocity."""
        step = n.rate * gradient
        velocity = n.momentum * velocity - step
        return weight + (n.of_velocity * velocity - n.of_step * step), velocity


class AdamW(NamedTuple):
    """Adam with decoupled weight decay; `step` contains the learning rate and the corrections of both means."""

    numbers: NDArray
    names = ("per_row", "keep_mean", "add_mean", "keep_square", "add_square", "step", "epsilon", "shrink")

    @staticmethod
    def change(n, gradient, weight, mean, square):
        """Return the changed weight, and the running means of the gradient and of its square."""
        gradient = n.per_row * gradient
        mean = n.keep_mean * mean + n.add_mean * gradient
        square = n.keep_square * square + n.add_square * (gradient * gradient)
        return weight - (n.step * (mean / (square**0.5 + n.epsilon)) + n.shrink * weight), mean, square


Rule = Sgd | Momentum | AdamW


class Update(NamedTuple):
    """How the gradient of a block changes the weights: the rule, and the place of the block in its batch."""

    rule: Rule
    turn: int  # the row of the rule's table
    l2: tuple  # (the factor of the weights that is added to their gradient,), or () for none
    is_first: bool  # no block of the batch came before
    is_last: bool  # the weights change now


@helper
def of_block(update, is_first, is_last):
    """Return the update of a block of a batch."""
    return Update(update.rule, update.turn, update.l2, is_first, is_last)


@helper
def without_l2(update):
    """Return the update of a bias."""
    return Update(update.rule, update.turn, (), update.is_first, update.is_last)


@helper
def changes_nothing(count, layer, update):
    """Return whether a tile whose gradient sums count rows may be left out, because a gradient of 0 changes nothing."""
    return count == 0 and update.is_first and update.is_last and len(layer.states) == 0 and len(update.l2) == 0


@helper
def prefetch_end(layer, p, i, j, update):
    """Prefetch the cache lines at row i and column j of panel p that `finish_tile` will read."""
    if update.is_last:
        prefetch_stored(layer, p, i, j)
    if not (update.is_first and update.is_last):
        prefetch(layer.gradient[p], i, j)


@inlined
def finish_tile(tile, layer, p, i, j, update):
    """End the gradient of a tile at row i and column j of panel p: change the weights, or store it for later blocks."""
    if not update.is_first:
        tile = add_stored(tile, layer.gradient[p], i, j)
    if update.is_last:
        change_stored(tile, layer, update, p, i, j)
    else:
        store_tile(tile, layer.gradient[p], i, j)


@helper
def apply(layer, p, update):
    """Change the weights of panel p by its stored gradient."""
    now = of_block(update, False, True)
    for i in range(layer.weights.shape[1]):
        for j in range(0, layer.weights.shape[2], lanes_of(layer.weights)):
            finish_tile(zero_tile(1, 1, layer.weights), layer, p, i, j, now)


@helper
def finish_bias(sums, layer, p, update):
    """End the gradient of the bias in panel p of a layer of `pack_bias`; sums (1, outputs) are those of a block."""
    for j in range(0, layer.weights.shape[2], lanes_of(layer.weights)):
        tile = add_stored(zero_tile(1, 1, layer.weights), sums, 0, j)
        finish_tile(tile, layer, p, 0, j, without_l2(update))

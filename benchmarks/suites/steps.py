"""The steps of a batch as the models take them, on one thread. `kernels` compiles each function and repeats it.

Each step can be repeated: it reads nothing that it writes, or it changes the weights at a rate of 0. A step takes a
batch, the weights of a model, and the memory of the model.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, pattern
from fastml.kernels.batches import Descent
from fastml.kernels.compile import forks
from fastml.kernels.input import Examples
from fastml.kernels.layer import Dots, Outer
from fastml.kernels.loss import BAND, Logits, Verdicts, empty_verdicts
from fastml.kernels.network import Network
from fastml.kernels.panels import ROWS, Arrays, columns_of, feature_groups
from fastml.kernels.pattern import groups_of, own_lists
from fastml.kernels.simd import vectors
from fastml.kernels.softmax_regression import SoftmaxRegression, features_of
from fastml.kernels.team import Tiles, Worker
from fastml.kernels.update import Sgd, Update
from fastml.transforms import transform_of

from . import problems

BATCH, HIDDEN_DIM = 100, 400


class Batch(NamedTuple):
    """A batch of MNIST, and what the steps take beside it."""

    floats: Examples  # images in [0, 1]
    pixels: Examples  # the same images as raw pixels
    update: Update  # at a rate of 0
    verdicts: Verdicts  # empty: no verdicts are wanted
    worker: Worker  # the only one


def examples_of(X: NDArray, scale: float) -> Examples:
    """Return the first images as the examples of a slice; X is read-only, as the kernels expect it."""
    X, labels = X[:BATCH].view(), problems.mnist()[1][:BATCH].astype(np.int64)
    X.flags.writeable = False
    transform = transform_of(X, scale, 0.0, np.float32, None)
    return Examples(X, np.arange(BATCH), labels, np.zeros(0, np.float32), transform, problems.INPUT_DIM, False)


def after_a_batch(model: Callable, hidden_dim: int) -> tuple:
    """Return a batch, and the weights and the memory of a model that has learned the batch at a rate of 0."""
    kernels = model(tuple(Arrays(W, None) for W in problems.weights(hidden_dim)))
    update = Update(Sgd(np.zeros((1, 1), np.float32)), 0, (), True, True)
    floats = examples_of(problems.images("float32"), 1)
    floats = floats._replace(X=kernels.as_read(floats.X))
    verdicts = empty_verdicts(0, problems.NUM_CLASSES, kernels.dtype)
    kernels.reserve(BATCH, update)
    with forks.parallel_lock:
        kernels.learn(floats, Descent(BATCH, update.rule, (), np.zeros(1, np.int64)), verdicts, 1)
    pixels, worker = examples_of(problems.mnist()[0], 1 / 255), Worker(kernels.memory.team, 0, 1)
    return Batch(floats, pixels, update, verdicts, worker), kernels.weights, kernels.memory


def network_batch(hidden_dim: int = HIDDEN_DIM) -> tuple:
    """Return what the steps of the network take."""
    return after_a_batch(lambda layers: Network(layers, 1), hidden_dim)


def softmax_regression_batch() -> tuple:
    """Return what the steps of softmax regression take."""
    return after_a_batch(lambda layers: SoftmaxRegression(layers, 1, False), 0)


def pack(batch, layers, memory):
    input.read(batch.pixels, 0, BATCH, memory.X[0], memory.identity, own_lists(memory.lists, batch.worker, 0).masks)


def mark(batch, layers, memory):
    input.read(batch.floats, 0, BATCH, memory.X[0], memory.identity, own_lists(memory.lists, batch.worker, 0).masks)


def list_features(batch, layers, memory):
    pattern.list_features(batch.floats.labels, own_lists(memory.lists, batch.worker, 0))


def forward(batch, layers, memory):
    examples, lists = batch.floats, own_lists(memory.lists, batch.worker, 0)
    block = input.read(examples, 0, BATCH, memory.X[0], memory.identity, lists.masks[:0])
    ahead = input.ahead_of(examples, BATCH, BATCH, 1, memory.position[0])
    for p in range(layers.first.weights.shape[0]):
        layer.forward(layers.first, Tiles(p, 0, groups_of(BATCH)), block, lists, True, memory.hidden[p], 0, ahead)


def logits(batch, layers, memory):
    first, identity, groups = layers.first, memory.identity, groups_of(BATCH)
    for p in range(first.weights.shape[0]):
        dots, features = Dots(memory.hidden[p], identity[: groups * ROWS], identity[:0], 1), (0, columns_of(first, p))
        layer.logits(layers.last.weights[p], dots, Tiles(p, 0, groups), features, memory.partial[0], p)


def make_dlogits(batch, layers, memory):
    logits = Logits(False, layers.bias.weights[0], memory.partial[0], memory.factor, memory.dlogits[0])
    targets = loss.targets_of(batch.floats, 0, BATCH, own_lists(memory.lists, batch.worker, 0).order)
    loss.make_dlogits(logits, targets, layers.num_classes, batch.verdicts, batch.worker)


def list_rows(batch, layers, memory):
    groups = feature_groups(layers.first)
    pattern.list_rows(BATCH, groups, own_lists(memory.lists, batch.worker, 0), True)


def backward(batch, layers, memory):
    order, dlogits, classes = own_lists(memory.lists, batch.worker, 0).order, memory.dlogits[0], layers.num_classes
    for p in range(layers.last.weights.shape[0]):
        tiles = Tiles(p, 0, groups_of(BATCH))
        layer.backward(layers.last, tiles, dlogits, classes, memory.hidden[p], memory.dhidden[0], order)


def logits_gradient(batch, layers, memory):
    last, identity = layers.last, memory.identity
    outer = Outer(memory.factor, memory.sums[0], memory.none)
    for p in range(last.weights.shape[0]):
        dots = Dots(memory.hidden[p], identity[:BATCH], identity[:0], 1)
        layer.logits_gradient(last, p, dots, memory.dlogits[0], outer, (0, columns_of(last, p)), batch.update)


def gradient(batch, layers, memory):
    examples, lists = batch.floats, own_lists(memory.lists, batch.worker, 0)
    block = input.read(examples, 0, BATCH, memory.X[0], memory.identity, lists.masks[:0])
    ahead = input.ahead_of(examples, BATCH, BATCH, 1, memory.position[0])
    groups = feature_groups(layers.first)
    for p in range(layers.first.weights.shape[0]):
        layer.gradient(layers.first, Tiles(p, 0, groups), block, lists, memory.dhidden[0], batch.update, ahead)


def exp_of_pixels(batch, layers, memory):
    X = vectors.as_numbers(batch.floats.X, memory.X)
    pixels, result = X.reshape(X.size // BAND, BAND), memory.hidden.reshape(memory.hidden.size // BAND, BAND)
    for i in range(min(pixels.shape[0], result.shape[0])):
        vectors.store_vector(vectors.exp(vectors.load_vector(BAND, pixels, i)), result, i)


def logits_of_few_classes(batch, weights, memory):
    examples, theta = batch.floats, weights.theta.weights[0]
    dots, tiles = Dots(examples.X, examples.rows, examples.rows[:0], 2), Tiles(0, 0, groups_of(BATCH))
    for part in range(weights.parts):
        layer.logits(theta, dots, tiles, features_of(weights, part, part + 1), memory.partial[0], part)


def logits_gradient_of_few_classes(batch, weights, memory):
    examples, features = batch.floats, features_of(weights, 0, weights.parts)
    dots = Dots(examples.X, examples.rows, examples.rows[:0], 2)
    outer = Outer(examples.transform.factor[0, 0], memory.sums[0], examples.transform.offset)
    layer.logits_gradient(weights.theta, 0, dots, memory.dlogits[0], outer, features, batch.update)

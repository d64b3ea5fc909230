"""Softmax regression with few classes: a mini-batch as one worker of a team, and the verdicts of the model on a block.

Panels of few classes would be mostly padding. So features lie along the vectors, classes are rows of a tile, and X is
read where it lies. The features are cut into parts; each worker owns some parts of theta. Workers meet once a block,
when all parts of the logits are there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import layer, loss, panels, pattern, team
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import helper, inlined, worker_kernel
from fastml.kernels.input import BLOCK
from fastml.kernels.layer import Dots
from fastml.kernels.loss import BAND
from fastml.kernels.panels import CLASSES, Layer
from fastml.kernels.simd.tiles import lanes_of
from fastml.kernels.team import Team, Tiles
from fastml.kernels.update import Update

# The least vectors of a part, and the most parts.
PART, MOST_PARTS = 24, 8


class Weights(NamedTuple):
    """theta transposed, in one panel (classes, features) that is padded with zeros, and the number of its parts."""

    theta: Layer
    parts: int
    num_classes: int


class Memory(NamedTuple):
    """Memory for the batches of a slice, or for the blocks that are judged."""

    partial: NDArray  # (2, bands, parts, classes, BAND): for even and odd blocks; to judge (workers, ...)
    dlogits: NDArray  # (workers, bands, classes, BAND)
    order: NDArray[np.int64]  # (BLOCK,): 0, 1, 2, ...
    block_rows: int
    blocks: int  # of a whole batch
    team: Team


@inlined
def step(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch, as one worker."""
    examples, theta, size = batch.examples, weights.theta, memory.block_rows
    dlogits, first, last = memory.dlogits[worker.number], *team.share(weights.parts, worker.number, worker.count)
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        rows, labels = examples.rows[start:stop], examples.labels[start:stop]
        partial = memory.partial[(batch.number * memory.blocks + (start - batch.start) // size) % 2]
        dots, groups = (
            Dots(examples.X, rows, examples.rows[stop : stop + size], 2),
            Tiles(0, 0, pattern.groups_of(rows.size)),
        )
        for part in range(first, last):
            layer.logits(theta.weights[0], dots, groups, features_of(weights, part, part + 1), partial, part)
        team.meet(worker)
        some = loss.verdicts_from(verdicts, start)
        bands = partial, dlogits
        loss.make_dlogits(bands, examples.scale, labels, memory.order, weights.num_classes, some, worker)
        # Logits are scaled, not X: so the gradient is scaled as well.
        update = Update(batch.rate * examples.scale, start == batch.start, stop == batch.stop)
        features = features_of(weights, first, last)
        layer.logits_gradient(theta, 0, dots, dlogits, features, update)


@inlined
def judge(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    partial, dlogits = memory.partial[worker.number], memory.dlogits[worker.number]
    start, stop, following = rows
    ahead = examples.rows[following : following + memory.block_rows]
    dots, groups = Dots(examples.X, examples.rows[start:stop], ahead, 1), Tiles(0, 0, pattern.groups_of(stop - start))
    for part in range(weights.parts):
        layer.logits(weights.theta.weights[0], dots, groups, features_of(weights, part, part + 1), partial, part)
    labels, bands = examples.labels[start:stop], (partial, dlogits)
    loss.judge_block(bands, examples.scale, labels, memory.order, weights.num_classes, verdicts)


@helper
def features_of(weights, first, last):
    """Return the first feature, and the end, of parts first to last."""
    lanes = lanes_of(weights.theta.weights)
    vectors = weights.theta.weights.shape[2] // lanes
    return vectors * first // weights.parts * lanes, vectors * last // weights.parts * lanes


@worker_kernel
def learn_softmax_regression(examples, descent, weights, memory, verdicts, number, workers):
    """Train softmax regression on a slice, as one worker."""
    learn_batches(step, examples, descent, weights, memory, verdicts, number, workers)


@worker_kernel
def judge_softmax_regression(examples, weights, memory, verdicts, number, workers):
    """Write the verdicts of softmax regression on a slice, as one worker."""
    judge_blocks(judge, examples, weights, memory, verdicts, number, workers)


class SoftmaxRegression(PackedModel):
    """Softmax regression with few classes in the form of the kernels."""

    kernels = learn_softmax_regression, judge_softmax_regression

    def __init__(self, theta: NDArray):
        input_dim, num_classes = theta.shape
        self.dtype = theta.dtype.newbyteorder("=")
        features = panels.padded(input_dim, panels.lanes(self.dtype))
        packed = panels.aligned_zeros((1, panels.padded(num_classes, CLASSES), features), self.dtype)
        packed[0, :num_classes, :input_dim] = theta.T
        vectors = features // panels.lanes(self.dtype)
        layer = Layer(packed, packed, np.array([0, vectors]), np.zeros((0, 0), np.int64))
        self.weights = Weights(layer, min(max(vectors // PART, 1), MOST_PARTS), num_classes)
        self.column_multiple = panels.lanes(self.dtype)

    def unpack(self, theta: NDArray) -> None:
        """Write the weights to theta, in place."""
        theta[...] = self.weights.theta.weights[0, : self.weights.num_classes, : len(theta)].T

    def as_read(self, X: NDArray) -> NDArray:
        """Return X as the kernels read it: as it is."""
        return X

    def reserve(self, batch: int, workers: int, learn: bool) -> None:
        """Reserve memory for workers and batches of up to batch rows, or to judge."""
        classes = self.weights.theta.weights.shape[1]
        blocks, bands, sets = panels.padded(batch, BLOCK) // BLOCK, BLOCK // BAND, 2 if learn else workers
        self.weights = self.weights._replace(theta=panels.with_gradient(self.weights.theta, learn and blocks > 1))
        self.memory = Memory(
            partial=panels.aligned_zeros((sets, bands, self.weights.parts, classes, BAND), self.dtype),
            dlogits=panels.aligned_zeros((workers, bands, classes, BAND), self.dtype),
            order=np.arange(BLOCK),
            block_rows=BLOCK,
            blocks=blocks,
            team=team.team_of(workers),
        )

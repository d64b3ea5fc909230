"""Softmax regression with many classes: a mini-batch as one worker of a team, and the verdicts on a block."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels import input, layer, loss, many_classes, panels, pattern, team, update
from fastml.kernels.batches import PackedModel, judge_blocks, learn_batches
from fastml.kernels.compile.options import inlined, worker_kernel
from fastml.kernels.many_classes import Head
from fastml.kernels.panels import ROWS, Arrays, Layer
from fastml.kernels.pattern import Lists
from fastml.kernels.team import Team, Worker
from fastml.kernels.update import Update


class Weights(NamedTuple):
    """theta in panels of classes."""

    theta: Layer
    num_classes: int


class Memory(NamedTuple):
    """Memory that all workers share for one block; to judge, each worker has its own."""

    X: NDArray  # (workers, rows, features): the packed rows of a block
    lists: Lists
    head: Head
    identity: NDArray[np.int64]  # (rows of a block,): 0, 1, 2, ...
    position: NDArray[np.int64]  # (workers, 16): how far X has been prefetched
    block_rows: int
    team: Team


@inlined
def step(batch, weights, memory, verdicts, worker):
    """Train theta on one mini-batch, as one worker."""
    theta, me, size = weights.theta, worker.number, min(memory.block_rows, batch.stop - batch.start)
    count, groups = theta.weights.shape[0], panels.feature_groups(theta)
    lists, head = pattern.own_lists(memory.lists, worker, 0), memory.head
    for start in range(batch.start, batch.stop, size):
        stop = min(start + size, batch.stop)
        block = input.read(batch.examples, start, stop, memory.X[me], memory.identity, lists.masks)
        steps = pattern.list_features(block.labels, lists) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop, stop + size // 2, steps, memory.position[me])
        many_classes.make_logits(theta, block, lists, head, ahead, worker)
        targets, some = loss.targets_of(batch.examples, start, stop, lists.order), loss.verdicts_from(verdicts, start)
        many_classes.make_dlogits(theta, targets, weights.num_classes, lists.order, head, some, worker)
        steps = pattern.list_rows(stop - start, groups, lists, start == batch.start) * count // worker.count
        ahead = input.ahead_of(batch.examples, stop + size // 2, stop + size, steps, memory.position[me])
        now = update.of_block(batch.update, start == batch.start, stop == batch.stop)
        many_classes.make_gradient(theta, block, lists, head, now, ahead, worker)
        if team.shares_panels(worker, count):
            team.meet(worker)


@inlined
def judge(examples, rows, weights, memory, verdicts, worker):
    """Write the verdicts of the model on a block, as one worker."""
    theta, me, (start, stop, following) = weights.theta, worker.number, rows
    lists = pattern.own_lists(memory.lists, worker, 0)
    block = input.read(examples, start, stop, memory.X[me], memory.identity, lists.masks)
    steps = pattern.list_features(block.labels, lists) * theta.weights.shape[0]
    ahead = input.ahead_of(examples, following, following + memory.block_rows, steps, memory.position[me])
    many_classes.write_logits(theta, block, lists, memory.head, ahead, me)
    targets = loss.targets_of(examples, start, stop, lists.order)
    loss.judge_block(many_classes.logits_of(memory.head, me), targets, weights.num_classes, verdicts)


@worker_kernel
def learn_softmax_many_classes(examples, descent, weights, memory, verdicts, number, workers):
    """Train softmax regression on a slice, as one worker."""
    learn_batches(step, examples, descent, weights, memory, verdicts, number, workers)


@worker_kernel
def judge_softmax_many_classes(examples, weights, memory, verdicts, number, workers):
    """Write the verdicts of softmax regression on a slice, as one worker."""
    judge_blocks(judge, examples, weights, memory, verdicts, number, workers)


class SoftmaxManyClasses(PackedModel):
    """Softmax regression with many classes in the form of the kernels."""

    kernels = learn_softmax_many_classes, judge_softmax_many_classes

    def __init__(self, layers: tuple[Arrays], workers: int):
        (arrays,) = layers
        theta = panels.pack(arrays, ROWS, ROWS)
        self.weights, self.copies = Weights(theta, arrays.weights.shape[1]), panels.panel_copies(theta, arrays, ROWS)
        self.input_dim, self.workers, self.dtype = len(arrays.weights), workers, theta.weights.dtype
        self.panels = len(theta.weights)

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory for batches of up to batch rows: to learn by updates like `update`, or to judge with None."""
        theta, size, workers = self.weights.theta, input.block_rows(batch, self.input_dim, self.dtype), self.workers
        learn = update is not None
        self.memory = memory = Memory(
            X=panels.aligned_zeros((workers, size, pattern.row_stride(self.input_dim, self.dtype)), self.dtype),
            lists=pattern.lists_for(workers, 1, size, self.input_dim),
            head=many_classes.head_for(theta, size, workers, learn),
            identity=np.arange(size),
            position=np.zeros((workers, 16), np.int64),
            block_rows=size,
            team=team.team_of(workers),
        )
        lists = pattern.own_lists.py_func(memory.lists, Worker(memory.team, 0, workers), 0)
        theta = layer.for_sparse_rows(theta, lists, memory.X, memory.head.rows[0], update)
        self.weights = self.weights._replace(theta=panels.with_gradient(theta, learn and batch > size))

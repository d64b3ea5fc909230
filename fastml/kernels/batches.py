"""How a slice goes through a model: batch after batch to learn, or block after block to be judged.

`learn_batches` and `judge_blocks` call the `step` or the `judge` of a model. The model is known when they are compiled.
"""

import sys
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.kernels.compile.options import helper, inlined
from fastml.kernels.input import Examples
from fastml.kernels.loss import Verdicts, verdicts_from
from fastml.kernels.panels import Copies, Layer, share_bias, write_back
from fastml.kernels.simd.subnormals import flush_subnormals, restore_subnormals
from fastml.kernels.team import Worker, assemble, run_team, take
from fastml.kernels.update import Rule, Update

# In batches of fewer rows there are no more workers than panels: the weights of a panel that several workers own would
# travel between their caches for little work.
SHORT_BATCH = 32


class Descent(NamedTuple):
    """How the weights descend in a slice."""

    batch: int  # rows of a batch; the last may have fewer
    rule: Rule  # with the numbers of each batch
    l2: tuple  # see `Update`
    steps: NDArray[np.int64]  # (1,): the batches that have changed the weights


class Batch(NamedTuple):
    """One mini-batch of a slice: which of its rows, and how the weights change."""

    examples: Examples
    start: int
    stop: int
    number: int
    update: Update


@helper
def after_forward(batch, stop, size):
    """Return the end of the rows that forward prefetches: the next block of the batch, or half of the next batch."""
    return stop + size if stop < batch.stop else stop + size // 2


@helper
def before_backward(batch, stop, size):
    """Return the first of the rows that backward prefetches: the next block, or the other half of the next batch."""
    return stop if stop < batch.stop else stop + size // 2


@inlined
def learn_batches(step, examples, descent, weights, memory, verdicts, number, workers):
    """Call step for each batch of the examples, as one worker."""
    worker = Worker(memory.team, number, workers)
    if not assemble(worker):
        return
    control, batches = flush_subnormals(), (examples.rows.size + descent.batch - 1) // descent.batch
    for turn in range(batches):
        start = turn * descent.batch
        stop = min(start + descent.batch, examples.rows.size)
        update = Update(descent.rule, turn, descent.l2, True, True)
        step(Batch(examples, start, stop, turn, update), weights, memory, verdicts, worker)
    restore_subnormals(control)
    if number == 0:
        descent.steps[0] += batches


@inlined
def judge_blocks(judge, examples, weights, memory, verdicts, number, workers):
    """Call judge for blocks of rows, as one worker: each worker takes the next block until none is left.

    A block is given as its first row, the end of its rows, and the first row of the next block that this worker takes.
    """
    worker = Worker(memory.team, number, workers)
    if not assemble(worker):
        return
    control = flush_subnormals()
    size, start = memory.block_rows, take(worker) * memory.block_rows
    while start < examples.rows.size:
        following = min(take(worker) * size, examples.rows.size)
        rows = start, min(start + size, examples.rows.size), following
        judge(examples, rows, weights, memory, verdicts_from(verdicts, start), worker)
        start = following
    restore_subnormals(control)


class PackedModel:
    """A model whose weights are packed for its kernels: see `fastml.models.Kernels`.

    A subclass packs its weights, reserves its memory, and sets `bias`: the layer of `pack_bias`, or None.
    """

    kernels: ClassVar[tuple[Callable, Callable]]  # for one worker: to learn from a slice, and to judge a slice
    column_multiple = 1
    workers: int  # the largest number of workers
    panels = sys.maxsize  # how many panels the workers own, if they own panels
    dtype: np.dtype
    weights: Any
    memory: Any
    bias: Layer | None = None
    copies: Copies

    def as_read(self, X: NDArray) -> NDArray:
        """Return X as the kernels read it: its bytes."""
        return X.view(np.uint8)

    def workers_for(self, batch: int) -> int:
        """Return how many workers should learn from batches of a number of rows."""
        return min(self.workers, self.panels) if batch < SHORT_BATCH else self.workers

    def learn(self, examples: Examples, descent: Descent, verdicts: Verdicts, workers: int) -> None:
        """Train on the examples in mini-batches; write verdicts from before each step, unless they are empty."""
        if self.bias is not None:
            share_bias(self.bias)
        arguments = examples, descent, self.weights, self.memory, verdicts
        run_team(self.kernels[0], self.memory.team, workers, arguments)

    def judge(self, examples: Examples, verdicts: Verdicts, workers: int) -> None:
        """Write verdicts on the examples."""
        run_team(self.kernels[1], self.memory.team, workers, (examples, self.weights, self.memory, verdicts))

    def unpack(self) -> None:
        """Write the weights, the biases and the states of the optimizer to the caller's arrays, all or none."""
        write_back(self.copies)

"""The learner: packed weights that learn from the rows of a set, pass after pass."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource
from fastml.kernels.compile import forks
from fastml.kernels.loss import empty_verdicts
from fastml.models import Parameters
from fastml.options import CheckedOptions, Progress
from fastml.slices import Rows, slices
from fastml.transforms import reads_in_place, transform_of


class EpochData(NamedTuple):
    """X, and the arrays of an epoch with a number for each row of X, after their checks."""

    X: RowSource
    y: NDArray[Any]
    order: NDArray[Any] | None = None
    sample_weight: NDArray[Any] | None = None


class Learner:
    """The packed weights of a model, which learn from the rows of a set, pass after pass.

    The arguments are checked already. The caller's arrays, and the state of the optimizer, change in `unpack` alone.
    """

    def __init__(
        self, data: EpochData, parameters: Parameters, options: CheckedOptions, backgrounds: NDArray[Any] | None
    ):
        X, order = data.X, data.order
        self.data, self.parameters, self.options = data, parameters, options
        self.dtype = parameters.weights[0].dtype.newbyteorder("=")
        self.transform = transform_of(X, options.scale, options.shift, self.dtype, backgrounds)
        self.batch = min(options.batch, X.shape[0] if order is None else order.size)
        self.steps = options.optimizer.steps.copy()
        layers, transforms = parameters.layers(options.optimizer), not reads_in_place(self.transform, X)
        with forks.parallel_lock:  # may compile
            self.kernels = parameters.model.kernels(layers, forks.available_threads(), transforms)
            self.kernels.reserve(self.batch, options.update(self.dtype))
        self.workers = self.kernels.workers_for(self.batch)
        self.kernels.copies.append((options.optimizer.steps, self.steps))

    def run_pass(self, order: NDArray[Any] | None, lr: float, progress: Progress | None) -> tuple[float, float]:
        """Train on the rows in an order, with a step size; every order must have as many rows as that of the data.

        Return the mean loss and the error of the rows, each with the weights before its step; NaN without progress.
        """
        options, num_classes = replace(self.options, lr=lr), self.parameters.num_classes
        rows = Rows(self.data.X, order, self.kernels, self.transform, options.has_reference)
        verdicts, losses, wrong = empty_verdicts(0, num_classes, self.dtype), 0.0, 0
        for start, stop, workers in slices(rows, self.batch, self.workers, 4 * self.parameters.size):
            examples = rows.take(start, stop, self.data.y, self.data.sample_weight)
            if progress is not None:
                verdicts = empty_verdicts(stop - start, num_classes, self.dtype)
            descent = options.descent(stop - start, self.dtype, self.steps, examples.weights)
            with forks.parallel_lock:
                self.kernels.learn(examples, descent, verdicts, workers)
            if progress is not None:
                losses += sum_of_losses(verdicts.losses, examples.weights, self.batch)
                wrong += int(np.count_nonzero(verdicts.predictions != examples.labels))
                progress(stop, rows.count, losses / stop)
        return (np.nan, np.nan) if progress is None else (losses / rows.count, wrong / rows.count)

    def unpack(self) -> None:
        """Write the weights, the biases and the optimizer's state to the caller's arrays, all of them or none."""
        self.kernels.unpack()


def sum_of_losses(losses: NDArray[Any], weights: NDArray[Any], batch: int) -> float:
    """Return the sum of the losses of whole batches.

    If rows have weights, the loss of a batch is its number of rows times its weighted mean; 0 if all weights are 0.
    """
    with np.errstate(over="ignore"):  # a sum beyond the range of float64 is infinity
        if not weights.size:
            return float(losses.sum(dtype=np.float64))
        starts = np.arange(0, losses.size, batch)
        weighted = np.add.reduceat(losses.astype(np.float64) * weights, starts)
        sums = np.add.reduceat(weights, starts, dtype=np.float64)
        means = np.divide(weighted, sums, out=np.zeros(starts.size), where=sums > 0)
        return float(means @ np.minimum(batch, losses.size - starts))

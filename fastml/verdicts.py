"""Losses, predictions and probabilities of a model on a set, range by range.

The logits of a model are computed block by block: there is never a matrix of logits for the whole set.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource
from fastml.kernels.compile import forks
from fastml.kernels.input import BLOCK
from fastml.kernels.loss import BAND, Verdicts, empty_verdicts, judge_logits
from fastml.models import Parameters
from fastml.options import Progress
from fastml.slices import Rows, slices
from fastml.transforms import reads_in_place, transform_of

# The most blocks of rows for each thread, and the most rows of given logits, that are evaluated at once. These limits
# keep the memory of the verdicts to a few megabytes.
MOST_BLOCKS, LOGITS_ROWS = 64, 8192
# Losses are first summed over groups of this many rows. Each range of rows begins at a multiple of this number, so the
# groups do not depend on the ranges.
SUM_ROWS = 128


class ModelInput(NamedTuple):
    """A model and its input: the parameters, and X with its scale and shift."""

    parameters: Parameters
    X: RowSource
    scale: float | NDArray[Any]
    shift: float | NDArray[Any]
    rows: NDArray[Any] | None = None  # the rows of X, or None for all


def predictions_of(given: ModelInput) -> NDArray[np.int64]:
    """Return the class of the highest logit for each row of X."""
    predictions = np.empty(len(given.X), np.int64)
    for start, verdicts in verdicts_of_model(given, None):
        predictions[start : start + len(verdicts.predictions)] = verdicts.predictions
    return predictions


def probabilities_of(given: ModelInput) -> NDArray[Any]:
    """Return the softmax of the logits for each row of X."""
    dtype = given.parameters.weights[0].dtype.newbyteorder("=")
    probabilities = np.empty((len(given.X), given.parameters.num_classes), dtype)
    for start, verdicts in verdicts_of_model(given, None, probabilities=True):
        probabilities[start : start + len(verdicts.probabilities)] = verdicts.probabilities
    return probabilities


def loss_err_of_model(given: ModelInput, y: NDArray[Any], progress: Progress | None) -> tuple[float, float]:
    """Return the mean loss and the error of a model; y are the labels of all rows of X."""
    labels = y if given.rows is None else y[given.rows]
    return mean_loss_err(verdicts_of_model(given, y), labels, progress)


def verdicts_of_model(
    given: ModelInput, y: NDArray[Any] | None, probabilities: bool = False
) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows; if y is None, the losses are meaningless."""
    parameters, X, num_classes = given.parameters, given.X, given.parameters.num_classes
    threads, dtype = forks.available_threads(), parameters.weights[0].dtype.newbyteorder("=")
    transform = transform_of(X, given.scale, given.shift, dtype, parameters.model.backgrounds_of(X, num_classes))
    with forks.parallel_lock:  # may compile
        kernels = parameters.model.kernels(parameters.layers(), threads, not reads_in_place(transform, X))
        kernels.reserve(BLOCK, None)
    rows = Rows(X, given.rows, kernels, transform)
    y = np.zeros(len(X), np.uint8) if y is None else y
    # A slice has at least one block for each thread: with fewer blocks some threads would be idle.
    for start, stop, workers in slices(rows, BLOCK * threads, threads, 2 * parameters.size, MOST_BLOCKS):
        examples = rows.take(start, stop, y)
        verdicts = empty_verdicts(stop - start, num_classes, dtype, probabilities)
        with forks.parallel_lock:
            kernels.judge(examples, verdicts, workers)
        yield start, verdicts


def verdicts_on_logits(logits: NDArray[Any], y: NDArray[Any], dtype: np.dtype[Any]) -> Iterator[tuple[int, Verdicts]]:
    """Yield (start, verdicts) for consecutive ranges of rows of logits."""
    forks.check_not_compiling()
    for start in range(0, len(logits), LOGITS_ROWS):
        part = np.array(logits[start : start + LOGITS_ROWS], dtype, order="C")
        labels = y[start : start + LOGITS_ROWS].astype(np.int64)
        verdicts = empty_verdicts(len(part), part.shape[1], dtype)
        with forks.parallel_lock:  # may compile
            judge_logits(part, labels, np.empty((part.shape[1], BAND), dtype), np.arange(len(part)), verdicts)
        yield start, verdicts


def mean_loss_err(
    judged: Iterator[tuple[int, Verdicts]], y: NDArray[Any], progress: Progress | None = None
) -> tuple[float, float]:
    """Return the mean loss and the error over ranges of rows.

    The sum over the groups of losses is rounded only once. So the mean does not depend on where the ranges end, which
    varies with the speed of the machine and the number of threads.
    """
    sums, wrong = [], 0
    for start, verdicts in judged:
        with np.errstate(over="ignore"):  # a sum beyond the range of float64 is infinity, as in NumPy
            sums += np.add.reduceat(
                verdicts.losses, np.arange(0, len(verdicts.losses), SUM_ROWS), dtype=np.float64
            ).tolist()
        stop = start + len(verdicts.predictions)
        wrong += int(np.count_nonzero(verdicts.predictions != y[start:stop]))
        if progress is not None:
            progress(stop, len(y), sum_once(sums) / stop)
    return sum_once(sums) / len(y), wrong / len(y)


def sum_once(losses: list[float]) -> float:
    """Return the sum of losses, rounded once; a sum beyond the range of float64 is infinity, as in NumPy."""
    try:
        return math.fsum(losses)
    except OverflowError:
        return math.inf

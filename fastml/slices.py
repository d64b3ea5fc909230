"""Slices: the rows of X as one kernel call takes them, and how many rows keep a call at about 50 ms.

Python handles signals only between two calls into compiled code, so a long epoch is driven in slices of whole batches:
that is where Ctrl-C, progress callbacks and other Python threads come in.
"""

import math
import sys
import time
from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.mapping import ReadAhead

SLICE_SECONDS = 0.05
# How often, and for how long, the other number of workers is tried.
TRIAL_PERIOD_SECONDS = 1.0
TRIAL_SECONDS = 0.002
# What a trial may take of the time that is left.
TRIAL_SHARE = 0.05
# A batch of fewer operations is begun by one thread alone: at 100 GFLOP/s it takes less than 10 us.
SMALL_OPERATIONS = 1_000_000
CONVERTED_BYTES = 4 << 20
NATIVE_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))


class Rows:
    """Rows of X in the order of a pass over them, handed out a range at a time as a model's kernels want them.

    C-contiguous uint8, float32 and float64 are handed out as they are, never copied, with the indices of the wanted
    rows. Whatever the kernels can't read (other dtypes, layouts and byte orders; a number of columns that the model's
    kernels don't take) is converted to dtype a range at a time, padded with columns of zeros; `most` is the
    number of rows that such a copy may have. `dtype` is that of what is handed out. The rows that will be wanted next
    of a mapped file are read meanwhile.
    """

    def __init__(self, X: NDArray, order: NDArray | None, dtype: DTypeLike, model: ModuleType):
        # A read-only view: one kernel serves arrays that may be written and arrays (memory maps) that may not.
        self.model = model
        self.X = X.view()
        self.X.flags.writeable = False
        self.order = order
        self.columns = -(-X.shape[1] // model.row_multiple(dtype)) * model.row_multiple(dtype)
        self.is_native = (
            X.dtype in NATIVE_DTYPES
            and X.dtype.isnative
            and X.flags.aligned
            and X.flags.c_contiguous
            and self.columns == X.shape[1]
        )
        self.dtype = X.dtype if self.is_native else np.dtype(dtype)
        self.count = X.shape[0] if order is None else order.size
        self.ahead = ReadAhead(X, order)
        self.most = self.count
        if not self.is_native:
            self.most = max(1, CONVERTED_BYTES // max(1, self.columns * self.dtype.itemsize))

    def take(self, start: int, stop: int) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64]]:
        """Return an array, the indices of its rows that are rows start to stop of the pass, and their indices in X."""
        self.ahead.ask(start, stop)
        wanted = np.arange(start, stop)
        if self.order is not None:
            # One copy, for the labels too, and in range: the order was checked, but it may have changed.
            wanted = self.order[start:stop].astype(np.int64).clip(0, len(self.X) - 1)
        if self.is_native:
            return self.model.as_read(self.X), wanted, wanted
        converted = np.zeros((stop - start, self.columns), self.dtype)
        with np.errstate(over="ignore"):  # beyond the range of float32 is infinity
            converted[:, : self.X.shape[1]] = self.X[wanted if self.order is not None else slice(start, stop)]
        converted.flags.writeable = False
        return self.model.as_read(converted), np.arange(stop - start), wanted


def slices(
    rows: Rows, batch: int, threads: int, operations: int, most: int = sys.maxsize
) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, workers): slices of whole batches, about 50 ms long, and how many workers should run each.

    The time between two yields tells how fast a number of workers is. Where the pass takes so long that it costs
    little, all threads and one alone are tried in turn for 2 ms, at the beginning and once a second, and the faster has
    the rest (one alone must be faster by a tenth). Small batches don't pay for the meetings of threads; and where
    another process takes one of the cores, each meeting may wait until the scheduler comes round.
    The result is the same: kernels give the same bits for any number of workers.

    Parameters
    ----------
    rows : Rows
        What is cut.
    batch : int
        Rows of a batch.
    threads : int
        The most workers.
    operations : int
        Floating-point operations of a batch, about: they say who has the first slice.
    most : int
        The most batches of a slice.
    """
    choices = [1, threads] if threads > 1 else [1]
    # Seconds of a batch for each number of workers. The very first slice may compile, or start threads: it is tried
    # again, if anything is.
    pace: dict[int, float] = {}
    trials = [1 if operations < SMALL_OPERATIONS else threads]
    start, tried = 0, -math.inf
    while start < rows.count:
        seconds = TRIAL_SECONDS if trials else SLICE_SECONDS
        # One alone must be faster by a tenth: a trial of all threads comes out a little slow while they warm up.
        margins = {choice: seconds * (1.1 if choice == 1 else 1.0) for choice, seconds in pace.items()}
        workers = trials.pop(0) if trials else min(margins, key=margins.__getitem__)
        batches = int(seconds / min(pace.values())) if pace else 1
        batches = max(1, min(batches, most, rows.most // batch))
        stop = min(start + batch * batches, rows.count)
        began = time.perf_counter()
        yield start, stop, workers
        now = time.perf_counter()
        pace[workers] = max(now - began, 1e-9) * batch / (stop - start)
        left = (rows.count - stop) / batch * pace[workers]
        if not trials and now - tried > TRIAL_PERIOD_SECONDS and max(TRIAL_SECONDS, pace[workers]) < TRIAL_SHARE * left:
            trials = [choice for choice in choices if choice != workers or tried == -math.inf]
            tried = now
        start = stop

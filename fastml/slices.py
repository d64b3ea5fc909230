"""Slices: the rows of X as one kernel call takes them, and how many rows keep a call at about 50 ms.

Python handles signals only between two calls into compiled code, so a long epoch is driven in slices of whole batches:
that is where Ctrl-C, progress callbacks and other Python threads come in.
"""

import math
import sys
import time
from collections.abc import Iterator
from functools import lru_cache
from types import ModuleType

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.mapping import ReadAhead

SLICE_SECONDS = 0.05
# How often, and for how long, the other number of workers is tried.
PERIOD_SECONDS = 1.0
TRIAL_SECONDS = 0.002
# What a trial may take of the time since the one before it and that is left of a pass, and of the latter alone.
TRIAL_SHARE, TRIAL_ROOM = 0.05, 0.25
# The slice before a trial, about, for it has whole batches: threads of other libraries (OpenMP's, OpenBLAS's) go on
# looking for work for some 10 ms.
SETTLING_SECONDS = 0.01
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
        self.most = CONVERTED_BYTES // max(1, self.columns * self.dtype.itemsize) if not self.is_native else sys.maxsize

    def take(self, start: int, stop: int) -> tuple[NDArray, NDArray[np.int64], NDArray[np.int64] | slice]:
        """Return an array, the indices of its rows that are rows start to stop of the pass, and which of X they are."""
        self.ahead.ask(start, stop)
        wanted = slice(start, stop)
        if self.order is not None:
            # One copy, for the labels too, and in range: the order was checked, but it may have changed.
            wanted = self.order[start:stop].astype(np.int64).clip(0, len(self.X) - 1)
        if self.is_native:
            return self.model.as_read(self.X), np.arange(start, stop) if self.order is None else wanted, wanted
        converted = np.zeros((stop - start, self.columns), self.dtype)
        with np.errstate(over="ignore"):  # beyond the range of float32 is infinity
            converted[:, : self.X.shape[1]] = self.X[wanted]
        converted.flags.writeable = False
        return self.model.as_read(converted), np.arange(stop - start), wanted


class Pace:
    """How fast batches of one kind go with a number of workers, and how many shall work next.

    Once a second all threads or one alone, whoever has not worked, are tried for 2 ms, if that is little of the time
    since they were tried, and there is room for it in a pass. If they are faster those who had worked are tried too,
    for it may be that something had disturbed them; the faster has the rest. Small batches don't pay for the meetings
    of threads; and where another process takes one of the cores, each meeting may wait until the scheduler comes round.

    Several Python threads, or a signal's handler, may be here at once: at worst they try the same twice.
    """

    def __init__(self, threads: int):
        self.threads = threads
        self.seconds: dict[int, float] = {}  # of a batch, for each number of workers
        self.trials: tuple[int, ...] = ()
        self.tried = self.used = -math.inf
        self.worked = 0.0  # seconds since then

    def begin(self) -> None:
        """Begin a pass with whoever was fastest; as a trial if that was more than a second ago.

        What others took is forgotten: where passes are too short for trials, one slice that something disturbed would
        make it them for good.
        """
        seconds = self.seconds.copy()
        if seconds:
            workers = fastest(seconds)
            self.seconds = {workers: seconds[workers]}
            self.trials = (workers,) if time.perf_counter() - self.used > PERIOD_SECONDS else ()

    def choose(self, first: int, left: float) -> tuple[int, int]:
        """Return how many workers have the next slice, first if nothing is known, and how many of the batches left."""
        trials, seconds = self.trials, self.seconds.copy()
        if not seconds:
            return first, 1
        if trials:
            self.trials = trials[1:]
            return trials[0], int(TRIAL_SECONDS / min(seconds.values()))
        workers = fastest(seconds)
        each, length = seconds[workers], min(SETTLING_SECONDS, SLICE_SECONDS)
        if not self.is_due() or not self.has_room(each, left - length / each):
            # To begin a slice for nothing takes 2 % of the 12 ms of an epoch of softmax regression on MNIST.
            length = SLICE_SECONDS
        return workers, int(length / each)

    def learn(self, workers: int, batches: float, began: float, left: float) -> None:
        """Learn that workers had so many batches, since a time, and so many are left; plan a trial if it is due."""
        self.used = time.perf_counter()
        # A first batch may compile, or start threads. Where trials followed it one alone had the rest of many a short
        # pass, and of those after it, at two thirds of the speed.
        elapsed, is_known = max(self.used - began, 1e-9), bool(self.seconds)
        seconds = self.seconds[workers] = elapsed / batches
        if fastest(self.seconds.copy()) != workers:
            self.trials = ()
        self.worked += elapsed if is_known else 0.0
        if is_known and self.is_due() and self.has_room(seconds, left) and elapsed > SETTLING_SECONDS / 2:
            self.trials = (*({1, self.threads} - {workers}), workers)
            self.tried, self.worked = self.used, 0.0

    def has_room(self, seconds: float, left: float) -> bool:
        """Return whether there is time for a trial where so many batches are left, which take so many seconds each."""
        trial, left = max(TRIAL_SECONDS, seconds), left * seconds
        return trial < TRIAL_SHARE * (self.worked + left) and trial < TRIAL_ROOM * left

    def is_due(self) -> bool:
        """Return whether a trial is due."""
        return self.threads > 1 and not self.trials and self.used - self.tried > PERIOD_SECONDS


def fastest(seconds: dict[int, float]) -> int:
    """Return the number of workers that takes the fewest seconds; one alone must be faster by a tenth.

    A trial of all threads comes out a little slow while they warm up.
    """
    return min(seconds, key=lambda workers: seconds[workers] * (1.1 if workers == 1 else 1.0))


@lru_cache(maxsize=64)
def pace_of(threads: int, *kind: object) -> Pace:
    """Return what is known of a kind of batches for up to so many threads, the same object at each call."""
    return Pace(threads)


def slices(
    rows: Rows, batch: int, threads: int, operations: int, most: int = sys.maxsize
) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, workers): slices of whole batches, about 50 ms long, and how many workers should run each.

    The time between two yields tells how fast a number of workers is. A pass goes on with what was learned in those of
    the same kind before it: to find it out took 0.7 of the 13 ms of an epoch of softmax regression on MNIST. The result
    is the same: kernels give the same bits for any number of workers.

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
    pace = pace_of(threads, rows.model, rows.X.dtype, rows.is_native, rows.count, rows.columns, batch, operations, most)
    pace.begin()
    start = 0
    while start < rows.count:
        workers, batches = pace.choose(1 if operations < SMALL_OPERATIONS else threads, (rows.count - start) / batch)
        stop = min(start + batch * max(1, min(batches, most, rows.most // batch)), rows.count)
        began = time.perf_counter()
        yield start, stop, workers
        pace.learn(workers, (stop - start) / batch, began, (rows.count - stop) / batch)
        start = stop

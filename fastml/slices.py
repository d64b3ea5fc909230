"""Slices: the rows of X as one kernel call takes them, and how many rows keep a call at about 50 ms.

Python handles signals only between two calls into compiled code, so a long epoch is driven in slices of whole batches:
that is where Ctrl-C, progress callbacks and other Python threads come in.
"""

import time
from collections.abc import Iterator
from types import ModuleType

import numpy as np
from numpy.typing import DTypeLike, NDArray

SLICE_SECONDS = 0.05
# A slice is at most this many times the one before: the first call may have been slow because it compiled.
GROWTH = 8
CONVERTED_BYTES = 4 << 20
NATIVE_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))


class Rows:
    """Rows of X in the order of a pass over them, handed out a range at a time as a model's kernels want them.

    C-contiguous uint8, float32 and float64 are handed out as they are, never copied, with the indices of the wanted
    rows. Whatever the kernels can't read (other dtypes, layouts and byte orders; an order, or a number of columns, that
    the model's kernels don't take) is converted to dtype a range at a time, padded with columns of zeros; `most` is the
    number of rows that such a copy may have.
    """

    def __init__(self, X: NDArray, order: NDArray | None, dtype: DTypeLike, model: ModuleType):
        # A read-only view: one kernel serves arrays that may be written and arrays (memory maps) that may not.
        self.X = X.view()
        self.X.flags.writeable = False
        self.order = order
        self.dtype = np.dtype(dtype)
        self.columns = -(-X.shape[1] // model.row_multiple(dtype)) * model.row_multiple(dtype)
        self.is_native = (
            X.dtype in NATIVE_DTYPES
            and X.dtype.isnative
            and X.flags.aligned
            and X.flags.c_contiguous
            and self.columns == X.shape[1]
            and (order is None or model.GATHERS)
        )
        self.count = X.shape[0] if order is None else order.size
        self.most = self.count
        if not self.is_native:
            self.most = max(1, CONVERTED_BYTES // max(1, self.columns * self.dtype.itemsize))

    def take(self, start: int, stop: int) -> tuple[NDArray, NDArray[np.int64]]:
        """Return an array and the indices of its rows that are rows start to stop of the pass."""
        wanted = slice(start, stop) if self.order is None else self.order[start:stop]
        if self.is_native:
            return self.X, np.arange(start, stop) if self.order is None else wanted.astype(np.int64)
        converted = np.zeros((stop - start, self.columns), self.dtype)
        with np.errstate(over="ignore"):  # beyond the range of float32 is infinity
            converted[:, : self.X.shape[1]] = self.X[wanted]
        converted.flags.writeable = False
        return converted, np.arange(stop - start)


def slices(rows: Rows, batch: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of whole batches, each as long as the time between two yields says is about 50 ms."""
    batches, start = 1, 0
    while start < rows.count:
        stop = min(start + batch * max(1, min(batches, rows.most // batch)), rows.count)
        began = time.perf_counter()
        yield start, stop
        wanted = SLICE_SECONDS / max(time.perf_counter() - began, 1e-9)
        batches = max(1, int(batches * min(wanted, GROWTH)))
        start = stop

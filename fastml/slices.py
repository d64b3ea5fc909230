"""Slices: a pass over the rows of X is cut into kernel calls of about 50 ms.

Python handles signals only between two calls of compiled code. So a long epoch runs in slices of whole batches. Between
two slices Python handles Ctrl-C, calls progress callbacks and runs other threads.
"""

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource
from fastml.kernels.input import Examples, Transform
from fastml.mapping import ReadAhead
from fastml.models import Kernels
from fastml.transforms import is_subnormal, unchanged

SLICE_SECONDS = 0.05
# Floating-point operations of the first slice, when no time has been measured: 10 ms at 200 GFLOP/s.
FIRST_OPERATIONS = 2_000_000_000
# One worker runs a batch of fewer operations, which is too short to be shared: less than 10 us at 100 GFLOP/s.
SMALL_OPERATIONS = 1_000_000
CONVERTED_BYTES = 4 << 20
NATIVE_DTYPES = (np.dtype(np.uint8), np.dtype(np.float32), np.dtype(np.float64))


class Rows:
    """The rows of X in the order of a pass, passed to the kernels one range at a time.

    C-contiguous uint8, float32 and float64 arrays are passed without a copy, with the indices of the rows. Other arrays
    (other dtypes, layouts or byte orders, or a number of columns that the kernels don't accept) are converted one range
    at a time and padded with columns of zeros; `most` is the largest number of rows of such a copy. An X that is not an
    array is copied in the same way. Meanwhile the operating system reads the next rows of a mapped file.
    """

    def __init__(
        self,
        X: RowSource,
        order: NDArray[Any] | None,
        kernels: Kernels,
        transform: Transform,
        has_reference: bool = False,
    ):
        self.X = X
        self.order, self.kernels, self.transform, self.has_reference = order, kernels, transform, has_reference
        self.columns = -(-X.shape[1] // kernels.column_multiple) * kernels.column_multiple
        # The kernels would take a subnormal factor for zero.
        self.transforms = is_subnormal(transform)
        # X, if the kernels can read it where it lies.
        self.native: NDArray[Any] | None = None
        if (
            isinstance(X, np.ndarray)
            and X.dtype in NATIVE_DTYPES
            and X.dtype.isnative
            and X.flags.aligned
            and X.flags.c_contiguous
            and self.columns == X.shape[1]
            and not self.transforms
        ):
            # A read-only view: one compiled kernel then serves both writable and read-only arrays, such as memory maps.
            self.native = X.view()
            self.native.flags.writeable = False
        self.count = X.shape[0] if order is None else order.size
        self.ahead = ReadAhead(X, order)
        row_bytes = max(1, self.columns * kernels.dtype.itemsize)
        self.most = sys.maxsize if self.native is not None else max(1, CONVERTED_BYTES // row_bytes)

    def take(self, start: int, stop: int, y: NDArray[Any], sample_weight: NDArray[Any] | None = None) -> Examples:
        """Return rows start to stop of the pass, with their labels and weights."""
        self.ahead.ask(start, stop)
        wanted: slice | NDArray[np.int64] = slice(start, stop)
        if self.order is None:
            rows = np.arange(start, stop, dtype=np.int64)
        else:
            # One copy serves X and labels. Clipping keeps indices in range even if the caller has changed the order
            # since its check.
            wanted = rows = self.order[start:stop].astype(np.int64).clip(0, len(self.X) - 1)
        X, transform, input_dim = self.native, self.transform, self.X.shape[1]
        if X is None:
            X = np.zeros((stop - start, self.columns), self.kernels.dtype)
            rows = np.arange(stop - start, dtype=np.int64)
            with np.errstate(over="ignore"):  # numbers beyond the range of float32 become infinity
                X[:, :input_dim] = self.X[wanted]
                if self.transforms:
                    X[:, :input_dim] -= transform.background[:, :input_dim]
                    X[:, :input_dim] *= transform.factor[:, :input_dim]
                    transform = unchanged(transform)
            X.flags.writeable = False
        labels = y[wanted].astype(np.int64)
        weights = np.zeros(0, self.kernels.dtype)
        if sample_weight is not None:
            with np.errstate(over="ignore"):
                weights = sample_weight[wanted].astype(self.kernels.dtype)
        return Examples(self.kernels.as_read(X), rows, labels, weights, transform, X.shape[1], self.has_reference)


def slices(
    rows: Rows, batch: int, threads: int, operations: int, most: int = sys.maxsize
) -> Iterator[tuple[int, int, int]]:
    """Yield (start, stop, workers): slices of whole batches, about 50 ms long, and how many workers should run each.

    The slices do not change the result: kernels give the same bits for any slices and any number of workers.

    Parameters
    ----------
    rows : Rows
        The rows to cut into slices.
    batch : int
        Rows of a batch.
    threads : int
        The largest number of workers.
    operations : int
        Approximate number of floating-point operations for a row. It determines whether one worker is enough, and the
        length of the first slice.
    most : int
        The largest number of batches in a slice.
    """
    workers = threads if batch * operations >= SMALL_OPERATIONS else 1
    start, batches = 0, FIRST_OPERATIONS // (batch * operations)
    while start < rows.count:
        stop = min(start + batch * max(1, min(batches, most, rows.most // batch)), rows.count)
        began = time.perf_counter()
        yield start, stop, workers
        seconds = max(time.perf_counter() - began, 1e-9)
        batches = int(SLICE_SECONDS / seconds * (stop - start) / batch)
        start = stop

"""The options of an epoch: their checks, and their form for the kernels."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastml import checks
from fastml.kernels.batches import Descent

# Called as progress(done, num_examples, loss), with the mean loss of the examples that are done.
Progress = Callable[[int, int, float], object]


@dataclass(frozen=True)
class Options:
    """Options of an epoch. Their meaning is that of the parameters of the epoch functions."""

    lr: float = 0.1
    batch: int = 100
    scale: float = 1.0
    last_batch: str = "nominal"

    def checked(self) -> "Options":
        """Return the options after their checks; a TypeError or ValueError names an invalid option."""
        return Options(
            lr=checks.check_real("lr", self.lr),
            batch=checks.check_integer("batch", self.batch, minimum=1),
            scale=checks.check_real("scale", self.scale),
            last_batch=checks.check_choice("last_batch", self.last_batch, checks.LAST_BATCH),
        )

    def descent(self, num_examples: int, dtype: np.dtype) -> Descent:
        """Return the batch size and the step sizes for the kernels, for an epoch over a number of examples."""
        # No set has more rows than sys.maxsize. Dividing a float by a much larger integer would raise OverflowError.
        divisor = short_divisor = min(self.batch, sys.maxsize)
        if self.last_batch == "mean":
            divisor, short_divisor = min(self.batch, num_examples), num_examples % self.batch or self.batch
        with np.errstate(over="ignore"):  # numbers beyond the range of float32 become infinity, as in NumPy
            rates = dtype.type(self.lr / divisor), dtype.type(self.lr / short_divisor)
        return Descent(min(self.batch, num_examples), *rates)


def in_dtype(scale: float, dtype: np.dtype) -> np.floating:
    """Return a number converted to a dtype; a number beyond its range becomes infinity, as in NumPy."""
    with np.errstate(over="ignore"):
        return dtype.type(scale)

"""The options of an epoch: their checks, and their form for the kernels."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastml import checks, scalars
from fastml.kernels.batches import Descent
from fastml.kernels.update import Rule, Update
from fastml.optimizers import SGD, Optimizer

# What the gradient of a batch is divided by.
LastBatch = Literal["nominal", "mean"]
LAST_BATCH: tuple[LastBatch, ...] = ("nominal", "mean")
# Called as progress(done, num_examples, loss), with the mean loss of the examples that are done.
Progress = Callable[[int, int, float], object]


@dataclass(frozen=True)
class Options:
    """Options of an epoch, as they are given. Their meaning is that of the parameters of the epoch functions."""

    lr: float = 0.1
    batch: int = 100
    scale: float | ArrayLike = 1.0
    shift: float | ArrayLike = 0.0
    last_batch: LastBatch = "nominal"
    l2: float = 0.0
    optimizer: Optimizer | None = None
    # Whether class 0 is a reference: its weights have no gradient. If these weights are 0, the loss of two classes is
    # the logistic loss of one logit.
    has_reference: bool = False

    def checked(self, input_dim: int) -> "CheckedOptions":
        """Return the options after their checks; a TypeError or ValueError names an invalid option."""
        optimizer = SGD() if self.optimizer is None else self.optimizer
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be SGD(), Momentum() or AdamW(), got {optimizer!r:.80}")
        optimizer.check()
        return CheckedOptions(
            lr=scalars.check_at_least("lr", self.lr, 0.0),
            batch=scalars.check_integer("batch", self.batch, minimum=1),
            scale=checks.check_scale(self.scale, input_dim),
            shift=checks.check_shift(self.shift, input_dim),
            last_batch=scalars.check_choice("last_batch", self.last_batch, LAST_BATCH),
            l2=scalars.check_at_least("l2", self.l2, 0.0),
            optimizer=optimizer,
            has_reference=self.has_reference,
        )


@dataclass(frozen=True)
class CheckedOptions(Options):
    """Options of an epoch after their checks, and their form for the kernels."""

    scale: float | NDArray[np.float64] = 1.0
    shift: float | NDArray[np.float64] = 0.0
    optimizer: Optimizer = field(default_factory=SGD)

    def update(self, dtype: DTypeLike) -> Update:
        """Return an update of the type that the kernels are compiled for."""
        numbers = np.zeros((1, len(self.optimizer.rule.names)), dtype)
        return Update(self.rule(numbers), 0, self.penalty(dtype), True, True)

    def rule(self, numbers: NDArray[Any]) -> Rule:
        """Return the rule of the optimizer with its numbers."""
        # The names of a rule's numbers are no field of its tuple, but mypy takes them for one.
        return self.optimizer.rule._make((numbers,))

    def penalty(self, dtype: DTypeLike) -> tuple[Any, ...]:
        """Return l2 as the kernels take it: in a tuple, which is empty for none."""
        with np.errstate(over="ignore"):
            return (np.asarray(self.l2, dtype)[()],) if self.l2 else ()

    def descent(self, rows: int, dtype: DTypeLike, steps: NDArray[Any], sample_weight: NDArray[Any]) -> Descent:
        """Return the `Descent` for a slice of a number of rows; sample_weight is (rows,), or (0,) if all are 1."""
        batch = min(self.batch, sys.maxsize)  # no set has more rows, and NumPy may not hold larger integers
        starts = np.arange(0, rows, batch)
        if self.last_batch == "mean":
            counts = np.minimum(batch, rows - starts).astype(np.float64)
            sums = np.add.reduceat(sample_weight, starts, dtype=np.float64) if sample_weight.size else counts
            divisors = np.where(sums > 0, sums, counts)
        else:
            divisors = np.full(starts.size, float(batch))
        with np.errstate(over="ignore"):  # numbers beyond the range of float32 become infinity, as in NumPy
            numbers = self.optimizer.numbers(self.lr, divisors, int(steps[0])).astype(dtype)
        return Descent(min(batch, rows), self.rule(numbers), self.penalty(dtype), steps)

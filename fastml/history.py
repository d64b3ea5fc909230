"""The result of a training run: the weights, and the losses and errors after each epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

from fastml.weights import Weights


def table_head(has_valid: bool, has_test: bool) -> str:
    """Return the head of the table of results, with the columns of the sets that there are."""
    valid, test = " Valid Loss | Valid Err |" * has_valid, " Test Loss | Test Err |" * has_test
    return f"| Epoch | Train Loss | Train Err |{valid}{test}"


class EpochResult(NamedTuple):
    """One row of a `History`: losses in nats, errors in [0, 1], seconds of the epoch itself (not its evaluation).

    What was not evaluated is None.
    """

    epoch: int
    train_loss: float
    train_err: float
    test_loss: float | None
    test_err: float | None
    valid_loss: float | None
    valid_err: float | None
    seconds: float

    def __str__(self) -> str:
        """Return the row of the table, in the format of hw0 (homework 0 of CMU 10-714)."""
        row = f"|  {self.epoch:>4} |    {self.train_loss:.5f} |   {self.train_err:.5f} |"
        if self.valid_loss is not None:
            row += f"    {self.valid_loss:.5f} |   {self.valid_err:.5f} |"
        if self.test_loss is not None:
            row += f"   {self.test_loss:.5f} |  {self.test_err:.5f} |"
        return row


@dataclass
class History:
    """The result of a training run: the weights and one `EpochResult` for each epoch.

    Attributes
    ----------
    weights : Weights
        ``(theta,)`` or ``(W1, W2)``, after the last epoch or, with `restore_best`, after the best; with their biases,
        scale and shift.
    rows : list of EpochResult
        One row for each finished epoch.
    """

    weights: Weights
    rows: list[EpochResult] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.rows)

    def __getitem__(self, index: int) -> EpochResult:
        """Return the row of an epoch; index -1 is the last epoch."""
        return self.rows[index]

    def epochs_since_best(self, min_delta: float, monitor: str = "valid_loss") -> int:
        """Return how many epochs ago a column last fell by more than min_delta below its best; -1 if never.

        The best starts at infinity, so the first epoch is an improvement.
        """
        best, last = float("inf"), -1
        for epoch, row in enumerate(self.rows):
            value = getattr(row, monitor)
            if value is not None and value < best - min_delta:
                best, last = value, epoch
        return len(self.rows) - 1 - last if last >= 0 else -1

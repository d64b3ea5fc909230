"""The result of a training run: the weights, and the losses and errors after each epoch."""

from dataclasses import dataclass, field
from typing import NamedTuple

from numpy.typing import NDArray

TABLE_HEAD = "| Epoch | Train Loss | Train Err | Test Loss | Test Err |"


class EpochResult(NamedTuple):
    """One row of a `History`: losses in nats, errors in [0, 1], seconds of the epoch itself (not its evaluation)."""

    epoch: int
    train_loss: float
    train_err: float
    test_loss: float
    test_err: float
    seconds: float

    def __str__(self) -> str:
        """Return the row of the table, in the format of hw0 (homework 0 of CMU 10-714)."""
        return (
            f"|  {self.epoch:>4} |    {self.train_loss:.5f} |   {self.train_err:.5f} |"
            f"   {self.test_loss:.5f} |  {self.test_err:.5f} |"
        )


@dataclass
class History:
    """The result of a training run: the weights and one `EpochResult` for each epoch.

    Attributes
    ----------
    weights : tuple of ndarray
        ``(theta,)`` or ``(W1, W2)``, after the last epoch.
    rows : list of EpochResult
        One row for each finished epoch.
    """

    weights: tuple[NDArray, ...]
    rows: list[EpochResult] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.rows)

    def __getitem__(self, index: int) -> EpochResult:
        """Return the row of an epoch; index -1 is the last epoch."""
        return self.rows[index]

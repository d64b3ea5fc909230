"""What a training run leaves: the weights, and the losses and errors after each epoch."""

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
        """Return the row of hw0's table."""
        return (
            f"|  {self.epoch:>4} |    {self.train_loss:.5f} |   {self.train_err:.5f} |"
            f"   {self.test_loss:.5f} |  {self.test_err:.5f} |"
        )


@dataclass
class History:
    """What a training run leaves: the weights and one `EpochResult` an epoch.

    Attributes
    ----------
    weights : tuple of ndarray
        ``(theta,)`` or ``(W1, W2)``, as after the last epoch.
    rows : list of EpochResult
        One for each epoch that was finished.
    """

    weights: tuple[NDArray, ...]
    rows: list[EpochResult] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.rows)

    def __getitem__(self, index: int) -> EpochResult:
        """Return the row of an epoch; -1 is the last."""
        return self.rows[index]

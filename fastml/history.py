"""The result of a training run: the weights, and the losses and errors after each epoch."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from fastml.weights import Weights, save_weights

if TYPE_CHECKING:
    import pandas

# Width and height of a sparkline, in pixels.
SPARKLINE_SIDES = 80, 20


def table_head(has_valid: bool, has_test: bool) -> str:
    """Return the head of the table of results, with the columns of the sets that exist."""
    valid, test = " Valid Loss | Valid Err |" * has_valid, " Test Loss | Test Err |" * has_test
    return f"| Epoch | Train Loss | Train Err |{valid}{test}"


class EpochResult(NamedTuple):
    """One row of a `History`: losses in nats, errors in [0, 1], seconds of the epoch itself (not its evaluation).

    A loss or an error that was not evaluated is None.
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


@dataclass(eq=False, repr=False)
class History(Sequence[EpochResult]):
    """The result of a training run: the weights, and a sequence of one `EpochResult` for each epoch.

    Two histories are equal if their weights, losses and errors are equal; the seconds may differ.

    Attributes
    ----------
    weights : Weights
        ``(theta,)`` or ``(W1, W2)``, after the last epoch or, with `restore_best`, after the best; with their biases,
        scale and shift.
    rows : list of EpochResult
        One row for each finished epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import train_softmax
    >>> X, y = np.eye(3, dtype=np.float32), np.arange(3)
    >>> history = train_softmax(X, y, epochs=3, batch=3, verbose=False)
    >>> history
    | Epoch | Train Loss | Train Err |
    |     0 |    0.99064 |   0.00000 |
    |     1 |    0.89476 |   0.00000 |
    |     2 |    0.81001 |   0.00000 |
    >>> [round(row.train_loss, 3) for row in history[1:]]
    [0.895, 0.81]
    >>> history.to_dict()["train_err"]
    [0.0, 0.0, 0.0]
    """

    weights: Weights
    rows: list[EpochResult] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> EpochResult: ...

    @overload
    def __getitem__(self, index: slice) -> list[EpochResult]: ...

    def __getitem__(self, index: int | slice) -> EpochResult | list[EpochResult]:
        """Return the row of an epoch, index -1 is the last epoch; or the rows of a slice."""
        return self.rows[index]

    def __eq__(self, other: object) -> bool:
        """Return whether another history has the same weights, losses and errors."""
        if not isinstance(other, History):
            return NotImplemented
        return self.weights == other.weights and [row[:-1] for row in self] == [row[:-1] for row in other]

    def __repr__(self) -> str:
        """Return the table of losses and errors."""
        has_valid, has_test = ("valid_loss" in self.columns(), "test_loss" in self.columns())
        return "\n".join([table_head(has_valid, has_test), *map(str, self.rows)])

    def _repr_html_(self) -> str:
        """Return the table for notebooks, with a sparkline below the name of each column."""
        table = self.to_dict()
        names = "".join(f"<th>{name.replace('_', ' ')}</th>" for name in table)
        lines = "".join(f"<td>{sparkline(table[name]) if '_' in name else ''}</td>" for name in table)
        rows = "".join(
            "<tr>" + "".join(f"<td>{value:.5g}</td>" for value in row) + "</tr>"
            for row in zip(*table.values(), strict=True)
        )
        return f"<table><thead><tr>{names}</tr><tr>{lines}</tr></thead><tbody>{rows}</tbody></table>"

    def columns(self) -> list[str]:
        """Return the names of the columns that have values: a set that is not in the run has no columns."""
        return [name for i, name in enumerate(EpochResult._fields) if not self.rows or self.rows[0][i] is not None]

    def to_dict(self) -> dict[str, list[Any]]:
        """Return the columns of the table, with a number for each epoch, by their names."""
        return {name: [getattr(row, name) for row in self.rows] for name in self.columns()}

    def to_pandas(self) -> "pandas.DataFrame":
        """Return the table as a data frame of pandas, with the epoch as its index; requires pandas."""
        try:
            import pandas
        except ImportError as error:
            raise ImportError("a data frame needs pandas: pip install 'fastml[pandas]'") from error
        return pandas.DataFrame(self.to_dict()).set_index("epoch")

    def plot(self, axes: Any = None) -> Any:
        """Draw the learning curves and return their axes; see `fastml.plotting.plot_history`."""
        from fastml.plotting import plot_history

        return plot_history(self, axes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Save the weights, and the table as their settings: ``load_weights(path)`` returns both.

        Parameters
        ----------
        path : str or os.PathLike
            The file to write, completely or not at all; its name usually ends in ``.npz``.

        Raises
        ------
        OSError
            If the file cannot be written.
        """
        save_weights(path, self.weights, {"history": self.to_dict()})

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


def sparkline(values: list[float]) -> str:
    """Return the values as a small line of SVG."""
    lowest, highest = min(values, default=0.0), max(values, default=0.0)
    across, up = SPARKLINE_SIDES[0] / max(1, len(values) - 1), SPARKLINE_SIDES[1] / ((highest - lowest) or 1.0)
    points = " ".join(f"{i * across:.1f},{(highest - value) * up:.1f}" for i, value in enumerate(values))
    width, height = SPARKLINE_SIDES
    return (
        f'<svg width="{width}" height="{height}" viewBox="-1 -1 {width + 2} {height + 2}">'
        f'<polyline points="{points}" fill="none" stroke="currentColor"/></svg>'
    )

"""The cases that are run side by side: epochs of MNIST in both models, and an evaluation."""

from dataclasses import dataclass

import numpy as np
from side_by_side import Work
from suites.problems import INPUT_DIM, NUM_CLASSES, dense_operations, in_unit_interval, mnist, start_weights


@dataclass(frozen=True)
class Case:
    """An epoch of MNIST, or the evaluation of the network on it; no hidden_dim means softmax regression.

    The bound is how many times faster than NumPy fastml must be on a machine with two cores, the aim how many it
    should be. Of raw pixels NumPy is the only peer: all of them take X in [0, 1], which is another case. So it is of X
    without zeros, which to the others is as any X; and the sums of the C++ loops, from the first term to the last, then
    are 5e-3 of the norm away.
    """

    name: str
    bound: float
    aim: float
    hidden_dim: int = 0
    batch: int = 100
    pixels: str = "float32"
    lr: float = 0.02
    evaluation: bool = False

    @property
    def dtype(self) -> str:
        """The precision of the arithmetic."""
        return "float64" if self.pixels == "float64" else "float32"

    @property
    def all_peers(self) -> bool:
        """Whether other peers than NumPy have something new to show."""
        return self.pixels not in ("uint8", "dense")

    def work(self, rows: int) -> Work:
        """Prepare the work of a number of rows."""
        pixels, y = (array[:rows] for array in mnist())
        X = in_unit_interval(pixels, self.dtype)
        if self.pixels == "dense":
            X = np.random.default_rng(0).uniform(0.1, 1, X.shape).astype(np.float32)
        sizes = (INPUT_DIM, *([self.hidden_dim] if self.hidden_dim else []), NUM_CLASSES)
        raw = pixels if self.pixels == "uint8" else None
        return Work(X, y, start_weights(*sizes, dtype=X.dtype), raw, self.lr, self.batch, self.evaluation)

    def operations(self, rows: int) -> int:
        """Return the floating-point operations of the dense arithmetic."""
        if self.evaluation:
            return 2 * rows * self.hidden_dim * (INPUT_DIM + NUM_CLASSES)
        return dense_operations(rows, INPUT_DIM, self.hidden_dim, NUM_CLASSES)


CASES = (
    Case("nn-400", 5, 6.5, hidden_dim=400),
    Case("nn-100", 3.2, 4.5, hidden_dim=100),
    Case("nn-500-batch-1000", 4, 5.5, hidden_dim=500, batch=1000),
    Case("nn-400-uint8", 5, 7, hidden_dim=400, pixels="uint8"),
    Case("nn-400-dense", 1.9, 2.2, hidden_dim=400, pixels="dense", lr=0.0003),
    Case("nn-400-float64", 4, 5.5, hidden_dim=400, pixels="float64"),
    Case("softmax", 3.5, 5),
    Case("softmax-uint8", 5, 8, pixels="uint8"),
    Case("softmax-dense", 2.5, 4, pixels="dense", lr=0.001),
    Case("evaluate-400", 3.5, 5, hidden_dim=400, evaluation=True),
)

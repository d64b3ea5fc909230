"""The cases of the side-by-side run: epochs of both models, and an evaluation."""

from dataclasses import dataclass

import numpy as np
from side_by_side import Work
from suites.problems import INPUT_DIM, NUM_CLASSES, dense_operations, in_unit_interval, mnist, start_weights

EMBEDDING_DIM = 768


@dataclass(frozen=True)
class Case:
    """An epoch of a model, or the evaluation of the network.

    Attributes
    ----------
    bound, aim : float
        How many times faster than NumPy on a machine with two cores was planned before the first measurement, at least
        and at best.
    hidden_dim : int
        The hidden units of the network; 0 means softmax regression.
    pixels : {"float32", "float64", "uint8", "dense", "embeddings"}
        X. A dtype means MNIST's images: floats in [0, 1], or raw pixels. "dense" means uniform random numbers without
        zeros in the place of the pixels. "embeddings" means normal random numbers, a third of the rows, `EMBEDDING_DIM`
        columns, and random labels.
    num_classes : int
        The classes. MNIST has ten; for any other number the labels are random.
    optimizer : {"sgd", "nesterov", "adamw"}
        What changes the weights of the network.
    """

    name: str
    bound: float
    aim: float
    hidden_dim: int = 0
    batch: int = 100
    pixels: str = "float32"
    lr: float = 0.01
    evaluation: bool = False
    num_classes: int = NUM_CLASSES
    optimizer: str = "sgd"

    @property
    def dtype(self) -> str:
        """The precision of the arithmetic."""
        return "float64" if self.pixels == "float64" else "float32"

    @property
    def input_dim(self) -> int:
        """The columns of X."""
        return EMBEDDING_DIM if self.pixels == "embeddings" else INPUT_DIM

    @property
    def all_peers(self) -> bool:
        """Whether peers other than NumPy take part.

        Only fastml reads raw pixels. The other peers read X in [0, 1], and the case without raw pixels times that. X
        without zeros changes no other peer's time, and there the C++ loops, which add from the first term to the last,
        end 5e-3 of the norm away from NumPy.
        """
        return self.pixels not in ("uint8", "dense")

    def rows(self, rows: int) -> int:
        """Return how many rows this case has in a run in which the cases of MNIST have a number of rows."""
        return rows // 3 if self.pixels == "embeddings" else rows

    def work(self, rows: int) -> Work:
        """Prepare the work for a run with a number of rows."""
        rows, generator = self.rows(rows), np.random.default_rng(0)
        pixels, y = (array[:rows] for array in mnist())
        if self.pixels == "dense":
            X = generator.uniform(0.1, 1, pixels.shape).astype(np.float32)
        elif self.pixels == "embeddings":
            X = generator.standard_normal((rows, self.input_dim), np.float32)
        else:
            X = in_unit_interval(pixels, self.dtype)
        if self.pixels == "embeddings" or self.num_classes != NUM_CLASSES:
            y = generator.integers(self.num_classes, size=rows)
        sizes = (self.input_dim, *([self.hidden_dim] if self.hidden_dim else []), self.num_classes)
        raw = pixels if self.pixels == "uint8" else None
        return Work(
            X, y, start_weights(*sizes, dtype=X.dtype), raw, self.lr, self.batch, self.evaluation, self.optimizer
        )

    def operations(self, rows: int) -> int:
        """Return the floating-point operations of the dense arithmetic in a run with a number of rows."""
        if self.evaluation:
            return 2 * self.rows(rows) * self.hidden_dim * (self.input_dim + self.num_classes)
        return dense_operations(self.rows(rows), self.input_dim, self.hidden_dim, self.num_classes)


CASES = (
    Case("nn-400", 5, 6.5, hidden_dim=400),
    Case("nn-100", 3.2, 4.5, hidden_dim=100),
    Case("nn-500-batch-1000", 4, 5.5, hidden_dim=500, batch=1000),
    Case("nn-400-uint8", 5, 7, hidden_dim=400, pixels="uint8"),
    Case("nn-400-dense", 1.9, 2.2, hidden_dim=400, pixels="dense", lr=0.0003),
    Case("nn-400-float64", 4, 5.5, hidden_dim=400, pixels="float64"),
    Case("nn-400-nesterov", 4, 5, hidden_dim=400, lr=0.002, optimizer="nesterov"),
    Case("nn-400-adamw", 4, 5, hidden_dim=400, lr=0.00001, optimizer="adamw"),
    Case("nn-400-classes-1000", 2.5, 3, hidden_dim=400, num_classes=1000),
    Case("softmax", 3.5, 5),
    Case("softmax-uint8", 5, 8, pixels="uint8"),
    Case("softmax-dense", 2.5, 4, pixels="dense", lr=0.001),
    Case("softmax-classes-100", 3, 4, num_classes=100),
    Case("embeddings-classes-100", 1.5, 2, batch=256, pixels="embeddings", num_classes=100),
    Case("embeddings-classes-1000", 1.2, 1.5, batch=256, pixels="embeddings", num_classes=1000),
    Case("evaluate-400", 3.5, 5, hidden_dim=400, evaluation=True),
)

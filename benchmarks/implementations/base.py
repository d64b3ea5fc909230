"""What each implementation has: data in its own form, weights that it can reset, an epoch, and results."""

import sys
from typing import ClassVar

from numpy.typing import NDArray


class Implementation:
    """One way to run an epoch; only `epoch` and `evaluate` are timed, not the preparation.

    Attributes
    ----------
    name, version : str
        The name in the tables, and the version of the library or compiler.
    single_thread : bool
        Whether it always has one thread.
    most_classes : int
        The most classes that it can tell apart.
    reads_uint8 : bool
        Whether X may be uint8, with pixels from 0 to 255; the others get it in [0, 1].
    optimizers : tuple of str
        The optimizers that it can use for the network: "sgd", "nesterov" (momentum 0.9), "adamw" (decay 0.1).
    optimizer : str
        The one that it uses; each epoch begins with a new state.
    has_biases : bool
        Whether it also learns biases, so that its results differ from those of the others after the first step.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    single_thread: ClassVar[bool] = False
    most_classes: ClassVar[int] = sys.maxsize
    reads_uint8: ClassVar[bool] = False
    has_biases: ClassVar[bool] = False
    optimizers: ClassVar[tuple[str, ...]] = ("sgd",)
    optimizer: str = "sgd"

    def __init__(self, X: NDArray, y: NDArray, start: list[NDArray], lr: float, batch: int) -> None:
        self.X, self.y, self.start, self.lr, self.batch = X, y, start, lr, batch

    def reset(self) -> None:
        """Take fresh copies of the start weights, theta or W1 and W2."""
        self.weights = [W.copy() for W in self.start]

    def epoch(self) -> None:
        """Run an epoch of the model to which the weights belong."""
        raise NotImplementedError

    # An implementation that can evaluate the network has a method here, which returns the mean loss and the error.
    evaluate = None

    def results(self) -> list[NDArray]:
        """Return the present weights."""
        return list(self.weights)

"""What each implementation has: data as it likes it, weights that start anew, an epoch, and what came of it."""

from typing import ClassVar

from numpy.typing import NDArray


class Implementation:
    """One way to run an epoch; only `epoch` and `evaluate` are timed, what comes before is given to every one.

    Attributes
    ----------
    name, version : str
        What the tables call it, and the version of what it is made of.
    single_thread : bool
        Whether it has one thread, whatever the others have.
    reads_uint8 : bool
        Whether X may be uint8, with pixels from 0 to 255; the others get it in [0, 1].
    has_biases : bool
        Whether it also learns biases, so that after its first step it goes another way than the others.
    """

    name: ClassVar[str]
    version: ClassVar[str]
    single_thread: ClassVar[bool] = False
    reads_uint8: ClassVar[bool] = False
    has_biases: ClassVar[bool] = False

    def __init__(self, X: NDArray, y: NDArray, start: list[NDArray], lr: float, batch: int) -> None:
        self.X, self.y, self.start, self.lr, self.batch = X, y, start, lr, batch

    def reset(self) -> None:
        """Take fresh copies of the start weights, theta or W1 and W2."""
        self.weights = [W.copy() for W in self.start]

    def epoch(self) -> None:
        """Run an epoch of the model that has these weights."""
        raise NotImplementedError

    # The mean loss and the error of the network: a method, where there is one.
    evaluate = None

    def results(self) -> list[NDArray]:
        """Return the weights as they are now."""
        return list(self.weights)

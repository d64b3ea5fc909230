"""The models: the name, the weights and the kernels of each, and the interface that all kernels share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastml.kernels.batches import Descent
from fastml.kernels.input import Examples
from fastml.kernels.loss import MANY_CLASSES, Verdicts
from fastml.kernels.many_classes import ManyClasses
from fastml.kernels.network import Network
from fastml.kernels.softmax_regression import SoftmaxRegression


class Kernels(Protocol):
    """The kernels of a model, its packed weights, and the memory that the kernels need.

    The weights stay packed while an epoch or an evaluation runs. `unpack` writes them back.
    """

    dtype: np.dtype
    column_multiple: int  # X is padded with zeros to a multiple of this many columns

    def as_read(self, X: NDArray) -> NDArray:
        """Return X in the form that the kernels read."""

    def reserve(self, batch: int, workers: int, learn: bool) -> None:
        """Reserve memory for a number of workers: to learn from batches of up to batch rows, or to judge."""

    def learn(self, examples: Examples, descent: Descent, verdicts: Verdicts, workers: int) -> None:
        """Train on the examples in mini-batches.

        Unless verdicts are empty, write the verdicts on each batch with the weights before its step.
        """

    def judge(self, examples: Examples, verdicts: Verdicts, workers: int) -> None:
        """Write the verdicts on the examples: losses, predictions and, if requested, probabilities."""

    def unpack(self, *weights: NDArray) -> None:
        """Write the packed weights to the given arrays, in place."""


@dataclass(frozen=True)
class Model:
    """A model: its name, the names of its weights in order, and the function that makes its kernels from weights."""

    name: str
    weight_names: tuple[str, ...]
    kernels: Callable[..., Kernels]

    def named(self, weights: Sequence[Any]) -> dict[str, Any]:
        """Return a dictionary of the weights by name."""
        return dict(zip(self.weight_names, weights, strict=True))


def softmax_regression_kernels(theta: NDArray) -> Kernels:
    """Return the kernels of softmax regression that suit the number of classes."""
    return ManyClasses(theta) if theta.shape[1] >= MANY_CLASSES else SoftmaxRegression(theta)


SOFTMAX_REGRESSION = Model("softmax", ("theta",), softmax_regression_kernels)
NETWORK = Model("nn", ("W1", "W2"), Network)
MODELS = (SOFTMAX_REGRESSION, NETWORK)


def model_of(weights: Sequence[Any]) -> Model:
    """Return the model that has as many weights as given.

    Raises
    ------
    TypeError
        If no model has that many weights.
    """
    for model in MODELS:
        if len(model.weight_names) == len(weights):
            return model
    raise TypeError(f"weights must be theta, or W1 and W2; got {len(weights)} arrays")

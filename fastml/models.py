"""The models: the name, the weights and the kernels of each, and the interface that all kernels share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.arrays import RowSource
from fastml.kernels.batches import Descent
from fastml.kernels.input import Examples
from fastml.kernels.loss import MANY_CLASSES, Verdicts
from fastml.kernels.network import Network
from fastml.kernels.network_many_classes import NetworkManyClasses
from fastml.kernels.panels import Arrays
from fastml.kernels.softmax_many_classes import SoftmaxManyClasses
from fastml.kernels.softmax_regression import SoftmaxRegression
from fastml.kernels.update import Update
from fastml.optimizers import Optimizer
from fastml.transforms import backgrounds_of


class Kernels(Protocol):
    """The kernels of a model, its packed weights, and the memory that the kernels need.

    The weights stay packed while an epoch or an evaluation runs. `unpack` writes them back.
    """

    dtype: np.dtype[Any]
    column_multiple: int  # X is padded with zeros to a multiple of this many columns
    copies: list[tuple[NDArray[Any], NDArray[Any]]]  # of the caller's arrays, and what `unpack` writes there

    def as_read(self, X: NDArray[Any]) -> NDArray[Any]:
        """Return X in the form that the kernels read."""

    def workers_for(self, batch: int) -> int:
        """Return how many workers should learn from batches of a number of rows, at most those of the model."""

    def reserve(self, batch: int, update: Update | None) -> None:
        """Reserve memory for batches of up to batch rows: to learn by updates like `update`, or to judge with None."""

    def learn(self, examples: Examples, descent: Descent, verdicts: Verdicts, workers: int) -> None:
        """Train on the examples in mini-batches.

        Unless verdicts are empty, write the verdicts on each batch with the weights before its step.
        """

    def judge(self, examples: Examples, verdicts: Verdicts, workers: int) -> None:
        """Write the verdicts on the examples: losses, predictions and, if requested, probabilities."""

    def unpack(self) -> None:
        """Write what training has changed to the caller's arrays, all of it or nothing."""


@dataclass(frozen=True)
class Model:
    """A model: its name, the names of its weights and biases in order, and what makes its kernels.

    `kernels` is called with the arrays of each layer, the number of workers, and whether X must be transformed.
    """

    name: str
    weight_names: tuple[str, ...]
    bias_names: tuple[str, ...]
    kernels: Callable[[tuple[Arrays, ...], int, bool], Kernels]

    def backgrounds_of(self, X: RowSource, num_classes: int) -> NDArray[Any] | None:
        """Return the backgrounds of the features of X, or None for kernels that do not skip zeros."""
        return backgrounds_of(X) if self is NETWORK or num_classes >= MANY_CLASSES else None


@dataclass(frozen=True)
class Parameters:
    """The weights of a model, and a bias or None for each of them: the caller's arrays."""

    model: Model
    weights: tuple[NDArray[Any], ...]
    biases: tuple[NDArray[Any] | None, ...]

    @property
    def num_classes(self) -> int:
        """The number of outputs of the last layer."""
        return int(self.weights[-1].shape[1])

    @property
    def size(self) -> int:
        """The number of weights."""
        return sum(W.size for W in self.weights)

    def named(self) -> dict[str, NDArray[Any]]:
        """Return the weights, and the biases that exist, by their names."""
        names, arrays = self.model.weight_names + self.model.bias_names, self.weights + self.biases
        return {name: array for name, array in zip(names, arrays, strict=True) if array is not None}

    def check(self) -> None:
        """Reject weights that cannot be multiplied in order, and biases that do not fit them."""
        checks.check_weights(**dict(zip(self.model.weight_names, self.weights, strict=True)))
        for name, b, W_name, W in zip(
            self.model.bias_names, self.biases, self.model.weight_names, self.weights, strict=True
        ):
            if b is not None:
                checks.check_bias(name, b, W_name, W)

    def layers(self, optimizer: Optimizer | None = None) -> tuple[Arrays, ...]:
        """Return the arrays of each layer, with the optimizer's state of them."""
        layers = []
        for W_name, W, b_name, b in zip(
            self.model.weight_names, self.weights, self.model.bias_names, self.biases, strict=True
        ):
            states = () if optimizer is None else optimizer.states_of(W_name, W)
            bias_states = () if optimizer is None or b is None else optimizer.states_of(b_name, b)
            layers.append(Arrays(W, b, states, bias_states))
        return tuple(layers)


def softmax_regression_kernels(layers: tuple[Arrays, ...], workers: int, transforms: bool) -> Kernels:
    """Return the kernels of softmax regression that suit the number of classes."""
    (arrays,) = layers
    if arrays.weights.shape[1] >= MANY_CLASSES:
        return SoftmaxManyClasses((arrays,), workers)
    return SoftmaxRegression((arrays,), workers, transforms)


def network_kernels(layers: tuple[Arrays, ...], workers: int, transforms: bool) -> Kernels:
    """Return the kernels of the network that suit the number of classes; they transform X wherever they must."""
    first, last = layers
    if last.weights.shape[1] >= MANY_CLASSES:
        return NetworkManyClasses((first, last), workers)
    return Network((first, last), workers)


SOFTMAX_REGRESSION = Model("softmax", ("theta",), ("bias",), softmax_regression_kernels)
NETWORK = Model("nn", ("W1", "W2"), ("b1", "b2"), network_kernels)
MODELS = (SOFTMAX_REGRESSION, NETWORK)


def parameters_of(weights: Sequence[Any], biases: Mapping[str, Any]) -> Parameters:
    """Return the checked parameters of the model that has as many weights as given.

    Raises
    ------
    TypeError, ValueError
        If no model has that many weights, if a bias belongs to another model, or if an array is invalid.
    """
    for model in MODELS:
        if len(model.weight_names) == len(weights):
            break
    else:
        raise TypeError(f"weights must be theta, or W1 and W2; got {len(weights)} arrays")
    for name, b in biases.items():
        if b is not None and name not in model.bias_names:
            raise TypeError(f"{name} is no bias of {' and '.join(model.weight_names)}, which have {model.bias_names}")
    parameters = Parameters(model, tuple(weights), tuple(biases.get(name) for name in model.bias_names))
    parameters.check()
    return parameters

"""The optimizers: how a gradient changes the weights, and the state that is kept from epoch to epoch.

An optimizer holds its state beside the caller's weights. Its formula is a rule in `fastml.kernels.update`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastml import scalars
from fastml.arrays import describe
from fastml.kernels.update import AdamW as AdamWRule
from fastml.kernels.update import Momentum as MomentumRule
from fastml.kernels.update import Rule, Sgd


@dataclass(kw_only=True)
class Optimizer:
    """What all optimizers share: the state by the names of the weights, and the number of steps.

    Attributes
    ----------
    state : dict
        ``state["W1"]["velocity"]`` is an array of the shape and dtype of W1. Empty before the first epoch.
    steps : ndarray of int64, shape (1,)
        How many mini-batches have changed the weights.
    """

    rule: ClassVar[type[Rule]]
    state_names: ClassVar[tuple[str, ...]] = ()
    state: dict[str, dict[str, NDArray[Any]]] = field(default_factory=dict, repr=False, compare=False)
    steps: NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64), repr=False, compare=False)

    def check(self) -> None:
        """Reject settings out of their range; a TypeError or ValueError names the setting."""

    def check_state(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Reject a state that does not belong to weights and biases of these names, shapes and dtypes."""
        for name, state in self.state.items():
            if name not in arrays:
                raise ValueError(f"optimizer has state of {name}, the model has only {', '.join(arrays)}")
            if tuple(state) != self.state_names:
                raise ValueError(f"optimizer.state[{name!r}] must hold {self.state_names}, got {tuple(state)}")
            W = arrays[name]
            for key, array in state.items():
                if not isinstance(array, np.ndarray) or (array.shape, array.dtype) != (W.shape, W.dtype):
                    found = describe(array) if isinstance(array, np.ndarray) else type(array).__name__
                    raise ValueError(
                        f"optimizer.state[{name!r}][{key!r}] must be like {name}, {describe(W)}, got {found}"
                    )

    def named_state(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the state by their names in error messages."""
        return {
            f"optimizer.state[{name!r}][{key!r}]": array
            for name, state in self.state.items()
            for key, array in state.items()
        }

    def states_of(self, name: str, W: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Return the arrays of the state of W; they are zero before the first step."""
        if name not in self.state:
            self.state[name] = {key: np.zeros(W.shape, W.dtype) for key in self.state_names}
        return tuple(self.state[name].values())

    def numbers(self, lr: float, divisors: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Return the numbers of the rule for batches with these divisors, after a number of steps: (batches, names)."""
        raise NotImplementedError


@dataclass(kw_only=True)
class SGD(Optimizer):
    """Plain stochastic gradient descent: ``w -= lr * g``. It has no state.

    Examples
    --------
    >>> from fastml import SGD
    >>> SGD()
    SGD()
    """

    rule = Sgd

    def numbers(self, lr: float, divisors: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Return the rate of each batch."""
        return (lr / divisors)[:, None]


@dataclass(kw_only=True)
class Momentum(Optimizer):
    """Stochastic gradient descent with momentum, as in scikit-learn.

    ::

        v = momentum * v - lr * g
        w += momentum * v - lr * g      with nesterov
        w += v                          without

    Parameters
    ----------
    momentum : float
        In [0, 1).
    nesterov : bool
        Whether to use Nesterov's variant.

    References
    ----------
    Sutskever, Martens, Dahl and Hinton, *On the importance of initialization and momentum in deep learning* (2013).

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import Momentum, softmax_regression_epoch
    >>> X, y, theta, optimizer = np.eye(2), [0, 1], np.zeros((2, 2)), Momentum(momentum=0.9)
    >>> softmax_regression_epoch(X, y, theta, lr=1.0, batch=2, optimizer=optimizer)
    >>> optimizer.state["theta"]["velocity"]
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """

    rule = MomentumRule
    state_names = ("velocity",)
    momentum: float = 0.9
    nesterov: bool = True

    def check(self) -> None:
        """Reject a momentum outside [0, 1)."""
        self.momentum = scalars.check_fraction("momentum", self.momentum)
        self.nesterov = scalars.check_flag("nesterov", self.nesterov)

    def numbers(self, lr: float, divisors: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Return rate, momentum, and the factors of velocity and step of each batch."""
        of_velocity, of_step = (self.momentum, 1.0) if self.nesterov else (1.0, 0.0)
        return table_of(lr / divisors, self.momentum, of_velocity, of_step)


@dataclass(kw_only=True)
class AdamW(Optimizer):
    """Adam with decoupled weight decay; without decay it is scikit-learn's Adam.

    ::

        p = beta1 * p + (1 - beta1) * g
        q = beta2 * q + (1 - beta2) * g**2
        w -= lr * (sqrt(1 - beta2**t) / (1 - beta1**t) * p / (sqrt(q) + epsilon) + decay * w)

    where t counts the mini-batches. Biases decay like weights.

    Parameters
    ----------
    beta1, beta2 : float
        In [0, 1).
    epsilon : float
        Above 0, and not subnormal in the dtype of the weights.
    decay : float
        At least 0.

    References
    ----------
    Kingma and Ba, *Adam: a method for stochastic optimization* (2015), end of section 2. Loshchilov and Hutter,
    *Decoupled weight decay regularization* (2019), algorithm 2.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import AdamW, softmax_regression_epoch
    >>> X, y, theta, optimizer = np.eye(2), [0, 1], np.zeros((2, 2)), AdamW()
    >>> softmax_regression_epoch(X, y, theta, lr=0.1, batch=2, optimizer=optimizer)
    >>> theta.round(6)
    array([[ 0.1, -0.1],
           [-0.1,  0.1]])
    """

    rule = AdamWRule
    state_names = ("mean", "square")
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    decay: float = 0.0

    def check(self) -> None:
        """Reject settings out of their range."""
        self.beta1 = scalars.check_fraction("beta1", self.beta1)
        self.beta2 = scalars.check_fraction("beta2", self.beta2)
        self.epsilon = scalars.check_at_least("epsilon", self.epsilon, float(np.finfo(np.float32).smallest_normal))
        self.decay = scalars.check_at_least("decay", self.decay, 0.0)

    def numbers(self, lr: float, divisors: NDArray[np.float64], steps: int) -> NDArray[np.float64]:
        """Return the numbers of `fastml.kernels.update.AdamW` for each batch."""
        t = steps + 1.0 + np.arange(divisors.size)
        step = lr * np.sqrt(1 - self.beta2**t) / (1 - self.beta1**t)
        beta1, beta2 = self.beta1, self.beta2
        return table_of(1 / divisors, beta1, 1 - beta1, beta2, 1 - beta2, step, self.epsilon, lr * self.decay)


def table_of(first: NDArray[np.float64], *others: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Return columns side by side, (rows, columns); each is an array, (rows,), or one number for all rows."""
    table = np.empty((first.size, 1 + len(others)))
    for k, column in enumerate((first, *others)):
        table[:, k] = column
    return table

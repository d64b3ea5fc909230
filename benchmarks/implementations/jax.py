"""JAX: an epoch is one compiled function, a scan over the batches, with the weights' buffers donated."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from implementations.base import Implementation

# Without this setting JAX converts float64 to float32.
jax.config.update("jax_enable_x64", True)


def logits(X, weights):
    """Return the logits of softmax regression, or of the network."""
    for W in weights[:-1]:
        X = jax.nn.relu(X @ W)
    return X @ weights[-1]


def losses(X, y, weights):
    """Return the softmax loss of each row."""
    Z = logits(X, weights)
    return jax.nn.logsumexp(Z, axis=1) - jnp.take_along_axis(Z, y[:, None], axis=1)[:, 0]


def sgd(W, G, lr, t):
    """Return changed weights, by plain descent, in a list."""
    return [W - lr * G]


def nesterov(W, G, lr, t, v):
    """Return changed weights and velocities."""
    v = 0.9 * v - lr * G
    return [W + (0.9 * v - lr * G), v]


def adamw(W, G, lr, t, p, q):
    """Return changed weights and running means."""
    p, q = 0.9 * p + 0.1 * G, 0.999 * q + 0.001 * G**2
    step = (lr * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)).astype(W.dtype)
    return [W - (step * p / (jnp.sqrt(q) + 1e-8) + 0.1 * lr * W), p, q]


# Each with the number of the arrays of its state.
OPTIMIZERS = {"sgd": (sgd, 0), "nesterov": (nesterov, 1), "adamw": (adamw, 2)}


@functools.partial(jax.jit, static_argnames=("batch", "optimizer"), donate_argnames="weights")
def epoch(X, y, weights, lr, batch, optimizer):
    """Return the weights after an epoch of softmax regression, or of the network."""
    change, states = OPTIMIZERS[optimizer]

    def step(carried, data):
        arrays, t = carried
        gradients = jax.grad(lambda weights: losses(*data, weights).sum())([W for W, *_ in arrays])
        changed = [
            change(W, G / batch, lr.astype(W.dtype), t, *state)
            for (W, *state), G in zip(arrays, gradients, strict=True)
        ]
        return (changed, t + 1), None

    whole = len(X) // batch * batch
    batches = X[:whole].reshape(-1, batch, X.shape[1]), y[:whole].reshape(-1, batch)
    carried = [[W, *(jnp.zeros_like(W) for _ in range(states))] for W in weights], 1
    carried, _ = jax.lax.scan(step, carried, batches)
    if whole < len(X):
        carried, _ = step(carried, (X[whole:], y[whole:]))
    return [W for W, *_ in carried[0]]


@jax.jit
def evaluate(X, y, weights):
    """Return the mean loss and the error."""
    return losses(X, y, weights).mean(), (logits(X, weights).argmax(axis=1) != y).mean()


class Jax(Implementation):
    """Epochs by jax.grad, lax.scan and jit."""

    name = "JAX"
    version = jax.__version__
    optimizers = tuple(OPTIMIZERS)

    def __init__(self, X, y, start, lr, batch):
        super().__init__(jnp.asarray(X), jnp.asarray(y, jnp.int32), start, jnp.asarray(lr), batch)

    def reset(self):
        # JAX may alias the caller's array, and then a donated buffer would be the caller's.
        self.weights = jax.block_until_ready([jnp.array(W, copy=True) for W in self.start])

    def epoch(self):
        self.weights = jax.block_until_ready(epoch(self.X, self.y, self.weights, self.lr, self.batch, self.optimizer))

    def evaluate(self):
        return tuple(map(float, evaluate(self.X, self.y, self.weights)))

    def results(self):
        return [np.asarray(W) for W in self.weights]


IMPLEMENTATIONS = [Jax]

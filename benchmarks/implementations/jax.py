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


@functools.partial(jax.jit, static_argnames="batch", donate_argnames="weights")
def epoch(X, y, weights, lr, batch):
    """Return the weights after an epoch of softmax regression, or of the network."""

    def step(weights, data):
        gradients = jax.grad(lambda weights: losses(*data, weights).sum())(weights)
        return [W - (lr / batch).astype(W.dtype) * G for W, G in zip(weights, gradients, strict=True)], None

    whole = len(X) // batch * batch
    batches = X[:whole].reshape(-1, batch, X.shape[1]), y[:whole].reshape(-1, batch)
    weights, _ = jax.lax.scan(step, weights, batches)
    return step(weights, (X[whole:], y[whole:]))[0] if whole < len(X) else weights


@jax.jit
def evaluate(X, y, weights):
    """Return the mean loss and the error."""
    return losses(X, y, weights).mean(), (logits(X, weights).argmax(axis=1) != y).mean()


class Jax(Implementation):
    """Epochs by jax.grad, lax.scan and jit."""

    name = "JAX"
    version = jax.__version__

    def __init__(self, X, y, start, lr, batch):
        super().__init__(jnp.asarray(X), jnp.asarray(y, jnp.int32), start, jnp.asarray(lr), batch)

    def reset(self):
        # JAX may alias the caller's array, and then a donated buffer would be the caller's.
        self.weights = jax.block_until_ready([jnp.array(W, copy=True) for W in self.start])

    def epoch(self):
        self.weights = jax.block_until_ready(epoch(self.X, self.y, self.weights, self.lr, self.batch))

    def evaluate(self):
        return tuple(map(float, evaluate(self.X, self.y, self.weights)))

    def results(self):
        return [np.asarray(W) for W in self.weights]


IMPLEMENTATIONS = [Jax]

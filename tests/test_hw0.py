# ruff: noqa: F405
"""The package in the place of hw0's module: `from fastml import *` and the numbers that hw0 fixes."""

import itertools
import re

import numpy as np
import pytest

from fastml import *  # noqa: F403 - the point of this file
from fastml import hw0

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])


def gradient(function, W, step=1e-5):
    """Return the gradient of function at W by central differences in float64."""
    result = np.empty(W.shape)
    for index in np.ndindex(W.shape):
        up, down = W.astype(np.float64), W.astype(np.float64)
        up[index] += step
        down[index] -= step
        result[index] = (function(up) - function(down)) / (2 * step)
    return result


def small_set():
    random = np.random.RandomState(0)
    return random.randn(50, 5).astype(np.float32), random.randint(3, size=50).astype(np.uint8)


def hw0_weights(dtype, *shape):
    random = np.random.RandomState(0)
    pairs = itertools.pairwise(shape)
    return [random.randn(n, m).astype(np.float32).astype(dtype) / dtype(np.sqrt(m)) for n, m in pairs]


def test_softmax_loss(mnist):
    (_, y), _ = mnist
    np.testing.assert_allclose(softmax_loss(np.zeros((y.shape[0], 10)), y), 2.3025850)
    Z = np.random.RandomState(0).randn(y.shape[0], 10)
    np.testing.assert_allclose(softmax_loss(Z, y), 2.7291998)


@DTYPES
def test_softmax_regression_gradient(dtype):
    X, y = small_set()
    theta = np.zeros((5, 3), dtype)
    expected = -gradient(lambda theta: softmax_loss(X @ theta, y), theta)
    softmax_regression_epoch(X, y, theta, lr=1.0, batch=50)
    np.testing.assert_allclose(theta, expected, rtol=1e-4, atol=1e-4)


@DTYPES
def test_nn_gradients(dtype):
    X, y = small_set()
    W1, W2 = hw0_weights(dtype, 5, 10, 3)
    start1, start2 = W1.copy(), W2.copy()
    expected1 = gradient(lambda W: softmax_loss(np.maximum(X @ W, 0) @ start2, y), W1)
    expected2 = gradient(lambda W: softmax_loss(np.maximum(X @ start1, 0) @ W, y), W2)
    nn_epoch(X, y, W1, W2, lr=1.0, batch=50)
    np.testing.assert_allclose(start1 - W1, expected1, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(start2 - W2, expected2, rtol=1e-4, atol=1e-4)


@DTYPES
def test_softmax_regression_on_mnist(mnist, dtype):
    (X, y), _ = mnist
    theta = np.zeros((X.shape[1], y.max() + 1), dtype)
    softmax_regression_epoch(X[:100], y[:100], theta, lr=0.1, batch=10)
    np.testing.assert_allclose(np.linalg.norm(theta), 1.0947356, rtol=1e-5, atol=1e-5)


@DTYPES
def test_nn_on_mnist(mnist, dtype):
    (X, y), _ = mnist
    W1, W2 = hw0_weights(dtype, 784, 100, 10)
    nn_epoch(X, y, W1, W2, lr=0.2, batch=100)
    np.testing.assert_allclose(np.linalg.norm(W1), 28.437788, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(W2), 10.455095, rtol=1e-5, atol=1e-5)
    expected = (0.19770025, 0.06006667)
    np.testing.assert_allclose(loss_err(np.maximum(X @ W1, 0) @ W2, y), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(evaluate(X, y, W1, W2), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("last_batch", "expected"),
    [
        ("nominal", [[0.28018745, 0.01981255], [0.53256639, 0.16743361]]),
        ("mean", [[0.4814246, -0.1814246], [0.77405098, -0.07405098]]),
    ],
)
@pytest.mark.parametrize("convert", [np.array, list])
def test_worked_example(last_batch, expected, convert):
    X, y = convert([[1, 2], [3, 4], [5, 6]]), np.array([0, 1, 0])
    theta = np.array([[0.1, 0.2], [0.3, 0.4]])
    softmax_regression_epoch(X, y, theta, lr=0.1, batch=2, last_batch=last_batch)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=5e-9)


def test_the_module_of_hw0_has_exactly_its_names():
    names = {}
    exec("from fastml.hw0 import *", names)
    del names["__builtins__"]
    trains = {"train_softmax", "train_nn", "loss_err", "softmax_loss", "parse_mnist", "add", "np"}
    assert set(names) == trains | {"softmax_regression_epoch", "nn_epoch", "softmax_regression_epoch_cpp"}
    assert names["np"] is np
    assert names["add"](5, 6) == 11
    np.testing.assert_array_equal(names["add"](np.array([1, 2]), np.array([3, 4])), [4, 6])
    assert names["nn_epoch"] is nn_epoch


def test_the_epoch_of_hw0_s_extension(mnist):
    (X, y), _ = mnist
    theta = np.zeros((X.shape[1], 10), np.float32)
    hw0.softmax_regression_epoch_cpp(X[:100], y[:100], theta=theta, lr=0.1, batch=10)
    np.testing.assert_allclose(np.linalg.norm(theta), 1.0947356, rtol=1e-5, atol=1e-5)


def test_tables(mnist, capsys):
    (X, y), (X_te, y_te) = [(X[:500], y[:500]) for X, y in mnist]
    train_softmax(X, y, X_te, y_te, 2, 0.2, 100, False)
    train_nn(X, y, X_te, y_te, 16, 1, 0.2, 100)
    head, first, second, head_again, only = capsys.readouterr().out.splitlines()
    assert head == head_again == "| Epoch | Train Loss | Train Err | Test Loss | Test Err |"
    number = r"\d\.\d{5}"
    for line, epoch in ((first, 0), (second, 1), (only, 0)):
        row = rf"\|     {epoch} \|    {number} \|   {number} \|   {number} \|  {number} \|"
        assert re.fullmatch(row, line)

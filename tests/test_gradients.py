"""Gradients against finite differences of the loss, and what is left of the accuracy after an epoch of MNIST."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings

from fastml import load_mnist
from tests import reference
from tests.problems import EPOCHS, make_problem, problems

STEP = 1e-5
# Of each matrix of weights, so many places are looked at.
PLACES = 30


def loss(rows, y, weights):
    """Return the mean loss of a model in float64; y are the labels of rows."""
    for W in weights[:-1]:
        rows = np.maximum(rows @ W, 0)
    return reference.loss_err(rows @ weights[-1], y)[0]


@pytest.mark.parametrize("model", sorted(EPOCHS))
@settings(max_examples=100, deadline=None, derandomize=True)
@given(problem=problems())
def test_a_step_follows_the_slope_of_the_loss(model, problem):
    order = problem.settings["order"]
    rows, y = (problem.X, problem.y) if order is None else (problem.X[order], problem.y[order])
    rows = rows.astype(np.float64) * problem.settings["scale"]
    start = problem.weights(model, "float64")
    if model == "nn":
        before_relu = rows @ start[0]
        assume((np.abs(before_relu) > 10 * STEP)[rows.any(axis=1)].all())
    stepped = [W.copy() for W in start]
    EPOCHS[model][0](problem.X, problem.y, *stepped, **problem.settings | {"lr": 1.0, "batch": len(rows)})
    random = np.random.default_rng(0)
    for W, after in zip(start, stepped, strict=True):
        gradient = W - after
        for place in map(tuple, random.integers(W.shape, size=(PLACES, 2))):
            value = W[place]
            losses = []
            for W[place] in (value + STEP, value - STEP):
                losses.append(loss(rows, y, start))
            W[place] = value
            slope = (losses[0] - losses[1]) / (2 * STEP)
            assert slope == pytest.approx(gradient[place], abs=1e-6 * np.abs(gradient).max() + 1e-10)


@pytest.mark.parametrize("x_dtype", ["uint8", "float32"])
@pytest.mark.parametrize("classes", [5, 50])
@pytest.mark.parametrize("model", sorted(EPOCHS))
def test_a_step_with_every_option_follows_the_slope_of_the_objective(model, classes, x_dtype):
    problem = make_problem(60, 20, 5, classes, batch=60, dtype=x_dtype, density=0.4)
    random = np.random.default_rng(0)
    s, scale, shift = random.random(60), random.uniform(0.2, 1, 20) / 64, random.uniform(0, 0.5, 20)
    Z, l2, weights = (problem.X - shift) * scale, 0.7, problem.weights(model, "float64")
    names = (("theta",), ("bias",)) if model == "softmax" else (("W1", "W2"), ("b1", "b2"))
    start = dict(zip(names[0], weights, strict=True))
    start |= {name: random.standard_normal(W.shape[1]) for name, W in zip(names[1], weights, strict=True)}

    def objective(arrays):
        logits = Z
        for W, b in zip(names[0], names[1], strict=True):
            logits = (logits if logits is Z else np.maximum(logits, 0)) @ arrays[W] + arrays[b]
        losses = [reference.loss_err(logits[i : i + 1], problem.y[i : i + 1])[0] for i in range(60)]
        return (s @ losses + l2 / 2 * sum((arrays[W] ** 2).sum() for W in names[0])) / s.sum()

    stepped = {name: W.copy() for name, W in start.items()}
    options = {"scale": scale, "shift": shift, "sample_weight": s, "l2": l2, "last_batch": "mean"}
    EPOCHS[model][0](problem.X, problem.y, **stepped, lr=1.0, batch=60, **options)
    for name, W in start.items():
        gradient = W - stepped[name]
        for place in map(tuple, random.integers(W.shape, size=(10, W.ndim))):
            value, values = W[place], []
            for W[place] in (value + STEP, value - STEP):
                values.append(objective(start))
            W[place] = value
            slope = (values[0] - values[1]) / (2 * STEP)
            assert slope == pytest.approx(gradient[place], abs=1e-6 * np.abs(gradient).max() + 1e-10)


@pytest.mark.parametrize(("model", "sizes"), [("softmax", (784, 10)), ("nn", (784, 100, 10))])
def test_an_epoch_of_mnist_is_as_accurate_as_numpy(model, sizes):
    """Rounding errors of 600 batches, in weights from bytes, are no more than twice those of NumPy."""
    (X, y), _ = load_mnist(raw=True)
    random = np.random.default_rng(0)
    start = [random.standard_normal(shape) / np.sqrt(shape[0]) for shape in itertools.pairwise(sizes)]
    fast_epoch, numpy_epoch = EPOCHS[model]
    fast, exact, peer = ([W.astype(dtype) for W in start] for dtype in ("float32", "float64", "float32"))
    exact = [W.astype(np.float32).astype(np.float64) for W in start]
    for epoch, weights in ((fast_epoch, fast), (numpy_epoch, exact), (numpy_epoch, peer)):
        epoch(X, y, *weights, lr=0.2, scale=1 / 255)
    for got, truth, numpy_result in zip(fast, exact, peer, strict=True):
        assert np.linalg.norm(got - truth) <= 2 * np.linalg.norm(numpy_result - truth)

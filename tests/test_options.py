"""Epochs with every option against the oracle: biases, optimizers, penalty, weights of examples, scale and shift."""

import copy
import itertools
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastml
from fastml.epochs import EpochArguments, run_epoch
from fastml.models import NETWORK, SOFTMAX_REGRESSION, Parameters
from fastml.options import Options
from tests import reference
from tests.problems import EPOCHS, LAYOUTS, assert_as_accurate_as_numpy, make_problem

MODELS = pytest.mark.parametrize("model", sorted(EPOCHS))
WEIGHTS = {"softmax": ("theta",), "nn": ("W1", "W2")}
BIASES = {"softmax": ("bias",), "nn": ("b1", "b2")}
# The optimizers, their oracles and numbers, and the penalty. Each is a kernel of its own, and so is one with a penalty.
OPTIMIZERS = {
    "sgd": (fastml.SGD, reference.SGD, {}, 0.0),
    "sgd with l2": (fastml.SGD, reference.SGD, {}, 0.3),
    "nesterov": (fastml.Momentum, reference.Momentum, {"momentum": 0.8}, 0.0),
    "adamw": (fastml.AdamW, reference.AdamW, {"decay": 0.1, "epsilon": 1e-3}, 0.0),
    "adamw with l2": (fastml.AdamW, reference.AdamW, {"epsilon": 1e-3}, 0.2),
}
# As many panels, and widths of them, as give remainders; every further width is compiled anew for each optimizer.
HIDDEN = (5, 131)


@st.composite
def options(draw, problem):
    """Draw the options that have no kernel of their own."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    (rows, input_dim), scale = problem.X.shape, problem.settings["scale"]
    weights = random.random(rows) * 3 * (random.random(rows) < 0.7)
    return {
        "scale": draw(st.sampled_from([scale, scale * random.uniform(0.3, 1.2, input_dim)])),
        "shift": draw(st.sampled_from([0.0, 0.4 / scale, random.uniform(-0.5, 0.8, input_dim) / scale])),
        "sample_weight": draw(st.sampled_from([None, weights])),
        "order": draw(st.sampled_from([None, random.permutation(rows)])),
        "last_batch": draw(st.sampled_from(["nominal", "mean"])),
        "lr": 0.05,
    }


def arrays_of(problem, model, dtype, with_bias):
    """Return the weights of a problem by their names, and as far as they are wanted biases."""
    arrays = dict(zip(WEIGHTS[model], problem.weights(model, dtype), strict=True))
    random = np.random.default_rng(1)
    for name, W in zip(BIASES[model], list(arrays.values()), strict=True):
        if with_bias:
            arrays[name] = random.standard_normal(W.shape[1]).astype(dtype)
    return arrays


def assert_agrees(model, dtype, problem, optimizer, with_bias, epochs=2, **options):
    """Train by the kernels, and by the oracle in float64 and in the dtype; compare weights, biases and evaluation."""
    ours, oracle, numbers, l2 = OPTIMIZERS[optimizer]
    fast, numpy_epoch = EPOCHS[model]
    settings = {**problem.settings, **options, "l2": l2}
    got, exact, peer = (arrays_of(problem, model, kind, with_bias) for kind in (dtype, "float64", dtype))
    for arrays in (exact,):
        for name in arrays:
            arrays[name] = got[name].astype(np.float64)
    for epoch, kind, arrays in ((fast, ours, got), (numpy_epoch, oracle, exact), (numpy_epoch, oracle, peer)):
        state = kind(**numbers)
        for _ in range(epochs):
            epoch(problem.X, problem.y, **arrays, **settings, optimizer=state)
    eps = float(np.finfo(dtype).eps)
    assert_as_accurate_as_numpy(got.values(), exact.values(), peer.values(), slack=32 * eps)
    transform = {name: settings[name] for name in ("scale", "shift") if name in settings}
    biases = {name: got[name] for name in BIASES[model] if name in got}
    Z = (problem.X.astype(np.float64) - transform.get("shift", 0.0)) * transform["scale"]
    logits = logits_of(model, {name: W.astype(np.float64) for name, W in got.items()}, Z)
    expected = reference.loss_err(logits, problem.y)[0]
    weights = [got[name] for name in WEIGHTS[model]]
    found = fastml.evaluate(problem.X, problem.y, *weights, **biases, **transform)[0]
    assert found == pytest.approx(expected, rel=1e3 * eps, abs=1e2 * eps)


def logits_of(model, arrays, Z):
    """Return the logits of a model in NumPy."""
    if model == "softmax":
        return Z @ arrays["theta"] + arrays.get("bias", 0.0)
    return np.maximum(Z @ arrays["W1"] + arrays.get("b1", 0.0), 0) @ arrays["W2"] + arrays.get("b2", 0.0)


@MODELS
@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [
        ("sgd", "float32"),
        ("sgd", "float64"),
        ("sgd with l2", "float32"),
        ("nesterov", "float32"),
        ("nesterov", "float64"),
        ("adamw", "float32"),
        ("adamw with l2", "float64"),
    ],
)
@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_agrees_with_the_oracle(model, optimizer, dtype, data):
    rows, input_dim = data.draw(st.integers(2, 60)), data.draw(st.integers(1, 40))
    problem = make_problem(
        rows,
        input_dim,
        data.draw(st.sampled_from(HIDDEN)),
        data.draw(st.sampled_from([2, 7, 50])),
        batch=data.draw(st.integers(1, 70)),
        dtype=data.draw(st.sampled_from(["uint8", "float32", ">i4"])),
        layout=data.draw(st.sampled_from(sorted(LAYOUTS))),
        seed=data.draw(st.integers(0, 2**32 - 1)),
    )
    drawn = data.draw(options(problem))
    assert_agrees(model, dtype, problem, optimizer, data.draw(st.booleans()), **drawn)


@MODELS
@pytest.mark.parametrize("optimizer", ["sgd with l2", "nesterov", "adamw"])
@pytest.mark.parametrize("classes", [7, 50])
def test_batches_of_several_blocks(model, optimizer, classes):
    problem = make_problem(700, 48, 131, classes, batch=300, dtype="uint8")
    weights = np.random.default_rng(0).random(700)
    assert_agrees(model, "float32", problem, optimizer, True, shift=5.0, sample_weight=weights, last_batch="mean")


@MODELS
@pytest.mark.parametrize("x_dtype", ["uint8", "float32"])
@pytest.mark.parametrize("classes", [5, 50])
def test_raw_rows_with_scale_and_shift_train_as_standardised_ones(model, x_dtype, classes):
    problem = make_problem(90, 40, 5, classes, batch=20, dtype=x_dtype, density=0.3)
    raw = problem.X.astype(np.float64)
    shift, scale = raw.mean(axis=0), 1 / raw.std(axis=0)
    found = []
    for X, transform in ((problem.X, {"scale": scale, "shift": shift}), ((raw - shift) * scale, {"scale": 1.0})):
        arrays = arrays_of(problem, model, "float64", True)
        EPOCHS[model][0](X, problem.y, **arrays, **problem.settings | transform)
        found.append(arrays)
    for name, W in found[0].items():
        np.testing.assert_allclose(W, found[1][name], rtol=1e-9, atol=1e-11)


@MODELS
def test_without_the_options_the_bits_are_those_of_neutral_options(model):
    problem = make_problem(70, 48, 21, 5, batch=20)
    plain, neutral = (arrays_of(problem, model, "float32", False) for _ in range(2))
    EPOCHS[model][0](problem.X, problem.y, **plain, **problem.settings)
    options = {"shift": np.zeros(48), "scale": np.ones(48), "sample_weight": np.ones(70), "optimizer": fastml.SGD()}
    EPOCHS[model][0](problem.X, problem.y, **neutral, **problem.settings | options)
    for name, W in plain.items():
        np.testing.assert_array_equal(W, neutral[name])


@MODELS
@pytest.mark.parametrize("optimizer", ["nesterov", "adamw"])
@pytest.mark.parametrize("carry", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_an_epoch_goes_on_where_the_last_one_stopped(model, optimizer, carry):
    kind, _, numbers, _ = OPTIMIZERS[optimizer]
    problem, found = make_problem(64, 30, 5, 5, batch=16), []
    for cuts in ([0, 64], [0, 16, 48, 64]):
        arrays, state = arrays_of(problem, model, "float32", True), kind(**numbers)
        for begin, end in itertools.pairwise(cuts):
            state = carry(state)
            EPOCHS[model][0](problem.X[begin:end], problem.y[begin:end], **arrays, **problem.settings, optimizer=state)
        found.append((arrays, state))
    (whole, one), (parts, other) = found
    assert one.steps == other.steps == 4
    for name, W in whole.items():
        np.testing.assert_array_equal(W, parts[name])
        for key, array in one.state[name].items():
            assert array.any()
            np.testing.assert_array_equal(array, other.state[name][key])


@MODELS
@pytest.mark.parametrize("last_batch", ["nominal", "mean"])
def test_a_batch_of_weights_that_are_all_zero_changes_nothing_but_l2_and_momentum(model, last_batch):
    problem, zeros = make_problem(20, 30, 5, 5, batch=10), np.zeros(20)
    plain = {**problem.settings, "last_batch": last_batch, "sample_weight": zeros}
    start, arrays = (arrays_of(problem, model, "float64", True) for _ in range(2))
    EPOCHS[model][0](problem.X, problem.y, **arrays, **plain)
    for name, W in start.items():
        np.testing.assert_array_equal(W, arrays[name])
    EPOCHS[model][0](problem.X, problem.y, **arrays, **plain, l2=0.5)
    shrunk = (1 - 0.3 * 0.5 / 10) ** 2
    for name, W in start.items():
        np.testing.assert_allclose(arrays[name], W * (shrunk if name in WEIGHTS[model] else 1), rtol=1e-12)


@MODELS
def test_rows_of_weight_zero_count_as_if_they_were_not_there(model):
    problem = make_problem(40, 30, 5, 5, batch=40, last_batch="mean")
    keep = np.random.default_rng(0).random(40) < 0.6
    weighted, left_out = (arrays_of(problem, model, "float64", True) for _ in range(2))
    EPOCHS[model][0](problem.X, problem.y, **weighted, **problem.settings, sample_weight=keep)
    EPOCHS[model][0](problem.X[keep], problem.y[keep], **left_out, **problem.settings)
    for name, W in weighted.items():
        np.testing.assert_allclose(W, left_out[name], rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(("model", "num_classes"), [("softmax", 2), ("softmax", 60), ("nn", 7)])
def test_a_reference_class_has_no_gradient(model, num_classes):
    problem = make_problem(90, 40, 5, num_classes, batch=32)
    weights = np.random.default_rng(2).random(90)
    arrays = arrays_of(problem, model, "float64", with_bias=True)
    expected = {name: W.copy() for name, W in arrays.items()}
    kept = arrays[WEIGHTS[model][-1]][:, 0].copy(), arrays[BIASES[model][-1]][0]
    numpy_epoch = EPOCHS[model][1]
    numpy_epoch(problem.X, problem.y, **expected, **problem.settings, sample_weight=weights, has_reference=True)
    W, b = ([arrays[name] for name in names[model]] for names in (WEIGHTS, BIASES))
    parameters = Parameters(NETWORK if model == "nn" else SOFTMAX_REGRESSION, tuple(W), tuple(b))
    options = Options(**problem.settings, has_reference=True)
    run_epoch(EpochArguments(problem.X, problem.y, None, weights), parameters, options, None)
    for name, array in arrays.items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(arrays[WEIGHTS[model][-1]][:, 0], kept[0])
    assert arrays[BIASES[model][-1]][0] == kept[1]


@pytest.mark.usefixtures("one_batch_a_slice")
def test_progress_has_the_mean_of_weighted_means():
    problem = make_problem(70, 12, 5, 4, batch=32)
    theta, weights = problem.theta.copy(), np.random.default_rng(3).random(70)
    weights[32:64] = 0
    found, expected = [], []
    fastml.softmax_regression_epoch(
        problem.X, problem.y, theta, **problem.settings, sample_weight=weights,
        progress=lambda done, total, loss: found.append(loss),
    )  # fmt: skip
    theta, total = problem.theta.copy(), 0.0
    for start in range(0, 70, 32):
        some = slice(start, start + 32)
        X, y, s = problem.X[some], problem.y[some], weights[some]
        logits = X.astype(np.float64) * problem.settings["scale"] @ theta
        losses = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(y)), y]
        total += len(y) * np.average(losses, weights=s) if s.any() else 0.0
        expected.append(total / min(start + 32, 70))
        reference.softmax_regression_epoch(X, y, theta, **problem.settings, sample_weight=s)
    assert found == pytest.approx(expected, rel=1e-9)

"""Warnings about arguments that are accepted, but are rarely what the caller means."""

import copy
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest

from fastml import FastmlWarning, evaluate, load_mnist, predict, predict_proba, train_nn, train_softmax
from fastml.advice import scale_of_raw_pixels
from fastml.datasets import write_idx
from fastml.weights import Weights
from tests.problems import make_problem

TRAIN = {"nn": lambda *sets, **more: train_nn(*sets, hidden_dim=8, **more), "softmax": train_softmax}


@pytest.fixture(scope="module")
def pixels():
    """Raw images, brighter in the row of their class, of ten classes."""
    random, y = np.random.default_rng(0), np.arange(600, dtype=np.uint8) % 10
    X = random.integers(0, 190, (600, 10, 6))
    X[np.arange(600), y] += 65
    X[0, 0, 0] = 255
    return X.reshape(600, -1).astype(np.uint8), y


@pytest.mark.parametrize("model", TRAIN)
@pytest.mark.parametrize("dtype", ["uint8", "float32"])
def test_raw_pixels_without_scale_warn_once_at_the_line_of_the_caller(pixels, model, dtype):
    X, y = pixels
    with pytest.warns(FastmlWarning, match=r"X_tr holds values up to 255: scale=1/255\?") as found:
        history = TRAIN[model](X.astype(dtype), y, epochs=3, lr=0.5, verbose=False)
    assert len(found) == 1
    # The lambda above calls train_nn; train_softmax is called in this test.
    assert Path(found[0].filename) == Path(__file__)
    assert len(history) == 3
    scaled = TRAIN[model](X.astype(dtype), y, epochs=60, lr=0.5, batch=20, scale=1 / 255, verbose=False)
    assert scaled[-1].train_loss < 1.5 < history[0].train_loss


def test_raw_pixels_that_train_well_do_not_warn(pixels):
    history = train_softmax(*pixels, epochs=2, lr=1e-5, verbose=False)
    assert history[0].train_err < 0.5


@pytest.mark.parametrize(
    ("X", "scale", "shift", "largest"),
    [
        (np.full((3, 2), 255, np.uint8), 1.0, 0.0, 255),
        (np.full((3, 2), 200.0), 1.0, 0.0, 255),
        (np.full((3, 2), 16.0), 1.0, 0.0, 16),  # the digits of scikit-learn
        (np.full((3, 2), 15), 1.0, 0.0, None),
        (np.full((3, 2), 256), 1.0, 0.0, None),
        (np.full((3, 2), 254.5), 1.0, 0.0, None),
        (np.full((3, 2), -200), 1.0, 0.0, None),
        (np.array([[np.nan, 200.0]]), 1.0, 0.0, None),
        (np.full((3, 2), 255, np.uint8), 1 / 255, 0.0, None),
        (np.full((3, 2), 255, np.uint8), 1.0, 128.0, None),
        (np.full((3, 2), 255, np.uint8), np.full(2, 0.5), 0.0, None),
        (np.empty((0, 2), np.uint8), 1.0, 0.0, None),
        (np.ones((3, 2), bool), 1.0, 0.0, None),
    ],
)
def test_advice_is_for_whole_numbers_of_a_byte_without_a_transform(X, scale, shift, largest):
    expected = None if largest is None else f"X holds values up to {largest}: scale=1/{largest}?"
    assert scale_of_raw_pixels(X, scale, shift) == expected


def test_a_loss_that_is_not_finite_advises_the_scale_too(pixels):
    X, y = pixels
    with pytest.raises(FloatingPointError, match=r"scale=1/255\?"):
        train_nn(X, y, hidden_dim=8, lr=1e30, epochs=3, verbose=False)


@pytest.mark.parametrize("model", TRAIN)
def test_weights_of_a_history_are_a_model_with_its_scale_and_biases(model):
    problem = make_problem(70, 16, 8, 3, 10, "uint8", scale=1 / 64)
    history = TRAIN[model](
        problem.X, problem.y, epochs=1, batch=10, lr=0.1, bias=True, scale=1 / 64, shift=3.0, verbose=False
    )
    weights = history.weights
    X, y = problem.X, problem.y
    assert evaluate(X, y, weights) == evaluate(X, y, *weights, **weights.keywords)
    assert evaluate(X, y, weights) == history[-1][1:3]
    np.testing.assert_array_equal(predict(X, weights), predict(X, *weights, **weights.keywords), strict=True)
    np.testing.assert_array_equal(
        predict_proba(X, weights), predict_proba(X, *weights, **weights.keywords), strict=True
    )
    # What is repeated and the same is no error.
    assert evaluate(X, y, weights, **weights.keywords) == evaluate(X, y, weights)


@pytest.mark.parametrize("function", [lambda X, *a, **k: evaluate(X, [0], *a, **k), predict, predict_proba])
@pytest.mark.parametrize(
    ("arguments", "keywords", "error", "match"),
    [
        ("weights", {"scale": 0.5}, ValueError, "scale differs from the scale of weights"),
        ("weights", {"shift": 1.0}, ValueError, "shift differs from the shift of weights"),
        ("weights", {"bias": np.ones(2)}, TypeError, "bias is given beside Weights"),
        ("tuple", {}, TypeError, r"got tuple; pass its arrays one by one, as \*weights does"),
        ("history", {}, TypeError, "got History; pass its weights"),
    ],
)
def test_what_is_nearly_a_model_is_refused_with_what_to_pass(function, arguments, keywords, error, match):
    X, given = np.eye(2)[:1], Weights([np.eye(2)], {"bias": np.zeros(2)}, scale=0.25)
    history = train_softmax(X, [0], epochs=0, verbose=False)
    model = {"weights": given, "tuple": tuple(given), "history": history}[arguments]
    with pytest.raises(error, match=match):
        function(X, model, **keywords)


def test_weights_without_a_transform_take_the_one_given():
    weights, X = Weights([np.eye(2)]), np.array([[3.0, 4.0]])
    np.testing.assert_array_equal(predict_proba(X, weights, scale=2.0), predict_proba(2 * X, np.eye(2)))


@pytest.mark.parametrize(("raw", "dtype", "scale"), [(True, "uint8", 1 / 255), (False, "float32", 1.0)])
def test_sets_know_the_scale_of_their_pixels(tmp_path, raw, dtype, scale):
    for which in ("train", "t10k"):
        write_idx(tmp_path / f"{which}-images-idx3-ubyte", np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
        write_idx(tmp_path / f"{which}-labels-idx1-ubyte", np.array([0, 1], np.uint8))
    sets = load_mnist(tmp_path, raw=raw)
    (X, y), (X_test, y_test) = sets  # as before
    for images, labels in ((X, y), (X_test, y_test)):
        assert (images.shape, images.dtype, labels.tolist()) == ((2, 4), dtype, [0, 1])
    for each in (*sets, copy.copy(sets[0]), pickle.loads(pickle.dumps(sets[1]))):
        assert each.scale == scale
        assert each.X is each[0]
        assert each.y is each[1]
    with warnings.catch_warnings(action="error"):
        train_softmax(*sets[0], *sets[1], scale=sets[0].scale, epochs=1, verbose=False)

"""Scale, shift and backgrounds: found where they pay, exact where a large shift would cost digits."""

import numpy as np
import pytest

import fastml
from fastml import transforms
from tests import reference
from tests.problems import EPOCHS, assert_as_accurate_as_numpy, make_problem


def normalised(rows=1200, input_dim=40, seed=0):
    """Return a problem of float32 rows without a zero, most of whose features are mostly one number each."""
    problem = make_problem(rows, input_dim, 21, 50, batch=20, density=0.2, seed=seed)
    problem.X = (problem.X - np.linspace(0.1, 0.4, input_dim)).astype(np.float32) / np.float32(0.3081)
    assert problem.X.all()
    return problem


def test_a_background_is_what_most_values_of_a_feature_are():
    X = normalised().X
    for background, column in zip(transforms.backgrounds_of(X), X.T, strict=True):
        numbers, counts = np.unique(column, return_counts=True)
        assert background == numbers[np.argmax(counts)]


def test_a_feature_of_many_values_has_no_background():
    X = normalised().X
    X[:, 7] = np.linspace(1, 2, len(X))
    X[::3, 9] = 5.0  # a third of the feature: worth leaving out
    X[1::3, 9] = np.linspace(1, 2, 400)
    X[2::3, 9] = np.linspace(2, 3, 400)
    found = transforms.backgrounds_of(X)
    assert np.isnan(found[7])
    assert found[9] == 5
    assert not np.isnan(np.delete(found, 7)).any()


def test_what_is_not_finite_is_no_background():
    X = normalised().X
    X[:, 3], X[:, 4] = np.inf, np.nan
    assert np.isnan(transforms.backgrounds_of(X)[3:5]).all()


@pytest.mark.parametrize("x_dtype", ["uint8", "bool", "int16", "float64"])
def test_inverted_images_have_a_background(x_dtype):
    X = make_problem(1200, 40, 1, 2, 1, dtype="uint8", density=0.1).X
    X = X == 0 if x_dtype == "bool" else (255 - X).astype(x_dtype)
    np.testing.assert_array_equal(transforms.backgrounds_of(X), np.full(40, X.max()))
    weights = make_problem(1, 40, 5, 3, 1).weights("nn", "float64")
    np.testing.assert_allclose(
        fastml.predict_proba(X, *weights, scale=0.01), fastml.predict_proba(X * 0.01, *weights), rtol=1e-10
    )


@pytest.mark.parametrize(
    "X",
    [
        make_problem(1200, 40, 1, 2, 1, density=0.2).X,  # zeros are the background already
        np.random.default_rng(0).uniform(0.1, 1, (1200, 40)),
        np.concatenate([np.random.default_rng(0).uniform(0.1, 1, (1200, 39)), np.ones((1200, 1))], axis=1),
        normalised(transforms.LEAST_ROWS - 1).X,  # too few rows to tell
    ],
)
def test_where_nothing_is_gained_zero_is_the_background(X):
    found = transforms.backgrounds_of(X)
    assert found is None or set(found[~np.isnan(found)]) <= {0.0}
    transform = transforms.transform_of(X, 1.0, 0.0, np.float32, found)
    assert transform.is_identity
    assert transform.offset.shape == (1, 0)


@pytest.mark.parametrize(("x_dtype", "backgrounds"), [(np.uint8, [0.0] * 4), (np.float32, [0.0, 9.0, 0.0, 9.0])])
def test_bytes_keep_their_zeros_and_floats_without_a_background_lose_the_shift(x_dtype, backgrounds):
    X = np.zeros((2, 4), x_dtype)
    given = np.array([0.0, np.nan, 0.0, np.nan])
    transform = transforms.transform_of(X, [1.0, 2.0, 3.0, 4.0], 9.0, np.float64, given)
    np.testing.assert_array_equal(transform.background[0, :4], backgrounds)
    np.testing.assert_array_equal(transform.offset[0, :4], (np.array(backgrounds) - 9) * [1, 2, 3, 4])
    np.testing.assert_array_equal(transform.factor[0, :5], [1, 2, 3, 4, 0])


@pytest.mark.parametrize(("model", "classes"), [("nn", 50), ("softmax", 50), ("softmax", 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalised_rows_agree_with_the_oracle(model, classes, dtype):
    problem = normalised()
    problem.y %= classes
    problem.theta = problem.theta[:, :classes].copy()
    fast, numpy_epoch = EPOCHS[model]
    got = problem.weights(model, dtype)
    exact, peer = [W.astype(np.float64) for W in got], [W.copy() for W in got]
    for epoch, weights in ((fast, got), (numpy_epoch, exact), (numpy_epoch, peer)):
        epoch(problem.X, problem.y, *weights, **problem.settings)
    assert_as_accurate_as_numpy(got, exact, peer, slack=8 * np.finfo(dtype).eps)


@pytest.mark.parametrize(("model", "classes"), [("nn", 5), ("softmax", 50), ("softmax", 5)])
def test_a_large_shift_costs_no_digits(model, classes):
    problem = make_problem(100, 40, 21, classes, batch=20, density=1.0)
    small = problem.X.astype(np.float64)
    problem.X = (2.0**20 + np.round(small * 16)).astype(np.float32)  # exact in float32
    settings = problem.settings | {"scale": 1 / 16, "shift": 2.0**20}
    got, expected = problem.weights(model, "float32"), problem.weights(model, "float64")
    EPOCHS[model][0](problem.X, problem.y, *got, **settings)
    EPOCHS[model][1](np.round(small * 16) / 16, problem.y, *expected, **problem.settings)
    for W, exact in zip(got, expected, strict=True):
        np.testing.assert_allclose(W, exact, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model", sorted(EPOCHS))
@pytest.mark.parametrize("scale", [1e-38, 1e-37, 1e-30])
def test_a_scale_is_applied_before_sums_can_overflow(model, scale):
    random = np.random.default_rng(0)
    X = (random.uniform(0.5, 1, (50, 20)) / np.float32(scale)).astype(np.float32)
    problem = make_problem(50, 20, 21, 5, batch=10)
    weights = [W.astype(np.float32) for W in problem.weights(model, "float64")]
    logits = X.astype(np.float64) * scale
    for W in weights[:-1]:
        logits = np.maximum(logits @ W, 0)
    expected = reference.loss_err(logits @ weights[-1].astype(np.float64), problem.y)[0]
    assert fastml.evaluate(X, problem.y, *weights, scale=scale)[0] == pytest.approx(expected, rel=1e-5)
    exact = [W.astype(np.float64) for W in weights]
    EPOCHS[model][0](X, problem.y, *weights, batch=10, lr=0.1, scale=scale)
    EPOCHS[model][1](X.astype(np.float64), problem.y, *exact, batch=10, lr=0.1, scale=scale)
    for W, truth in zip(weights, exact, strict=True):
        np.testing.assert_allclose(W, truth, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("model", sorted(EPOCHS))
@pytest.mark.parametrize("x_dtype", ["uint8", "float32"])
def test_bytes_and_floats_are_judged_alike(model, x_dtype):
    problem = make_problem(300, 40, 21, 5, batch=20, dtype="uint8", density=0.2)
    weights, transform = problem.weights(model, "float64"), {"scale": 0.03, "shift": np.linspace(0, 9, 40)}
    X = problem.X.astype(x_dtype)
    Z = (problem.X - transform["shift"]) * transform["scale"]
    np.testing.assert_array_equal(fastml.predict(X, *weights, **transform), fastml.predict(Z, *weights))
    np.testing.assert_allclose(
        fastml.predict_proba(X, *weights, **transform), fastml.predict_proba(Z, *weights), rtol=1e-9, atol=1e-12
    )

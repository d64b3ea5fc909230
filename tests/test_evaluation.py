"""Losses, errors and predictions against the oracle and closed forms."""

import numpy as np
import pytest

import fastml
from fastml import verdicts
from fastml.kernels.loss import MANY_CLASSES
from fastml.verdicts import LOGITS_ROWS
from tests import reference
from tests.problems import LAYOUTS, X_DTYPES, make_problem

MODELS = pytest.mark.parametrize("model", ["softmax", "nn"])
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def logits_of(problem, weights):
    rows = problem.X.astype(np.float64) * problem.settings["scale"]
    if len(weights) == 2:
        rows, weights = np.maximum(rows @ weights[0].astype(np.float64), 0), weights[1:]
    return rows @ weights[0].astype(np.float64)


@MODELS
@DTYPES
@pytest.mark.parametrize("x_dtype", X_DTYPES)
@pytest.mark.parametrize("rows", [1, 37, 1027])
def test_a_model_on_a_set(model, dtype, x_dtype, rows):
    problem = make_problem(rows, 30, 21, 7, batch=16, dtype=x_dtype)
    weights, scale = problem.weights(model, dtype), problem.settings["scale"]
    logits = logits_of(problem, weights)
    tolerance = 200 * np.finfo(dtype).eps
    loss, err = fastml.evaluate(problem.X, problem.y, *weights, scale=scale)
    np.testing.assert_allclose((loss, err), reference.loss_err(logits, problem.y), rtol=tolerance)
    np.testing.assert_array_equal(fastml.predict(problem.X, *weights, scale=scale), logits.argmax(axis=1))
    probabilities = fastml.predict_proba(problem.X, *weights, scale=scale)
    assert probabilities.dtype == dtype
    np.testing.assert_allclose(probabilities, reference.softmax(logits), rtol=tolerance, atol=tolerance)


@MODELS
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_layouts_agree_to_the_bit(model, layout):
    plain, laid_out = (make_problem(50, 30, 21, 7, batch=16, layout=kind) for kind in ("C", layout))
    weights = [LAYOUTS[layout](W) for W in laid_out.weights(model, "float32")]
    expected = fastml.evaluate(plain.X, plain.y, *plain.weights(model, "float32"))
    assert fastml.evaluate(laid_out.X, laid_out.y, *weights) == expected


def test_where_slices_end_changes_nothing(monkeypatch):
    # An infinity meets the zeros of the rows that are taken together, and gives NaN: 3072 floats make small blocks.
    problem = make_problem(1024, 3072, 16, 7, batch=16, density=0.3)
    W1, W2 = problem.weights("nn", "float32")
    W1[0, 3] = -np.inf

    def error(rows):
        monkeypatch.setattr(
            verdicts, "slices", lambda *_, **__: ((start, start + rows, 1) for start in range(0, 1024, rows))
        )
        return fastml.evaluate(problem.X, problem.y, W1, W2)[1]

    assert len({error(rows) for rows in (128, 256, 512, 1024)}) == 1


@MODELS
def test_no_rows_have_no_predictions(model):
    problem = make_problem(1, 30, 21, 7, batch=16)
    weights = problem.weights(model, "float32")
    assert fastml.predict(problem.X[:0], *weights).shape == (0,)
    assert fastml.predict_proba(problem.X[:0], *weights).shape == (0, 7)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", ">f8", "int64"])
def test_loss_err_of_logits(dtype):
    random = np.random.default_rng(0)
    rows = 2 * LOGITS_ROWS + 5
    logits, y = (random.standard_normal((rows, 7)) * 3).astype(dtype), random.integers(7, size=rows)
    expected = reference.loss_err(logits.astype(np.float64), y)
    np.testing.assert_allclose(fastml.loss_err(logits, y), expected, rtol=1e-6)
    assert fastml.softmax_loss(logits, y) == fastml.loss_err(logits, y)[0]
    assert isinstance(fastml.softmax_loss(logits, y), float)


@DTYPES
@pytest.mark.parametrize("size", [1e4, 1e30])
def test_huge_logits(dtype, size):
    logits = np.array([[size, -size, 0], [-size, size, size]], dtype)
    loss, err = fastml.loss_err(logits, [0, 1])
    np.testing.assert_allclose(loss, np.log(2) / 2, rtol=1e-6)
    assert err == 0
    np.testing.assert_allclose(fastml.softmax_loss(logits, [1, 0]), 2 * size + np.log(2) / 2, rtol=1e-6)


@pytest.mark.parametrize("rows", [1, 200, 2 * LOGITS_ROWS])
def test_a_sum_beyond_float64_is_infinity_as_in_numpy(rows):
    logits = np.tile([4e307, -4e307], (rows, 1))
    with np.errstate(over="ignore"):
        expected = np.mean(np.full(rows, 8e307))
    assert expected == (8e307 if rows == 1 else np.inf)
    assert fastml.softmax_loss(logits, np.ones(rows, int)) == expected


@pytest.mark.parametrize("rows", [1, 200, 2 * LOGITS_ROWS])
def test_the_losses_of_a_model_may_sum_to_infinity(rows):
    X, y, theta, heard = np.ones((rows, 1)), np.ones(rows, int), np.array([[4e307, -4e307]]), []
    expected = 8e307 if rows == 1 else np.inf
    assert fastml.evaluate(X, y, theta, progress=lambda *told: heard.append(told))[0] == expected
    assert heard[-1] == (rows, rows, expected)
    heard.clear()
    fastml.softmax_regression_epoch(X, y, theta, batch=rows, progress=lambda *told: heard.append(told))
    assert heard[-1] == (rows, rows, expected)


def test_nan_and_infinity_in_logits_as_numpy_has_them():
    logits = np.array([[0, np.nan, 1], [np.inf, 0, 0], [-np.inf, 0, 0], [2, 2, 1]])
    with np.errstate(invalid="ignore"):
        predictions = logits.argmax(axis=1)
    for row, label in enumerate(predictions):
        assert fastml.loss_err(logits[row : row + 1], [label])[1] == 0
    assert np.isnan(fastml.softmax_loss(logits[:2], [0, 0]))
    assert fastml.softmax_loss(logits[2:3], [0]) == np.inf


@pytest.mark.parametrize(
    ("Z", "y", "error", "match"),
    [
        (np.zeros((0, 3)), [], ValueError, "not empty"),
        (np.zeros(3), [0], ValueError, "2-D"),
        (np.zeros((2, 3), complex), [0, 0], TypeError, "complex128"),
        (np.zeros((2, 3)), [0], ValueError, "2 labels"),
        (np.zeros((2, 3)), [0, 3], ValueError, r"y\[1\] is 3"),
        (np.zeros((2, 3)), [0.0, 1.0], TypeError, "integers"),
    ],
)
def test_refuses(Z, y, error, match):
    for function in (fastml.softmax_loss, fastml.loss_err):
        with pytest.raises(error, match=match):
            function(Z, y)


@DTYPES
def test_a_hidden_unit_of_zeros_adds_nothing_to_many_logits(dtype):
    problem = make_problem(8, 20, 10, MANY_CLASSES, batch=8, density=1.0)
    W1, W2 = problem.weights("nn", dtype)
    W1[:, 3] = 0
    X, without = problem.X, np.delete(np.arange(10), 3)
    expected = fastml.predict_proba(X, W1[:, without], W2[without], scale=problem.settings["scale"])
    W2[3] = np.nan
    got = fastml.predict_proba(X, W1, W2, scale=problem.settings["scale"])
    np.testing.assert_allclose(got, expected, rtol=1e-4 if dtype == "float32" else 1e-12)

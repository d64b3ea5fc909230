"""Arrays of other kinds are read as the numbers that they hold."""

import decimal
import fractions
import warnings

import numpy as np
import pandas
import pytest

from fastml import FastmlWarning, evaluate, nn_epoch, softmax_regression_epoch, train_nn, train_softmax
from fastml.checks import check_features, check_labels
from tests.problems import EPOCHS, make_problem

X = np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 0.25], [0.0, 3.0, -1.0], [4.0, 0.0, 0.0]], np.float32)
Y = np.array([0, 1, 0, 1])
FRAME = pandas.DataFrame(X, columns=["a", "b", "c"])


@pytest.mark.parametrize(
    "given",
    [
        FRAME,
        FRAME.convert_dtypes(),  # nullable integers and floats
        FRAME.astype("Float32"),
        FRAME.astype("float32[pyarrow]"),
        FRAME.convert_dtypes(dtype_backend="pyarrow"),
        X.astype(object),
        X.tolist(),
        np.array([[decimal.Decimal(str(value)) for value in row] for row in X.tolist()]),
        np.array([[fractions.Fraction(value) for value in row] for row in X.tolist()]),
        np.array([[np.float32(value) for value in row] for row in X], object),
    ],
)
def test_frames_and_objects_train_as_their_numbers(given):
    theta, expected = np.zeros((3, 2)), np.zeros((3, 2))
    softmax_regression_epoch(given, Y, theta, batch=2)
    softmax_regression_epoch(X, Y, expected, batch=2)
    np.testing.assert_array_equal(theta, expected)


@pytest.mark.parametrize(
    "y",
    [
        Y.astype(object),
        np.array([np.uint8(label) for label in Y], object),
        pandas.Series(Y, dtype="Int64"),
        pandas.Series(Y, dtype="int8[pyarrow]"),
        pandas.Series(Y).astype("category"),
    ],
)
def test_labels_of_any_kind_of_integer(y):
    checked = check_labels(y, len(Y), 2)
    assert checked.dtype.kind in "iu"
    np.testing.assert_array_equal(checked, Y)


@pytest.mark.parametrize("missing", [pandas.NA, None, pandas.NaT])
def test_missing_values_are_named(missing):
    frame = FRAME.astype(object)
    frame.iloc[2, 1] = missing
    with pytest.raises(TypeError, match=r"X must hold .*\[2, 1\] is .*: fill in missing values"):
        check_features(frame)


def test_nullable_arrays_with_missing_values_are_no_integers():
    with pytest.raises(TypeError, match=r"y must hold integers, got an array of shape \(2,\) and dtype"):
        check_labels(pandas.array([1, None], dtype="Int64"), 2, 2)


def test_integers_keep_every_digit():
    large = 2**53 + 1
    assert check_labels(np.array([large], object), 1, 2**60).tolist() == [large]


@pytest.mark.parametrize("model", sorted(EPOCHS))
@pytest.mark.parametrize("column", [lambda y: y[:, None], lambda y: pandas.DataFrame({"label": y})[["label"]]])
def test_a_column_of_labels_is_taken_with_a_warning(model, column):
    problem = make_problem(12, 6, 5, 4, batch=5)
    weights, expected = problem.weights(model, "float32"), problem.weights(model, "float32")
    with pytest.warns(FastmlWarning, match=r"y is a column of shape \(12, 1\); labels are 1-D: y.ravel\(\)") as found:
        EPOCHS[model][0](problem.X, column(problem.y), *weights, **problem.settings)
    assert len(found) == 1
    EPOCHS[model][0](problem.X, problem.y, *expected, **problem.settings)
    for W, W_expected in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(W, W_expected)
    with pytest.warns(FastmlWarning, match="y is a column"):
        assert evaluate(problem.X, column(problem.y), *weights) == evaluate(problem.X, problem.y, *weights)


@pytest.mark.parametrize("train", [train_softmax, lambda *sets, **more: train_nn(*sets, hidden_dim=4, **more)])
def test_columns_of_labels_in_training_are_named(train):
    with pytest.warns(FastmlWarning) as found:
        history = train(X, Y[:, None], X, Y[:, None], epochs=2, batch=2, verbose=False)
    assert [str(warning.message).split()[0] for warning in found] == ["y_tr", "y_te"]
    assert [row[:5] for row in history] == [row[:5] for row in train(X, Y, X, Y, epochs=2, batch=2, verbose=False)]


@pytest.mark.parametrize(
    ("y", "classes", "occur"),
    [
        (100 * np.arange(10), 901, 10),
        ([2, 4], 5, 2),  # as in the Wisconsin breast cancer data
        ([7], 8, 1),
        (np.arange(1, 27), None, None),  # EMNIST's letters
        ([1, 2], None, None),
        ([0], None, None),
    ],
)
@pytest.mark.parametrize("train", [train_softmax, lambda *sets, **more: train_nn(*sets, hidden_dim=4, **more)])
def test_labels_with_gaps_warn_with_the_number_of_classes(train, y, classes, occur):
    images = np.eye(len(y), 30, dtype=np.float32)
    with warnings.catch_warnings(record=True, action="always") as found:
        history = train(images, y, epochs=0, verbose=False)
    messages = [str(warning.message) for warning in found]
    assert history.weights[-1].shape[1] == max(y) + 1
    if classes is None:
        assert messages == []
        return
    (message,) = messages
    assert f"y_tr makes {classes} classes" in message
    assert f"only {occur} of them occur" in message
    assert f"numbers the labels from 0 to {occur - 1}" in message


def test_labels_with_gaps_go_on_from_weights_without_a_warning():
    start = train_softmax(X, Y, epochs=0, verbose=False).weights
    train_softmax(X[:1], Y[:1], weights=start, epochs=0, verbose=False)


def test_labels_below_zero_in_training():
    with pytest.raises(ValueError, match=r"y_tr\[0\] is -1; labels must lie in .* np.unique\(y_tr, ret"):
        train_nn(X, 2 * Y - 1, hidden_dim=4, verbose=False)


def test_unpacked_too_little_is_said():
    weights = train_nn(X, Y, hidden_dim=4, epochs=0, verbose=False).weights
    with pytest.raises(TypeError, match=r"W1 must be a NumPy array, got Weights; pass its arrays one by one"):
        nn_epoch(X, Y, weights, weights[1])

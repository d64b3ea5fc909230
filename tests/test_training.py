"""Epochs in a row: history, table, callbacks, and the stop at a loss that is not finite."""

import numpy as np
import pytest

import fastml
from fastml import checks
from fastml.datasets import deform
from fastml.orders import epoch_order
from tests.problems import make_problem


@pytest.fixture
def sets():
    problem = make_problem(60, 12, 8, 3, batch=16)
    return problem.X[:40], problem.y[:40], problem.X[40:], problem.y[40:]


TRAIN = pytest.mark.parametrize("train", [fastml.train_softmax, fastml.train_nn])


@TRAIN
def test_history_is_that_of_single_epochs(train, sets):
    history = train(*sets, epochs=3, lr=0.3, batch=16, verbose=False, scale=0.5, last_batch="mean")
    X, y, X_te, y_te = sets
    if train is fastml.train_softmax:
        weights, epoch = [np.zeros((12, 3), np.float32)], fastml.softmax_regression_epoch
    else:
        random = np.random.RandomState(0)
        shapes = ((12, 500), (500, 3))
        weights = [random.randn(n, m).astype(np.float32) / np.float32(np.sqrt(m)) for n, m in shapes]
        epoch = fastml.nn_epoch
    for index in range(3):
        epoch(X, y, *weights, 0.3, 16, scale=0.5, last_batch="mean")
        row = history[index]
        assert row.epoch == index
        assert row.seconds > 0
        assert (row.train_loss, row.train_err) == fastml.evaluate(X, y, *weights, scale=0.5)
        assert (row.test_loss, row.test_err) == fastml.evaluate(X_te, y_te, *weights, scale=0.5)
    assert len(history) == 3
    for got, expected in zip(history.weights, weights, strict=True):
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got, expected)


@TRAIN
def test_table_callback_and_progress(train, sets, capsys):
    seen, heard = [], []
    history = train(
        *sets,
        epochs=5,
        batch=16,
        callback=lambda history: seen.append(len(history)) or len(history) == 2,
        progress=lambda done, total, loss: heard.append((done, total)),
    )
    assert seen == [1, 2]
    # Each epoch, and its evaluation on the training set and on the test set.
    assert heard.count((40, 40)) == 4
    assert heard.count((20, 20)) == 2
    lines = capsys.readouterr().out.splitlines()
    assert lines[1:] == [str(row) for row in history.rows]
    train(*sets, epochs=1, verbose=False)
    assert capsys.readouterr().out == ""


@TRAIN
@pytest.mark.parametrize(
    ("which", "value", "dtype", "match"),
    [
        ("X_tr", np.nan, "float32", r"training loss is nan after epoch 0: X_tr\[7, 3\] is nan"),
        (
            "X_tr",
            1e39,
            "float64",
            r"training loss is nan after epoch 0: X_tr\[7, 3\] is 1e\+39, .* not finite in float32",
        ),
        ("X_te", np.nan, "float32", r"test loss is nan after epoch 0: X_te\[7, 3\] is nan"),
        ("X_te", -np.inf, "float16", r"test loss is nan after epoch 0: X_te\[7, 3\] is -inf"),
    ],
)
def test_a_loss_that_is_not_finite_names_what_is_to_blame(monkeypatch, train, sets, which, value, dtype, match):
    monkeypatch.setattr(checks, "CHUNK_BYTES", 100)
    X, y, X_te, y_te = sets
    X, X_te = X.astype(dtype), X_te.astype(dtype)
    (X if which == "X_tr" else X_te)[[7, 9], 3] = value
    if dtype == "float16":  # of both signs, so that one of the products is inf - inf
        X_te[7, 4] = np.inf
    with pytest.raises(FloatingPointError, match=match):
        train(X, y, X_te, y_te, epochs=3, verbose=False)


@TRAIN
@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_weights_that_grow_without_bound_are_said_to(train, sets, dtype):
    X, y, X_te, y_te = sets
    with pytest.raises(FloatingPointError, match="training loss is nan after epoch 0: the weights have grown"):
        train((9 * X).astype(dtype), y, X_te, y_te, epochs=3, lr=1e38, batch=1, verbose=False)


@TRAIN
@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"epochs": -1}, ValueError, "epochs must be at least 0"),
        ({"epochs": "3"}, TypeError, "epochs must be an integer"),
        ({"lr": np.inf}, ValueError, "lr must be finite"),
        ({"batch": 0}, ValueError, "batch must be at least 1"),
        ({"schedule": "linear"}, ValueError, "schedule must be one of 'constant', 'step', 'cosine', got 'linear'"),
        ({"last_batch": "sum"}, ValueError, "last_batch must be one of 'nominal', 'mean', got 'sum'"),
        ({"resume": True}, ValueError, "resume needs checkpoint"),
        ({"resume": 1}, TypeError, "resume must be True or False, got 1 of type int"),
        ({"shuffle": "no"}, TypeError, "shuffle must be True or False, got 'no' of type str"),
        ({"shuffle": np.array([True])}, TypeError, "shuffle must be True or False"),
    ],
)
def test_refuses_settings(train, sets, changed, error, match):
    with pytest.raises(error, match=match):
        train(*sets, **changed)


@TRAIN
def test_refuses_sets(train, sets):
    X, y, X_te, y_te = sets
    with pytest.raises(ValueError, match=r"y_te\[0\] is 3; labels must lie in \[0, 3\)"):
        train(X, y, X_te, y_te * 0 + 3)
    with pytest.raises(ValueError, match="X_te must have 12 columns"):
        train(X, y, X_te[:, 1:], y_te)
    with pytest.raises(ValueError, match="at least one row"):
        train(X[:0], y[:0], X_te, y_te)
    with pytest.raises(ValueError, match=r"y_tr\[0\] is -1"):
        train(X, y.astype(int) * 0 - 1, X_te, y_te)


@pytest.mark.parametrize(("seed", "error"), [(-1, ValueError), (2**32, ValueError), ("0", TypeError)])
def test_refuses_seeds_and_sizes(sets, seed, error):
    with pytest.raises(error, match="seed must be"):
        fastml.train_nn(*sets, seed=seed)
    with pytest.raises(ValueError, match="hidden_dim must be at least 1"):
        fastml.train_nn(*sets, hidden_dim=0)


def test_seed_decides_the_weights_and_leaves_the_global_generator_alone(sets):
    state = np.random.get_state()[1].copy()
    runs = [fastml.train_nn(*sets, hidden_dim=8, epochs=1, seed=seed, verbose=False) for seed in (3, 3, 4)]
    np.testing.assert_array_equal(runs[0].weights[0], runs[1].weights[0])
    assert (runs[0].weights[0] != runs[2].weights[0]).any()
    np.testing.assert_array_equal(np.random.get_state()[1], state)


@pytest.fixture
def images():
    random = np.random.default_rng(0)
    return random.integers(0, 256, (50, 20), np.uint8), random.integers(3, size=50)


@TRAIN
@pytest.mark.parametrize("shuffle", [False, True])
def test_deformed_epochs_are_epochs_on_the_series_that_deform_makes(monkeypatch, train, images, shuffle):
    monkeypatch.setattr("fastml.runs.DEFORMED_ROWS", 35)  # two batches of 16
    X, y = images
    settings = {"lr": 0.1, "batch": 16, "scale": 1 / 255, "seed": 5, "verbose": False}
    got = train(X, y, X, y, epochs=2, shuffle=shuffle, deform=(4, 5), **settings)
    weights = train(X, y, X, y, epochs=0, **settings).weights
    epoch_function = fastml.softmax_regression_epoch if len(weights) == 1 else fastml.nn_epoch
    for epoch in range(2):
        order = epoch_order(X, 5, epoch) if shuffle else np.arange(50)
        deformed = deform(X.reshape(-1, 4, 5), 50 * epoch + order.astype(np.int64), seed=5).reshape(50, 20)
        epoch_function(deformed, y[order], *weights, 0.1, 16, scale=1 / 255)
    for W, expected in zip(got.weights, weights, strict=True):
        np.testing.assert_array_equal(W, expected)
    assert (got[-1].train_loss, got[-1].train_err) == fastml.evaluate(X, y, *weights, scale=1 / 255)


@TRAIN
def test_deform_refuses_what_are_not_images_of_that_shape(train, images):
    X, y = images
    with pytest.raises(ValueError, match=r"images of 20 pixels, got \(4, 6\)"):
        train(X, y, X, y, deform=(4, 6))
    with pytest.raises(ValueError, match=r"images of 20 pixels, got \(20,\)"):
        train(X, y, X, y, deform=(20,))
    with pytest.raises(TypeError, match="X_tr must be uint8 where deform is given, got float64"):
        train(X / 255, y, X, y, deform=(4, 5))

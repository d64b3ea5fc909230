"""Callbacks of the training functions: early stopping, several at once, and the bar."""

import sys

import numpy as np
import pytest

from fastml import train_nn, train_softmax
from fastml.callbacks import EarlyStopping, callbacks_of
from fastml.history import EpochResult, History
from fastml.weights import Weights


def history_of(column, values):
    """Return a history with values in one column, with weights of their own for each epoch."""
    history = History(Weights([np.zeros((2, 2))]))
    for epoch, value in enumerate(values):
        row = EpochResult(epoch, 1.0, 0.5, None, None, None, None, 0.1)
        history.rows.append(row._replace(**{column: value}))
        history.weights[0][...] = epoch
        yield history


@pytest.mark.parametrize(
    ("values", "patience", "min_delta", "asked"),
    [
        ([3, 2, 1, 0], 0, 0.0, [False, False, False, False]),
        ([3, 3, 2, 2, 2], 0, 0.0, [False, True, False, True, True]),
        ([3, 3, 3, 2], 1, 0.0, [False, False, True, False]),
        ([3, 2.95, 2.91, 2.89], 1, 0.1, [False, False, True, False]),
    ],
)
def test_early_stopping_asks_after_more_epochs_than_its_patience(values, patience, min_delta, asked):
    stopping = EarlyStopping("valid_loss", patience, min_delta)
    assert [stopping(history) for history in history_of("valid_loss", values)] == asked


def test_the_best_weights_are_restored():
    stopping, values = EarlyStopping("test_err", patience=5, restore_best=True), [0.5, 0.2, 0.3, 0.2, 0.4]
    for history in history_of("test_err", values):
        stopping(history)
    stopping.end(history)
    assert history.weights[0].tolist() == [[1, 1], [1, 1]]
    assert stopping.best == []


def test_a_column_that_is_not_there_is_named():
    (history,) = history_of("train_loss", [1.0])
    message = "monitor must be a column of the history, train_loss, train_err, got 'valid_loss'"
    with pytest.raises(ValueError, match=message):
        EarlyStopping()(history)


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"monitor": "loss"}, ValueError, "monitor must be one of 'train_loss'"),
        ({"patience": -1}, ValueError, "patience must be at least 0"),
        ({"min_delta": -0.1}, ValueError, "min_delta must be at least 0"),
        ({"restore_best": 1}, TypeError, "restore_best"),
    ],
)
def test_bad_parameters_are_named(arguments, error, words):
    with pytest.raises(error, match=words):
        EarlyStopping(**arguments)


def test_training_calls_all_callbacks_and_ends_them():
    X, y, seen = np.eye(3, dtype=np.float32), np.arange(3), []

    class Recorder:
        def __call__(self, history):
            seen.append(len(history))
            return len(history) == 3

        def end(self, history):
            seen.append("end")

    history = train_softmax(X, y, epochs=9, batch=3, verbose=False, callback=[Recorder(), lambda history: None])
    assert seen == [1, 2, 3, "end"]
    assert len(history) == 3


def test_training_ends_with_the_best_weights():
    random = np.random.default_rng(0)
    X, y = random.standard_normal((40, 5)).astype(np.float32), random.integers(3, size=40)
    sets, settings = (X[:20], y[:20], X[20:], y[20:]), {"hidden_dim": 30, "batch": 5, "lr": 0.5, "verbose": False}
    stopping = EarlyStopping("test_loss", patience=3, restore_best=True)
    history = train_nn(*sets, epochs=30, **settings, callback=stopping)
    best = int(np.argmin([row.test_loss for row in history.rows]))
    assert best + 5 == len(history) < 30
    expected = train_nn(*sets, epochs=best + 1, **settings)
    for found, W in zip(history.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(found, W)


def test_what_is_no_callback_is_refused_before_anything_is_printed(capsys):
    with pytest.raises(TypeError, match="callback must be a function of the history, or an iterable of them, got 5"):
        train_softmax(np.eye(2), [0, 1], epochs=1, callback=[print, 5])
    assert capsys.readouterr().out == ""
    assert callbacks_of(None) == []


def test_training_shows_a_bar_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setattr("fastml.progress.BAR_DELAY_SECONDS", 0)
    monkeypatch.setattr("fastml.slices.SLICE_SECONDS", 0.0)
    for verbose in (False, True):
        train_softmax(np.eye(3), np.arange(3), epochs=1, batch=1, verbose=verbose)
        assert ("/3.00 " in capsys.readouterr().err) == verbose

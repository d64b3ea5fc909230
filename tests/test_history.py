"""A history is a sequence of epochs, with a table for each place where it is shown."""

import copy
import pickle
import re
import sys
from importlib.metadata import version
from xml.etree import ElementTree

import numpy as np
import pandas
import pytest
from matplotlib.figure import Figure

import fastml
from fastml import History, load_weights, train_nn, train_softmax
from fastml.history import sparkline
from fastml.weights import Weights
from tests.problems import make_problem

PROBLEM = make_problem(60, 16, 8, 3, 10)
X, Y = PROBLEM.X, PROBLEM.y
SETTINGS = {"epochs": 4, "batch": 10, "verbose": False}


@pytest.fixture(scope="module")
def history():
    return train_softmax(X, Y, X, Y, bias=True, validation_fraction=0.2, **SETTINGS)


@pytest.mark.parametrize("more", [{}, {"X_te": X, "y_te": Y}, {"validation_fraction": 0.2}])
def test_print_is_the_table_that_the_run_prints(capsys, more):
    history = train_softmax(X, Y, **{**SETTINGS, **more, "verbose": True})
    printed = capsys.readouterr().out
    print(history)
    assert capsys.readouterr().out == printed
    assert repr(history) == str(history)


def test_a_history_without_epochs_has_a_head(history):
    empty = History(history.weights)
    assert "Epoch" in repr(empty)
    assert "<table>" in empty._repr_html_()
    assert len(empty) == 0


def test_notebooks_get_a_table_with_sparklines(history):
    root = ElementTree.fromstring(history._repr_html_())
    assert [cell.text for cell in root.findall("thead/tr[1]/th")] == [
        name.replace("_", " ") for name in history.to_dict()
    ]
    assert len(root.findall("thead/tr[2]/td/svg/polyline")) == 6
    rows = [[float(cell.text) for cell in row] for row in root.findall("tbody/tr")]
    assert rows == [[pytest.approx(value, rel=1e-4) for value in row] for row in history]


@pytest.mark.parametrize(
    ("values", "points"),
    [([3.0, 1.0, 2.0], "0.0,0.0 40.0,20.0 80.0,10.0"), ([1.0, 1.0], "0.0,0.0 80.0,0.0"), ([5.0], "0.0,0.0"), ([], "")],
)
def test_a_sparkline_goes_from_edge_to_edge(values, points):
    assert re.search(r'points="(.*?)"', sparkline(values))[1] == points


def test_a_history_is_a_sequence(history):
    assert list(history) == history.rows == history[:]
    assert history[-1] is history.rows[3]
    assert history[1:3] == history.rows[1:3]
    assert [row.epoch for row in reversed(history)] == [3, 2, 1, 0]
    assert history.rows[2] in history
    assert min(history, key=lambda row: row.train_loss).epoch == 3
    with pytest.raises(IndexError):
        history[4]


def test_columns_are_those_of_the_sets_that_there_are(history):
    table = history.to_dict()
    assert list(table) == list(history[0]._fields)
    assert table["valid_loss"] == [row.valid_loss for row in history]
    assert list(train_softmax(X, Y, **SETTINGS).to_dict()) == ["epoch", "train_loss", "train_err", "seconds"]


def test_plot_draws_on_new_axes_or_those_given(history):
    losses, errors = history.plot()
    assert (losses.get_ylabel(), errors.get_ylabel()) == ("loss (nats)", "error (%)")
    given = Figure().subplots(1, 2)
    assert list(history.plot(given)) == list(given)
    np.testing.assert_allclose(given[0].lines[0].get_ydata(), [row.train_loss for row in history])


def test_to_pandas(history):
    frame = history.to_pandas()
    assert frame.index.name == "epoch"
    assert frame["test_err"].tolist() == [row.test_err for row in history]
    pandas.testing.assert_frame_equal(frame.reset_index(), pandas.DataFrame(history.rows))


def test_without_pandas_it_is_said_what_to_install(monkeypatch, history):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"pip install 'fastml\[pandas\]'"):
        history.to_pandas()


def test_save_keeps_the_weights_and_the_table(tmp_path, history):
    history.save(tmp_path / "run.npz")
    weights, settings = load_weights(tmp_path / "run.npz")
    assert weights == history.weights
    assert settings == {"history": history.to_dict()}


def test_histories_of_one_run_are_equal_whatever_their_seconds(history):
    again = train_softmax(X, Y, X, Y, bias=True, validation_fraction=0.2, **SETTINGS)
    assert again == history
    assert again[0].seconds != history[0].seconds
    for other in (copy.deepcopy(history), pickle.loads(pickle.dumps(history))):
        assert other == history
    shorter = train_softmax(X, Y, X, Y, bias=True, validation_fraction=0.2, **{**SETTINGS, "epochs": 3})
    assert shorter != history
    assert history != "a history"
    assert train_nn(X, Y, hidden_dim=4, **SETTINGS) != history


@pytest.mark.parametrize(
    "other",
    [
        Weights([np.ones((2, 3), np.float32)], {"bias": np.ones(3)[:3].astype(np.float32)}),
        Weights([np.ones((2, 3))]),
        Weights([np.ones((2, 3), np.float32)], scale=0.5),
        Weights([np.ones((2, 3), np.float32)], shift=np.ones(2)),
        Weights([np.eye(2, 3, dtype=np.float32)]),
        Weights([np.ones((2, 4), np.float32)]),
        (np.ones(()),),
    ],
)
def test_weights_differ_in_anything_they_hold(other):
    weights = Weights([np.ones((2, 3), np.float32)])
    assert weights == Weights([np.ones((2, 3), np.float32)])
    assert weights != other


def test_version():
    assert fastml.__version__ == version("fastml")

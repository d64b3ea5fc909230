"""Masked arrays: one with a masked element is refused by name wherever an array comes in, one without is a number."""

import numpy as np
import pytest

import fastml
from fastml.datasets import deform, write_idx
from fastml.plotting import plot_confusion, plot_deformations
from fastml.weights import save_weights
from tests.problems import EPOCHS, make_problem


def masked(array, *place):
    """Return a masked array of the elements of an array, with one element masked."""
    array = np.ma.array(array)
    array[place] = np.ma.masked
    return array


IMAGES = np.zeros((3, 4, 4), np.uint8)
PROBLEM = make_problem(12, 6, 5, 4, batch=5)
THETA = PROBLEM.theta.astype(np.float32)
SETS = [PROBLEM.X, PROBLEM.y, PROBLEM.X, PROBLEM.y]
CALLS = {
    "Z": (lambda: fastml.loss_err(masked(np.zeros((2, 3)), 1, 2), [0, 0]), "logits has a masked element at 1, 2"),
    "y of logits": (lambda: fastml.softmax_loss(np.zeros((2, 3)), masked([0, 1], 1)), "y has a masked element at 1"),
    "X to evaluate": (lambda: fastml.evaluate(masked(PROBLEM.X, 3, 1), PROBLEM.y, THETA), "X has .* at 3, 1"),
    "X to predict": (lambda: fastml.predict([masked(row, 1) for row in PROBLEM.X], THETA), "X has a masked element at"),
    "theta": (lambda: fastml.predict_proba(PROBLEM.X, masked(THETA, 0, 0)), "theta has .* at 0, 0"),
    "X_tr": (lambda: fastml.train_softmax(masked(PROBLEM.X, 2, 5), *SETS[1:]), "X_tr has .* at 2, 5"),
    "y_te": (lambda: fastml.train_nn(*SETS[:3], masked(PROBLEM.y, 4)), "y_te has .* at 4"),
    "images": (lambda: deform(masked(IMAGES, 0, 1, 2), [0]), "images has .* at 0, 1, 2"),
    "numbers": (lambda: deform(IMAGES, masked([5, 6], 0)), "numbers has .* at 0"),
    "out": (lambda: deform(IMAGES, [0], out=masked(IMAGES[:1], 0, 0, 0)), "out has .* at 0, 0, 0"),
    "a file of weights": (lambda: save_weights("theta.npz", (masked(THETA, 1, 1),), {}), "theta has .* at 1, 1"),
    "an IDX file": (lambda: write_idx("images", masked(IMAGES, 2, 2, 2)), "array has .* at 2, 2, 2"),
    "a picture": (lambda: plot_confusion(masked(np.eye(2), 0, 0)), "matrix has .* at 0, 0"),
    "a contact sheet": (lambda: plot_deformations(masked(IMAGES[None], 0, 0, 0, 0)), "images has"),
}


@pytest.mark.parametrize("call", sorted(CALLS))
def test_a_masked_element_is_refused_by_name(tmp_path, monkeypatch, call):
    monkeypatch.chdir(tmp_path)
    function, match = CALLS[call]
    with pytest.raises(ValueError, match=match):
        function()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("model", sorted(EPOCHS))
@pytest.mark.parametrize("name", ["X", "y", "order", "first", "last"])
def test_epochs_refuse_one_before_anything_changes(model, name):
    weights = PROBLEM.weights(model, "float32")
    arrays = {"X": PROBLEM.X, "y": PROBLEM.y, "order": np.arange(12), "first": weights[0], "last": weights[-1]}
    found = masked(arrays[name], *[1] * arrays[name].ndim)
    weights = [found if arrays[name] is W else W for W in weights]
    before = [W.tobytes() for W in map(np.asarray, weights)]
    arrays[name] = found
    named = {"first": "theta" if model == "softmax" else "W1", "last": "theta" if model == "softmax" else "W2"}
    with pytest.raises(ValueError, match=f"^{named.get(name, name)} has a masked element at 1"):
        EPOCHS[model][0](arrays["X"], arrays["y"], *weights, order=arrays["order"])
    assert before == [W.tobytes() for W in map(np.asarray, weights)]


def test_a_masked_array_without_a_masked_element_is_an_array():
    weights, expected = PROBLEM.weights("nn", "float32"), PROBLEM.weights("nn", "float32")
    fastml.nn_epoch(PROBLEM.X, PROBLEM.y, *expected, **PROBLEM.settings)
    fastml.nn_epoch(np.ma.array(PROBLEM.X), np.ma.array(PROBLEM.y), *map(np.ma.array, weights), **PROBLEM.settings)
    for got, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(got, wanted)

"""Training beyond hw0: start weights, biases, standardised inputs, classes with weights, validation, schedules."""

import copy
from contextlib import suppress

import numpy as np
import pytest

import fastml
from fastml.checkpoints import CheckpointError
from fastml.preparation import mean_and_deviation
from fastml.schedules import scheduled_lr
from fastml.weights import Weights, load_weights, save_weights
from tests.problems import make_problem
from tests.test_checkpoints import Enough, assert_same_run, stop_after

MODELS = pytest.mark.parametrize("model", ["softmax", "nn"])


def train(model, *sets, **settings):
    """Train a model with eight hidden units, silently."""
    if model == "nn":
        return fastml.train_nn(*sets, **{"hidden_dim": 8, "batch": 16, "verbose": False, **settings})
    return fastml.train_softmax(*sets, **{"batch": 16, "verbose": False, **settings})


@pytest.fixture
def sets():
    problem = make_problem(330, 12, 8, 3, batch=16)
    return problem.X[:300], problem.y[:300], problem.X[300:], problem.y[300:]


@MODELS
def test_without_a_test_set_the_weights_are_the_same_and_the_table_has_no_columns_for_it(capsys, sets, model):
    expected, history = train(model, *sets, epochs=2), train(model, *sets[:2], epochs=2, verbose=True)
    for W, W_expected in zip(history.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(W, W_expected)
    assert (history[-1].test_loss, history[-1].test_err) == (None, None)
    head, *rows = capsys.readouterr().out.splitlines()
    assert head == "| Epoch | Train Loss | Train Err |"
    assert len(rows) == 2
    assert {row.count("|") for row in (head, *rows)} == {4}


@pytest.mark.parametrize("missing", [2, 3])
def test_half_a_test_set_is_rejected(sets, missing):
    arguments = list(sets)
    arguments[missing] = None
    with pytest.raises(TypeError, match="pass both, or neither for no test set"):
        fastml.train_nn(*arguments)


@MODELS
@pytest.mark.parametrize("optimizer", [None, fastml.Momentum(), fastml.AdamW(decay=0.1)], ids=repr)
def test_training_goes_on_from_weights(model, sets, optimizer):
    settings = {"lr": 0.05, "bias": True}
    whole = train(model, *sets, epochs=3, optimizer=copy.deepcopy(optimizer), **settings)
    state = copy.deepcopy(optimizer)
    first = train(model, *sets, epochs=1, optimizer=state, **settings)
    before = [W.copy() for W in first.weights]
    then = train(model, *sets, epochs=2, optimizer=state, weights=first.weights, lr=0.05)
    for W, expected in zip(then.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(W, expected)
    for name, b in whole.weights.biases.items():
        assert b.any()
        np.testing.assert_array_equal(then.weights.biases[name], b)
    for W, expected in zip(first.weights, before, strict=True):
        np.testing.assert_array_equal(W, expected)


@pytest.mark.parametrize(
    ("changed", "error", "match"),
    [
        ({"weights": [np.zeros((12, 3))]}, TypeError, "weights must be W1 and W2, got 1 arrays"),
        ({"weights": [np.zeros((11, 8)), np.zeros((8, 3))]}, ValueError, "X_tr must have 11 columns"),
        ({"weights": [np.zeros((12, 8)), np.zeros((8, 2))]}, ValueError, r"labels must lie in \[0, 2\)"),
        ({"bias": "yes"}, TypeError, "bias must be True or False"),
        ({"standardize": True, "scale": 0.5}, ValueError, "standardize computes scale and shift; leave both out"),
        ({"standardize": 1}, TypeError, "standardize must be True or False"),
        ({"class_weight": "even"}, ValueError, "class_weight must be one of 'balanced', got 'even'"),
        ({"class_weight": [1, 2]}, TypeError, "class_weight must be None, 'balanced' or a dict of labels, got list"),
        ({"class_weight": {3: 1.0}}, ValueError, "class_weight has label 3; there are 3 classes"),
        ({"class_weight": {1: -1.0}}, ValueError, r"class_weight\[1\] must be at least 0"),
        ({"validation_fraction": 1.0}, ValueError, r"validation_fraction must lie in \[0, 1\)"),
        ({"patience": 3}, ValueError, "patience and restore_best need validation_fraction"),
        ({"restore_best": True}, ValueError, "patience and restore_best need validation_fraction"),
        ({"validation_fraction": 0.1, "patience": -1}, ValueError, "patience must be at least 0"),
        ({"min_delta": -1.0}, ValueError, "min_delta must be at least 0"),
        ({"warmup_epochs": -1}, ValueError, "warmup_epochs must be at least 0"),
        ({"schedule": lambda epoch, epochs: np.nan}, ValueError, "the factor that schedule returns must be finite"),
        ({"schedule": lambda epoch, epochs: None}, TypeError, "the factor that schedule returns must be a real number"),
    ],
)
def test_settings_are_rejected(sets, changed, error, match):
    with pytest.raises(error, match=match):
        train("nn", *sets, **changed)


@MODELS
@pytest.mark.parametrize("x_dtype", [np.float32, np.uint8])
def test_standardized_weights_carry_scale_and_shift(tmp_path, model, sets, x_dtype):
    X, y, X_te, y_te = sets
    X, X_te = ((100 * each).astype(x_dtype) for each in (X, X_te))
    X[:, 5] = 7  # a constant feature
    history = train(model, X, y, X_te, y_te, epochs=2, lr=0.05, standardize=True, bias=True)
    mean, deviation = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
    deviation[5] = 1
    np.testing.assert_allclose(history.weights.shift, mean, rtol=1e-12)
    np.testing.assert_allclose(history.weights.scale, 1 / deviation, rtol=1e-12)
    Z = (X - mean) / deviation
    expected = train(model, Z, y, (X_te - mean) / deviation, y_te, epochs=2, lr=0.05, bias=True)
    assert history[-1].test_loss == pytest.approx(expected[-1].test_loss, rel=1e-4)
    save_weights(tmp_path / "weights.npz", history.weights, {})
    loaded, _ = load_weights(tmp_path / "weights.npz")
    given = fastml.predict_proba(X_te, *history.weights, **history.weights.keywords)
    np.testing.assert_array_equal(fastml.predict_proba(X_te, *loaded, **loaded.keywords), given)
    raw = copy.deepcopy(loaded).folded()
    assert (raw.scale, raw.shift) == (1, 0)
    np.testing.assert_allclose(fastml.predict_proba(X_te, *raw, **raw.keywords), given, rtol=1e-3, atol=1e-5)
    again = train(model, X, y, X_te, y_te, epochs=1, weights=loaded)
    np.testing.assert_array_equal(again.weights.shift, loaded.shift)
    with pytest.raises(ValueError, match="scale differs from the scale of weights"):
        train(model, X, y, weights=loaded, scale=0.5)


@pytest.mark.parametrize("rows", [None, np.arange(5, 4000, 3)])
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_mean_and_deviation_of_several_parts(rows, offset):
    X = np.random.default_rng(0).standard_normal((5000, 3)) * [1, 100, 0] + offset
    mean, deviation = mean_and_deviation(X, rows)
    some = X if rows is None else X[rows]
    np.testing.assert_allclose(mean, some.mean(axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(deviation, [*some[:, :2].std(axis=0), 1], rtol=1e-8)


@MODELS
def test_classes_with_weights_are_examples_with_weights(model, sets):
    X, y, *_ = sets
    counts = np.bincount(y)
    for class_weight, of_class in (("balanced", 300 / (3 * counts)), ({1: 2.5, 2: 0}, np.array([1, 2.5, 0]))):
        own = np.random.default_rng(0).random(300)
        weighted = train(model, X, y, epochs=2, class_weight=class_weight, sample_weight=own)
        expected = train(model, X, y, epochs=2, sample_weight=own * of_class[y])
        plain = train(model, X, y, epochs=2)
        for W, same, other in zip(weighted.weights, expected.weights, plain.weights, strict=True):
            np.testing.assert_array_equal(W, same)
            assert (other != W).any()


@MODELS
def test_held_out_rows_are_evaluated_and_not_trained_on(model, sets):
    X, y, *_ = sets
    settings = {"epochs": 1, "validation_fraction": 0.2, "shuffle": True}
    history, found = train(model, X, y, **settings), 0
    # A row that is not a number is in the training loss, or, held out, in the validation loss alone.
    for row in range(30):
        spoiled = X.copy()
        spoiled[row] = np.nan
        with pytest.raises(FloatingPointError, match=rf"X_tr\[{row}, 0\] is nan") as raised:
            train(model, spoiled, y, **settings)
        found += str(raised.value).startswith("the validation loss is nan")
    assert 2 <= found <= 12
    assert history[-1].valid_loss != history[-1].train_loss


@MODELS
def test_patience_ends_a_run_and_the_best_weights_return(model, sets):
    X, y, *_ = sets
    settings = {"lr": 2.0, "validation_fraction": 0.3, "shuffle": True}
    history = train(model, X, y, epochs=60, patience=2, restore_best=True, **settings)
    losses = [row.valid_loss for row in history.rows]
    best = int(np.argmin(losses))
    assert best < len(history) - 1 < 59
    assert len(history) == best + 4
    expected = train(model, X, y, epochs=best + 1, **settings)
    for W, W_expected in zip(history.weights, expected.weights, strict=True):
        np.testing.assert_array_equal(W, W_expected)
    longer = train(model, X, y, epochs=60, patience=2, min_delta=10.0, **settings)
    assert len(longer) == 4  # only the first loss is better than infinity


@pytest.mark.usefixtures("one_batch_a_slice")
@MODELS
@pytest.mark.parametrize("optimizer", [fastml.Momentum(), fastml.AdamW(decay=0.1)], ids=repr)
def test_run_with_state_stopped_anywhere_ends_with_the_same_bits(tmp_path, sets, model, optimizer):
    settings = {"lr": 0.05, "bias": True, "standardize": True, "shuffle": True, "schedule": "cosine"}
    settings |= {"validation_fraction": 0.2, "patience": 1, "restore_best": True, "warmup_epochs": 1}
    settings |= {"sample_weight": np.random.default_rng(0).random(300)}
    expected = train(model, *sets, epochs=4, optimizer=copy.deepcopy(optimizer), **settings)
    random, history, stops = np.random.default_rng(1), None, 0
    while history is None:
        with suppress(Enough):
            progress = stop_after(1 if stops < 5 else random.integers(1, 12))
            run = {"checkpoint": tmp_path / "run", "resume": stops > 0, "progress": progress}
            history = train(model, *sets, epochs=4, optimizer=copy.deepcopy(optimizer), **settings, **run)
        stops += 1
    assert stops > 5
    assert_same_run(history, expected)
    for name, b in expected.weights.biases.items():
        np.testing.assert_array_equal(history.weights.biases[name], b)
    with pytest.raises(CheckpointError, match=r"is of a run with optimizer .*, this one has 'SGD\(\)'"):
        train(model, *sets, epochs=4, **settings, checkpoint=tmp_path / "run", resume=True)


def test_schedules_of_names_and_functions():
    assert [scheduled_lr("cosine", 0.5, e + 2, 6, 2) for e in range(4)] == [
        scheduled_lr("cosine", 0.5, e, 4) for e in range(4)
    ]
    rising = [scheduled_lr("cosine", 0.6, e, 6, 2) for e in range(3)]
    np.testing.assert_allclose(rising, [0.2, 0.4, 0.6])
    heard = []
    scheduled_lr(lambda *numbers: heard.append(numbers) or 1.0, 0.5, 3, 10, 2)
    assert heard == [(1, 8)]


def test_weights_are_a_tuple_that_checks_what_it_carries():
    W1, W2, b1 = np.ones((4, 5)), np.ones((5, 3)), np.zeros(5)
    weights = Weights([W1, W2], {"b1": b1, "b2": None}, scale=[1.0, 2.0, 3.0, 4.0])
    assert all(a is b for a, b in zip(weights, (W1, W2), strict=True))
    assert set(weights.keywords) == {"b1", "scale", "shift"}
    assert copy.copy(weights).biases.keys() == {"b1"}
    with pytest.raises(ValueError, match="b1 must have shape"):
        Weights([W1, W2], {"b1": b1[:-1]})
    with pytest.raises(TypeError, match="bias is no bias of W1 and W2"):
        Weights([W1, W2], {"bias": b1})
    with pytest.raises(ValueError, match=r"scale must have shape \(4,\)"):
        Weights([W1, W2], scale=[1.0])

"""Whatever is refused is refused by name, before the weights change a bit."""

import decimal
import fractions

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csc_matrix, csr_array

import fastml
from tests.problems import EPOCHS, make_problem

pytestmark = pytest.mark.parametrize("model", sorted(EPOCHS))
ROWS, INPUTS, HIDDEN, CLASSES = 12, 6, 5, 4


class NeedsGrad:
    """A tensor that requires a gradient: NumPy's conversion raises a RuntimeError."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


def with_object(value, *shape):
    """Return ones as objects, and another object at place (2, 1)."""
    array = np.ones(shape, object)
    array[2, 1] = value
    return array


def assert_refused(model, error, match, weights=None, **changed):
    """Assert that the epoch function refuses the changed arguments and leaves every byte of the weights."""
    problem = make_problem(ROWS, INPUTS, HIDDEN, CLASSES, batch=5)
    weights = problem.weights(model, "float32") if weights is None else weights(problem)
    before = [W.tobytes() for W in weights if isinstance(W, np.ndarray)]
    arguments = {"X": problem.X, "y": problem.y, **problem.settings, **changed}
    X, y = arguments.pop("X"), arguments.pop("y")
    with pytest.raises(error, match=match):
        EPOCHS[model][0](X, y, *weights, **arguments)
    assert before == [W.tobytes() for W in weights if isinstance(W, np.ndarray)]


@pytest.mark.parametrize(
    ("X", "error", "match"),
    [
        (np.zeros((ROWS, INPUTS), complex), TypeError, r"X must hold .* complex128"),
        (np.full((ROWS, INPUTS), None), TypeError, r"X must hold .* object \(\[0, 0\] is None of .*: fill in missing"),
        (with_object("5", ROWS, INPUTS), TypeError, r"X must hold .* object \(\[2, 1\] is '5' of type str\)"),
        (with_object(1j, ROWS, INPUTS), TypeError, r"X must hold .* object \(\[2, 1\] is 1j of type complex\)"),
        (with_object(10**400, ROWS, INPUTS), TypeError, r"X must hold .* object \(\[2, 1\] is 1000"),
        (
            csr_array(np.eye(ROWS, INPUTS)),
            TypeError,
            r"X is a sparse matrix, csr_array of shape \(12, 6\): pass X.toa",
        ),
        (csc_matrix(np.eye(ROWS, INPUTS)), TypeError, r"X is a sparse matrix, csc_matrix of shape"),
        (NeedsGrad(), TypeError, "X must be an array of numbers, got NeedsGrad: Can't call numpy"),
        (np.full((ROWS, INPUTS), "a"), TypeError, r"X must hold .* <U1"),
        (np.zeros((ROWS, INPUTS), "M8[s]"), TypeError, r"X must hold .* datetime64"),
        (np.zeros((ROWS, INPUTS), np.longdouble), TypeError, r"X must hold .* float128"),
        ([[1.0, 2.0], [3.0]], ValueError, r"X must be an array"),
        (np.float32(3), ValueError, r"X must be 2-D.*shape \(\)"),
        (np.zeros(ROWS), ValueError, r"X must be 2-D.*shape \(12,\)"),
        (np.zeros((ROWS, 2, 3)), ValueError, r"X must be 2-D.*shape \(12, 2, 3\)"),
        (np.zeros((ROWS, INPUTS + 1)), ValueError, r"X must have 6 columns.*\(12, 7\)"),
        (None, TypeError, r"X must hold"),
    ],
)
def test_refuses_X(model, X, error, match):
    assert_refused(model, error, match, X=X)


@pytest.mark.parametrize(
    ("y", "error", "match"),
    [
        (np.full(ROWS, np.nan), TypeError, r"y must hold integers.*float64"),
        (np.zeros(ROWS, bool), TypeError, r"y must hold integers.*bool"),
        (np.zeros(ROWS), TypeError, r"y must hold integers.*float64; y.astype\(int\) makes integers"),
        (np.full(ROWS, 0.5), TypeError, r"y must hold integers.*float64$"),
        (np.full(ROWS, 0.5, object), TypeError, r"y must hold integers.*float64$"),
        (np.full(ROWS, "5"), TypeError, r"y must hold integers.*<U1; fastml.estimators take labels of any type"),
        (np.full(ROWS, "a", object), TypeError, r"y must hold .*\[0\] is 'a' of type str\); fastml.estimators take"),
        (np.full(ROWS, None), TypeError, r"y must hold integers.*\[0\] is None"),
        (np.full(ROWS, -1), ValueError, r"y\[0\] is -1; .* np.unique\(y, return_inverse=True\)\[1\] makes such labels"),
        (np.zeros((1, ROWS), int), ValueError, r"y must be 1-D with 12 labels.*\(1, 12\)"),
        (np.zeros((ROWS - 1, 1), int), ValueError, r"y must be 1-D with 12 labels.*\(11, 1\)"),
        (csr_array(np.ones((ROWS, 1), int)), TypeError, "y is a sparse matrix"),
        (np.zeros(ROWS - 1, int), ValueError, r"y must be 1-D with 12 labels.*\(11,\)"),
        (np.zeros((), int), ValueError, r"y must be 1-D"),
        ([2**64] * ROWS, TypeError, r"y must hold integers.*object"),
    ],
)
def test_refuses_y(model, y, error, match):
    assert_refused(model, error, match, y=y)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(data=st.data(), dtype=st.sampled_from(["i1", "u1", "i2", ">i4", "i8", ">u2", "u8"]))
def test_refuses_a_label_out_of_range_at_any_position(model, data, dtype):
    bounds = np.iinfo(dtype)
    values = [v for v in (bounds.min, -1, CLASSES, CLASSES + 1, bounds.max) if bounds.min <= v <= bounds.max]
    bad = data.draw(st.sampled_from([v for v in values if not 0 <= v < CLASSES]))
    position = data.draw(st.integers(0, ROWS - 1))
    y = np.ones(ROWS, dtype)
    y[position:] = bad
    assert_refused(model, ValueError, rf"y\[{position}\] is {bad}; labels must lie in \[0, {CLASSES}\)", y=y)


@pytest.mark.parametrize(
    ("order", "error", "match"),
    [
        ([0, 1, ROWS], ValueError, r"order\[2\] is 12; indices must lie in \[0, 12\)"),
        ([0, -1], ValueError, r"order\[1\] is -1"),
        ([[0, 1]], ValueError, r"order must be None or a 1-D array"),
        ([0.0, 1.0], TypeError, r"order must be None or hold integers.*float64"),
        ("shuffle", TypeError, r"order must be None or hold integers"),
        (np.ones(ROWS, bool), TypeError, r"order must be None or hold integers.*bool"),
    ],
)
def test_refuses_order(model, order, error, match):
    assert_refused(model, error, match, order=order)


@pytest.mark.parametrize("name", ["lr", "scale", "shift", "l2"])
@pytest.mark.parametrize(
    ("value", "error"),
    [
        (np.nan, ValueError),
        (np.inf, ValueError),
        (-np.inf, ValueError),
        (10**400, ValueError),
        ("0.1", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.bool_(True), TypeError),
        (decimal.Decimal("0.1"), TypeError),
        (0.1j, TypeError),
    ],
)
def test_refuses_numbers(model, name, value, error):
    assert_refused(model, error, rf"{name} must be", **{name: value})


@pytest.mark.parametrize(
    ("value", "error"),
    [
        (0, ValueError),
        (-1, ValueError),
        (2.5, ValueError),
        (np.nan, ValueError),
        (np.inf, ValueError),
        ("100", TypeError),
        (None, TypeError),
        (True, TypeError),
        (np.bool_(True), TypeError),
        (decimal.Decimal(5), TypeError),
        ([5], TypeError),
    ],
)
def test_refuses_batch(model, value, error):
    assert_refused(model, error, "batch must be", batch=value)


def with_one(value, size, dtype=float):
    """Return ones, and a value at place 2."""
    array = np.ones(size, dtype)
    array[2] = value
    return array


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"lr": np.ones(2)}, TypeError, "lr must be a real number"),
        ({"scale": np.ones(2)}, ValueError, r"scale must have shape \(6,\), one number for each feature"),
        ({"scale": np.ones((1, INPUTS))}, ValueError, r"scale must have shape \(6,\)"),
        ({"scale": with_one(0, INPUTS)}, ValueError, r"scale\[2\] is 0; a scale for each feature must not be 0"),
        ({"scale": with_one(np.nan, INPUTS)}, ValueError, r"scale\[2\] is nan; scale must be finite"),
        ({"scale": ["a"] * INPUTS}, TypeError, "scale must hold real numbers"),
        ({"shift": with_one(np.inf, INPUTS)}, ValueError, r"shift\[2\] is inf; shift must be finite"),
        ({"shift": np.ones(7)}, ValueError, r"shift must have shape \(6,\)"),
        ({"lr": -0.1}, ValueError, "lr must be at least 0, got -0.1"),
        ({"l2": -1e-9}, ValueError, "l2 must be at least 0, got -1e-09"),
        (
            {"sample_weight": with_one(-1, ROWS)},
            ValueError,
            r"sample_weight\[2\] is -1.0; weights of examples must not",
        ),
        ({"sample_weight": with_one(np.nan, ROWS)}, ValueError, r"sample_weight\[2\] is nan"),
        (
            {"sample_weight": np.ones(ROWS + 1)},
            ValueError,
            r"sample_weight must have shape \(12,\), one number for each row",
        ),
        ({"sample_weight": np.ones((ROWS, 1))}, ValueError, "sample_weight must have shape"),
        ({"sample_weight": "balanced"}, TypeError, "sample_weight must hold real numbers"),
    ],
)
def test_refuses_options(model, options, error, match):
    assert_refused(model, error, match, **options)


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda b: b[:-1], ValueError, r"{name} must have shape \({size},\), one number for each column of {W}"),
        (lambda b: b[None], ValueError, r"{name} must have shape"),
        (lambda b: b.astype(np.float64), TypeError, r"{name} must have the dtype of {W}, float32"),
        (lambda b: b.astype(int), TypeError, r"{name} must have the dtype of {W}"),
        (lambda b: b.tolist(), TypeError, r"{name} must be None or a NumPy array, got list"),
        (lambda b: np.broadcast_to(b[:1].copy(), b.shape), ValueError, r"{name} is updated in place but is read-only"),
    ],
)
def test_refuses_biases(model, change, error, match):
    for name, W, size in [("bias", "theta", 4)] if model == "softmax" else [("b1", "W1", 5), ("b2", "W2", 4)]:
        b = change(np.zeros(size, np.float32))
        assert_refused(model, error, match.format(name=name, W=W, size=size), **{name: b})


def test_refuses_a_bias_of_the_other_model(model):
    weights = [np.ones((7, 4), np.float32)] if model == "softmax" else [np.ones((7, 5)), np.ones((5, 4))]
    other = {"b1": np.zeros(4)} if model == "softmax" else {"bias": np.zeros(4)}
    with pytest.raises(TypeError, match=f"{next(iter(other))} is no bias of"):
        fastml.predict(np.ones((2, 7)), *weights, **other)


@pytest.mark.parametrize("value", ["sum", "", None, 1, ["mean"]])
def test_refuses_last_batch(model, value):
    assert_refused(model, ValueError, "last_batch must be one of 'nominal', 'mean'", last_batch=value)


@pytest.mark.parametrize("five", [5, np.int8(5), np.uint64(5), np.array(5), 5.0, np.float32(5), fractions.Fraction(5)])
def test_takes_exact_numbers_of_any_type(model, five):
    problem = make_problem(ROWS, INPUTS, HIDDEN, CLASSES, batch=5)
    expected, got = problem.weights(model, "float32"), problem.weights(model, "float32")
    EPOCHS[model][0](problem.X, problem.y, *expected, lr=5, batch=5, scale=5)
    EPOCHS[model][0](problem.X, problem.y, *got, lr=five, batch=five, scale=five)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def replaced(model, index, change):
    """Return a maker of weights with one of them changed."""

    def make(problem):
        weights = problem.weights(model, "float32")
        weights[index] = change(weights[index])
        return weights

    return make


def read_only(W):
    W.flags.writeable = False
    return W


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        (lambda W: W.tolist(), TypeError, "must be a NumPy array, got list"),
        (lambda W: W.astype(np.float16), TypeError, "must be float32 or float64.*float16"),
        (lambda W: W.astype(np.longdouble), TypeError, "must be float32 or float64.*float128"),
        (lambda W: W.astype(int), TypeError, "must be float32 or float64.*int64"),
        (lambda W: W[0], ValueError, "must be 2-D"),
        (lambda W: W[:, :0], ValueError, "must be 2-D and not empty"),
        (read_only, ValueError, "read-only"),
        (lambda W: np.lib.stride_tricks.as_strided(W, W.shape, (0, 4)), ValueError, "share memory"),
        (lambda W: np.lib.stride_tricks.as_strided(W, W.shape, (4, 4)), ValueError, "share memory"),
    ],
)
def test_refuses_weights(model, change, error, match):
    last = len(make_problem(2, 2, 2, 2, 2).weights(model, "float32")) - 1
    assert_refused(model, error, match, weights=replaced(model, last, change))


def test_refuses_shapes_and_dtypes_that_do_not_chain(model):
    with pytest.raises(ValueError, match=r"X must have 7 columns"):
        EPOCHS[model][0](
            np.zeros((3, 6)), [0, 0, 0], *[np.zeros((7, 7)) for _ in range(1 if model == "softmax" else 2)]
        )
    if model == "nn":
        assert_refused(model, ValueError, "W2 must have 5 rows", weights=replaced(model, 1, lambda W: W[:-1]))
        assert_refused(model, TypeError, "W2 must have the dtype of W1", weights=replaced(model, 1, np.float64))


def test_refuses_weights_that_share_memory(model):
    memory = np.zeros(100, np.float32)
    W, other = memory[8:24].reshape(4, 4), np.zeros((4, 4), np.float32)
    weights, name = ([W], "theta") if model == "softmax" else ([other, W], "W2")
    labels = [0, 1, 2, 3]
    with pytest.raises(ValueError, match=f"{name} .* shares memory with X"):
        EPOCHS[model][0](memory[:16].reshape(4, 4), labels, *weights)
    with pytest.raises(ValueError, match=f"{name} .* shares memory with y"):
        EPOCHS[model][0](np.ones((4, 4)), memory[20:24].view(np.int32), *weights)
    with pytest.raises(ValueError, match=f"{name} .* shares memory with order"):
        EPOCHS[model][0](np.ones((4, 4)), labels, *weights, order=memory[20:24].view(np.int32))
    if model == "nn":
        with pytest.raises(ValueError, match=r"W2 .* shares memory with W1"):
            EPOCHS[model][0](np.ones((4, 4)), labels, memory[23:39].reshape(4, 4), W)
    assert not memory.any()


def test_weights_that_are_too_hard_to_tell_apart_count_as_shared(model, monkeypatch):
    def give_up(a, b, max_work):
        raise np.exceptions.TooHardError

    monkeypatch.setattr(np, "shares_memory", give_up)
    assert_refused(model, ValueError, "shares memory with X")


def test_interleaved_weights_that_share_no_byte_are_taken(model):
    problem = make_problem(ROWS, INPUTS, HIDDEN, CLASSES, batch=5)
    expected = problem.weights(model, "float32")
    memory = np.zeros((20, 40), np.float32)
    got = []
    for index, W in enumerate(problem.weights(model, "float32")):
        got.append(memory[: W.shape[0], index : index + 2 * W.shape[1] : 2])
        got[-1][...] = W
    for weights in (expected, got):
        EPOCHS[model][0](problem.X, problem.y, *weights, **problem.settings)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("function", [fastml.evaluate, fastml.predict, fastml.predict_proba])
def test_functions_of_a_model_refuse_too(model, function):
    problem = make_problem(ROWS, INPUTS, HIDDEN, CLASSES, batch=5)
    weights = problem.weights(model, "float32")
    labels = [problem.y] if function is fastml.evaluate else []
    with pytest.raises(ValueError, match="X must have 6 columns"):
        function(problem.X[:, 1:], *labels, *weights)
    with pytest.raises(TypeError, match="weights must be theta, or W1 and W2; got 3"):
        function(problem.X, *labels, *[weights[0]] * 3)
    with pytest.raises(ValueError, match="scale must be finite"):
        function(problem.X, *labels, *weights, scale=np.nan)
    if labels:
        with pytest.raises(ValueError, match=r"y\[0\] is 4"):
            function(problem.X, labels[0] * 0 + CLASSES, *weights)
        with pytest.raises(ValueError, match="at least one row"):
            function(problem.X[:0], labels[0][:0], *weights)

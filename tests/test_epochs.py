"""The epoch functions against the oracle, by exact invariants, and at numeric edges."""

import numpy as np
import pytest
from hypothesis import given, settings

from fastml import evaluate
from fastml.kernels.loss import MANY_CLASSES
from fastml.kernels.simd.registers import IS_X86
from tests.problems import EPOCHS, LAYOUTS, X_DTYPES, assert_as_accurate_as_numpy, make_problem, problems
from tests.reference import loss_err

pytestmark = pytest.mark.parametrize("model", sorted(EPOCHS))
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


def run(function, problem, weights, **changed):
    function(problem.X, problem.y, *weights, **{**problem.settings, **changed})
    return weights


def assert_agrees(model, dtype, problem):
    fast, numpy_epoch = EPOCHS[model]
    got = run(fast, problem, problem.weights(model, dtype))
    same_start = [W.astype(np.float64) for W in problem.weights(model, dtype)]
    exact = run(numpy_epoch, problem, same_start)
    peer = run(numpy_epoch, problem, problem.weights(model, dtype))
    assert [W.dtype for W in got] == [np.dtype(dtype)] * len(got)
    assert_as_accurate_as_numpy(got, exact, peer, slack=8 * np.finfo(dtype).eps)


@DTYPES
@settings(max_examples=150, deadline=None, derandomize=True)
@given(problem=problems())
def test_agrees_with_the_oracle(model, dtype, problem):
    assert_agrees(model, dtype, problem)


@DTYPES
@pytest.mark.parametrize("x_dtype", X_DTYPES)
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_every_dtype_and_layout_of_X(model, dtype, x_dtype, layout):
    assert_agrees(model, dtype, make_problem(37, 30, 21, 5, batch=16, dtype=x_dtype, layout=layout))


@DTYPES
@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),
        (100, 784, 100, 10),
        (23, 65, 130, 17),
        (3, 200, 67, 62),
        (9, 16, 64, 2),
        (23, 803, 30, 12),
        (15, 1603, 20, 4),
        (7, 2500, 100, 10),
    ],
)
def test_shapes_beyond_one_tile(model, dtype, shape):
    assert_agrees(model, dtype, make_problem(*shape, batch=10, density=0.3))


def test_more_features_than_two_bytes_can_count(model):
    assert_agrees(model, "float32", make_problem(20, 65_560, 4, 3, batch=10, density=0.01))


@DTYPES
@pytest.mark.parametrize("input_dim", [40, 48, 800, 1100])
@pytest.mark.parametrize("batch", [127, 128, 129, 300, 2500])
def test_batches_beyond_one_block_of_rows(model, dtype, batch, input_dim):
    # 800 pixels are several parts of softmax regression, 1100 several pieces of the network, which packs 40 and 1100.
    assert_agrees(model, dtype, make_problem(max(batch, 700), input_dim, 37, 5, batch=batch, density=0.3))


@DTYPES
@pytest.mark.parametrize("input_dim", [48, 256])
@pytest.mark.parametrize("batch", [16, 300])
@pytest.mark.parametrize("hidden_dim", [2, 37])
def test_rows_that_are_packed_give_the_bits_of_those_read_in_place(model, dtype, batch, input_dim, hidden_dim):
    # Packed rows of 256 pixels are a vector longer; for 2 hidden units bytes are converted as they are packed.
    fast, _ = EPOCHS[model]
    problem = make_problem(310, input_dim, hidden_dim, 5, batch=batch, dtype="uint8", scale=1.0, lr=1e-4)
    packed = run(fast, problem, problem.weights(model, dtype))
    problem.X = problem.X.astype(dtype)
    for got, expected in zip(run(fast, problem, problem.weights(model, dtype)), packed, strict=True):
        np.testing.assert_array_equal(got, expected)


@DTYPES
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_every_layout_of_the_weights(model, dtype, layout, byte_order):
    fast, _ = EPOCHS[model]
    problem = make_problem(37, 30, 21, 5, batch=16)
    plain = run(fast, problem, problem.weights(model, dtype))
    laid_out = [LAYOUTS[layout](W.astype(W.dtype.newbyteorder(byte_order))) for W in problem.weights(model, dtype)]
    for got, expected in zip(run(fast, problem, laid_out), plain, strict=True):
        assert got.dtype.newbyteorder("=") == expected.dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("x_dtype", "input_dim"), [("uint8", 30), ("float32", 32)])
def test_order_equals_a_shuffled_copy(model, x_dtype, input_dim):
    fast, _ = EPOCHS[model]
    problem = make_problem(50, input_dim, 21, 5, batch=16, dtype=x_dtype)
    # Shuffled, but for a batch whose rows are neighbours.
    order = np.concatenate([np.random.default_rng(1).permutation(50)[:16], np.arange(7, 23), np.arange(9)[::-1]])
    ordered = run(fast, problem, problem.weights(model, "float32"), order=order)
    X, y = problem.X[order], problem.y[order]
    copied = problem.weights(model, "float32")
    fast(X, y, *copied, **problem.settings)
    for a, b in zip(ordered, copied, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("one_batch_a_slice")
@pytest.mark.parametrize("x_dtype", ["uint8", "float32"])
def test_an_order_that_changes_after_its_check_stays_inside(model, x_dtype):
    fast, _ = EPOCHS[model]
    problem = make_problem(64, 48, 21, 5, batch=16, dtype=x_dtype)
    order, visited = np.arange(64), []

    def change(done, _count, _loss):
        if not visited:
            order[done:] = np.arange(64 - done) * 3 - 5
            visited.extend([*range(done), *np.clip(order[done:], 0, 63)])

    changed = run(fast, problem, problem.weights(model, "float32"), order=order, progress=change)
    assert len(visited) == 64
    for a, b in zip(
        changed, run(fast, problem, problem.weights(model, "float32"), order=np.array(visited)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_batches_of_an_epoch_are_epochs_of_a_batch(model):
    fast, _ = EPOCHS[model]
    problem = make_problem(64, 30, 21, 5, batch=16)
    whole = run(fast, problem, problem.weights(model, "float32"))
    stepwise = problem.weights(model, "float32")
    for start in range(0, 64, 16):
        fast(problem.X[start : start + 16], problem.y[start : start + 16], *stepwise, **problem.settings)
    for a, b in zip(whole, stepwise, strict=True):
        np.testing.assert_array_equal(a, b)


def test_zero_rate_and_no_rows_change_nothing(model):
    fast, _ = EPOCHS[model]
    problem = make_problem(20, 30, 21, 5, batch=16)
    before = problem.weights(model, "float32")
    for a, b in zip(before, run(fast, problem, problem.weights(model, "float32"), lr=0.0), strict=True):
        np.testing.assert_array_equal(a, b)
    after = problem.weights(model, "float32")
    fast(problem.X[:0], problem.y[:0], *after)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("batch", [20, 21, 10**6, 2**63, 10**400])
@pytest.mark.parametrize("last_batch", ["nominal", "mean"])
def test_batch_larger_than_the_set_is_one_batch(model, batch, last_batch):
    fast, _ = EPOCHS[model]
    problem = make_problem(20, 30, 21, 5, batch=20)
    lr = 1.0 if last_batch == "mean" else 20.0 / min(batch, 10**300)
    expected = run(fast, problem, problem.weights(model, "float64"), lr=lr)
    got = run(fast, problem, problem.weights(model, "float64"), lr=1.0, batch=batch, last_batch=last_batch)
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)


@DTYPES
def test_stable_for_logits_of_ten_thousand(model, dtype):
    fast, numpy_epoch = EPOCHS[model]
    problem = make_problem(30, 20, 10, 5, batch=10, lr=1e-3)
    weights = [W * (1e4 if model == "softmax" else 1e2) for W in problem.weights(model, np.float64)]
    got = run(fast, problem, [W.astype(dtype) for W in weights])
    exact = run(numpy_epoch, problem, [W.astype(dtype).astype(np.float64) for W in weights])
    for a, b in zip(got, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)


@DTYPES
def test_logits_of_1e30(model, dtype):
    fast, numpy_epoch = EPOCHS[model]
    problem = make_problem(30, 20, 10, 5, batch=10, density=1.0)
    weights = [W * (1e30 if model == "softmax" else 1e15) for W in problem.weights(model, np.float64)]
    got = run(fast, problem, [W.astype(dtype) for W in weights])
    exact = run(numpy_epoch, problem, [W.astype(dtype).astype(np.float64) for W in weights])
    for a, b in zip(got, exact, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * np.abs(b).max())


@DTYPES
@pytest.mark.parametrize("lr", [1e38, 1e39])
def test_a_rate_beyond_all_measure(model, dtype, lr):
    fast, numpy_epoch = EPOCHS[model]
    problem = make_problem(30, 20, 10, 5, batch=10, density=1.0, lr=lr)
    expected = problem.weights(model, dtype)
    with np.errstate(all="ignore"):
        run(numpy_epoch, problem, expected)
    # In float32 everything has become NaN, in float64 all is finite.
    for a, b in zip(run(fast, problem, problem.weights(model, dtype)), expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-10)


@pytest.mark.skipif(not IS_X86, reason="the control word is that of x86")
@DTYPES
def test_subnormal_numbers_count_as_zero(model, dtype):
    fast, _ = EPOCHS[model]
    problem = make_problem(300, 60, 37, 5, batch=100, dtype=dtype)
    smallest, random = np.finfo(dtype).smallest_normal, np.random.default_rng(0)

    def with_subnormals(array):
        return np.where(random.random(array.shape) < 0.3, array * smallest / 128, array).astype(dtype)

    def flushed(array):
        return np.where(np.abs(array) < smallest, 0, array)

    start = [with_subnormals(W) for W in problem.weights(model, dtype)]
    problem.X = with_subnormals(problem.X)
    got = run(fast, problem, [W.copy() for W in start])
    loss = evaluate(problem.X, problem.y, *start)
    problem.X = flushed(problem.X)
    expected = run(fast, problem, [flushed(W) for W in start])
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(flushed(a), flushed(b))
    assert loss == evaluate(problem.X, problem.y, *map(flushed, start))


@DTYPES
def test_subnormal_numbers_of_others_stay(model, dtype):
    fast, _ = EPOCHS[model]
    run(fast, make_problem(300, 60, 37, 5, batch=100), make_problem(300, 60, 37, 5, 100).weights(model, dtype))
    subnormal = np.full(4, np.finfo(dtype).smallest_subnormal, dtype)
    assert (subnormal * 3 > subnormal).all()


@DTYPES
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nan_and_infinity_travel_as_in_numpy(model, dtype, value):
    fast, numpy_epoch = EPOCHS[model]
    problem = make_problem(8, 20, 10, 5, batch=4, density=1.0)
    weights = problem.weights(model, dtype)
    weights[0][3, 1] = value
    expected = [W.copy() for W in weights]
    with np.errstate(invalid="ignore", over="ignore"):
        run(numpy_epoch, problem, expected)
    for got, exact in zip(run(fast, problem, weights), expected, strict=True):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(exact))
        assert np.isnan(got).any() or value == -np.inf


@DTYPES
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("num_classes", [5, MANY_CLASSES])
def test_a_feature_of_zeros_meets_what_is_not_finite(model, dtype, value, num_classes):
    fast, _ = EPOCHS[model]
    problem = make_problem(8, 20, 10, num_classes, batch=8, density=1.0)
    problem.X[:, 3] = 0
    weights = problem.weights(model, dtype)
    weights[0][3] = value
    expected = run(fast, problem, problem.weights(model, dtype))
    got = run(fast, problem, weights)
    if model == "softmax" and num_classes < MANY_CLASSES:  # all products are made, and 0 * inf is NaN as in NumPy
        assert np.isnan(got[0]).all()
        return
    # The exception of the contract: a feature that is 0 contributes nothing.
    np.testing.assert_array_equal(np.delete(got[0], 3, axis=0), np.delete(expected[0], 3, axis=0))
    for found, exact in zip(got[1:], expected[1:], strict=True):
        np.testing.assert_array_equal(found, exact)


def test_inputs_are_never_modified(model):
    fast, _ = EPOCHS[model]
    problem = make_problem(37, 30, 21, 5, batch=16)
    order = np.arange(37)[::-1].copy()
    before = problem.X.tobytes(), problem.y.tobytes(), order.tobytes()
    run(fast, problem, problem.weights(model, "float32"), order=order)
    assert before == (problem.X.tobytes(), problem.y.tobytes(), order.tobytes())


def test_reads_a_read_only_memory_map(model, tmp_path):
    fast, _ = EPOCHS[model]
    problem = make_problem(37, 30, 21, 5, batch=16, dtype="uint8")
    np.save(tmp_path / "X.npy", problem.X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    expected = run(fast, problem, problem.weights(model, "float32"))
    problem.X = mapped
    for a, b in zip(run(fast, problem, problem.weights(model, "float32")), expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("one_batch_a_slice")
def test_progress_hears_of_every_slice_and_an_error_in_it_keeps_whole_batches(model):
    fast, _ = EPOCHS[model]
    problem = make_problem(64, 30, 21, 5, batch=16)
    heard = []
    run(fast, problem, problem.weights(model, "float32"), progress=lambda *numbers: heard.append(numbers))
    assert [numbers[:2] for numbers in heard] == [(done, 64) for done in range(16, 65, 16)]

    def stop(done, num_examples, loss):
        heard.append((done, num_examples, loss))
        raise KeyboardInterrupt

    stopped = problem.weights(model, "float32")
    with pytest.raises(KeyboardInterrupt):
        run(fast, problem, stopped, progress=stop)
    done = heard[-1][0]
    expected = problem.weights(model, "float32")
    fast(problem.X[:done], problem.y[:done], *expected, **problem.settings)
    for a, b in zip(stopped, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.usefixtures("one_batch_a_slice")
@DTYPES
@pytest.mark.parametrize("batch", [10, 300, 700])
@pytest.mark.parametrize("last_batch", ["nominal", "mean"])
def test_progress_hears_the_mean_loss_before_each_step(model, dtype, batch, last_batch):
    fast, numpy_epoch = EPOCHS[model]
    problem = make_problem(700, 40, 37, 5, batch=batch, density=0.3, last_batch=last_batch)
    order = np.random.default_rng(0).permutation(700)
    got, heard = problem.weights(model, dtype), []
    run(fast, problem, got, order=order, progress=lambda *numbers: heard.append(numbers))
    silent = run(fast, problem, problem.weights(model, dtype), order=order)
    for a, b in zip(got, silent, strict=True):
        np.testing.assert_array_equal(a, b)

    exact, losses = [W.astype(np.float64) for W in problem.weights(model, dtype)], []
    for rows in np.split(order, range(batch, 700, batch)):
        hidden = problem.X[rows] if model == "softmax" else np.maximum(problem.X[rows] @ exact[0], 0)
        losses.append(loss_err(hidden @ exact[-1], problem.y[rows])[0] * len(rows))
        numpy_epoch(problem.X[rows], problem.y[rows], *exact, **problem.settings)
    assert heard[-1][2] == pytest.approx(sum(losses) / 700, rel=1e-5)


def test_accepts_lists_for_data(model):
    fast, _ = EPOCHS[model]
    problem = make_problem(10, 6, 5, 3, batch=4, dtype="int64")
    expected = run(fast, problem, problem.weights(model, "float64"))
    problem.X, problem.y = problem.X.tolist(), problem.y.tolist()
    for a, b in zip(run(fast, problem, problem.weights(model, "float64")), expected, strict=True):
        np.testing.assert_array_equal(a, b)

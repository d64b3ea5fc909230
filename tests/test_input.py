"""Where X is read: how a batch is cut into blocks, rows as tiles read them, against the obvious NumPy."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastml import evaluate, nn_epoch
from fastml.kernels import input as kernels
from fastml.kernels.panels import whole_masks
from fastml.kernels.simd.masks import MASK_BITS
from fastml.transforms import transform_of
from tests.compiled import compiled
from tests.problems import make_problem

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)
INPUTS = pytest.mark.parametrize("input_dim", [1, 15, 16, 17, 83, 784])
UNTOUCHED = -7


@PROPERTY
@given(batch=st.integers(1, 10_000), input_dim=st.integers(1, 20_000), dtype=st.sampled_from(["float32", "float64"]))
@example(batch=kernels.BLOCK, input_dim=1, dtype="float32")
@example(batch=kernels.BLOCK + 1, input_dim=1, dtype="float32")
def test_blocks_stay_in_the_cache_and_are_as_equal_as_whole_masks_allow(batch, input_dim, dtype):
    rows = kernels.block_rows(batch, input_dim, dtype)
    assert rows % MASK_BITS == 0
    assert MASK_BITS <= rows <= kernels.BLOCK
    assert rows == MASK_BITS or rows * whole_masks(input_dim) * np.dtype(dtype).itemsize <= kernels.BLOCK_BYTES
    # With a mask less in each, as many blocks would not hold the batch.
    blocks = -(-batch // rows)
    assert blocks * rows >= batch > blocks * (rows - MASK_BITS)


@PROPERTY
@given(input_dim=st.integers(1, 20_000))
def test_evaluation_has_whole_blocks_of_a_slice(input_dim):
    assert kernels.BLOCK % kernels.block_rows(kernels.BLOCK, input_dim, "float32") == 0


@compiled
def read(examples, start, stop, packed, identity, masks, X, labels):
    """Write what `read` returns to arrays."""
    block = kernels.read(examples, start, stop, packed, identity, masks)
    for i in range(stop - start):
        for j in range(packed.shape[1]):
            X[i, j] = block.X[block.rows[i], j]
        labels[i] = block.labels[i]


def read_rows(X, rows, scale, dtype, shift=0.0, masks=None):
    """Return rows 1 to the end of the given rows as tiles read them, and what was packed."""
    transform = transform_of(X, scale, shift, dtype, None)
    weights = np.zeros(0, dtype)
    examples = kernels.Examples(X.view(np.uint8), rows, np.arange(len(rows)) % 5, weights, transform, X.shape[1], False)
    packed = np.full((20, whole_masks(X.shape[1])), UNTOUCHED, dtype)
    packed[:, X.shape[1] :] = 0
    found, labels = np.zeros_like(packed), np.full(20, UNTOUCHED)
    masks = np.zeros((0, 0), np.uint16) if masks is None else masks
    read(examples, 1, len(rows), packed, np.arange(20), masks, found, labels)
    np.testing.assert_array_equal(labels[: len(rows) - 1], examples.labels[1:])
    return found[: len(rows) - 1, : X.shape[1]], packed


@INPUTS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("scale", [1, 1 / 255])
@pytest.mark.parametrize("rows", [[2, 3, 4, 5], [5, 3, 3, 9]])
def test_rows_are_read_converted_and_scaled(input_dim, dtype, x_dtype, scale, rows):
    X = np.random.default_rng(input_dim).integers(0, 256, (17, input_dim)).astype(x_dtype)
    X.flags.writeable = False
    found, packed = read_rows(X, np.array(rows), scale, dtype)
    np.testing.assert_array_equal(found, X[rows[1:]].astype(dtype) * np.dtype(dtype).type(scale))
    assert (packed[len(rows) - 1 :, :input_dim] == UNTOUCHED).all()
    # Nothing is copied where rows of the same dtype need no scale and no padding.
    lies = x_dtype == dtype and scale == 1 and input_dim % MASK_BITS == 0
    assert (packed[:, :input_dim] == UNTOUCHED).all() == lies


def test_what_is_not_finite_stays():
    X = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]] * 2, np.float32)
    X.flags.writeable = False
    np.testing.assert_array_equal(read_rows(X, np.array([0, 1]), 2, "float32")[0], X[1:] * 2)


@INPUTS
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize(("rows", "shift"), [(np.arange(18), 0.0), (np.arange(2), 0.0), (np.arange(17)[::-1], 3.0)])
def test_rows_are_marked_as_they_are_read(input_dim, dtype, x_dtype, rows, shift):
    random = np.random.default_rng(0)
    X = (random.integers(1, 9, (20, input_dim)) * (random.random((20, input_dim)) < 0.3)).astype(x_dtype)
    X.flags.writeable = False
    masks = np.full((whole_masks(input_dim) // MASK_BITS, 35), 12345, np.uint16)
    found, _ = read_rows(X, rows, 1, dtype, shift, masks)
    count = len(found)
    padded_rows = np.zeros((count, whole_masks(input_dim)))
    padded_rows[:, :input_dim] = found
    bits = (padded_rows != 0).reshape(count, -1, MASK_BITS) @ np.left_shift(1, np.arange(MASK_BITS))
    np.testing.assert_array_equal(masks[:, :count], bits.T)
    assert (masks[:, count:] == 12345).all()


def test_shifted_rows_lose_their_shift_and_bytes_do_not():
    random = np.random.default_rng(0)
    for x_dtype, kept in (("float64", 0.0), ("uint8", 3.0)):
        X = random.integers(0, 9, (20, 21)).astype(x_dtype)
        X.flags.writeable = False
        found, _ = read_rows(X, np.arange(5), 0.5, "float64", 3.0)
        np.testing.assert_array_equal(found, (X[1:5] - 3.0 + kept) * 0.5)


@compiled
def prefetch_rows(examples, first, last, steps, position):
    """Prefetch in 40 steps; return the number of rows ahead, their cache lines, the distance of steps, and the end."""
    ahead, at = kernels.ahead_of(examples, first, last, steps, position), 0
    for step in range(40):
        at = kernels.prefetch_next(ahead, step, at)
    return ahead.rows.size, ahead.row_lines, ahead.every, at


@pytest.mark.parametrize(
    ("last", "steps", "found"),
    [
        (4, 0, (3, 2, 1, 40)),
        (4, 11, (3, 2, 1, 40)),
        (4, 12, (3, 2, 2, 20)),
        (4, 23, (3, 2, 2, 20)),
        (4, 24, (3, 2, 4, 10)),
        (4, 1000, (3, 2, 128, 1)),
        (1, 100, (0, 2, 32, 2)),
    ],
)
def test_lines_are_prefetched_at_even_distances_even_behind_the_last_row(last, steps, found):
    examples = kernels.Examples(np.zeros((9, 100), np.uint8), np.array([1, 3, 0, 8, 2]), *[None] * 5)
    position = np.array([7])
    assert prefetch_rows(examples, 1, last, steps, position) == found
    assert position == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("batch", [16, 300])
@pytest.mark.parametrize("input_dim", [30, 48])
@pytest.mark.parametrize("in_order", [True, False])
def test_bytes_train_to_the_same_bits_as_the_numbers_that_they_mean(dtype, batch, input_dim, in_order):
    problem = make_problem(310, input_dim, 37, 5, batch=batch, dtype="uint8", density=0.3, scale=1 / 255)
    scale = np.dtype(dtype).type(problem.settings["scale"])
    order = None if in_order else np.random.default_rng(1).permutation(310)
    found = []
    for X, factor in ((problem.X, problem.settings["scale"]), (problem.X.astype(dtype) * scale, 1)):
        weights = problem.weights("nn", dtype)
        nn_epoch(X, problem.y, *weights, **problem.settings | {"scale": factor, "order": order})
        found.append((*weights, evaluate(X, problem.y, *weights, scale=factor)))
    for bytes_, numbers in zip(*found, strict=True):
        np.testing.assert_array_equal(bytes_, numbers)

"""Register tiles, called from small compiled functions, against plain NumPy."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastml.kernels import panels, update
from fastml.kernels.simd.change import change_stored
from fastml.kernels.simd.tiles import (
    UNITS,
    add_dot,
    add_outer_columns,
    add_outer_rows,
    add_row,
    add_stored,
    join_tiles,
    lanes_of,
    mask_tile,
    prefetch,
    relu_tile,
    repeat_row,
    scale_tile,
    split_tile,
    store_tile,
    sum_tile,
    zero_tile,
)
from tests.compiled import compiled

pytestmark = pytest.mark.parametrize("dtype", ["float32", "float64"])
STORED = pytest.mark.parametrize("stored", ["uint8", "float32", "float64"])
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1.5]


@cache
def tile_functions(rows, vectors):
    """Return functions that make a tile of a shape and write the results of its operations.

    A tile can't leave compiled code. It is a sum of outer products: of rows or columns of X with rows of W from column
    h on. A width that is not a whole number of vectors is given to the kernels as a tuple of units.
    """
    vectors = int(vectors) if vectors == int(vectors) else (0,) * int(vectors * UNITS)

    @compiled
    def of_rows(X, W, i, h, terms, like):
        tile = zero_tile(rows, vectors, like)
        for q in range(terms):
            tile = add_outer_rows(tile, X, i, q, W, q, h)
        return tile

    @compiled
    def store(X, W, i, h, terms, out):
        store_tile(of_rows(X, W, i, h, terms, out), out, 1, 2)

    @compiled
    def store_columns(X, W, i, h, terms, out):
        tile = zero_tile(rows, vectors, out)
        for q in range(terms):
            tile = add_outer_columns(tile, X, q, i, W, q, h)
        store_tile(tile, out, 1, 2)

    @compiled
    def store_any_rows(X, W, i, h, terms, out):
        tile = zero_tile(rows, vectors, X)
        chosen = to_fixed_tuple(i, rows)
        for q in range(terms):
            tile = add_outer_rows(tile, X, chosen, q, W, q, h)
        store_tile(tile, out, chosen, 2)

    @compiled
    def swap_halves(X, W, i, h, terms, out):
        upper, lower = split_tile(of_rows(X, W, i, h, terms, out))
        store_tile(join_tiles(lower, upper), out, 1, 2)

    @compiled
    def add(X, W, i, h, terms, base, out):
        store_tile(add_stored(of_rows(X, W, i, h, terms, out), base, 1, 2), out, 1, 2)

    @compiled
    def scale(X, W, i, h, terms, factor, out):
        store_tile(scale_tile(of_rows(X, W, i, h, terms, out), factor), out, 1, 2)

    @compiled
    def repeat(X, W, i, h, out):
        row = add_outer_rows(zero_tile(1, vectors, out), X, i, 0, W, 0, h)
        store_tile(repeat_row(rows, row), out, 1, 2)

    @compiled
    def add_times_row(X, W, i, h, terms, factors, out):
        row = add_outer_rows(zero_tile(1, vectors, out), X, i, 0, W, 0, h)
        store_tile(add_row(of_rows(X, W, i, h, terms, out), factors, 1, 2, row), out, 1, 2)

    @compiled
    def change(X, W, i, h, terms, layer, how):
        change_stored(of_rows(X, W, i, h, terms, layer.weights), layer, how, 1, 1, 2)

    @compiled
    def relu(X, W, i, h, terms, out):
        store_tile(relu_tile(of_rows(X, W, i, h, terms, out)), out, 1, 2)

    @compiled
    def mask(X, W, i, h, terms, hidden, out):
        store_tile(mask_tile(of_rows(X, W, i, h, terms, out), hidden, 1, 2), out, 1, 2)

    @compiled
    def dot(A, i, B, k, vectors_of_each, out):
        tile = zero_tile(rows, vectors, B)
        for v in range(vectors_of_each):
            tile = add_dot(tile, A, i, B, k, v * lanes_of(B))
        sum_tile(tile, out, 1, 2)

    @compiled
    def dot_any_rows(A, i, B, k, vectors_of_each, out):
        tile = zero_tile(rows, vectors, B)
        for v in range(vectors_of_each):
            tile = add_dot(tile, A, to_fixed_tuple(i, rows), B, k, v * lanes_of(B))
        sum_tile(tile, out, 1, 2)

    return SimpleNamespace(
        store=store,
        store_columns=store_columns,
        store_any_rows=store_any_rows,
        swap_halves=swap_halves,
        add=add,
        scale=scale,
        repeat=repeat,
        add_times_row=add_times_row,
        change=change,
        relu=relu,
        mask=mask,
        dot=dot,
        dot_any_rows=dot_any_rows,
    )


def tile_problem(dtype, rows, vectors, terms, stored=None, seed=0):
    """Return X (rows + 2, terms), W (terms, width + 3) of whole numbers, and out, which has room around a tile."""
    random = np.random.default_rng(seed)
    width = int(vectors * panels.lanes(dtype))
    X = random.integers(-9, 9, (rows + 2, terms)).astype(dtype)
    W = random.integers(0, 9, (terms, width + 3)).astype(stored or dtype)
    return X, W, random.standard_normal((rows + 3, width + 5)).astype(dtype)


def assert_wrote(out, before, tile):
    """Assert that out[1:, 2:] holds a tile and has its old values around it."""
    expected = before.copy()
    expected[1 : 1 + tile.shape[0], 2 : 2 + tile.shape[1]] = tile
    np.testing.assert_array_equal(out, expected)


# With vectors of several units the last one may be used in part.
HALF = [(panels.ROWS, panels.MOST_VECTORS - 0.5), (panels.ROWS, 0.5)] if UNITS == 2 else []
TILES = pytest.mark.parametrize("shape", [(panels.ROWS, panels.MOST_VECTORS), (panels.CLASSES, 1), (1, 2), *HALF])


@TILES
@pytest.mark.parametrize("terms", [0, 1, 5])
def test_a_tile_is_stored_or_added(dtype, shape, terms):
    X, W, before = tile_problem(dtype, *shape, terms)
    product = X[2:] @ W[:, 3:]
    out = before.copy()
    tile_functions(*shape).store(X, W, 2, 3, terms, out)
    assert_wrote(out, before, product)
    base = np.random.default_rng(1).integers(-9, 9, before.shape).astype(dtype)
    out = before.copy()
    tile_functions(*shape).add(X, W, 2, 3, terms, base, out)
    assert_wrote(out, before, product + base[1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3])
    out = before.copy()
    tile_functions(*shape).scale(X, W, 2, 3, terms, base.dtype.type(-0.5), out)
    assert_wrote(out, before, product * -0.5)
    out = before.copy()
    tile_functions(*shape).add(X, W, 2, 3, terms, base, out)
    tile_functions(*shape).add(X, W, 2, 3, terms, base, base)
    np.testing.assert_array_equal(
        base[1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3], out[1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3]
    )


@pytest.mark.parametrize("vectors", [panels.MOST_VECTORS, panels.MOST_VECTORS - 0.5 if UNITS == 2 else 1])
def test_a_tile_is_split_and_joined(dtype, vectors):
    X, W, before = tile_problem(dtype, panels.ROWS, vectors, 5)
    out, product = before.copy(), X[2:] @ W[:, 3:]
    tile_functions(panels.ROWS, vectors).swap_halves(X, W, 2, 3, 5, out)
    assert_wrote(out, before, np.concatenate([product[panels.PAIR :], product[: panels.PAIR]]))


@TILES
def test_a_row_is_repeated_or_added_times_a_factor(dtype, shape):
    X, W, before = tile_problem(dtype, *shape, 5)
    row, out = X[2, 0] * W[0, 3:], before.copy()
    tile_functions(*shape).repeat(X, W, 2, 3, out)
    assert_wrote(out, before, np.broadcast_to(row, (shape[0], row.size)))
    factors = np.arange(2.0 * (shape[0] + 2)).reshape(2, -1).astype(dtype)
    out = before.copy()
    tile_functions(*shape).add_times_row(X, W, 2, 3, 5, factors, out)
    assert_wrote(out, before, X[2:] @ W[:, 3:] + np.outer(factors[1, 2:], row))


@TILES
@pytest.mark.parametrize("rule", [update.Sgd, update.Momentum, update.AdamW])
@pytest.mark.parametrize("l2", [(), (0.5,)])
def test_a_rule_changes_what_is_stored(dtype, shape, rule, l2):
    X, W, before = tile_problem(dtype, *shape, 5)
    random = np.random.default_rng(2)
    numbers = random.random((2, len(rule.names))).astype(dtype)
    count = rule.change.__code__.co_argcount - 2  # beside the numbers and the gradient: the weight and its states
    stored = [random.random((2, *before.shape)).astype(dtype) for _ in range(count)]
    weights, *states = changed = [array.copy() for array in stored]
    l2 = tuple(np.dtype(dtype).type(factor) for factor in l2)
    layer = panels.Layer(weights, tuple(states), weights, np.zeros(0, int), np.zeros((0, 0), int), False)
    tile_functions(*shape).change(X, W, 2, 3, 5, layer, update.Update(rule(numbers), 1, l2, True, True))
    place = np.s_[1, 1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3]
    gradient = X[2:] @ W[:, 3:] + sum(l2) * stored[0][place]
    named = SimpleNamespace(**dict(zip(rule.names, numbers[1], strict=True)))
    for array, new, found in zip(
        stored, rule.change(named, gradient, *(A[place] for A in stored)), changed, strict=True
    ):
        array[place] = new
        np.testing.assert_allclose(found, array, rtol=0, atol=8 * np.finfo(dtype).eps * np.abs(array).max())


@TILES
@STORED
def test_outer_products_convert_their_second_operand(dtype, shape, stored):
    X, W, before = tile_problem(dtype, *shape, 5, stored)
    if stored == "float64":  # float32 rounds this away
        W += 2.0**-35
    expected = X[2:] @ W[:, 3:].astype(dtype)
    for function, operand in (("store", X), ("store_columns", X.T.copy())):
        out = before.copy()
        getattr(tile_functions(*shape), function)(operand, W, 2, 3, 5, out)
        assert_wrote(out, before, expected)


@TILES
def test_the_rows_of_a_tile_may_lie_anywhere(dtype, shape):
    X, W, before = tile_problem(dtype, *shape, 5)
    chosen = np.random.default_rng(2).permutation(shape[0] + 2)[: shape[0]]
    out, expected = before.copy(), before.copy()
    tile_functions(*shape).store_any_rows(X, W, chosen, 3, 5, out)
    expected[chosen, 2 : 2 + W.shape[1] - 3] = X[chosen] @ W[:, 3:]
    np.testing.assert_array_equal(out, expected)


@pytest.mark.filterwarnings("ignore:invalid value")
@TILES
def test_relu_keeps_nan_and_infinity(dtype, shape):
    X, W, before = tile_problem(dtype, *shape, 1)
    W[0] = np.resize(SPECIAL, W.shape[1])
    out = before.copy()
    tile_functions(*shape).relu(X, W, 2, 3, 1, out)
    assert_wrote(out, before, np.maximum(X[2:] * W[:, 3:], 0))


@pytest.mark.filterwarnings("ignore:invalid value")
@TILES
def test_mask_is_a_product_with_what_is_active(dtype, shape):
    X, W, before = tile_problem(dtype, *shape, 1)
    W[0] = np.resize(SPECIAL, W.shape[1])
    hidden = np.resize([*SPECIAL, np.finfo(dtype).smallest_subnormal], before.shape).astype(dtype)
    out = before.copy()
    tile_functions(*shape).mask(X, W, 2, 3, 1, hidden, out)
    product = X[2:] * W[:, 3:]
    assert_wrote(out, before, product * (hidden[1 : 1 + shape[0], 2 : 2 + product.shape[1]] > 0))


DOTS = pytest.mark.parametrize(
    "shape", [(panels.ROWS, panels.CLASSES), (2, 2 * panels.CLASSES), (1, panels.CLASSES), (panels.ROWS, 1)]
)


@DOTS
@STORED
@pytest.mark.parametrize("vectors", [1, 3])
def test_dot_products(dtype, shape, stored, vectors):
    random = np.random.default_rng(vectors)
    rows, classes = shape
    A = random.integers(0, 9, (rows + 2, vectors * panels.lanes(dtype))).astype(stored)
    B = random.integers(-9, 9, (classes + 1, A.shape[1])).astype(dtype)
    before = random.standard_normal((classes + 3, rows + 5)).astype(dtype)
    expected, out = before.copy(), before.copy()
    expected[1:-2, 2 : rows + 2] = B[1:] @ A[2:].T.astype(dtype)
    tile_functions(*shape).dot(A, 2, B, 1, vectors, out)
    np.testing.assert_array_equal(out, expected)
    out = before.copy()
    chosen = random.permutation(rows + 2)[:rows]
    expected[1:-2, 2 : rows + 2] = B[1:] @ A[chosen].T.astype(dtype)
    tile_functions(*shape).dot_any_rows(A, chosen, B, 1, vectors, out)
    np.testing.assert_array_equal(out, expected)


@DOTS
def test_a_nan_stays_in_its_own_dot_products(dtype, shape):
    rows, classes = shape
    B = np.ones((classes, panels.lanes(dtype)), dtype)
    for row in range(rows):
        A = np.ones((rows, panels.lanes(dtype)), dtype)
        A[row, -1] = np.nan
        out = np.zeros((classes + 1, rows + 2), dtype)
        tile_functions(*shape).dot(A, 0, B, 0, 1, out)
        expected = np.full((classes, rows), panels.lanes(dtype), dtype)
        expected[:, row] = np.nan
        np.testing.assert_array_equal(out[1:, 2:], expected)


@compiled
def prefetch_anywhere(A):
    for distance in (0, 10**6, 10**15, -(10**15)):
        prefetch(A, distance, distance)
    return lanes_of(A)


def test_a_prefetch_of_no_memory_does_nothing(dtype):
    A = np.ones((2, 3), dtype)
    assert prefetch_anywhere(A) == panels.lanes(dtype)
    assert (A == 1).all()

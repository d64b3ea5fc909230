"""Register tiles and vectors, called from small compiled functions, against plain NumPy."""

import operator
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from numba.np.unsafe.ndarray import to_fixed_tuple

from fastml.kernels import panels
from fastml.kernels.simd import (
    add_dot,
    add_outer_columns,
    add_outer_rows,
    lanes_of,
    mask_tile,
    prefetch,
    relu_tile,
    store_sum,
    store_tile,
    zero_tile,
)
from fastml.kernels.vectors import (
    MASK_BITS,
    append_indices,
    convert,
    exp,
    load_vector,
    meeting_mask,
    nonzero_mask,
    store_vector,
    sum_tile,
)
from tests.compiled import compiled

pytestmark = pytest.mark.parametrize("dtype", ["float32", "float64"])
STORED = pytest.mark.parametrize("stored", ["uint8", "float32", "float64"])
SPECIAL = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1.5, -1.5]


@cache
def tile_functions(rows, vectors):
    """Return the functions that make a tile of a shape and write what becomes of it; a tile can't leave compiled code.

    The tile is terms outer products: of rows or columns of X with rows of W that begin at column h.
    """

    @compiled
    def of_rows(X, W, i, h, terms):
        tile = zero_tile(rows, vectors, X)
        for q in range(terms):
            tile = add_outer_rows(tile, X, i, q, W, q, h)
        return tile

    @compiled
    def store(X, W, i, h, terms, out):
        store_tile(of_rows(X, W, i, h, terms), out, 1, 2)

    @compiled
    def store_columns(X, W, i, h, terms, out):
        tile = zero_tile(rows, vectors, X)
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
    def store_looked_up(X, table, W, i, h, terms, out):
        tile = zero_tile(rows, vectors, out)
        for q in range(terms):
            tile = add_outer_rows(tile, (X, table), i, q, W, q, h)
        store_tile(tile, out, 1, 2)

    @compiled
    def store_columns_looked_up(X, table, W, i, h, terms, out):
        tile = zero_tile(rows, vectors, out)
        for q in range(terms):
            tile = add_outer_columns(tile, (X, table), q, i, W, q, h)
        store_tile(tile, out, 1, 2)

    @compiled
    def add(X, W, i, h, terms, base, out):
        store_sum(of_rows(X, W, i, h, terms), base, out, 1, 2)

    @compiled
    def relu(X, W, i, h, terms, out):
        store_tile(relu_tile(of_rows(X, W, i, h, terms)), out, 1, 2)

    @compiled
    def mask(X, W, i, h, terms, hidden, out):
        store_tile(mask_tile(of_rows(X, W, i, h, terms), hidden, 1, 2), out, 1, 2)

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
        store_looked_up=store_looked_up,
        store_columns_looked_up=store_columns_looked_up,
        add=add,
        relu=relu,
        mask=mask,
        dot=dot,
        dot_any_rows=dot_any_rows,
    )


def tile_problem(dtype, rows, vectors, terms, stored=None, seed=0):
    """Return X (rows + 2, terms), W (terms, width + 3) of whole numbers, and out, which has room around a tile."""
    random = np.random.default_rng(seed)
    width = vectors * panels.lanes(dtype)
    X = random.integers(-9, 9, (rows + 2, terms)).astype(dtype)
    W = random.integers(0, 9, (terms, width + 3)).astype(stored or dtype)
    return X, W, random.standard_normal((rows + 3, width + 5)).astype(dtype)


def assert_wrote(out, before, tile):
    """Assert that out[1:, 2:] holds a tile and has its old values around it."""
    expected = before.copy()
    expected[1 : 1 + tile.shape[0], 2 : 2 + tile.shape[1]] = tile
    np.testing.assert_array_equal(out, expected)


TILES = pytest.mark.parametrize("shape", [(panels.ROWS, panels.MOST_VECTORS), (panels.CLASSES, 1), (1, 2)])


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
    tile_functions(*shape).add(X, W, 2, 3, terms, base, base)
    np.testing.assert_array_equal(
        base[1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3], out[1 : 1 + shape[0], 2 : 2 + W.shape[1] - 3]
    )


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
@pytest.mark.parametrize("stored", ["uint8", "the tile's"])
def test_bytes_stand_for_numbers_of_a_table(dtype, shape, stored):
    _, W, before = tile_problem(dtype, *shape, 5)
    random = np.random.default_rng(3)
    X = random.integers(0, 256, (shape[0] + 2, 5)).astype(np.uint8)
    X[2], X[-1, 1:] = 0, 255
    table = random.integers(-9, 9, 256).astype(dtype)
    numbers = table[X]
    if stored != "uint8":  # of floats the table is not looked at
        X, table = numbers, table[:0]
    for function, operand in (("store_looked_up", X), ("store_columns_looked_up", X.T.copy())):
        out = before.copy()
        getattr(tile_functions(*shape), function)(operand, table, W, 2, 3, 5, out)
        assert_wrote(out, before, numbers[2:] @ W[:, 3:])


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


@cache
def vector_functions(lanes):
    """Return functions of rows 0 and 1 of an array, vectors of a number of lanes, and of the number in its row 2."""

    def of_two(function):
        @compiled
        def compute(A, out):
            a, b = load_vector(lanes, A, 0), load_vector(lanes, A, 1)
            store_vector(function(a, b), out, 0)
            store_vector(function(a, A[2, 0]), out, 1)

        return compute

    @compiled
    def exps(A, out):
        for i in range(A.shape[0]):
            store_vector(exp(load_vector(lanes, A, i)), out, i)

    functions = {name: of_two(function) for name, function in COMPUTE.items()}
    return SimpleNamespace(exp=exps, **functions)


COMPUTE = {
    "add": compiled(lambda a, b: a + b),
    "sub": compiled(lambda a, b: a - b),
    "mul": compiled(lambda a, b: a * b),
    "truediv": compiled(lambda a, b: a / b),
    "max": compiled(lambda a, b: max(a, b)),
}
EXPECTED = {name: getattr(operator, name) for name in ("add", "sub", "mul", "truediv")} | {"max": np.maximum}


@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
@pytest.mark.parametrize("lanes", [panels.ROWS, MASK_BITS])
@pytest.mark.parametrize("name", sorted(COMPUTE))
def test_arithmetic_lane_by_lane(dtype, name, lanes):
    random = np.random.default_rng(lanes)
    A = random.integers(-50, 50, (3, lanes + 1)).astype(dtype)
    A[0, :3] = np.inf, -np.inf, 0
    A[1, 1:3] = np.inf, 0
    before = random.standard_normal(A.shape).astype(dtype)
    out = before.copy()
    getattr(vector_functions(lanes), name)(A, out)
    expected = before.copy()
    expected[0, :-1] = EXPECTED[name](A[0, :-1], A[1, :-1])
    expected[1, :-1] = EXPECTED[name](A[0, :-1], A[2, 0])
    if name == "truediv":  # a quotient may be a product with the reciprocal
        np.testing.assert_allclose(out, expected, rtol=2 * np.finfo(dtype).eps)
    else:
        np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("name", ["add", "mul", "truediv", "max"])
def test_a_nan_of_the_first_vector_stays(dtype, name):
    A = np.ones((3, panels.ROWS), dtype)
    A[0, 1] = np.nan
    out = np.zeros((2, panels.ROWS), dtype)
    getattr(vector_functions(panels.ROWS), name)(A, out)
    np.testing.assert_array_equal(np.isnan(out), np.isnan(A[[0, 0]]))


def compute_exp(values):
    A = np.ascontiguousarray(values).reshape(-1, panels.ROWS)
    out = np.empty_like(A)
    vector_functions(panels.ROWS).exp(A, out)
    return out.reshape(-1)


RANGES = {"float32": (-87, 88), "float64": (-708, 709)}


def test_exp_is_within_two_units_in_the_last_place(dtype):
    random = np.random.default_rng(0)
    values = np.concatenate(
        [
            np.linspace(*RANGES[dtype], 200_000),
            random.uniform(*RANGES[dtype], 100_000),
            random.standard_normal(100_000) * 1e-3,
            # Where the power of two changes, and its neighbours.
            *np.nextafter((np.arange(-126, 127) + 0.5) * np.log(2), [[-np.inf], [np.inf]]),
        ]
    ).astype(dtype)
    values = np.resize(values, panels.padded(len(values), panels.ROWS))
    got = compute_exp(values)
    exact = np.exp(values.astype(np.float64 if dtype == "float32" else np.longdouble))
    units = np.abs(got - exact) / np.spacing(exact.astype(dtype))
    assert units.max() <= 2


def test_exp_beyond_its_range_and_of_what_is_not_finite(dtype):
    smallest, largest = np.log(np.float64(np.finfo(dtype).tiny)), np.log(np.float64(np.finfo(dtype).max))
    values = [-np.inf, -1e30, 2 * smallest, smallest - 0.01, largest + 0.01, 2 * largest, 1e30, np.inf, 0.0, -0.0]
    got = compute_exp(np.array([*values, np.nan, -np.nan], dtype))
    np.testing.assert_array_equal(got, [0, 0, 0, 0, np.inf, np.inf, np.inf, np.inf, 1, 1, np.nan, np.nan])


@compiled
def nonzero_masks(X, masks):
    for i in range(X.shape[0]):
        masks[i] = nonzero_mask(X, i, 3)


def bits_of(flags):
    """Return flags as a number, the first as its lowest bit."""
    return sum(1 << bit for bit, flag in enumerate(flags) if flag)


def sparse(dtype, shape, seed):
    """Return numbers of a dtype, each of them zero with one half; NaN, infinity and -0.0 among those of floats."""
    random = np.random.default_rng(seed)
    values = random.integers(1, 100, shape).astype(dtype)
    if values.dtype.kind == "f":
        values *= random.choice(np.array([1, -1, np.nan, np.inf, np.finfo(dtype).smallest_subnormal], dtype), shape)
    return np.where(random.random(shape) < 0.5, values, -values.dtype.type(0)).astype(dtype)


def test_nonzero_mask(dtype):
    X = sparse(dtype, (50, MASK_BITS + 5), seed=0)
    X[0], X[1] = 0, np.nan
    masks = np.zeros(50, np.uint16)
    nonzero_masks(X, masks)
    assert masks.tolist() == [bits_of(row[3 : 3 + MASK_BITS] != 0) for row in X]
    assert {0, 2**MASK_BITS - 1} <= set(masks.tolist())


@compiled
def convert_rows(source, j, scale, X):
    for i in range(source.shape[0]):
        convert(source[i], j, scale, X, i)


@STORED
@pytest.mark.parametrize("scale", [1.0, 1 / 255])
def test_convert(dtype, stored, scale):
    source = sparse(stored, (50, MASK_BITS + 5), seed=1)
    before = np.random.default_rng(0).standard_normal((51, MASK_BITS + 5)).astype(dtype)
    X = before.copy()
    convert_rows(source, 3, np.dtype(dtype).type(scale), X)
    expected = before.copy()
    with np.errstate(under="ignore"):
        expected[:50, 3 : 3 + MASK_BITS] = source[:, 3 : 3 + MASK_BITS].astype(dtype) * np.dtype(dtype).type(scale)
    np.testing.assert_array_equal(X, expected)


@compiled
def meeting_masks(masks, i, bits, found):
    for c in range(masks.shape[0]):
        found[c] = meeting_mask(masks, c, i, bits)


def test_meeting_mask(dtype):
    random = np.random.default_rng(0)
    masks = random.integers(0, 2**16, (40, MASK_BITS + 5)).astype(np.uint16)
    for bits in (0b1111, 0b1111 << 12, 0, 2**16 - 1, 1):
        found = np.zeros(40, np.uint16)
        meeting_masks(masks, 3, np.uint16(bits), found)
        assert found.tolist() == [bits_of(row & bits) for row in masks[:, 3 : 3 + MASK_BITS]]


@compiled
def append_all(indices, g, masks):
    count = 0
    for c in range(masks.size):
        count = append_indices(indices, g, count, masks[c], c * MASK_BITS)
    return count


@pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
def test_append_indices(dtype, density):
    random = np.random.default_rng(0)
    flags = random.random((20, MASK_BITS)) < density
    masks = np.array([bits_of(row) for row in flags], np.uint16)
    indices = np.full((3, masks.size * MASK_BITS + 2 * MASK_BITS), -7, np.int32)
    count = append_all(indices, 1, masks)
    expected = np.flatnonzero(flags)
    assert count == len(expected)
    assert indices[1, :count].tolist() == expected.tolist()
    assert (indices[1, count + MASK_BITS :] == -7).all()
    assert (indices[[0, 2]] == -7).all()

"""Vectors and masks, called from small compiled functions, against plain NumPy."""

import operator
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from fastml.kernels import panels
from fastml.kernels.vectors import (
    MASK_BITS,
    append_indices,
    as_rows,
    convert,
    exp,
    load_vector,
    meeting_mask,
    nonzero_mask,
    store_vector,
)
from tests.compiled import compiled

pytestmark = pytest.mark.parametrize("dtype", ["float32", "float64"])
STORED = pytest.mark.parametrize("stored", ["uint8", "float32", "float64"])


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
def multiply_rows(A, found):
    rows = as_rows(A, 6)
    found[0], found[1] = rows.shape
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            rows[i, j] *= A.dtype.type(i + 2)


def test_rows_of_a_literal_size_are_the_same_memory(dtype):
    before = np.random.default_rng(0).standard_normal((5, 4, 2, 6)).astype(dtype)
    A, found = before.copy(), np.zeros(2, np.int64)
    multiply_rows(A[1:3], found)
    assert found.tolist() == [16, 6]
    expected = before.copy()
    expected[1:3] *= np.arange(2, 18).reshape(2, 4, 2, 1).astype(dtype)
    np.testing.assert_array_equal(A, expected)


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

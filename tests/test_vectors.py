"""Vectors, called from small compiled functions, against plain NumPy."""

import operator
from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest

from fastml.kernels import panels
from fastml.kernels.simd.masks import MASK_BITS
from fastml.kernels.simd.vectors import as_rows, exp, load_vector, store_vector
from tests.compiled import compiled

pytestmark = pytest.mark.parametrize("dtype", ["float32", "float64"])


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

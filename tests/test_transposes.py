"""Rows of numbers turned into columns and back, against plain NumPy."""

import numpy as np
import pytest

from fastml.kernels.panels import ROWS, lanes
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.simd.transposes import columns_to_rows, rows_to_columns
from tests.compiled import compiled


@compiled
def to_columns(A, rows, j, B, k, h):
    rows_to_columns(ROWS, A, rows, j, B, k, h)


@compiled
def to_rows(A, rows, j, B, k, h):
    columns_to_rows(ROWS, A, rows, j, B, k, h)


@pytest.mark.parametrize("rows", [2, (4, 0, 3, 1), (2, 5, 5, 5)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_unit_of_columns_becomes_rows(dtype, rows):
    unit, random = lanes(dtype) // UNITS, np.random.default_rng(0)
    A, B = random.random((7, unit + 5)).astype(dtype), random.random((unit + 3, ROWS + 3)).astype(dtype)
    chosen = list(rows) if isinstance(rows, tuple) else list(range(rows, rows + ROWS))
    expected = B.copy()
    expected[2 : unit + 2, 1 : ROWS + 1] = A[chosen, 3 : unit + 3].T
    before = A.copy()
    to_columns(A, rows, 3, B, 2, 1)
    np.testing.assert_array_equal(B, expected)
    np.testing.assert_array_equal(A, before)
    blank = np.zeros_like(A)
    to_rows(blank, rows, 3, B, 2, 1)
    expected = np.zeros_like(A)
    expected[chosen, 3 : unit + 3] = A[chosen, 3 : unit + 3]
    np.testing.assert_array_equal(blank, expected)

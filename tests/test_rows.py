"""Rows as they are packed, against the obvious NumPy."""

import numpy as np
import pytest

from fastml.kernels import rows
from fastml.kernels.panels import padded
from fastml.kernels.vectors import MASK_BITS
from tests.compiled import compiled

UNTOUCHED = -7
convert_row, are_neighbours, need_no_packing = map(
    compiled, (rows.convert_row, rows.are_neighbours, rows.need_no_packing)
)


@pytest.mark.parametrize("input_dim", [1, 15, 16, 17, 83, 784])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("x_dtype", ["uint8", "float32", "float64"])
def test_rows_are_converted_scaled_and_padded(input_dim, dtype, x_dtype):
    X = np.random.default_rng(input_dim).integers(0, 256, (17, input_dim)).astype(x_dtype)
    scale = np.dtype(dtype).type(1 / 255)
    packed = np.full((17, padded(input_dim, MASK_BITS)), UNTOUCHED, dtype)
    packed[:, input_dim:] = 0
    for i in range(1, 16):
        convert_row(X.view(np.uint8), i + 1, X.itemsize, scale, packed, i)
    np.testing.assert_array_equal(packed[1:16, :input_dim], X[2:].astype(dtype) * scale)
    assert not packed[:, input_dim:].any()
    assert (packed[[0, 16], :input_dim] == UNTOUCHED).all()


def test_what_is_not_finite_stays():
    X = np.array([[np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0]], np.float32)
    packed = np.zeros((1, MASK_BITS), np.float32)
    convert_row(X.view(np.uint8), 0, 4, np.float32(2), packed, 0)
    np.testing.assert_array_equal(packed[:, :6], X * 2)


@pytest.mark.parametrize(
    ("indices", "expected"), [([3], True), ([3, 4, 5], True), ([3, 5, 4], False), ([3, 4, 6], False), ([3, 3], False)]
)
def test_neighbours(indices, expected):
    assert are_neighbours(np.array(indices)) == expected


@pytest.mark.parametrize(
    ("dtype", "input_dim", "scale", "expected"),
    [
        ("float32", 32, 1, True),
        ("float32", 32, 0.5, False),
        ("float32", 40, 1, False),
        ("float64", 32, 1, False),
        ("uint8", 32, 1, False),
        ("uint8", 128, 1, False),
    ],
)
def test_only_whole_masks_of_the_same_numbers_need_no_packing(dtype, input_dim, scale, expected):
    X, packed = np.zeros((2, input_dim), dtype).view(np.uint8), np.zeros((2, input_dim), np.float32)
    assert need_no_packing(X, np.float32(scale), input_dim, packed) == expected

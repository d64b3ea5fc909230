"""Rows as they are packed, against the obvious NumPy."""

import numpy as np
import pytest

from fastml.kernels import rows
from fastml.kernels.panels import padded
from fastml.kernels.vectors import MASK_BITS
from tests.compiled import compiled

UNTOUCHED = -7
convert_row = compiled(rows.convert_row)


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

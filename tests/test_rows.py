"""Rows as they are packed, against the obvious NumPy."""

import numpy as np
import pytest

from fastml import evaluate, nn_epoch
from fastml.kernels import rows
from fastml.kernels.masks import MASK_BITS
from fastml.kernels.panels import padded
from tests.compiled import compiled
from tests.problems import make_problem

UNTOUCHED = -7
convert_row, are_neighbours, need_no_packing, tabulate = map(
    compiled, (rows.convert_row, rows.are_neighbours, rows.need_no_packing, rows.tabulate)
)


@compiled
def pack_row(X, row, itemsize, scale, packed, i):
    rows.pack_row(X, row, itemsize, scale, packed, i)


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


@pytest.mark.parametrize("input_dim", [1, 15, 16, 17, 83, 784])
def test_bytes_are_packed_as_they_are(input_dim):
    X = np.random.default_rng(input_dim).integers(0, 256, (3, input_dim)).astype(np.uint8)
    packed = np.full((3, padded(input_dim, MASK_BITS)), 7, np.uint8)
    pack_row(X, 2, 1, np.float32(1 / 255), packed, 1)
    np.testing.assert_array_equal(packed[1, :input_dim], X[2])
    assert (packed[1, input_dim:] == 7).all()
    assert (packed[[0, 2]] == 7).all()


def test_bytes_are_packed_as_floats_where_floats_are_wanted():
    X, packed = np.arange(16, dtype=np.uint8)[None], np.zeros((1, 16), np.float32)
    pack_row(X, 0, 1, np.float32(0.5), packed, 0)
    np.testing.assert_array_equal(packed, X / 2)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("scale", [1 / 255, 0.0, -3.0])
def test_the_table_has_each_byte_as_it_would_be_packed(dtype, scale):
    scale = np.dtype(dtype).type(scale)
    table = np.full(256, np.nan, dtype)
    tabulate(scale, table)
    np.testing.assert_array_equal(table, np.arange(256).astype(dtype) * scale)
    tabulate(scale, table[:0])


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
    assert need_no_packing(X, np.float32(scale), input_dim, packed, packed[0, :0]) == expected


@pytest.mark.parametrize(("input_dim", "expected"), [(32, True), (40, False)])
def test_whole_masks_of_bytes_need_no_packing_whatever_they_mean(input_dim, expected):
    X, packed = np.zeros((2, input_dim), np.uint8), np.zeros((2, padded(input_dim, MASK_BITS)), np.uint8)
    assert need_no_packing(X, np.float32(0.5), input_dim, packed, np.zeros(256, np.float32)) == expected


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

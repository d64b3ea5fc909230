"""Masks, lists and conversion, called from small compiled functions, against plain NumPy."""

import numpy as np
import pytest

from fastml.kernels.simd.masks import MASK_BITS, ROW_BITS, append_indices, convert, meeting_mask, nonzero_mask
from tests.compiled import compiled

DTYPE = pytest.mark.parametrize("dtype", ["float32", "float64"])
STORED = pytest.mark.parametrize("stored", ["uint8", "float32", "float64"])


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


@STORED
def test_nonzero_mask(stored):
    X = sparse(stored, (50, MASK_BITS + 5), seed=0)
    X[0], X[1] = 0, 1 if stored == "uint8" else np.nan
    masks = np.zeros(50, np.uint16)
    nonzero_masks(X, masks)
    assert masks.tolist() == [bits_of(row[3 : 3 + MASK_BITS] != 0) for row in X]
    assert {0, 2**MASK_BITS - 1} <= set(masks.tolist())


@compiled
def convert_rows(source, j, factor, background, X):
    for i in range(source.shape[0]):
        convert(source[i], j, factor, background, X, i)


@DTYPE
@STORED
def test_convert(dtype, stored):
    source = sparse(stored, (50, MASK_BITS + 5), seed=1)
    before = np.random.default_rng(0).standard_normal((51, MASK_BITS + 5)).astype(dtype)
    X = before.copy()
    factor, background = np.random.default_rng(2).standard_normal((2, 1, MASK_BITS + 5)).astype(dtype)
    convert_rows(source, 3, factor, background, X)
    expected, columns = before.copy(), np.s_[:, 3 : 3 + MASK_BITS]
    expected[:50][columns] = (source[columns].astype(dtype) - background[columns]) * factor[columns]
    np.testing.assert_array_equal(X, expected)


@compiled
def meeting_masks(masks, i, bits, found):
    for c in range(masks.shape[0]):
        found[c] = meeting_mask(masks, c, i, bits)


def test_meeting_mask():
    random = np.random.default_rng(0)
    masks = random.integers(0, 2**16, (40, ROW_BITS + 5)).astype(np.uint16)
    for bits in (0b1111, 0b1111 << 12, 0, 2**16 - 1, 1):
        found = np.zeros(40, np.uint64)
        meeting_masks(masks, 3, np.uint64(bits), found)
        assert found.tolist() == [bits_of(row & bits) for row in masks[:, 3 : 3 + ROW_BITS]]


@compiled
def append_all(indices, g, masks, bits):
    count = 0
    for c in range(masks.size):
        count = append_indices(indices, g, count, masks[c], c * bits)
    return count


@pytest.mark.parametrize("density", [0, 0.1, 0.5, 1])
@pytest.mark.parametrize(("dtype", "bits"), [("uint8", ROW_BITS), ("uint16", MASK_BITS), ("uint32", MASK_BITS)])
def test_append_indices(density, dtype, bits):
    random = np.random.default_rng(0)
    flags = random.random((128 // bits, bits)) < density
    masks = np.array([bits_of(row) for row in flags], np.uint64)
    indices = np.full((3, 128 + 2 * bits), 249, dtype)
    count = append_all(indices, 1, masks, bits)
    expected = np.flatnonzero(flags)
    assert count == len(expected)
    assert indices[1, :count].tolist() == expected.tolist()
    assert (indices[1, count + bits :] == 249).all()
    assert (indices[[0, 2]] == 249).all()


def test_bits_of_a_mask_behind_its_length_are_ignored():
    indices = np.full((1, 40), 249, np.uint16)
    assert append_all(indices, 0, np.array([0b11 << MASK_BITS | 0b101], np.uint64), MASK_BITS) == 2
    assert indices[0, :2].tolist() == [0, 2]

"""Panels: weights into them and out again, and the memory they lie in."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.kernels import panels
from fastml.kernels.simd.tiles import UNITS
from tests.compiled import compiled
from tests.problems import LAYOUTS

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
columns_of, first_column = compiled(panels.columns_of), compiled(panels.first_column)
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
@PROPERTY
@given(columns=st.integers(1, 2000))
def test_panels_are_as_equal_as_whole_units_allow(dtype, columns):
    offsets = panels.panel_offsets(columns, dtype)
    widths, most = np.diff(offsets), panels.MOST_VECTORS * UNITS
    assert offsets[0] == 0
    assert offsets[-1] == -(-columns // (panels.lanes(dtype) // UNITS))
    assert 1 <= widths.min() <= widths.max() <= most
    assert widths.max() - widths.min() <= 1
    # One panel, or as few as hold all units and two workers share out evenly.
    fewest = -(-offsets[-1] // most)
    assert len(widths) == (fewest if fewest == 1 else fewest + fewest % 2)


@DTYPES
@PROPERTY
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    multiple=st.integers(1, 8),
    layout=st.sampled_from(sorted(LAYOUTS)),
    byte_order=st.sampled_from("<>"),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_packed_comes_out_again(dtype, shape, multiple, layout, byte_order, seed):
    stored = np.dtype(dtype).newbyteorder(byte_order)
    W = LAYOUTS[layout](np.random.default_rng(seed).standard_normal(shape).astype(stored))
    back = LAYOUTS[layout](np.full_like(W, np.nan))
    W.flags.writeable = False
    b = np.arange(1, shape[1] + 1, dtype=stored)
    arrays, back_of_b = panels.Arrays(W, b, (-W,), (-b,)), np.zeros_like(b)
    layer = panels.pack(arrays, multiple, multiple)
    unit = panels.lanes(dtype) // UNITS
    width = -(-np.diff(layer.offsets).max() // UNITS) * panels.lanes(dtype)
    assert layer.weights.shape == (len(layer.offsets) - 1, panels.padded(shape[0], multiple) + multiple, width)
    assert layer.weights.dtype == dtype
    # Each element lies in the panel, row and column that the module says; all else is zero.
    for p, (begin, end) in enumerate(itertools.pairwise(layer.offsets * unit)):
        columns = W[:, begin:end]
        np.testing.assert_array_equal(layer.weights[p, : shape[0], : columns.shape[1]], columns)
        np.testing.assert_array_equal(layer.weights[p, -multiple, : columns.shape[1]], b[begin:end])
        assert (first_column(layer, p), columns_of(layer, p)) == (
            begin,
            panels.padded(end - begin, panels.lanes(dtype)),
        )
    assert np.count_nonzero(layer.weights) == np.count_nonzero(W) + b.size
    np.testing.assert_array_equal(layer.states[0], -layer.weights)
    panels.write_back(panels.panel_copies(layer, panels.Arrays(back, back_of_b, (back.copy(),), (b.copy(),)), multiple))
    np.testing.assert_array_equal(back, W)
    np.testing.assert_array_equal(back_of_b, b)


@DTYPES
@pytest.mark.parametrize("needed", [True, False])
def test_a_gradient_takes_memory_only_where_it_is_needed(dtype, needed):
    layer = panels.with_gradient(panels.pack(panels.Arrays(np.ones((5, 300), dtype), None), 8), needed)
    assert layer.gradient.shape == (len(layer.weights) if needed else 0, *layer.weights.shape[1:])
    assert layer.gradient.dtype == dtype
    assert not layer.gradient.any()


@PROPERTY
@given(
    shape=st.lists(st.integers(1, 20), min_size=1, max_size=3).map(tuple),
    dtype=st.sampled_from(["float32", "float64", "uint16"]),
)
def test_aligned_zeros(shape, dtype):
    zeros = panels.aligned_zeros(shape, dtype)
    assert (zeros.shape, zeros.dtype, zeros.flags.c_contiguous, zeros.flags.writeable) == (shape, dtype, True, True)
    assert zeros.ctypes.data % panels.CACHE_LINE == 0
    assert not zeros.any()
    zeros[...] = 1

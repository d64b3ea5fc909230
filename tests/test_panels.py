"""Panels: weights into them and out again, the memory they lie in, and who owns which tile."""

import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastml.kernels import panels
from tests.compiled import compiled
from tests.problems import LAYOUTS

PROPERTY = settings(max_examples=200, deadline=None, derandomize=True)
share, first_tile, add_up, copy = map(compiled, (panels.share, panels.first_tile, panels.add_up, panels.copy))
DTYPES = pytest.mark.parametrize("dtype", ["float32", "float64"])


@DTYPES
@PROPERTY
@given(columns=st.integers(1, 2000))
def test_panels_are_as_equal_as_whole_vectors_allow(dtype, columns):
    offsets = panels.panel_offsets(columns, dtype)
    widths = np.diff(offsets)
    assert offsets[0] == 0
    assert offsets[-1] == -(-columns // panels.lanes(dtype))
    assert 1 <= widths.min() <= widths.max() <= panels.MOST_VECTORS
    assert widths.max() - widths.min() <= 1
    assert len(widths) == -(-offsets[-1] // panels.MOST_VECTORS)


@pytest.fixture(scope="module", params=[1, 3])
def threads(request):
    """How many threads move weights, however few these are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(panels, "MANY", 0)
        patch.setattr(panels.jit, "available_threads", lambda: request.param)
        yield request.param


@DTYPES
@PROPERTY
@given(
    shape=st.tuples(st.integers(1, 40), st.integers(1, 300)),
    more_rows=st.integers(0, 5),
    layout=st.sampled_from(sorted(LAYOUTS)),
    byte_order=st.sampled_from("<>"),
    seed=st.integers(0, 2**32 - 1),
)
def test_what_is_packed_comes_out_again(threads, dtype, shape, more_rows, layout, byte_order, seed):
    stored = np.dtype(dtype).newbyteorder(byte_order)
    W = LAYOUTS[layout](np.random.default_rng(seed).standard_normal(shape).astype(stored))
    back = LAYOUTS[layout](np.full_like(W, np.nan))
    W.flags.writeable = False
    packed = panels.pack(W, shape[0] + more_rows, dtype)
    offsets = panels.panel_offsets(shape[1], dtype)
    width = np.diff(offsets).max() * panels.lanes(dtype)
    assert packed.shape == (len(offsets) - 1, shape[0] + more_rows, width)
    assert packed.dtype == dtype
    # Each element lies in the panel, row and column that the module says; all else is zero.
    for panel, (begin, end) in zip(packed, itertools.pairwise(offsets * panels.lanes(dtype)), strict=True):
        columns = W[:, begin:end]
        np.testing.assert_array_equal(panel[: shape[0], : columns.shape[1]], columns)
    assert np.count_nonzero(packed) == np.count_nonzero(W)
    moved = np.full_like(packed, np.nan)
    copy(packed, moved)
    np.testing.assert_array_equal(moved, packed)
    panels.unpack(packed, back)
    np.testing.assert_array_equal(back, W)


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


@PROPERTY
@given(size=st.integers(0, 10**6), workers=st.integers(1, 300))
def test_shares_are_pieces_of_one_line(size, workers):
    pieces = [share(size, worker, workers) for worker in range(workers)]
    assert pieces[0][0] == 0
    assert pieces[-1][1] == size
    assert all(a[1] == b[0] for a, b in itertools.pairwise(pieces))
    assert {last - first for first, last in pieces} <= {size // workers, size // workers + 1}


def owned_tiles(offsets, begins, workers):
    """Return, as the kernels do it, which tiles (panel, group) each worker owns."""
    owned = []
    for worker in range(workers):
        low, high = share(offsets[-1] * begins[-1], worker, workers)
        tiles = []
        for panel, (a, b) in enumerate(itertools.pairwise(offsets)):
            first, last = (first_tile(begins, a, b - a, bound) for bound in (low, high))
            tiles += [(panel, g) for g in range(first, last)]
        owned.append(tiles)
    return owned


@PROPERTY
@given(
    columns=st.integers(1, 1000),
    listed=st.lists(st.integers(0, 784), min_size=1, max_size=40),
    overhead=st.integers(1, 10),
    workers=st.integers(1, 40),
)
def test_every_tile_has_one_owner(columns, listed, overhead, workers):
    offsets = panels.panel_offsets(columns, "float32")
    begins = np.zeros(len(listed) + 1, np.int64)
    add_up(np.array(listed), overhead, begins)
    assert begins.tolist() == [0, *itertools.accumulate(work + overhead for work in listed)]
    owned = owned_tiles(offsets, begins, workers)
    owners = Counter(itertools.chain(*owned))
    assert owners == Counter(itertools.product(range(len(offsets) - 1), range(len(listed))))
    # A worker's tiles are neighbours in a line, panel after panel.
    assert list(itertools.chain(*owned)) == sorted(owners)
    # Nobody has more than an equal share of the work and what of a tile reaches over its end.
    widths = np.diff(offsets)
    work = [sum((listed[g] + overhead) * widths[panel] for panel, g in tiles) for tiles in owned]
    assert max(work) <= -(-sum(work) // workers) + (max(listed) + overhead) * widths.max()

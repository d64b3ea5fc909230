"""The blocks that a batch of the network goes through in."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastml.kernels.masks import MASK_BITS
from fastml.kernels.network_memory import (
    BLOCK,
    BLOCK_BYTES,
    FEWEST_BLOCKS,
    PIECE,
    block_rows,
    pack,
    piece_offsets,
    scratch,
)
from fastml.kernels.panels import lanes

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)
ROW_BYTES = st.integers(1, 1 << 21)


@PROPERTY
@given(batch=st.integers(1, 10_000), row_bytes=ROW_BYTES, fewest=st.integers(1, 8))
@example(batch=BLOCK, row_bytes=1, fewest=1)
@example(batch=BLOCK, row_bytes=1, fewest=4)
@example(batch=BLOCK + 1, row_bytes=1, fewest=4)
def test_blocks_stay_in_the_cache_and_are_as_equal_as_whole_masks_allow(batch, row_bytes, fewest):
    rows = block_rows(batch, row_bytes, fewest)
    assert rows % MASK_BITS == 0
    assert MASK_BITS <= rows <= BLOCK
    assert rows == MASK_BITS or rows * row_bytes <= BLOCK_BYTES
    # With a mask less in each, as many blocks would not hold the batch.
    blocks = -(-batch // rows)
    assert blocks * rows >= batch > blocks * (rows - MASK_BITS)
    assert blocks == 1 or rows < batch / fewest + MASK_BITS
    assert blocks > 1 or rows == block_rows(batch, row_bytes)


@PROPERTY
@given(row_bytes=ROW_BYTES)
def test_evaluation_has_whole_blocks_of_a_slice(row_bytes):
    assert BLOCK % block_rows(BLOCK, row_bytes) == 0


@PROPERTY
@given(input_dim=st.integers(1, 20_000))
@example(input_dim=PIECE)
@example(input_dim=PIECE + 1)
def test_pieces_are_as_equal_as_whole_masks_allow(input_dim):
    offsets = piece_offsets(input_dim)
    sizes = np.diff(offsets)
    assert (offsets % MASK_BITS == 0).all()
    assert offsets[0] == 0
    assert 0 <= offsets[-1] - input_dim < MASK_BITS
    assert MASK_BITS <= sizes.min() <= sizes.max() <= min(PIECE, sizes.min() + MASK_BITS)
    assert len(sizes) == -(-input_dim // PIECE)


@pytest.mark.parametrize(
    ("hidden_dim", "batch", "learn", "by_rows"),
    [
        (16, 1000, True, True),
        (400, 1000, True, False),
        (16, BLOCK, True, False),
        (16, BLOCK + 1, True, False),  # three blocks, as equal as whole masks allow
        (16, 2 * BLOCK, True, True),
        (16, 1000, False, False),
    ],
)
def test_blocks_of_many_more_rows_than_hidden_units_are_shared_out_by_rows(hidden_dim, batch, learn, by_rows):
    weights = pack(np.dtype(np.float32), np.zeros((20, hidden_dim), np.float32), np.zeros((hidden_dim, 3), np.float32))
    memory = scratch(batch, 2, learn, weights, np.dtype(np.float32))
    assert memory.by_rows == by_rows
    assert len(memory.order) == len(memory.masks) == (1 if by_rows else 2)
    assert not by_rows or memory.masks.shape[1] >= FEWEST_BLOCKS


@pytest.mark.parametrize(("vectors", "kept"), [(1, np.float32), (2, np.uint8)])
def test_bytes_are_converted_for_one_vector_of_hidden_units(vectors, kept):
    hidden_dim = vectors * lanes(np.float32)
    weights = pack(np.dtype(np.float32), np.zeros((20, hidden_dim), np.float32), np.zeros((hidden_dim, 3), np.float32))
    assert scratch(10, 1, True, weights, np.dtype(np.uint8)).X.dtype == kept

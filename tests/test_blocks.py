"""The blocks that a batch of the network goes through in."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fastml.kernels.network_memory import BLOCK, BLOCK_BYTES, block_rows
from fastml.kernels.vectors import MASK_BITS

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True)
ROW_BYTES = st.integers(1, 1 << 21)


@PROPERTY
@given(batch=st.integers(1, 10_000), row_bytes=ROW_BYTES)
@example(batch=BLOCK, row_bytes=1)
@example(batch=BLOCK + 1, row_bytes=1)
def test_blocks_stay_in_the_cache_and_are_as_equal_as_whole_masks_allow(batch, row_bytes):
    rows = block_rows(batch, row_bytes)
    assert rows % MASK_BITS == 0
    assert MASK_BITS <= rows <= BLOCK
    assert rows == MASK_BITS or rows * row_bytes <= BLOCK_BYTES
    # With a mask less in each, as many blocks would not hold the batch.
    blocks = -(-batch // rows)
    assert blocks * rows >= batch > blocks * (rows - MASK_BITS)


@PROPERTY
@given(row_bytes=ROW_BYTES)
def test_evaluation_has_whole_blocks_of_a_slice(row_bytes):
    assert BLOCK % block_rows(BLOCK, row_bytes) == 0

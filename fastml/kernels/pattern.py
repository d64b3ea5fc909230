"""Lists of what is not zero: the features of each group of rows, and the rows of each group of features.

A tile of `ROWS` rows multiplies only the features in which one of its rows is not zero. A tile that updates the weights
of `ROWS` features adds only the rows in which one of these features is not zero. Where nothing is zero the lists are
full; there is no other path.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.panels import ROWS, aligned_zeros, padded, whole_masks
from fastml.kernels.simd.masks import MASK_BITS, append_indices, meeting_mask, nonzero_mask


class Lists(NamedTuple):
    """The patterns of the blocks of a batch. The first axis of each array is the worker: each worker makes its own.

    The lists have room for MASK_BITS more numbers than they can hold, because `append_indices` always writes that many.
    """

    order: NDArray[np.int64]  # (workers, blocks, rows): the rows of a block as groups take them, similar ones together
    keys: NDArray[np.int32]  # (workers, rows): sort keys
    masks: NDArray[np.uint16]  # (workers, blocks, features / MASK_BITS, rows): a bit for each feature that is not zero
    features: NDArray[np.int32]  # (workers, row groups, features + MASK_BITS)
    feature_counts: NDArray[np.int64]  # (workers, row groups): how many of `features` are listed
    rows: NDArray[np.int32]  # (workers, feature groups, rows + MASK_BITS)
    row_counts: NDArray[np.int64]  # (workers, feature groups): how many of `rows` are listed
    shares: NDArray[np.int64]  # (workers, feature groups): row_counts of the first block of a batch, see `own_tiles`


def row_stride(input_dim: int, dtype: DTypeLike) -> int:
    """Return the features of a packed row, padded to whole masks.

    If rows were a multiple of 1024 bytes apart, the first cache would keep only few rows of a column; so such rows get
    one more mask.
    """
    features = whole_masks(input_dim)
    return features + MASK_BITS * (features * np.dtype(dtype).itemsize % 1024 == 0)


def lists_for(workers: int, blocks: int, rows: int, input_dim: int) -> Lists:
    """Return memory for the patterns of a number of blocks of rows."""
    features = whole_masks(input_dim)
    row_groups, feature_groups = rows // ROWS, padded(input_dim, ROWS) // ROWS

    def integers(*shape, dtype=np.int64):
        # Whole pairs of cache lines: two workers never write to one pair.
        return aligned_zeros((workers, *shape[:-1], padded(shape[-1], 128 // np.dtype(dtype).itemsize)), dtype)

    return Lists(
        order=integers(blocks, rows),
        keys=integers(rows, dtype=np.int32),
        masks=integers(blocks, features // MASK_BITS, rows, dtype=np.uint16),
        features=aligned_zeros((workers, row_groups, features + MASK_BITS), np.int32),
        feature_counts=integers(row_groups),
        rows=aligned_zeros((workers, feature_groups, rows + MASK_BITS), np.int32),
        row_counts=integers(feature_groups),
        shares=integers(feature_groups),
    )


@helper
def own_lists(lists, worker, block):
    """Return the lists of one worker for one block of the batch."""
    w = worker.number
    return Lists(
        order=lists.order[w, block],
        keys=lists.keys[w],
        masks=lists.masks[w, block],
        features=lists.features[w],
        feature_counts=lists.feature_counts[w],
        rows=lists.rows[w],
        row_counts=lists.row_counts[w],
        shares=lists.shares[w],
    )


@helper
def groups_of(rows):
    """Return the number of groups of a number of rows."""
    return (rows + ROWS - 1) // ROWS


@helper
def mask_row(X, row, masks, i):
    """Write which features of a row of X are not zero to column i of masks."""
    for c in range(masks.shape[0]):
        masks[c, i] = nonzero_mask(X, row, c * MASK_BITS)


@helper
def sort_rows(labels, masks, keys, order):
    """Write the indices of labels to order, similar rows together: they have many zeros in common.

    The key is the label, of which 8 bits count, and the mask at three quarters of a row: it shows how a digit slants.
    """
    c = masks.shape[0] * 3 // 4
    for i in range(labels.size):
        # No two keys are equal: i has 8 bits.
        keys[i] = (labels[i] << 24) + (np.int64(masks[c, i]) << 8) + i
    for i in range(labels.size):
        rank, key = np.int32(0), keys[i]
        for j in range(labels.size):
            rank = np.int32(rank + (keys[j] < key))
        order[rank] = i


@helper
def list_features(labels, lists):
    """Sort the rows of a block, cut them into groups, and list the features of each.

    Return the total number of listed features.
    """
    groups, total = groups_of(labels.size), 0
    sort_rows(labels, lists.masks, lists.keys, lists.order)
    for i in range(labels.size, groups * ROWS):
        # The last row comes again to fill the last group: its result is then written twice.
        lists.order[i] = lists.order[labels.size - 1]
    for g in range(groups):
        group = to_fixed_tuple(lists.order[g * ROWS :], ROWS)
        count = 0
        for c in range(lists.masks.shape[0]):
            union = lists.masks[c, group[0]]
            for r in range(1, ROWS):
                union |= lists.masks[c, group[r]]
            count = append_indices(lists.features, g, count, union, c * MASK_BITS)
        lists.feature_counts[g] = count
        total += count
    return total


@helper
def list_rows(count, groups, lists, is_first):
    """List the rows of each group of features, in a block of count rows; return the total number of listed rows.

    The counts of the first block of a batch become the shares: a tile keeps its owner for the whole batch.
    """
    total = 0
    for g in range(groups):
        bits = np.uint16(((1 << ROWS) - 1) << g * ROWS % MASK_BITS)
        listed = 0
        for i in range(0, count, MASK_BITS):
            met = meeting_mask(lists.masks, g * ROWS // MASK_BITS, i, bits)
            listed = append_indices(lists.rows, g, listed, met, i)
        lists.row_counts[g] = listed
        if is_first:
            lists.shares[g] = listed
        total += listed
    return total

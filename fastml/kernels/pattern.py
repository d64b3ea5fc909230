"""Lists of what is not zero: the features of each group of rows, and the rows of each group of features.

A group of `ROWS` rows has an upper and a lower pair. A pair multiplies only the features in which one of its rows is
not zero. So a group has three lists: the features that both pairs need, for which a tile of all rows multiplies, and
those that only one pair needs. In the same way, a tile that updates the weights of `ROWS` features has lists of the
rows in which one of these features is not zero. Where nothing is zero the first list is full; there is no other path.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import DTypeLike, NDArray

from fastml.kernels.compile.options import helper
from fastml.kernels.panels import PAIR, ROWS, aligned_zeros, padded, whole_masks
from fastml.kernels.simd.masks import MASK_BITS, ROW_BITS, append_indices, meeting_mask, nonzero_mask

# The lists of a group: what both of its pairs need, what only the upper pair needs, and what only the lower needs.
BOTH, UPPER, LOWER = range(3)
LISTS = 3
ALL_ROWS = np.uint64(2**ROW_BITS - 1)


class Lists(NamedTuple):
    """The patterns of the blocks of a batch. The first axis of each array is the worker: each worker makes its own.

    The lists have room for as many more numbers as `append_indices` writes at once.
    """

    order: NDArray[np.int64]  # (workers, blocks, rows): the rows of a block as groups take them, similar ones together
    keys: NDArray[np.int32]  # (workers, rows): sort keys
    masks: NDArray[np.uint16]  # (workers, blocks, features / MASK_BITS, rows): a bit for each feature that is not zero
    features: NDArray[np.uint16 | np.uint32]  # (workers, LISTS, row groups, features + MASK_BITS)
    feature_counts: NDArray[np.int64]  # (workers, LISTS, row groups): how many of `features` are listed
    feature_work: NDArray[np.int64]  # (workers, row groups): how often a pair of rows multiplies a feature
    rows: NDArray[np.uint8]  # (workers, LISTS, feature groups, rows + ROW_BITS)
    row_counts: NDArray[np.int64]  # (workers, LISTS, feature groups): how many of `rows` are listed
    row_work: NDArray[np.int64]  # (workers, feature groups): how often a pair of features multiplies a row


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
    index_dtype = np.promote_types(np.uint16, np.min_scalar_type(features))

    def integers(*shape, dtype=np.int64):
        # Whole pairs of cache lines: two workers never write to one pair.
        return aligned_zeros((workers, *shape[:-1], padded(shape[-1], 128 // np.dtype(dtype).itemsize)), dtype)

    return Lists(
        order=integers(blocks, rows),
        keys=integers(rows, dtype=np.int32),
        masks=integers(blocks, features // MASK_BITS, padded(rows, ROW_BITS), dtype=np.uint16),
        features=aligned_zeros((workers, LISTS, row_groups, features + MASK_BITS), index_dtype),
        feature_counts=integers(LISTS, row_groups),
        feature_work=integers(row_groups),
        rows=aligned_zeros((workers, LISTS, feature_groups, rows + ROW_BITS), np.uint8),
        row_counts=integers(LISTS, feature_groups),
        row_work=integers(feature_groups),
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
        feature_work=lists.feature_work[w],
        rows=lists.rows[w],
        row_counts=lists.row_counts[w],
        row_work=lists.row_work[w],
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
def append_pairs(found, g, counts, upper, lower, base):
    """Append indices to the lists of group g, from the masks of its two pairs; return the new counts."""
    both, only_upper, only_lower = counts
    both = append_indices(found[BOTH], g, both, upper & lower, base)
    only_upper = append_indices(found[UPPER], g, only_upper, upper & ~lower, base)
    only_lower = append_indices(found[LOWER], g, only_lower, lower & ~upper, base)
    return both, only_upper, only_lower


@helper
def listed(counts, g):
    """Return how many numbers the lists of group g have in all."""
    return counts[BOTH, g] + counts[UPPER, g] + counts[LOWER, g]


@helper
def list_features(labels, lists):
    """Sort the rows of a block, cut them into groups, and list the features of each.

    Return how many features both pairs of a group need, added up over the groups.
    """
    groups = groups_of(labels.size)
    sort_rows(labels, lists.masks, lists.keys, lists.order)
    for i in range(labels.size, groups * ROWS):
        # The last row comes again to fill the last group: its result is then written twice.
        lists.order[i] = lists.order[labels.size - 1]
    return list_in_order(groups, lists)


@helper
def list_in_order(groups, lists):
    """List the features of each group of rows, which are in order; return what `list_features` returns."""
    total, counts = 0, lists.feature_counts
    for g in range(groups):
        (a, b, c, d), found = to_fixed_tuple(lists.order[g * ROWS :], ROWS), (0, 0, 0)
        for m in range(lists.masks.shape[0]):
            upper, lower = lists.masks[m, a] | lists.masks[m, b], lists.masks[m, c] | lists.masks[m, d]
            found = append_pairs(lists.features, g, found, upper, lower, m * MASK_BITS)
        counts[BOTH, g], counts[UPPER, g], counts[LOWER, g] = found
        lists.feature_work[g] = listed(counts, g) + counts[BOTH, g]
        total += counts[BOTH, g]
    return total


@helper
def list_rows(count, groups, lists, is_first):
    """List the rows of each group of features, in a block of count rows.

    Return how many rows both pairs of a group need, added up over the groups. The work is that of the first block of a
    batch: a tile keeps its owner for the whole batch.
    """
    total, pair, counts = 0, (1 << PAIR) - 1, lists.row_counts
    for g in range(groups):
        m, bit, found = g * ROWS // MASK_BITS, g * ROWS % MASK_BITS, (0, 0, 0)
        for i in range(0, count, ROW_BITS):
            # The masks behind the last row are not those of this block.
            present = ALL_ROWS >> np.uint64(max(i + ROW_BITS - count, 0))
            upper = meeting_mask(lists.masks, m, i, np.uint64(pair << bit)) & present
            lower = meeting_mask(lists.masks, m, i, np.uint64(pair << bit + PAIR)) & present
            found = append_pairs(lists.rows, g, found, upper, lower, i)
        counts[BOTH, g], counts[UPPER, g], counts[LOWER, g] = found
        if is_first:
            lists.row_work[g] = listed(counts, g) + counts[BOTH, g]
        total += counts[BOTH, g]
    return total

"""Block-sparse patterns against the obvious NumPy."""

import numpy as np
import pytest

from fastml.kernels import pattern
from fastml.kernels.panels import PAIR, ROWS, padded
from fastml.kernels.simd.masks import MASK_BITS, ROW_BITS
from fastml.kernels.team import Worker
from tests.compiled import compiled

DENSITIES = pytest.mark.parametrize("density", [0, 0.1, 1])
SIZES = pytest.mark.parametrize("rows", [1, 4, 17, 100])
INPUTS = pytest.mark.parametrize("input_dim", [1, 15, 16, 17, 83, 784])
UNTOUCHED = 249
mask_row, sort_rows, list_features, list_rows = map(
    compiled, (pattern.mask_row, pattern.sort_rows, pattern.list_features, pattern.list_rows)
)


def make_rows(rows, input_dim, density):
    """Return numbers, a fraction density of them not zero."""
    random = np.random.default_rng(rows * 1000 + input_dim)
    values = random.integers(1, 100, (rows, input_dim))
    return (values * (random.random((rows, input_dim)) < density)).astype(np.float32)


def masks_of(X):
    """Return (masks, rows), the masks of X's rows, padded with zeros to whole masks both ways."""
    rows, input_dim = X.shape
    flags = np.zeros((padded(rows, MASK_BITS), padded(input_dim, MASK_BITS)), np.uint16)
    flags[:rows, :input_dim] = X != 0
    bits = np.left_shift(1, np.arange(MASK_BITS))
    return np.array((flags.reshape(len(flags), -1, MASK_BITS) @ bits).T, np.uint16, order="C")


def make_lists(X):
    """Return the lists of one worker for the rows of X, which are marked; what is not listed is untouched."""
    rows, input_dim = X.shape
    lists = pattern.lists_for(2, 1, padded(rows, MASK_BITS), input_dim)
    lists = pattern.own_lists.py_func(lists, Worker(None, 1, 2), 0)
    # Behind the rows of the block are marks of others.
    lists.masks[...] = 0xFFFF
    lists.masks[:, :rows] = masks_of(X)[:, :rows]
    for array in lists[3:]:
        array[...] = UNTOUCHED
    return lists


def listed(found, counts, groups, room):
    """Return what the three lists of each group have, after a look at the memory behind them."""
    for which in range(pattern.LISTS):
        for g in range(groups):
            assert (found[which, g, counts[which, g] + room :] == UNTOUCHED).all()
    assert (found[:, groups:] == UNTOUCHED).all()
    assert (counts[:, groups:] == UNTOUCHED).all()
    return [[found[which, g, : counts[which, g]].tolist() for which in range(pattern.LISTS)] for g in range(groups)]


def expected_lists(flags):
    """Return the three lists of each group of flags (groups, ROWS, size): what both pairs need, what only one needs."""
    upper, lower = flags[:, :PAIR].any(axis=1), flags[:, PAIR:].any(axis=1)
    needed = np.stack([upper & lower, upper & ~lower, lower & ~upper], axis=1)
    return [[np.flatnonzero(row).tolist() for row in group] for group in needed]


def work_of(lists):
    """Return how often a pair multiplies, for the three lists of each group."""
    return np.array([2 * len(both) + len(upper) + len(lower) for both, upper, lower in lists])


@DENSITIES
@INPUTS
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_masks_of_rows(density, input_dim, dtype):
    X = make_rows(17, input_dim, density)
    packed = np.zeros((20, padded(input_dim, MASK_BITS)), dtype)
    packed[1:18, :input_dim] = X
    masks = np.full((packed.shape[1] // MASK_BITS, 20), 12345, np.uint16)
    for i in range(1, 18):
        mask_row(packed, i, masks, i)
    np.testing.assert_array_equal(masks[:, 1:18], masks_of(X)[:, :17])
    assert (masks[:, [0, 18, 19]] == 12345).all()


def test_what_is_not_finite_is_not_zero():
    packed, masks = np.zeros((1, MASK_BITS), np.float32), np.zeros((1, 1), np.uint16)
    packed[0, :6] = np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0
    mask_row(packed, 0, masks, 0)
    assert masks[0, 0] == 0b100111


@DENSITIES
@INPUTS
@SIZES
def test_features_of_a_group_of_rows(density, input_dim, rows):
    X = make_rows(rows, input_dim, density)
    lists, labels = make_lists(X), np.random.default_rng(rows).integers(5, size=rows)
    total, groups = list_features(labels, lists), padded(rows, ROWS) // ROWS
    # Each row is in a group; the last row fills up the last group.
    order = lists.order[: groups * ROWS]
    assert sorted(order[:rows]) == list(range(rows))
    assert (order[rows:] == order[rows - 1]).all()
    found = listed(lists.features, lists.feature_counts, groups, MASK_BITS)
    assert found == expected_lists(X[order].reshape(groups, ROWS, input_dim) != 0)
    assert lists.feature_work[:groups].tolist() == work_of(found).tolist()
    assert total == sum(len(both) for both, *_ in found)


@DENSITIES
@INPUTS
@SIZES
@pytest.mark.parametrize("is_first", [True, False])
def test_rows_of_a_group_of_features(density, input_dim, rows, is_first):
    X, groups = make_rows(rows, input_dim, density), padded(input_dim, ROWS) // ROWS
    lists = make_lists(X)
    total = list_rows(rows, groups, lists, is_first)
    found = listed(lists.rows, lists.row_counts, groups, ROW_BITS)
    columns = np.zeros((groups * ROWS, rows), bool)
    columns[:input_dim] = X.T != 0
    assert found == expected_lists(columns.reshape(groups, ROWS, rows))
    assert lists.row_work[:groups].tolist() == (work_of(found).tolist() if is_first else [UNTOUCHED] * groups)
    assert total == sum(len(both) for both, *_ in found)


@SIZES
@pytest.mark.parametrize("most", [1, 3, 256])
def test_rows_are_sorted_by_label_then_by_a_mask_then_as_they_come(rows, most):
    random = np.random.default_rng(rows + most)
    labels = random.integers(most, size=rows)
    masks = random.choice(np.array([0, 1, 40_000, 65_535], np.uint16), (49, padded(rows, MASK_BITS)))
    order, keys = np.full(rows + 1, UNTOUCHED), np.zeros(rows, np.int32)
    sort_rows(labels, masks, keys, order)
    signed = np.where(labels < 128, labels, labels - 256)
    assert order.tolist() == [*np.lexsort((masks[36, :rows], signed)), UNTOUCHED]


def test_rows_of_mnist_that_look_alike_share_zeros(mnist):
    (X, y), _ = mnist
    work = {"label": 0, "label and looks": 0}
    for start in range(0, 4000, 100):
        rows, labels = X[start : start + 100] != 0, y[start : start + 100].astype(np.int64)
        order = np.zeros(100, np.int64)
        sort_rows(labels, masks_of(rows), np.zeros(100, np.int32), order)
        for name, indices in (("label", np.argsort(labels, kind="stable")), ("label and looks", order)):
            work[name] += work_of(expected_lists(rows[indices].reshape(-1, ROWS, 784))).sum()
    shares = {name: round(count / (4000 // PAIR * 784), 3) for name, count in work.items()}
    assert shares == {"label": 0.267, "label and looks": 0.26}

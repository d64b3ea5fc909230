"""Orders: a seeded permutation of the rows for each epoch, of arrays in memory or of mapped files."""

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource
from fastml.mapping import mapping_of

# For a mapped file: the rows of a block are read together, and the rows of a window are shuffled together.
BLOCK_BYTES, WINDOW_BYTES = 1 << 20, 16 << 20


def epoch_order(X: RowSource, seed: int, epoch: int, shard: int = 0) -> NDArray[np.integer]:
    """Return the order of an epoch: a permutation drawn only from the seed and the numbers of the epoch and the shard.

    If X is in ordinary memory, all rows are shuffled together. If X is a mapped file, blocks of 1 MB are shuffled, and
    then the rows within each 16 MB of the shuffled blocks. So each part of the file is read once, in a large piece, and
    neighbouring rows of the file are still separated.

    Parameters
    ----------
    X : ndarray of shape (num_examples, input_dim)
        The rows.
    seed : int
        Not negative.
    epoch : int
        Not negative.
    shard : int
        Not negative: the number of the shard in X, if a set is cut into shards.

    Returns
    -------
    ndarray of int32 or int64, shape (num_examples,)
        A permutation of the rows' indices, for the epoch functions' `order`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml.orders import epoch_order
    >>> epoch_order(np.zeros((6, 2)), seed=0, epoch=0).tolist()
    [3, 2, 5, 4, 0, 1]
    """
    # The first shard has the order that a set without shards has.
    random = np.random.default_rng([seed, epoch, shard] if shard else [seed, epoch])
    num_rows, row_bytes = X.shape[0], max(1, X.shape[1] * X.dtype.itemsize)
    # int32 takes half the memory of int64, for the whole epoch: 32 MB for 8 million rows.
    dtype: np.dtype[np.integer] = np.dtype(np.int32 if num_rows <= np.iinfo(np.int32).max else np.int64)
    order = np.arange(num_rows, dtype=dtype)
    if mapping_of(X) is None:
        random.shuffle(order)
        return order
    block, window = max(1, BLOCK_BYTES // row_bytes), max(1, WINDOW_BYTES // row_bytes)
    starts = random.permutation(np.arange(0, num_rows, block))
    order = np.concatenate([order[start : start + block] for start in starts])
    for start in range(0, num_rows, window):
        random.shuffle(order[start : start + window])
    return order

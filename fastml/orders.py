"""Orders: a seeded permutation of the rows for each epoch, that suits where the rows lie."""

import numpy as np
from numpy.typing import NDArray

from fastml.mapping import mapping_of

# Of a mapped file. A block is read in one go; the rows of a window are mixed with each other.
BLOCK_BYTES, WINDOW_BYTES = 1 << 20, 16 << 20


def epoch_order(X: NDArray, seed: int, epoch: int) -> NDArray[np.integer]:
    """Return the order of an epoch: a permutation drawn from the seed and the number of the epoch alone.

    Rows in memory are permuted. Of a mapped file, blocks of 1 MB are permuted, and then the rows within each 16 MB of
    these: the file is read in large pieces, each once, and neighbours of the file still come apart.

    Parameters
    ----------
    X : ndarray of shape (num_examples, input_dim)
        The rows.
    seed : int
        Not negative.
    epoch : int
        Not negative.

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
    random = np.random.default_rng([seed, epoch])
    num_rows, row_bytes = X.shape[0], max(1, X.shape[1] * X.itemsize)
    # Half the memory, which the order takes for as long as the epoch runs: 32 MB for 8 million rows.
    dtype = np.int32 if num_rows <= np.iinfo(np.int32).max else np.int64
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

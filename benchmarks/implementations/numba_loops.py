"""Plain loops compiled by Numba: what most people would write, fused, in parallel over the rows of a batch.

The network is stage 3 of the tutorial, docs/from-a-plain-loop.md.
"""

import sys
from pathlib import Path

import numba
import numpy as np
from numba import njit, prange

from implementations.base import Implementation

sys.path.append(str(Path(__file__).parents[2] / "examples" / "kernels"))
from stage2_loops import add_product, make_dlogits
from stage3_parallel import add_gradient, nn_epoch


@njit(parallel=True, fastmath=True)
def softmax_regression_epoch(X, y, theta, lr, batch):
    """Run an epoch of softmax regression."""
    for start in range(0, X.shape[0], batch):
        rows = X[start : start + batch]
        D = np.zeros((rows.shape[0], theta.shape[1]), theta.dtype)
        for i in prange(rows.shape[0]):
            add_product(rows[i], theta, D[i])
            make_dlogits(D[i], y[start + i])
        add_gradient(rows, D, theta.dtype.type(-lr / batch), theta)


class PlainLoops(Implementation):
    """The six steps of an epoch as loops, with `prange` where a loop can be shared out."""

    name = "Numba, plain loops"
    version = numba.__version__

    def epoch(self):
        run = nn_epoch if len(self.start) == 2 else softmax_regression_epoch
        run(self.X, self.y, *self.weights, self.lr, self.batch)


IMPLEMENTATIONS = [PlainLoops]

"""Train one model on many machines with Dask: on the shards of a training set, by local SGD.

- `train_nn`, `train_softmax`: train on the workers of a cluster; the bits depend on the shards, not on the workers
- `shards_of`: cut a training set in files into shards, without a copy

``docs/many-machines.md`` says when this pays, and how to start a cluster.
"""

try:
    import distributed as _distributed  # noqa: F401
except ImportError as error:
    raise ImportError("training on many machines needs distributed: pip install 'fastml[dask]'") from error

from fastml.dask.shards import shards_of
from fastml.dask.training import train_nn, train_softmax

__all__ = ["shards_of", "train_nn", "train_softmax"]

"""Memory maps: which file an array lies in, and word to the operating system of what will be read next."""

import mmap

import numpy as np
from numpy.typing import NDArray


def mapping_of(array: NDArray) -> mmap.mmap | None:
    """Return the memory map that an array, or what it is a view of, lies in; None for one in ordinary memory."""
    owner = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner if isinstance(owner, mmap.mmap) else None

"""Memory maps: find the map that holds an array, and ask the operating system to read the next rows in advance."""

import mmap
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource

# Bytes of one `madvise` call. For one call, Linux reads at most as much as its read-ahead setting, by default 128 KiB.
PIECE_BYTES = 1 << 17
# A pass over a file requests rows in chunks of this many bytes, and stays at least one chunk ahead of the kernels.
CHUNK_BYTES = 16 << 20
# A chunk is not requested if the pieces that hold its rows have more than this many times its bytes: requests for rows
# that are scattered over the file would read most of the file.
MOST_SCATTERED = 4
# The place of a byte of X, or of several.
Position = TypeVar("Position", int, NDArray[np.int64])


def mapping_of(array: RowSource) -> mmap.mmap | None:
    """Return the memory map that holds the data of an array; None for an array in ordinary memory."""
    owner: object = array
    while isinstance(owner, np.ndarray | memoryview):
        owner = owner.base if isinstance(owner, np.ndarray) else owner.obj
    return owner if isinstance(owner, mmap.mmap) else None


class ReadAhead:
    """Asks the operating system to read the next rows of a mapped file while kernels work on the rows before them.

    For an array in ordinary memory there are no requests. Requests change only the time of a pass, not its result: page
    faults load rows that have not been read in advance. An epoch takes about as long as the slower of disk and kernels,
    instead of both together.
    """

    def __init__(self, X: RowSource, order: NDArray[Any] | None):
        self.mapping: mmap.mmap | None = None
        if not isinstance(X, np.ndarray) or not X.flags.c_contiguous or not X.size or not hasattr(mmap.mmap, "madvise"):
            return
        self.mapping = mapping_of(X)
        if self.mapping is None:
            return
        self.order = order
        self.count = X.shape[0] if order is None else order.size
        self.row_bytes = X.shape[1] * X.itemsize
        self.offset = X.ctypes.data - np.frombuffer(self.mapping, np.uint8).ctypes.data
        self.chunk = max(1, CHUNK_BYTES // self.row_bytes)
        self.pieces_of_file = len(self.mapping) // PIECE_BYTES + 1
        self.asked = 0

    def ask(self, start: int, stop: int) -> None:
        """Request the rows after a slice, rows start to stop of the pass: a chunk, or as many rows as the slice has."""
        if self.mapping is None:
            return
        while self.asked < min(self.count, stop + max(self.chunk, stop - start)):
            pieces = self.pieces(self.asked, self.asked + self.chunk)
            if len(pieces) * PIECE_BYTES <= MOST_SCATTERED * max(CHUNK_BYTES, self.row_bytes):
                for piece in pieces:
                    self.mapping.madvise(mmap.MADV_WILLNEED, int(piece) * PIECE_BYTES, PIECE_BYTES)
            self.asked += self.chunk

    def pieces(self, start: int, stop: int) -> NDArray[np.int64] | range:
        """Return the numbers of the pieces of the file (PIECE_BYTES each) that hold rows start to stop of the pass."""
        if self.order is None:
            stop = min(stop, self.count)
            return range(self.piece(start * self.row_bytes), self.piece(stop * self.row_bytes - 1) + 1)
        begins = self.order[start:stop].astype(np.int64) * self.row_bytes
        ends = self.piece(begins + self.row_bytes - 1)
        # Flags are faster than np.unique, and the kernels wait for the result.
        wanted = np.zeros(self.pieces_of_file, bool)
        for following in range(self.row_bytes // PIECE_BYTES + 2):
            wanted[np.minimum(self.piece(begins) + following, ends)] = True
        return np.flatnonzero(wanted)

    def piece(self, position: Position) -> Position:
        """Return the number of the piece that holds a byte of X."""
        return (self.offset + position) // PIECE_BYTES

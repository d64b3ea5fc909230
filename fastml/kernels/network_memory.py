"""The network's memory: its weights in panels, and what workers need for the rows that go through together."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastml.kernels import panels
from fastml.kernels.jit import helper
from fastml.kernels.masks import MASK_BITS
from fastml.kernels.panels import CLASSES, ROWS, aligned_zeros, lanes, padded
from fastml.kernels.softmax import BAND
from fastml.kernels.team import Team, team_of
from fastml.kernels.tiles import addresses_of

# The most rows, and bytes, that go through a region together: with more of them, what all panels read of X leaves the
# second cache. BLOCK is MASK_BITS times a power of two. A larger batch goes through in blocks of up to BLOCK_OF_MANY:
# where nothing is zero, dhidden of 128 rows and a column of X are more than a first cache of 48 KB. In batches of 1000
# dense epochs took 8 % longer with blocks of 128, MNIST's 3 %; but a batch of 128 is 4 % faster as one than as two.
BLOCK, BLOCK_OF_MANY, BLOCK_BYTES = 128, 96, 1 << 20
# The most pixels that go through the panels together: a longer panel of W1 leaves the second cache before the next rows
# come. On 12,288 inputs epochs of hidden 400 took 1.2 times as long in one piece; on 3072 dense inputs one thread made
# hidden at 134 GFLOP/s in one, at 138 in four; with weights for 100 hidden units, which stay anyway, they are alike.
PIECE = 1024
# A batch of several blocks with so many times as many rows as hidden units is shared out by rows. With 100 units and
# batches of 1000 epochs take 6 to 9 % less time on 3072 inputs (medians of 40), up to 4 % less on 784; with half as
# many rows a unit they take 3 to 10 % more. Then it goes in at least so many blocks, since each worker marks all rows
# of a block that he has some of: with 16 units batches of 100 on 3072 inputs took 1.4 times as long in two.
MANY_ROWS, FEWEST_BLOCKS = 4, 4


class Weights(NamedTuple):
    """Both layers in panels of hidden units, the vector at which a panel begins and the pixel at which a piece does.

    W2 has a row for each class, and there are two of it: the backward region reads one and writes the other.
    """

    W1: NDArray
    W2: NDArray
    offsets: NDArray
    pieces: NDArray
    input_dim: int
    num_classes: int


class Scratch(NamedTuple):
    """Memory for a block: the order of its rows and keys for it, the rows packed and what bytes mean, patterns, layers.

    The first axis of each array are workers, the second of order and masks the blocks of a batch. When they learn,
    hidden and partial are one for all workers, and hold a whole batch; so are order and masks where it is shared by
    rows. Where the pixels go through in pieces, dhidden and hidden have room for all panels, elsewhere, to judge,
    hidden for one.
    """

    order: NDArray
    keys: NDArray
    X: NDArray
    table: NDArray
    masks: NDArray
    pixels: NDArray
    pixels_listed: NDArray
    rows: NDArray
    rows_listed: NDArray
    begins: NDArray
    logits: NDArray
    dhidden: NDArray
    hidden: NDArray
    partial: NDArray
    tiles: NDArray
    by_rows: bool
    team: Team


def row_multiple(dtype: DTypeLike) -> int:
    """Return what the number of columns of X must be a multiple of: of nothing, rows are padded as they are packed."""
    return 1


def as_read(X: NDArray) -> NDArray[np.uint8]:
    """Return the bytes of X, (rows, input_dim * itemsize)."""
    return X.view(np.uint8)


def pack(dtype: DTypeLike, W1: NDArray, W2: NDArray) -> Weights:
    """Return the weights in panels."""
    first, second = (panels.pack(W, padded(len(W), rows), dtype) for W, rows in ((W1, ROWS), (W2.T, CLASSES)))
    both = aligned_zeros((2, *second.shape), dtype)
    both[0] = second
    return Weights(first, both, panels.panel_offsets(W1.shape[1], dtype), piece_offsets(len(W1)), len(W1), W2.shape[1])


def piece_offsets(input_dim: int) -> NDArray[np.int64]:
    """Return the pixel at which each piece of the pixels begins, and at the end their number in whole masks."""
    return panels.offsets_of_parts(padded(input_dim, MASK_BITS) // MASK_BITS, PIECE // MASK_BITS) * MASK_BITS


def unpack(packed: Weights, W1: NDArray, W2: NDArray) -> None:
    """Write packed weights back to W1 and W2, in place."""
    panels.unpack(packed.W1, W1)
    panels.unpack(packed.W2[0], W2.T)


def block_rows(batch: int, row_bytes: int, fewest: int = 1) -> int:
    """Return how many rows of a batch go through together, MASK_BITS times some number; the last may be fewer.

    If that is not all of them, it is about a part of the batch that there are so many of, or less.
    For a batch of BLOCK it divides BLOCK, so that evaluation has the same blocks wherever a slice begins.
    """
    rows = BLOCK if batch <= BLOCK else BLOCK_OF_MANY
    while rows > MASK_BITS and rows * row_bytes > BLOCK_BYTES:
        rows = padded(rows // 2, MASK_BITS)
    blocks = padded(batch, rows) // rows
    if blocks > 1:
        blocks = max(blocks, fewest)
    return padded(padded(batch, blocks) // blocks, MASK_BITS)


def scratch(batch: int, workers: int, learn: bool, packed: Weights, x_dtype: DTypeLike) -> Scratch:
    """Return memory for a number of workers, whose batches have up to batch rows, of an X of x_dtype."""
    dtype = packed.W1.dtype
    # Bytes are looked up by each step of a tile. With one vector of hidden units that takes longer than to convert them
    # once: 1.2 times on 3072 inputs without zeros (on Zen 4); with two it is already the other way round.
    packed_dtype = np.dtype(np.uint8 if x_dtype == np.uint8 and packed.offsets[-1] > 1 else dtype)
    has_many_rows = learn and batch >= MANY_ROWS * lanes(dtype) * int(packed.offsets[-1])
    row_bytes = padded(packed.input_dim, MASK_BITS) * packed_dtype.itemsize
    rows = block_rows(batch, row_bytes, FEWEST_BLOCKS if has_many_rows else 1)
    team_rows = padded(batch, MASK_BITS) if learn else rows
    row_groups, pixels, pixel_groups = rows // ROWS, padded(packed.input_dim, MASK_BITS), packed.W1.shape[1] // ROWS
    _, count, classes, width = packed.W2.shape
    teams = 1 if learn else workers
    all_panels = count if len(packed.pieces) > 2 else 1
    blocks = padded(batch, rows) // rows if learn else 1
    by_rows = has_many_rows and blocks >= FEWEST_BLOCKS
    makers = 1 if by_rows else workers
    widths = tuple(np.diff(packed.offsets).tolist())
    # The update goes down columns of X: of rows that lie a power of two apart the first cache keeps a few. With 3072
    # inputs a row that is a vector longer makes an epoch of hidden 16 or 100 by 6 % faster, of hidden 400 by 3 %.
    stride = pixels + MASK_BITS if pixels * packed_dtype.itemsize % 1024 == 0 else pixels

    def integers(*shape, owners=workers):
        # Whole pairs of cache lines: what two workers write must not share one.
        return aligned_zeros((owners, *shape[:-1], padded(shape[-1], 16)), np.int64)

    return Scratch(
        order=integers(blocks, rows, owners=makers),
        keys=aligned_zeros((workers, padded(rows, 32)), np.int32),
        X=aligned_zeros((workers, rows, stride), packed_dtype),
        # Without bytes there is none, and it takes no time.
        table=aligned_zeros((workers, 256 if packed_dtype == np.uint8 else 0), dtype),
        # Pairs of cache lines, too; in many blocks only what lies between two workers could be shared.
        masks=aligned_zeros(
            (makers, blocks, pixels // MASK_BITS, padded(rows, 64) if blocks == 1 else rows), np.uint16
        ),
        # MASK_BITS more than can be listed: `append_indices` writes so many at once.
        pixels=aligned_zeros((workers, row_groups, pixels + MASK_BITS), np.int32),
        pixels_listed=integers(len(packed.pieces), row_groups),
        rows=aligned_zeros((workers, pixel_groups, rows + MASK_BITS), np.int32),
        rows_listed=integers(pixel_groups),
        begins=integers(max(row_groups, pixel_groups) + 1),
        logits=aligned_zeros((workers, rows // BAND, classes, BAND), dtype),
        dhidden=aligned_zeros((workers, all_panels, rows, width), dtype),
        hidden=aligned_zeros((teams, count if learn else all_panels, team_rows, width), dtype),
        partial=aligned_zeros((teams, count, team_rows // BAND, classes, BAND), dtype),
        tiles=addresses_of(widths, dtype, packed_dtype),
        by_rows=by_rows,
        team=team_of(workers),
    )


@helper
def own_scratch(scratch, worker, team, block):
    """Return a worker's part of the scratch memory, for a block of the batch."""
    maker = np.intp(0) if scratch.by_rows else worker
    return Scratch(
        scratch.order[maker, block],
        scratch.keys[worker],
        scratch.X[worker],
        scratch.table[worker],
        scratch.masks[maker, block],
        scratch.pixels[worker],
        scratch.pixels_listed[worker],
        scratch.rows[worker],
        scratch.rows_listed[worker],
        scratch.begins[worker],
        scratch.logits[worker],
        scratch.dhidden[worker],
        scratch.hidden[team],
        scratch.partial[team],
        scratch.tiles,
        scratch.by_rows,
        scratch.team,
    )

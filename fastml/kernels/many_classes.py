"""A last layer with many classes: its logits, dlogits and gradient on a block, made by a team of workers.

The layer is in panels of classes, as W1 of the network is in panels of hidden units, and skips zeros like W1. Each
worker owns panels of classes. Workers meet when all logits of a block are written, and again when all dlogits are. The
softmax of a row needs all classes, so the workers share out the bands of rows.
"""

from typing import NamedTuple

import numpy as np
from numba.np.unsafe.ndarray import to_fixed_tuple
from numpy.typing import NDArray

from fastml.kernels import layer, loss, panels, pattern, team
from fastml.kernels.compile.options import helper, inlined
from fastml.kernels.loss import BAND, Logits
from fastml.kernels.panels import ROWS, Layer
from fastml.kernels.simd.tiles import UNITS
from fastml.kernels.simd.transposes import columns_to_rows, rows_to_columns
from fastml.kernels.team import Tiles


class Head(NamedTuple):
    """Memory for the logits, which all workers share for one block; to judge, each worker has its own."""

    rows: NDArray  # (panels, rows, width): logits in the order of the groups, then dlogits; to judge (workers, ...)
    bands: NDArray  # (1, bands, classes, BAND): logits, then dlogits; to judge (workers, ...), then the softmax
    start: NDArray  # (1, classes): zeros, for the logits contain the bias
    factor: np.floating  # 1: the logits have no factor


def head_for(last: Layer, rows: int, workers: int, learn: bool) -> Head:
    """Return memory for blocks of a number of rows: of a layer in panels of classes, to learn or to judge."""
    count, _, width = last.weights.shape
    owners, dtype = 1 if learn else workers, last.weights.dtype
    classes = int(last.offsets[-1]) * panels.lanes(dtype) // UNITS
    return Head(
        rows=panels.aligned_zeros((count if learn else workers, rows, width), dtype),
        bands=panels.aligned_zeros((owners, rows // BAND, classes, BAND), dtype),
        start=np.zeros((1, classes), dtype),
        factor=dtype.type(1),
    )


@helper
def logits_of(head, owner):
    """Return the logits of a block, a part alone, which `loss` changes in place."""
    bands = head.bands[owner]
    return Logits(False, head.start, bands.reshape(bands.shape[0], 1, bands.shape[1], BAND), head.factor, bands)


@inlined
def make_logits(last, block, lists, head, ahead, worker):
    """Write a worker's share of the logits of a block to the bands."""
    count, groups = last.weights.shape[0], pattern.groups_of(block.labels.size)
    begin, end = team.own_panels(worker, count)
    for p in range(begin, end):
        tiles = team.own_tiles(worker, p, count, lists.feature_work, groups)
        layer.forward(last, tiles, block, lists, False, head.rows[p], 0, ahead)
        write_bands(last, tiles, head.rows[p], head.bands[0])


@inlined
def make_dlogits(last, targets, num_classes, order, head, verdicts, worker):
    """Meet, make the dlogits of a block, write each row of them where `order` says, and meet again."""
    team.meet(worker)
    loss.make_dlogits(logits_of(head, 0), targets, num_classes, verdicts, worker)
    write_rows(last, head, targets.labels.size, order, worker)
    team.meet(worker)


@inlined
def write_logits(last, block, lists, head, ahead, me):
    """Write all logits of a block to the bands of the one worker that judges the block."""
    for p in range(last.weights.shape[0]):
        tiles = Tiles(p, 0, pattern.groups_of(block.labels.size))
        layer.forward(last, tiles, block, lists, False, head.rows[me], 0, ahead)
        write_bands(last, tiles, head.rows[me], head.bands[me])


@inlined
def make_gradient(last, block, lists, head, update, ahead, worker):
    """Make a worker's share of the gradient of the layer on a block."""
    count, groups = last.weights.shape[0], panels.feature_groups(last)
    begin, end = team.own_panels(worker, count)
    for p in range(begin, end):
        tiles = team.own_tiles(worker, p, count, lists.row_work, groups)
        layer.gradient(last, tiles, block, lists, head.rows[p], update, ahead)


@helper
def write_bands(last, tiles, rows, bands):
    """Write the logits of some groups of rows of a panel, (rows, width), to bands."""
    column, end = panels.first_column(last, tiles.panel), panels.first_column(last, tiles.panel + 1)
    for i in range(tiles.first * ROWS, tiles.last * ROWS, ROWS):
        for k in range(column, end, panels.unit_of(last)):
            rows_to_columns(ROWS, rows, i, k - column, bands[i // BAND], k, i % BAND)


@helper
def write_rows(last, head, count, order, worker):
    """Write a worker's bands of dlogits, of count rows in all, to their rows."""
    for p in range(head.rows.shape[0]):
        column, end = panels.first_column(last, p), panels.first_column(last, p + 1)
        for i in range(0, count, ROWS):
            if i // BAND % worker.count == worker.number:
                band, group = head.bands[0, i // BAND], to_fixed_tuple(order[i:], ROWS)
                for k in range(column, end, panels.unit_of(last)):
                    columns_to_rows(ROWS, head.rows[p], group, k - column, band, k, i % BAND)

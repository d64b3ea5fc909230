"""The two-layer ReLU network: the mini-batch steps of a slice, and the verdicts of a model on one.

A batch goes through two regions, and all workers meet after each:

- forward: read or pack the rows, list the pixels that are not zero in each group of them; by tiles (panel x rows):
  hidden = relu(X W1) and, while it is at hand, the panel's part of logits = hidden W2;
- backward: the partial logits added in the order of the panels, softmax, dlogits; list the rows that are not zero in
  each group of pixels; by panels: dhidden and the update of W2; by tiles (panel x pixels): W1 += X^T dhidden.

Hidden units and weights are shared out by panels. What every worker needs of the batch's rows, the packed pixels, their
patterns, logits and dlogits, each makes for itself: lines that two cores write and read in turn cost more than to make
them twice. Two workers that shared the packing of 100 rows took 45 us for it, one alone 44.

Of many rows and few hidden units X is more to read than the weights, and every core would read all of it twice. There
forward is shared out by rows, backward by pixels, each with all panels: what travels are the weights.

In each region a batch of many rows goes through in blocks, and of each block the pixels go in pieces through all
panels, one piece after the other: all of X together would not stay in a cache, nor a panel of very many pixels. Packed
rows backward has to pack again. (Each piece through all blocks would leave its weights in the second cache: forward
alone is 12 to 14 % faster so, on 3072 inputs, but epochs are not, for then X can't be asked for ahead.)
"""

import numpy as np

from fastml.kernels.jit import apart, helper
from fastml.kernels.network_memory import BLOCK, as_read, own_scratch, pack, row_multiple, scratch, unpack
from fastml.kernels.panels import ROWS, add_up, copy, first_tile, padded_size, share
from fastml.kernels.pattern import list_pixels, list_rows, sort_rows
from fastml.kernels.rows import are_neighbours, mark_rows, need_no_packing, pack_rows, tabulate
from fastml.kernels.softmax import (
    BAND,
    add_partial_logits,
    dlogits_band,
    judge_band,
    softmax_band,
    verdicts_from,
)
from fastml.kernels.subnormals import flush_subnormals, restore_subnormals
from fastml.kernels.team import assemble, meet_balanced, now, own_share, run_team, take
from fastml.kernels.tiles import (
    TILE_OVERHEAD,
    Ahead,
    ahead_from,
    class_tiles,
    dhidden_tiles,
    forward_tiles,
    logit_tiles,
    update_tiles,
)
from fastml.kernels.vectors import as_numbers

# What a model is to those who drive its slices.
__all__ = ["BLOCK", "as_read", "pack", "row_multiple", "run", "scratch", "unpack"]

FORWARD, BACKWARD, JUDGE = 0, 1, 2


@helper
def forward(X, labels, ahead, weights, W2, at, own, first_group, last_group, turn, worker, workers):
    """Write hidden and the partial logits of a worker's tiles of a block, from row `at` of the batch on.

    Of groups of rows before the first and from the last on nothing is listed, and nothing written.
    """
    offsets, pieces, groups = weights.offsets, weights.pieces, padded_size(labels.size, ROWS) // ROWS
    sort_rows(labels, own.masks, own.keys, own.order)
    for i in range(labels.size, groups * ROWS):
        # Rows that are not there to fill the last group are the last row once more: the same is written twice.
        own.order[i] = own.order[labels.size - 1]
    begins, listed = own.begins[: groups + 1], own.pixels_listed
    listed[pieces.size - 1] = 0
    for g in range(first_group, last_group):
        list_pixels(own.masks, own.order, g, pieces, own.pixels, listed)
    add_up(listed[pieces.size - 1], TILE_OVERHEAD, begins)
    low, high = own_share(own.team, turn, offsets[-1] * begins[-1], worker, workers)
    for q in range(pieces.size - 1):
        for p in range(offsets.size - 1):
            width, hidden = offsets[p + 1] - offsets[p], own.hidden[p % own.hidden.shape[0], at:]
            first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
            first, last = max(first, first_group), min(last, last_group)
            if first >= last:
                continue
            now = ahead_from(ahead, offsets[p] * begins[-1], width, low, high)
            forward_tiles(
                own.tiles, p, X, own.order, own.pixels, listed, q, weights.W1[p], hidden, first, last, begins, now
            )
            if q == pieces.size - 2:
                logit_tiles(width, hidden, W2[p], own.partial[p, at // BAND :], first, last)


@helper
def backward(X, labels, ahead, rate, weights, W2, new_W2, at, own, verdicts, turn, worker, workers):
    """Make dlogits and dhidden of a block, and add to a worker's tiles of the weights.

    The workers take turns to write verdicts on bands, if any are wanted.
    """
    offsets, pieces, count = weights.offsets, weights.pieces, labels.size
    groups, pixel_groups = padded_size(count, ROWS) // ROWS, weights.W1.shape[1] // ROWS
    bands = padded_size(count, BAND) // BAND
    add_partial_logits(own.partial, at // BAND, bands, own.logits)
    for b in range(bands):
        if verdicts.losses.size and b % workers == worker:
            judge_band(own.logits[b], weights.num_classes, labels, own.order, b * BAND, count, verdicts)
        else:
            softmax_band(own.logits[b], weights.num_classes)
        last = min((b + 1) * BAND, groups * ROWS)
        dlogits_band(own.logits[b], labels, own.order, b * BAND, last, rate, weights.num_classes)
    begins, first_group, last_group, part, parts = own.begins[: pixel_groups + 1], 0, pixel_groups, worker, workers
    if own.by_rows:
        # Of pixels that are another worker's no rows are listed: all tiles are ours, and theirs have nothing to do.
        first_group, last_group = own_share(own.team, turn, pixel_groups, worker, workers)
        part, parts = np.intp(0), np.intp(1)
        own.rows_listed[:] = 0
    for g in range(first_group, last_group):
        own.rows_listed[g] = list_rows(own.masks, count, g, own.rows)
    if at == 0:
        # Of the first block, for all: no tile of W1 may change its owner between two blocks of a batch.
        add_up(own.rows_listed, TILE_OVERHEAD, begins)
    low, high = own_share(own.team, turn, offsets[-1] * begins[-1], part, parts)
    first_panel, last_panel = share(offsets.size - 1, worker, workers)
    for q in range(pieces.size - 1):
        for p in range(offsets.size - 1):
            width, hidden = offsets[p + 1] - offsets[p], own.hidden[p, at:]
            dhidden = own.dhidden[p % own.dhidden.shape[0]]
            first, last = first_tile(begins, offsets[p], width, low), first_tile(begins, offsets[p], width, high)
            if q == 0 and first < last:
                dhidden_tiles(own.tiles, p, own.logits, weights.num_classes, W2[p], hidden, dhidden, own.order, groups)
            if q == 0 and first_panel <= p < last_panel:
                before = W2[p] if at == 0 else new_W2[p]
                class_tiles(own.tiles, p, own.logits, count, hidden, before, new_W2[p])
            first, last = max(first, pieces[q] // ROWS), min(last, pieces[q + 1] // ROWS)
            if first < last:
                now = ahead_from(ahead, offsets[p] * begins[-1], width, low, high)
                update_tiles(
                    own.tiles, p, X, own.rows, own.rows_listed, dhidden, weights.W1[p], first, last, begins, now
                )


@helper
def work_region(region, X, rows, labels, rate, scale, weights, scratch, verdicts, before, turn, worker, workers):
    """Do a worker's part of a region, for the rows of a batch or, to judge them, any rows; before them are others."""
    source = turn // 2 % 2
    W2, new_W2 = weights.W2[source], weights.W2[1 - source]
    size, part, parts, team = scratch.X.shape[1], worker, workers, np.intp(0)
    if region == JUDGE:
        # Each takes whole blocks, in the place of tiles of one block: nothing is made twice, and nobody waits.
        part, parts, team = np.intp(0), np.intp(1), worker
    low, high = np.intp(0), padded_size(rows.size, ROWS) // ROWS
    if region == FORWARD and scratch.by_rows:
        low, high = own_share(scratch.team, turn, high, worker, workers)
        part, parts = np.intp(0), np.intp(1)
    number = take(scratch.team) if region == JUDGE else 0
    while number * size < rows.size:
        start = number * size
        number = take(scratch.team) if region == JUDGE else number + 1
        own = own_scratch(scratch, worker, team, 0 if region == JUDGE else start // size)
        first_group, last_group = np.intp(0), padded_size(min(size, rows.size - start), ROWS) // ROWS
        if region == FORWARD and own.by_rows:
            first_group, last_group = max(low - start // ROWS, first_group), min(high - start // ROWS, last_group)
            if first_group >= last_group:
                continue
        block, block_labels = rows[start : start + size], labels[start : start + size]
        block_verdicts = verdicts_from(verdicts, before + start)
        neighbours = are_neighbours(block)
        stays = neighbours and need_no_packing(X, scale, weights.input_dim, own.X, own.table)
        # What tiles read: the rows where they lie, or packed.
        block_X = as_numbers(X[block[0] : block[0] + block.size], own.X) if stays else own.X
        # To judge, blocks are taken, and the next one of ours may lie anywhere.
        follows = rows[number * size] if region == JUDGE and number * size < rows.size else block[-1] + 1
        ahead = Ahead(X, follows, np.intp(0), block.size * X.shape[1] if neighbours else np.intp(0))
        if region == BACKWARD:
            # One block is still there, unless another worker had all of its rows.
            if (rows.size > size or own.by_rows) and not stays:
                pack_rows(X, block, scale, weights.input_dim, own.X)
            backward(
                (block_X, own.table),
                block_labels,
                ahead,
                rate,
                weights,
                W2,
                new_W2,
                start,
                own,
                block_verdicts,
                turn,
                worker,
                workers,
            )
        else:
            if region == FORWARD and start + size >= min(high * ROWS, rows.size):
                # Nothing to ask for: backward begins with the first of these rows, in a small batch the ones at hand.
                ahead = Ahead(X, rows[0], np.intp(0), np.intp(0))
            mark_rows(X, block, scale, weights.input_dim, stays, block_X, own.X, own.masks)
            at = start if region == FORWARD else 0
            forward(
                (block_X, own.table),
                block_labels,
                ahead,
                weights,
                W2,
                at,
                own,
                first_group,
                last_group,
                turn,
                part,
                parts,
            )
        if region == JUDGE:
            bands = padded_size(block.size, BAND) // BAND
            add_partial_logits(own.partial, 0, bands, own.logits)
            for b in range(bands):
                judge_band(
                    own.logits[b], weights.num_classes, block_labels, own.order, b * BAND, block.size, block_verdicts
                )


@apart
def work(X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts, worker, workers):
    """Do a worker's part of a slice."""
    if not assemble(scratch.team, workers):
        return
    control = flush_subnormals()
    tabulate(scale, scratch.table[worker])
    size, regions = (batch, 2) if learn else (max(rows.size, 1), 1)
    for turn in range((rows.size + size - 1) // size * regions):
        start, began = turn // regions * size, now()
        batch_rows, batch_labels = rows[start : start + size], labels[start : start + size]
        factor = rate if batch_rows.size == batch else short_rate
        work_region(
            turn % 2 if learn else JUDGE,
            X,
            batch_rows,
            batch_labels,
            factor,
            scale,
            weights,
            scratch,
            verdicts,
            start,
            turn,
            worker,
            workers,
        )
        meet_balanced(scratch.team, turn, began, worker, workers)
    if learn and worker == 0 and (rows.size + size - 1) // size % 2 == 1:
        # Here, not in Python: there Ctrl-C may come in between.
        copy(weights.W2[1], weights.W2[0])
    restore_subnormals(control)


def run(X, rows, labels, batch, rate, short_rate, scale, learn, workers, weights, scratch, verdicts):
    """Step the weights, in place, over the mini-batches of X[rows], with the given number of workers.

    Write verdicts on X[rows] as well, each those of the weights before the step, unless verdicts are empty; without
    learn, write nothing else.
    """
    arguments = X, rows, labels, batch, rate, short_rate, scale, learn, weights, scratch, verdicts
    run_team(work, scratch.team, workers, arguments)

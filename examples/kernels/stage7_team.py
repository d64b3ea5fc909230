"""Stage 7: a team in one parallel region. Threads meet at a barrier instead of ending and beginning again.

Stage 6 opens six parallel regions for each batch: Numba wakes its threads, shares out, and waits for all of them, 3600
times an epoch. Here the threads run through the whole epoch, each with its share of the same tasks, and wait for each
other where one needs what another has written. A barrier is two counters in memory that both threads read.
"""

import numpy as np
from stage4_tile import ROWS, output, update
from stage5_panels import pack, unpack
from stage6_lists import forward, group_of, list_features, list_rows, room_for_lists, update_listed

from fastml.kernels import team
from fastml.kernels.compile import forks
from fastml.kernels.compile.options import helper


@helper
def work(X, y, order, memory, lists, classes, rate, counters, number, workers):
    """Run an epoch as one worker of a team."""
    (W1, W2, hidden, dhidden, dlogits), (features, feature_counts, rows, row_counts) = memory, lists
    panels, bands, width, worker = W1.shape[0], W1.shape[1] // ROWS, W1.shape[2], team.Worker(counters, number, workers)
    if not team.assemble(worker):
        return
    batch = dlogits.shape[0]
    for start in range(0, X.shape[0], batch):
        some = order[start : start + batch]
        groups = (some.size + ROWS - 1) // ROWS
        for g in range(*team.share(groups, number, workers)):
            feature_counts[g] = list_features(X, group_of(some, g), features[g])
        for b in range(*team.share(bands, number, workers)):
            row_counts[b] = list_rows(X, some, b * ROWS, rows[b])
        team.meet(worker)  # all lists are there
        for task in range(*team.share(panels * groups, number, workers)):
            panel, g = task // groups, task % groups
            forward(X, group_of(some, g), features[g, : feature_counts[g]], W1[panel], hidden, g * ROWS, panel * width)
        team.meet(worker)  # all hidden units are there
        for i in range(*team.share(some.size, number, workers)):
            output(hidden[i], y[some[i]], W2, dlogits[i, :classes], dhidden[i])
        team.meet(worker)  # dlogits and dhidden of all rows are there, and W2 may change
        for task in range(*team.share(panels * bands, number, workers)):
            panel, b = task // bands, task % bands
            update_listed(X, some, rows[b, : row_counts[b]], b * ROWS, dhidden, panel * width, rate, W1[panel])
        for panel in range(*team.share(panels, number, workers)):
            for k in range(0, W2.shape[0], ROWS):
                update(dlogits, 0, some.size, k, hidden, rate, W2, panel * width)
        team.meet(worker)  # the lists may be overwritten, and all weights have changed


def nn_epoch(X, y, W1, W2, lr, batch):
    """Run an epoch, modifying W1 and W2 in place. The number of features is a multiple of ROWS."""
    memory, lists = pack(W1, W2, batch), room_for_lists(len(W1), batch)
    order, workers = np.lexsort((y, np.arange(len(y)) // batch)), forks.available_threads()
    counters = team.team_of(workers)
    with forks.parallel_lock:
        arguments = X, y, order, memory, lists, W2.shape[1], W1.dtype.type(lr / batch), counters
        team.run_team(work, counters, workers, arguments)
    unpack(memory, W1, W2)


if __name__ == "__main__":
    from run_alone import show

    show(nn_epoch)

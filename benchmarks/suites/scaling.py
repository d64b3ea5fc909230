"""Epochs and an evaluation on 1, 2, 4 ... threads."""

import numba

from . import problems

# The settings are those of `epochs`.
number = 1
repeat = (2, 5, 2.0)
warmup_time = 0.2

WORK = {
    "network epoch": lambda: problems.epoch(400),
    "softmax regression epoch": lambda: problems.epoch(0),
    "network evaluate": lambda: problems.verdicts("evaluate", 400, "float32"),
}


class Threads:
    """Numbers of threads, the same for all machines, which so share the graphs. A machine skips what it cannot run."""

    params = (list(WORK), [1, 2, 4, 8, 16])
    param_names = ("work", "threads")

    def setup(self, work, threads):
        if threads > numba.config.NUMBA_NUM_THREADS:
            raise NotImplementedError(f"this machine has {numba.config.NUMBA_NUM_THREADS} threads")
        numba.set_num_threads(threads)
        self.run = WORK[work]()

    def time_60_000_images(self, work, threads):
        self.run()

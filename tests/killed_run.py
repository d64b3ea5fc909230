"""Kill a run 50 times and resume it: the script of a test, in a process of its own.

Prints how many runs came to their end, all with the bits of the uninterrupted one.
"""

import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np

from fastml import runs, slices, train_nn
from fastml.weights import load_weights
from tests.problems import make_problem

KILLS, LONGEST_SECONDS = 50, 0.1

problem = make_problem(400, 12, 8, 3, batch=10)
sets = problem.X, problem.y, problem.X[:50], problem.y[:50]
settings = {"hidden_dim": 8, "epochs": 3, "batch": 10, "shuffle": True, "schedule": "cosine", "verbose": False}


def main(directory):
    expected = train_nn(*sets, **settings)
    runs.CHECKPOINT_SECONDS = slices.SLICE_SECONDS = slices.TRIAL_SECONDS = 0.0  # after every batch
    generator = random.Random(0)
    kills = finished = 0
    while kills < KILLS or not finished:
        run = Path(directory, f"run-{finished}")
        child = os.fork()
        if child == 0:
            # Python's own way out would wait for threads that are no more after a fork.
            try:
                train_nn(*sets, **settings, checkpoint=run, resume=(run / "checkpoint.npz").exists())
            except Exception:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        time.sleep(generator.uniform(0, LONGEST_SECONDS))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            kills += 1
            assert os.WTERMSIG(status) == signal.SIGKILL
        else:
            assert os.WEXITSTATUS(status) == 0
            weights, saved = load_weights(run / "checkpoint.npz")
            for W, W_expected in zip(weights, expected.weights, strict=True):
                np.testing.assert_array_equal(W, W_expected, strict=True)
            # All but the seconds.
            assert [row[:-1] for row in saved["history"]] == [list(row[:-1]) for row in expected.rows]
            assert [path.name for path in run.iterdir()] == ["checkpoint.npz"]
            finished += 1
    print(finished)


if __name__ == "__main__":
    main(sys.argv[1])

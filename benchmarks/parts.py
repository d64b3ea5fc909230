"""Where the time of a batch goes, and what that predicts for more threads: Markdown on the standard output.

python benchmarks/parts.py [--hidden 100 400 2000] [--threads 1 2 4 8 16]

Each step of a batch of 100 images of MNIST is timed alone, on one thread and in the caches. Some steps every worker
does for itself, the others are shared out. So a batch should take, on n threads,

    own steps + shared steps / n + two barriers

Epochs on as many threads as this machine has are timed beside the prediction. The prediction leaves out what comes from
memory, although the kernels prefetch it; weights that travel between caches, where two workers share a panel because
the number of workers does not divide that of the panels; and a clock that falls when more cores compute.
"""

import argparse
import timeit
from collections.abc import Callable
from functools import partial

import numba
from side_by_side import facts_of_run, limit_threads, markdown_list, markdown_table
from suites import problems
from suites.barriers import BARRIERS, Team
from suites.kernels import REPEATS, repeating
from suites.steps import BATCH, network_batch

from fastml.kernels.panels import PAIR
from fastml.roofline import fma_peak

OWN = ("mark", "list_features", "make_dlogits", "list_rows")
SHARED = ("forward", "logits", "backward", "logits_gradient", "gradient")
ROUNDS = 15
HIDDEN, THREADS = [100, 400, 2000], [1, 2, 4, 8, 16]


def least(run: Callable[[], object]) -> float:
    """Return the least seconds of a call; the first call does not count. A core that was idle needs some calls."""
    run()
    return min(timeit.repeat(run, number=1, repeat=ROUNDS))


def steps_of(hidden_dim: int) -> tuple[dict[str, float], dict[str, float]]:
    """Return the microseconds of each step of a batch, and the GFLOP/s of the two products on what is listed."""
    arguments = network_batch(hidden_dim)
    steps = {name: least(partial(repeating(name), *arguments)) / REPEATS * 1e6 for name in (*OWN, *SHARED)}
    lists = arguments[-1].lists
    work = {"forward": lists.feature_work[0].sum(), "gradient": lists.row_work[0].sum()}
    return steps, {name: 2 * PAIR * times * hidden_dim / steps[name] / 1e3 for name, times in work.items()}


def barrier() -> float:
    """Return the microseconds of a barrier of all threads, 0 on a machine with one."""
    seconds = []
    for barriers in (0, BARRIERS):
        team = Team()
        try:
            team.setup(barriers)
        except NotImplementedError:
            return 0.0
        seconds.append(least(partial(team.time_region, barriers)))
    return (seconds[1] - seconds[0]) / BARRIERS * 1e6


def measured(hidden_dim: int, threads: int, available: int) -> str:
    """Return the microseconds of a batch in an epoch on a number of threads, if there are so many."""
    if threads > available:
        return ""
    numba.set_num_threads(threads)
    microseconds = least(problems.epoch(hidden_dim)) / (len(problems.mnist()[1]) // BATCH) * 1e6
    numba.set_num_threads(available)
    return f"{microseconds:.0f}"


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, nargs="+", default=HIDDEN, help="numbers of hidden units")
    parser.add_argument("--threads", type=int, nargs="+", default=THREADS, help="numbers of threads")
    arguments = parser.parse_args()
    available = limit_threads(None)
    print(markdown_list(facts_of_run()))
    peak, steps, rates = fma_peak("float32", 1), {}, {}
    for hidden_dim in arguments.hidden:
        steps[hidden_dim], rates[hidden_dim] = steps_of(hidden_dim)
    header = ["step", *(f"{hidden_dim} hidden units, us" for hidden_dim in steps)]
    rows = [[name, *(f"{steps[each][name]:.1f}" for each in steps)] for name in (*OWN, *SHARED)]
    for name in ("forward", "gradient"):
        rows.append([f"{name}, of the FMA peak", *(f"{rates[each][name] / peak:.2f}" for each in steps)])
    print("\n" + markdown_table(header, rows))

    meeting = barrier()
    print(f"\nA barrier takes {meeting:.2f} us.\n")
    rows = []
    for hidden_dim, found in steps.items():
        own, shared = (sum(found[name] for name in names) for names in (OWN, SHARED))
        for threads in arguments.threads:
            predicted = own + shared / threads + (threads > 1) * 2 * meeting
            rows.append([hidden_dim, threads, f"{predicted:.0f}", measured(hidden_dim, threads, available)])
    print(markdown_table(["hidden units", "threads", "a batch predicted, us", "measured, us"], rows))


if __name__ == "__main__":
    main()

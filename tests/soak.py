"""A long run of random problems against the oracle, outside the suite: `python -m tests.soak --minutes 20`.

Prints how many cases agreed, by how much memory grew after the warm-up, and how many signatures were compiled. The
first wrong result, memory that grows or signatures that become more end it with status 1; of a wrong result it prints
what repeats the case. `--epochs 5000` and `--shapes 5000` train one problem over and over, and so many different ones.
"""

import argparse
import collections
import ctypes
import dataclasses
import gc
import itertools
import os
import re
import sys
import time
from unittest import mock

import numba
import numpy as np

import fastml
from fastml import slices
from fastml.kernels import batches, network, network_many_classes, panels, softmax_many_classes, softmax_regression
from fastml.kernels.compile import calls, forks
from fastml.kernels.loss import MANY_CLASSES, judge_logits
from fastml.kernels.products import PRODUCTS
from fastml.kernels.simd.tiles import UNITS
from tests import bits, reference, signals
from tests.problems import EPOCHS, LAYOUTS, X_DTYPES, assert_as_accurate_as_numpy, make_problem

WARM_UP_CASES, REPORT_SECONDS = 200, 10
MOST_GROWTH_MB = 5
WIDTHS = range(1, panels.MOST_VECTORS * UNITS + 1)
KERNELS = (
    network.learn_network,
    network.judge_network,
    network_many_classes.learn_network_many_classes,
    network_many_classes.judge_network_many_classes,
    softmax_many_classes.learn_softmax_many_classes,
    softmax_many_classes.judge_softmax_many_classes,
    softmax_regression.learn_from_rows_in_place,
    softmax_regression.judge_rows_in_place,
    softmax_regression.learn_from_packed_rows,
    softmax_regression.judge_packed_rows,
    judge_logits,
    calls.run_workers,
    *(kernel for kernels in PRODUCTS.values() for kernel in kernels),
)
# For weights of each of 2 dtypes: the steps and the verdicts of 4 models, of which the one with few classes reads bytes
# and numbers of its own dtype in place and packs the others, each once more in the caller of them all, which does not
# tell bytes that are packed from others; the verdicts on logits; and for each width the products.
MOST_SIGNATURES = 2 * (2 * (1 + 1 + 1 + 4) + 2 * (1 + 1 + 1 + 3) + 1 + len(WIDTHS) * len(PRODUCTS))
# In units of the last place. What two orders of a sum differ by is amplified from batch to batch; a term that is
# missing, or one too many, is thousands of times larger.
SLACK = 1000


@dataclasses.dataclass
class Case:
    """What is trained and how; all of it follows from the seed and the number of the case."""

    model: str
    dtype: str
    weights_layout: str
    threads: int
    problem: dict


def draw_case(seed, number):
    """Return case number of a seed; one in ten is of larger arrays, of several parts, blocks and panels."""
    random = np.random.default_rng([seed, number])
    large = random.random() < 0.1
    rows = int(random.integers(1, 800 if large else 100))
    order = random.integers(0, rows, random.integers(1, 2 * rows)) if random.random() < 0.5 else None
    x_dtype = str(random.choice(X_DTYPES))
    return Case(
        model=str(random.choice(sorted(EPOCHS))),
        dtype=str(random.choice(["float32", "float64"])),
        weights_layout=str(random.choice(sorted(LAYOUTS))),
        threads=int(random.integers(1, numba.config.NUMBA_NUM_THREADS + 1)),
        problem={
            "rows": rows,
            "input_dim": int(random.integers(1, 300 if large else 60)),
            "hidden_dim": int(random.integers(1, 300 if large else 60)),
            "num_classes": int(random.integers(1, 30) if random.random() < 0.7 else random.integers(30, 150)),
            "batch": int(random.integers(1, 1000 if large else 120)),
            "dtype": x_dtype,
            "layout": str(random.choice(sorted(LAYOUTS))),
            "density": float(random.choice([0.0, 0.05, 0.2, 0.5, 1.0])),
            "seed": int(random.integers(2**32)),
            "order": order,
            "last_batch": str(random.choice(["nominal", "mean"])),
            "lr": float(10 ** random.uniform(-3, -0.5)),
            "scale": float(random.uniform(0.5, 1.0) / (1 if np.dtype(x_dtype).kind in "fb" else 64)),
        },
    )


def check_case(case):
    """Assert that the library agrees with the oracle on a case; return whether that could be told."""
    problem = make_problem(**case.problem)
    start = problem.weights(case.model, case.dtype)
    fast = [LAYOUTS[case.weights_layout](W) for W in start]
    exact, peer = [W.astype(np.float64) for W in start], [W.copy() for W in start]
    fast_epoch, numpy_epoch = EPOCHS[case.model]
    before = problem.X.tobytes(), problem.y.tobytes()
    numba.set_num_threads(case.threads)
    fast_epoch(problem.X, problem.y, *fast, **problem.settings)
    assert before == (problem.X.tobytes(), problem.y.tobytes()), "X or y was modified"
    numpy_epoch(problem.X, problem.y, *exact, **problem.settings)
    numpy_epoch(problem.X, problem.y, *peer, **problem.settings)
    slack = SLACK * np.finfo(case.dtype).eps
    try:
        assert_as_accurate_as_numpy(fast, exact, peer, slack)
    except AssertionError:
        if case.model == "nn" and comes_near_a_kink(problem, start, slack):
            return False
        raise
    check_verdicts(problem, fast, slack)
    return True


def check_verdicts(problem, weights, slack):
    """Assert that loss and predictions of a model are those of the oracle."""
    rows = problem.X.astype(np.float64) * problem.settings["scale"]
    for W in weights[:-1]:
        rows = np.maximum(rows @ W.astype(np.float64), 0)
    logits = rows @ weights[-1].astype(np.float64)
    loss, _ = fastml.evaluate(problem.X, problem.y, *weights, scale=problem.settings["scale"])
    np.testing.assert_allclose(loss, reference.loss_err(logits, problem.y)[0], rtol=slack, atol=slack)
    predictions = fastml.predict(problem.X, *weights, scale=problem.settings["scale"])
    lead = logits.max(axis=1) - logits[np.arange(len(logits)), predictions]
    assert (lead <= slack * np.abs(logits).max(initial=1.0)).all(), "a prediction is not of the highest logit"


def comes_near_a_kink(problem, weights, slack):
    """Tell whether rounding decides if a hidden unit is active: then two right results differ by its whole gradient."""
    settings = problem.settings | {"order": None}
    order = np.arange(len(problem.X)) if problem.settings["order"] is None else problem.settings["order"]
    weights = [W.astype(np.float64) for W in weights]
    for start in range(0, len(order), settings["batch"]):
        rows = order[start : start + settings["batch"]]
        X = problem.X[rows].astype(np.float64) * settings["scale"]
        size = np.abs(X) @ np.abs(weights[0])
        if (np.abs(X @ weights[0]) < slack * size).any():
            return True
        reference.nn_epoch(problem.X[rows], problem.y[rows], *weights, **settings)
    return False


def count_signatures():
    """Return how many signatures of the kernels of plain descent are compiled."""
    return sum(is_plain(signature) for kernel in KERNELS for signature in kernel.signatures)


def is_plain(signature):
    """Return whether a kernel is that of plain descent, on features whose indices have two bytes, as in the cases here.

    Tests compile others in one process. Lists of features have three axes or four; other arrays of uint32 have fewer.
    """
    return not re.search(r"Momentum|AdamW|UniTuple\(float|array\(uint32, [34]d", str(signature))


def resident_mb():
    """Return the memory of this process; what the C library keeps for later is given back first, where it can be."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


class Watch:
    """Counts cases, and fails when memory or signatures grow after the first ones."""

    def __init__(self):
        self.cases, self.kinks, self.resident, self.printed = 0, 0, None, time.monotonic()

    def count(self, told=True):
        """Count a case, and print how it stands now and then."""
        self.cases += 1
        self.kinks += not told
        if self.cases == WARM_UP_CASES:
            self.resident = resident_mb()
        elif time.monotonic() - self.printed > REPORT_SECONDS:
            self.printed = time.monotonic()
            self.report()

    def report(self):
        """Print how it stands, and refuse growth."""
        growth = 0.0 if self.resident is None else resident_mb() - self.resident
        signatures = count_signatures()
        print(
            f"{self.cases} cases ({self.kinks} at a kink), {growth:+.1f} MB, {signatures} signatures compiled",
            flush=True,
        )
        if growth > MOST_GROWTH_MB or signatures > MOST_SIGNATURES:
            sys.exit(f"at most {MOST_GROWTH_MB} MB and {MOST_SIGNATURES} signatures are allowed")


def fuzz(watch, seed, first, minutes):
    """Check cases from the first on for a number of minutes, one at least."""
    end = time.monotonic() + 60 * minutes
    for number in itertools.count(first):
        case = draw_case(seed, number)
        try:
            watch.count(check_case(case))
        except Exception as error:
            print(f"{case}\n{error}\nrepeat it: python -m tests.soak --seed {seed} --first {number} --minutes 0")
            sys.exit(1)
        if time.monotonic() > end:
            return


def compile_all():
    """Load every signature: machine code is a part of the memory too."""
    # Every batch is for two workers, however small it is, and however many threads there are: so regions are compiled.
    two_threads = mock.patch.object(forks, "available_threads", return_value=2)
    any_batch = mock.patch.object(slices, "SMALL_OPERATIONS", 0)
    any_panels = mock.patch.object(batches, "SHORT_BATCH", 0)
    for dtype, x_dtype in itertools.product(("float32", "float64"), ("uint8", "float32", "float64", "int16")):
        for model, classes in itertools.product(EPOCHS, (3, MANY_CLASSES)):
            problem = make_problem(10, 64, 40, classes, batch=5, dtype=x_dtype)
            weights = problem.weights(model, dtype)
            with two_threads, any_batch, any_panels:
                EPOCHS[model][0](problem.X, problem.y, *weights, **problem.settings)
                fastml.evaluate(problem.X, problem.y, *weights, scale=problem.settings["scale"])
        fastml.loss_err(weights[0][:, :3], np.zeros(64, int))
    for dtype, width in itertools.product(("float32", "float64"), WIDTHS):
        problem = make_problem(10, 64, width * panels.lanes(dtype) // UNITS, 3, batch=5)
        fastml.nn_epoch(problem.X, problem.y, *problem.weights("nn", dtype), **problem.settings)


def train_epochs(watch, epochs):
    """Train one problem over and over."""
    problem = make_problem(103, 83, 131, 7, batch=17)
    weights = {model: problem.weights(model, "float32") for model in EPOCHS}
    for _ in range(epochs):
        for model, (epoch, _) in EPOCHS.items():
            epoch(problem.X, problem.y, *weights[model], **problem.settings)
            fastml.evaluate(problem.X, problem.y, *weights[model])
        watch.count()


def train_shapes(watch, shapes):
    """Train so many problems of different shapes."""
    sides = range(1, 1 + int(np.ceil(shapes ** (1 / 3))))
    for rows, inputs, hidden in itertools.islice(itertools.product(sides, repeat=3), shapes):
        problem = make_problem(rows, inputs, hidden, 1 + inputs % 11, batch=1 + hidden, dtype=X_DTYPES[rows % 3])
        for model, (epoch, _) in EPOCHS.items():
            weights = problem.weights(model, "float32" if hidden % 2 else "float64")
            epoch(problem.X, problem.y, *weights, **problem.settings)
            fastml.evaluate(problem.X, problem.y, *weights)
        watch.count()


def main(argv=None):
    """Run what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=1.0, help="how long random cases are checked, one at least")
    parser.add_argument("--seed", type=int, default=0, help="of the cases")
    parser.add_argument("--first", type=int, default=0, help="the number of the first case")
    parser.add_argument("--epochs", type=int, help="train one problem for that many epochs, and check no case")
    parser.add_argument("--shapes", type=int, help="train that many shapes, and check no case")
    parser.add_argument("--signals", action="store_true", help="disturb calls by signals and forks: tests/signals.py")
    arguments = parser.parse_args(argv)
    if arguments.signals:
        signals.soak(arguments.seed, arguments.first, arguments.minutes)
        return
    compile_all()
    watch = Watch()
    if arguments.epochs:
        train_epochs(watch, arguments.epochs)
    elif arguments.shapes:
        train_shapes(watch, arguments.shapes)
    else:
        fuzz(watch, arguments.seed, arguments.first, arguments.minutes)
    watch.report()


if __name__ == "__main__":
    bits.share_every_batch(collections.deque(maxlen=1))
    main()

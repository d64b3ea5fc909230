"""How fast fastml is against NumPy on this machine: Markdown on the standard output.

python benchmarks/compare.py [CASE ...]     epochs and an evaluation of MNIST, beside the limits of the machine
python benchmarks/compare.py --grid         synthetic data of many shapes, densities and dtypes: where is NumPy faster?
"""

import argparse
import datetime
import functools
import itertools
import json
import os
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from suites import numpy_epochs

import fastml
from fastml.roofline import Roofline, machine_facts

LIBRARIES = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMBA")
# After a product the threads of OpenBLAS, and after a parallel region those of OpenMP, spin for a while before they
# sleep; they would be measured in the time of the other side. 50 ms after NumPy an epoch of 5 ms took 45 ms.
PAUSE_SECONDS = 0.2
# Of the norm of what changed. The steps are short so that rounding does not decide it: with lr 0.1, one of 400 hidden
# units went another way in NumPy's float32 than in float64, and the results were 0.08 apart.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Comparison:
    """One piece of work for both sides, each a pair (NumPy, fastml): functions, their X, and settings beside batch."""

    functions: tuple[Callable, Callable]
    X: tuple[NDArray, NDArray]
    y: NDArray
    start: list[NDArray]
    settings: tuple[dict, dict]

    def run(self, side: int) -> tuple[float, list]:
        """Run a side on fresh copies of the start weights; return seconds and what came of it or of the weights."""
        weights = [W.copy() for W in self.start]
        began = time.perf_counter()
        result = self.functions[side](self.X[side], self.y, *weights, **self.settings[side])
        seconds = time.perf_counter() - began
        return seconds, [W - S for W, S in zip(weights, self.start, strict=True)] if result is None else list(result)

    def difference(self) -> float:
        """Return how far apart the results are, relative to their norm; this run also compiles and warms up."""
        pairs = zip(self.run(0)[1], self.run(1)[1], strict=True)
        return max(float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) for theirs, ours in pairs)

    def seconds(self, rounds: int) -> tuple[list[float], list[float]]:
        """Return the seconds of both sides, run in turn, each once uncounted first.

        After the pause a virtual processor wakes with cold caches and a low clock: a batch of hidden 400 took
        340 us in the place of 235, which tells of neither side.
        """
        times: tuple[list[float], list[float]] = ([], [])
        for _, side in itertools.product(range(rounds), (0, 1)):
            time.sleep(PAUSE_SECONDS)
            self.run(side)
            times[side].append(self.run(side)[0])
        return times


def start_weights(*sizes: int, dtype: np.dtype) -> list[NDArray]:
    """Return normal random weights from layer to layer, divided by the root of their columns as in hw0."""
    generator = np.random.default_rng(0)
    shapes = itertools.pairwise(sizes)
    return [(generator.standard_normal((n, m)) / np.sqrt(m)).astype(dtype) for n, m in shapes]


def prepare(name: str, X: tuple[NDArray, NDArray], y: NDArray, sizes: tuple[int, ...], **settings) -> Comparison:
    """Prepare the function of a name, that both sides have, for X as each has it."""
    functions = getattr(numpy_epochs, name), getattr(fastml, name)
    scale = {"scale": 1 / 255} if X[1].dtype == np.uint8 else {}
    return Comparison(functions, X, y, start_weights(*sizes, dtype=X[0].dtype), (settings, settings | scale))


def as_inputs(pixels: NDArray[np.uint8], dtype: str) -> tuple[NDArray, NDArray]:
    """Return pixels as X for NumPy and for fastml: one array of [0, 1], but uint8 only fastml takes as it is."""
    values = pixels / np.dtype("float64" if dtype == "float64" else "float32").type(255)
    return values, pixels if dtype == "uint8" else values


@functools.cache
def mnist() -> tuple[NDArray, NDArray]:
    """Return the training set as uint8."""
    return fastml.load_mnist(raw=True)[0]


@dataclass(frozen=True)
class Case:
    """A row of the table: an epoch of MNIST, or the evaluation of the network on it; no hidden_dim means softmax."""

    name: str
    bound: float
    aim: float
    hidden_dim: int = 0
    batch: int = 100
    pixels: str = "float32"
    lr: float = 0.02
    epoch: bool = True

    @property
    def dtype(self) -> str:
        """The precision of the arithmetic."""
        return "float64" if self.pixels == "float64" else "float32"

    def comparison(self, rows: int) -> Comparison:
        """Prepare the work of a number of rows."""
        pixels, y = mnist()
        X = as_inputs(pixels[:rows], self.pixels)
        if self.pixels == "dense":
            X = (np.random.default_rng(0).uniform(0.1, 1, X[0].shape).astype(np.float32),) * 2
        sizes = (784, self.hidden_dim, 10) if self.hidden_dim else (784, 10)
        if not self.epoch:
            return prepare("evaluate", X, y[:rows], sizes)
        name = "nn_epoch" if self.hidden_dim else "softmax_regression_epoch"
        return prepare(name, X, y[:rows], sizes, lr=self.lr, batch=self.batch)

    def operations(self, rows: int) -> int:
        """Return the floating-point operations of the dense arithmetic."""
        return dense_operations(rows, 784, self.hidden_dim, 10) if self.epoch else 2 * rows * self.hidden_dim * 794


def dense_operations(rows: int, input_dim: int, hidden_dim: int, num_classes: int) -> int:
    """Return the floating-point operations of an epoch's products, zeros included."""
    if not hidden_dim:
        return 4 * rows * input_dim * num_classes
    return 4 * rows * (input_dim + num_classes) * hidden_dim + 2 * rows * hidden_dim * num_classes


CASES = (
    Case("nn-400", 5, 6.5, hidden_dim=400),
    Case("nn-100", 3.2, 4.5, hidden_dim=100),
    Case("nn-500-batch-1000", 4, 5.5, hidden_dim=500, batch=1000),
    Case("nn-400-uint8", 5, 7, hidden_dim=400, pixels="uint8"),
    Case("nn-400-dense", 1.9, 2.2, hidden_dim=400, pixels="dense", lr=0.001),
    Case("nn-400-float64", 4, 5.5, hidden_dim=400, pixels="float64"),
    Case("softmax", 3.5, 5),
    Case("softmax-uint8", 5, 8, pixels="uint8"),
    Case("softmax-dense", 2.5, 4, pixels="dense", lr=0.001),
    Case("evaluate-400", 3.5, 5, hidden_dim=400, epoch=False),
)


def facts_of_run() -> dict[str, str]:
    """Return what the machine and its software are, how many threads NumPy has, and the date."""
    threads = os.environ.get("OPENBLAS_NUM_THREADS", "as BLAS chooses")
    return machine_facts() | {"threads of NumPy": threads, "date": datetime.date.today().isoformat()}


def report(facts: dict[str, str], note: str, header: list[str], rows: list[list]) -> None:
    """Print facts as a Markdown list, a note, and a Markdown table."""
    print("\n".join(f"- {name}: {value}" for name, value in facts.items()), end=f"\n\n{note}\n\n")
    for line in (header, ["---"] * len(header), *rows):
        print("| " + " | ".join(str(cell) for cell in line) + " |")


def compare_cases(names: list[str], rounds: int, rows: int) -> dict:
    """Run the named cases and print the machine and their table; return the raw figures."""
    roofline, measured = Roofline(), []
    for case in (case for case in CASES if case.name in names or not names):
        print(f"{case.name} ...", file=sys.stderr)
        roofline.measure()
        comparison = case.comparison(rows)
        if not (difference := comparison.difference()) <= TOLERANCE:
            raise SystemExit(f"{case.name}: fastml and NumPy differ by {difference:.1e} of the norm")
        measured.append((case, comparison.X[1].nbytes, *comparison.seconds(rounds)))
    roofline.measure()

    table = []
    for case, nbytes, theirs, ours in measured:
        rate = case.operations(rows) / min(ours) / 1e9
        reads = f"{min(ours) * roofline.bandwidth() * 1e9 / nbytes:.2f}" if not case.hidden_dim else ""
        medians = statistics.median(theirs) / statistics.median(ours)
        line = [case.name, f"{min(theirs):.4f}", f"{min(ours):.4f}", f"{min(theirs) / min(ours):.2f}", f"{medians:.2f}"]
        table.append([*line, case.bound, f"{rate:.0f}", f"{rate / roofline.peak(case.dtype):.2f}", reads])
    facts = facts_of_run() | roofline.facts()
    note = f"{rows} rows, {rounds} rounds; seconds are minima; the peak is that of the case's dtype, all threads"
    header = ["case", "NumPy, s", "fastml, s", "ratio of minima", "of medians", "bound", "effective GFLOP/s"]
    report(facts, note, [*header, "x FMA peak", "x one read of X"], table)
    figures = [{**asdict(case), "numpy": theirs, "fastml": ours} for case, _, theirs, ours in measured]
    return {"machine": facts, "rows": rows, "cases": figures}


GRID = {
    "hidden": (16, 100, 400, 1000),
    "batch": (1, 10, 100, 1000),
    "inputs": (20, 784, 3072),
    "classes": (2, 10, 62),
    "density": (0.05, 0.2, 0.5, 1.0),
    "dtype": ("float32", "float64", "uint8"),
}


@dataclass(frozen=True)
class Point:
    """A point of the grid: an epoch of the network on synthetic data."""

    hidden: int
    batch: int
    inputs: int
    classes: int
    density: float
    dtype: str

    def rows(self) -> int:
        """Return how many rows take NumPy about 15 ms, but at least 2 batches and 64 rows.

        A step is taken to cost 30 us, its arithmetic at 100 GFLOP/s and five passes over W1 at 10 GB/s.
        """
        operations = dense_operations(self.batch, self.inputs, self.hidden, self.classes)
        step = 30e-6 + operations / 100e9 + 5 * 4 * self.inputs * self.hidden / 10e9
        return max(round(0.015 / step) * self.batch, 2 * self.batch, 64)

    def comparison(self) -> Comparison:
        """Prepare the work, with a step size that keeps the largest and densest rows stable."""
        generator, shape = np.random.default_rng(0), (self.rows(), self.inputs)
        pixels = generator.integers(1, 256, shape, np.uint8)
        pixels *= generator.random(shape, np.float32) < self.density
        y, sizes = generator.integers(self.classes, size=shape[0]), (self.inputs, self.hidden, self.classes)
        lr = 1 / (10 + self.density * self.inputs)
        return prepare("nn_epoch", as_inputs(pixels, self.dtype), y, sizes, lr=lr, batch=self.batch)


def compare_grid(points: list[Point], rounds: int) -> dict:
    """Run points of the grid and print the worst ten; return the raw figures. Ctrl-C ends the run, not the report."""
    figures = []
    try:
        for number, point in enumerate(points, 1):
            comparison = point.comparison()
            difference = comparison.difference()
            theirs, ours = comparison.seconds(rounds)
            if min(theirs) < 1.1 * min(ours):
                # A neighbour on the machine can slow a whole run of milliseconds: more rounds for both sides.
                again = comparison.seconds(2 * rounds + 3)
                theirs, ours = theirs + again[0], ours + again[1]
            ratio = min(theirs) / min(ours)
            seconds = {"numpy": min(theirs), "fastml": min(ours), "ratio": ratio}
            figures.append({**asdict(point), "rows": point.rows(), **seconds, "difference": difference})
            print(f"{number}/{len(points)} {point}: {ratio:.2f}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    if not figures:
        raise SystemExit("no point was measured")
    figures.sort(key=lambda figure: figure["ratio"])
    facts = facts_of_run()
    slower = sum(figure["ratio"] < 1 for figure in figures)
    median = statistics.median(figure["ratio"] for figure in figures)
    differ = sum(not figure["difference"] <= TOLERANCE for figure in figures)
    note = f"{len(figures)} points of {len(points)}; {slower} with a ratio below 1; median ratio {median:.2f}; "
    note += f"{differ} with results more than {TOLERANCE} of the norm apart; the worst ten:"
    formats = ["", "", "", "", "", "", "", ".2e", ".2e", ".2f", ".0e"]
    table = [[format(v, f) for v, f in zip(figure.values(), formats, strict=True)] for figure in figures[:10]]
    report(facts, note, [*GRID, "rows", "NumPy, s", "fastml, s", "ratio of minima", "difference"], table)
    return {"machine": facts, "points": figures}


def limit_threads(threads: int) -> None:
    """Start this program anew with so many threads on both sides: BLAS reads the variables once, when it is loaded."""
    wanted = {f"{library}_NUM_THREADS": str(threads) for library in LIBRARIES}
    if any(os.environ.get(name) != value for name, value in wanted.items()):
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | wanted)


def main() -> None:
    """Read the command line, run what it asks for and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(case.name for case in CASES))
    parser.add_argument("--threads", type=int, help="of NumPy and of fastml; by default each has its own way")
    parser.add_argument("--rounds", type=int, help="by default 7; for the grid 3")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, 3 rounds; for the grid 1 round")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there as well")
    parser.add_argument("--grid", action="store_true", help="the grid; the options below choose a part of it")
    for name, values in GRID.items():
        parser.add_argument(f"--{name}", nargs="+", type=type(values[0]), default=values, choices=values)
    parser.add_argument("--sample", nargs=2, type=int, metavar=("N", "SEED"), help="N random points of the grid")
    arguments = parser.parse_args()
    if unknown := set(arguments.cases) - {case.name for case in CASES}:
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    if arguments.threads:
        limit_threads(arguments.threads)
    if arguments.grid:
        points = [Point(*values) for values in itertools.product(*(getattr(arguments, name) for name in GRID))]
        if arguments.sample:
            count, seed = arguments.sample
            points = random.Random(seed).sample(points, min(count, len(points)))
        figures = compare_grid(points, arguments.rounds or (1 if arguments.quick else 3))
    else:
        rounds = arguments.rounds or (3 if arguments.quick else 7)
        figures = compare_cases(arguments.cases, rounds, 6_000 if arguments.quick else 60_000)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()

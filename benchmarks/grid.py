"""Looks for shapes at which NumPy is faster: epochs of the network on synthetic data of a grid of shapes, as Markdown.

python benchmarks/grid.py [--sample N SEED] [--hidden 16 100] [--dtype uint8] ...
"""

import argparse
import itertools
import json
import random
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from implementations.fastml import Fastml
from implementations.numpy import NumPy
from side_by_side import (
    TOLERANCE,
    Work,
    facts_of_run,
    limit_threads,
    markdown_list,
    markdown_table,
)
from suites.problems import dense_operations, in_unit_interval, start_weights

GRID = {
    "hidden": (16, 100, 400, 1000),
    "batch": (1, 10, 100, 1000),
    "inputs": (20, 784, 3072),
    "classes": (2, 10, 62, 100, 1000),
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

        The estimate of a step is 30 us, its arithmetic at 100 GFLOP/s, and five passes over W1 at 10 GB/s.
        """
        operations = dense_operations(self.batch, self.inputs, self.hidden, self.classes)
        step = 30e-6 + operations / 100e9 + 5 * 4 * self.inputs * self.hidden / 10e9
        return max(round(0.015 / step) * self.batch, 2 * self.batch, 64)

    def work(self) -> Work:
        """Prepare the work, with a step size at which the training stays stable for the longest and densest rows."""
        generator, shape = np.random.default_rng(0), (self.rows(), self.inputs)
        pixels = generator.integers(1, 256, shape, np.uint8)
        pixels *= generator.random(shape, np.float32) < self.density
        y = generator.integers(self.classes, size=shape[0])
        X, lr = in_unit_interval(pixels, self.dtype), 1 / (10 + self.density * self.inputs)
        start = start_weights(self.inputs, self.hidden, self.classes, dtype=X.dtype)
        return Work(X, y, start, pixels if self.dtype == "uint8" else None, lr, self.batch)


def run_point(point: Point, rounds: int) -> dict:
    """Run a point; return its figures."""
    work = point.work()
    theirs, ours = sides = [work.side(NumPy), work.side(Fastml)]
    difference = work.difference(ours, theirs)
    times = work.seconds(sides, rounds)
    if min(times[0]) < 1.1 * min(times[1]):
        # Other work on the machine can slow all rounds, which take milliseconds, so both sides run more rounds.
        times = [first + again for first, again in zip(times, work.seconds(sides, 2 * rounds + 3), strict=True)]
    numpy, fastml = map(min, times)
    seconds = {"numpy": numpy, "fastml": fastml, "ratio": numpy / fastml}
    return {**asdict(point), "rows": point.rows(), **seconds, "difference": difference}


def run_points(points: list[Point], rounds: int) -> list[dict]:
    """Run points of the grid; return their figures, the worst first. After Ctrl-C return those that there are."""
    figures = []
    try:
        for number, point in enumerate(points, 1):
            figures.append(run_point(point, rounds))
            print(f"{number}/{len(points)} {point}: {figures[-1]['ratio']:.2f}", file=sys.stderr)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
    if not figures:
        raise SystemExit("no point was measured")
    return sorted(figures, key=lambda figure: figure["ratio"])


def report(figures: list[dict], count: int) -> str:
    """Return the number of points at which NumPy was faster, and the worst ten points."""
    slower = sum(figure["ratio"] < 1 for figure in figures)
    median = statistics.median(figure["ratio"] for figure in figures)
    differ = sum(not figure["difference"] <= TOLERANCE for figure in figures)
    note = f"{len(figures)} points of {count}; {slower} with a ratio below 1; median ratio {median:.2f}; "
    note += f"{differ} with results more than {TOLERANCE} of the norm apart; the worst ten:"
    formats = ["", "", "", "", "", "", "", ".2e", ".2e", ".2f", ".0e"]
    table = [[format(v, f) for v, f in zip(figure.values(), formats, strict=True)] for figure in figures[:10]]
    header = [*GRID, "rows", "NumPy, s", "fastml, s", "ratio of minima", "difference"]
    return f"{note}\n\n{markdown_table(header, table)}"


def main() -> None:
    """Read the command line, run what it asks for and print the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, help="of NumPy and of fastml; by default one a core")
    parser.add_argument("--rounds", type=int, default=3, help="by default 3")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the raw figures there as well")
    for name, values in GRID.items():
        parser.add_argument(f"--{name}", nargs="+", type=type(values[0]), default=values, choices=values)
    parser.add_argument("--sample", nargs=2, type=int, metavar=("N", "SEED"), help="N random points of the grid")
    arguments = parser.parse_args()
    limit_threads(arguments.threads)
    points = [Point(*values) for values in itertools.product(*(getattr(arguments, name) for name in GRID))]
    if arguments.sample:
        count, seed = arguments.sample
        points = random.Random(seed).sample(points, min(count, len(points)))
    facts = facts_of_run()
    figures = run_points(points, arguments.rounds)
    print(markdown_list(facts), report(figures, len(points)), sep="\n\n")
    if arguments.json:
        arguments.json.write_text(json.dumps({"machine": facts, "points": figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()

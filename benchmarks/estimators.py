"""Fits by the estimators of fastml and of scikit-learn, side by side.

python benchmarks/estimators.py [--rounds N] [--plot FILE.svg] [CASE ...]

Both sides get the same data and options, and take turns. Printed are the least and the median seconds of a fit, after
one fit that is not counted, and the accuracy on the test set. docs/scikit-learn.md has the table and the chart.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import svg
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter
from side_by_side import PAUSE_SECONDS
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as Peer

from fastml import load_mnist
from fastml.estimators import MLPClassifier, SoftmaxRegression
from fastml.plotting.figures import TEST_COLOUR, TRAIN_COLOUR

OURS = "fastml"
SGD = {"solver": "sgd", "learning_rate_init": 0.1, "batch_size": 100}
ADAM = {"solver": "adam", "batch_size": 100}
EPOCHS = {"max_iter": 3, "random_state": 0, "tol": 0.0}
# What reaches 92 % of MNIST's test set.
PROBE = {"max_iter": 4, "learning_rate_init": 0.002, "batch_size": 100, "random_state": 0}


@dataclass(frozen=True)
class Case:
    """A fit of an estimator and of its peers."""

    data: Callable[[], list]
    sides: dict[str, Callable[[], Any]]
    rounds: int | None = None


def mnist() -> list:
    """Return MNIST as train_test_split would."""
    (X, y), (X_test, y_test) = load_mnist()
    return [X, X_test, y, y_test]


def digits() -> list:
    """Return scikit-learn's digits, in [0, 1]."""
    X, y = load_digits(return_X_y=True)
    return train_test_split(X / 16, y, random_state=0, stratify=y)


def hundred() -> list:
    """Return 100 rows of two classes."""
    random = np.random.default_rng(0)
    X = random.standard_normal((200, 20))
    return [X[:100], X[100:], (X[:100, 0] > 0).astype(int), (X[100:, 0] > 0).astype(int)]


def both(made: Callable, peer: Callable, **settings: Any) -> dict[str, Callable[[], Any]]:
    """Return both sides with the same settings."""
    return {OURS: lambda: made(**settings), "scikit-learn": lambda: peer(**settings)}


CASES = {
    "mnist-sgd": Case(mnist, both(MLPClassifier, Peer, hidden_layer_sizes=(400,), **SGD, **EPOCHS)),
    "mnist-adam": Case(mnist, both(MLPClassifier, Peer, hidden_layer_sizes=(400,), **ADAM, **EPOCHS)),
    "mnist-linear": Case(
        mnist,
        {
            OURS: lambda: SoftmaxRegression(**PROBE),
            "LogisticRegression()": LogisticRegression,
            "SGDClassifier(loss='log_loss')": lambda: SGDClassifier(loss="log_loss", random_state=0),
        },
        rounds=1,
    ),
    "digits": Case(digits, both(MLPClassifier, Peer, random_state=0)),
    "one-epoch-of-100-rows": Case(hundred, both(MLPClassifier, Peer, max_iter=1, random_state=0), rounds=50),
}


def timed_fit(side: Callable[[], Any], X: Any, y: Any) -> tuple[float, Any]:
    """Return the seconds of a fit, and what was fitted."""
    model = side()
    began = time.perf_counter()
    model.fit(X, y)
    return time.perf_counter() - began, model


def run(name: str, case: Case, rounds: int) -> dict[str, float]:
    """Print a line for each side of a case, and return the least seconds of each side."""
    X, X_test, y, y_test = case.data()
    found: dict[str, list[float]] = {side: [] for side in case.sides}
    accuracy = {}
    timed_fit(case.sides[OURS], X, y)
    for _ in range(case.rounds or rounds):
        for side, make in case.sides.items():
            time.sleep(PAUSE_SECONDS)
            seconds, model = timed_fit(make, X, y)
            found[side].append(seconds)
            accuracy[side] = model.score(X_test, y_test)
    ours = min(found[OURS]), statistics.median(found[OURS])
    print(f"\n{name}: {len(X)} x {X.shape[1]} {X.dtype}")
    for side, seconds in found.items():
        least, median = min(seconds), statistics.median(seconds)
        print(
            f"  {side:<32} least {least:9.4f} s {least / ours[0]:7.2f} x   median {median:9.4f} s "
            f"{median / ours[1]:7.2f} x   accuracy {accuracy[side]:.4f}"
        )
    return {side: min(seconds) for side, seconds in found.items()}


def draw(results: dict[str, dict[str, float]], path: Path) -> None:
    """Draw the least seconds of each side, with a group of bars for each case."""
    rows = [(name, side, seconds) for name, sides in results.items() for side, seconds in sides.items()]
    with matplotlib.rc_context(svg.STYLE):
        figure = Figure(figsize=(7, 0.34 * len(rows) + 0.8), layout="constrained")
        axes = figure.subplots()
        for place, (_, side, seconds) in enumerate(rows):
            colour = TEST_COLOUR if side == OURS else TRAIN_COLOUR
            axes.plot(seconds, place, "o", color=colour)
            axes.annotate(f"{seconds:.2g} s", (seconds, place), (7, 0), textcoords="offset points", va="center")
        axes.set_yticks(range(len(rows)), [f"{name}: {side}" for name, side, _ in rows])
        axes.set(xscale="log", xlabel="seconds of a fit")
        axes.set_xlim(min(row[2] for row in rows) / 1.5, max(row[2] for row in rows) * 3)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.grid(axis="y", alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
    svg.save(figure, path)


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--plot", type=Path, metavar="FILE.svg", help="draw the seconds")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    results = {name: run(name, CASES[name], arguments.rounds) for name in arguments.cases or CASES}
    if arguments.plot:
        draw(results, arguments.plot)


if __name__ == "__main__":
    main()

"""The estimators and scikit-learn's, side by side: `python benchmarks/estimators.py [--rounds N] [CASE ...]`.

Both sides have the same data and options and take turns; seconds are the least and the median of a fit, which has run
once before. Accuracies are those on the test set.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from side_by_side import PAUSE_SECONDS
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, SGDClassifier
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier as Peer

from fastml import load_mnist
from fastml.estimators import MLPClassifier, SoftmaxRegression

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
    return {"fastml": lambda: made(**settings), "scikit-learn": lambda: peer(**settings)}


CASES = {
    "mnist-sgd": Case(mnist, both(MLPClassifier, Peer, hidden_layer_sizes=(400,), **SGD, **EPOCHS)),
    "mnist-adam": Case(mnist, both(MLPClassifier, Peer, hidden_layer_sizes=(400,), **ADAM, **EPOCHS)),
    "mnist-linear": Case(
        mnist,
        {
            "fastml": lambda: SoftmaxRegression(**PROBE),
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


def run(name: str, case: Case, rounds: int) -> None:
    """Print a line for each side of a case."""
    X, X_test, y, y_test = case.data()
    found: dict[str, list[float]] = {side: [] for side in case.sides}
    accuracy = {}
    timed_fit(case.sides["fastml"], X, y)
    for _ in range(case.rounds or rounds):
        for side, make in case.sides.items():
            time.sleep(PAUSE_SECONDS)
            seconds, model = timed_fit(make, X, y)
            found[side].append(seconds)
            accuracy[side] = model.score(X_test, y_test)
    ours = min(found["fastml"]), statistics.median(found["fastml"])
    print(f"\n{name}: {len(X)} x {X.shape[1]} {X.dtype}")
    for side, seconds in found.items():
        least, median = min(seconds), statistics.median(seconds)
        print(
            f"  {side:<32} least {least:9.4f} s {least / ours[0]:7.2f} x   median {median:9.4f} s "
            f"{median / ours[1]:7.2f} x   accuracy {accuracy[side]:.4f}"
        )


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {', '.join(CASES)}")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    for name in arguments.cases or CASES:
        run(name, CASES[name], arguments.rounds)


if __name__ == "__main__":
    main()

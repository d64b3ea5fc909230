"""
A linear probe
==============

Softmax regression on embeddings of a frozen model, with early stopping.

Without files, the script makes embeddings of random classes. With files, it reads the arrays that a model has written:
``python examples/linear_probe.py --embeddings X.npy --labels y.npy``.
"""

import argparse

import numpy as np
from sklearn.model_selection import train_test_split

from fastml.estimators import SoftmaxRegression


def made_up(rows: int, input_dim: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float16 embeddings in clouds around a centre for each class, and their labels."""
    random = np.random.default_rng(0)
    centres, y = random.standard_normal((classes, input_dim)), random.integers(classes, size=rows)
    return (centres[y] + 8 * random.standard_normal((rows, input_dim))).astype(np.float16), y


def main(argv: list[str] | None = None) -> None:
    """Train a probe and print its accuracy on embeddings that it has not seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--embeddings", help="a .npy file, (rows, dimensions)")
    parser.add_argument("--labels", help="a .npy file, (rows,)")
    parser.add_argument("--rows", type=int, default=20_000, help="embeddings to make up")
    arguments = parser.parse_args(argv)
    if arguments.embeddings:
        # A memory map: embeddings may be larger than memory.
        X, y = np.load(arguments.embeddings, mmap_mode="r"), np.load(arguments.labels)
    else:
        X, y = made_up(arguments.rows, 768, 10)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.2, random_state=0, stratify=y)

    probe = SoftmaxRegression(standardize=True, early_stopping=True, learning_rate_init=1e-3, random_state=0)
    probe.fit(X_train, y_train)
    print(f"{probe.n_iter_} epochs, accuracy {probe.score(X_test, y_test):.3f} on {len(y_test)} embeddings")


if __name__ == "__main__":
    main()

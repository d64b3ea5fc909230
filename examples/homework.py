"""
The homework
============

The functions of CMU 10-714's first homework. Only the import differs from a solution in NumPy.
"""

import argparse

import numpy as np

from fastml import load_mnist, loss_err, nn_epoch, softmax_regression_epoch  # before: from simple_ml import ...


def main(argv: list[str] | None = None) -> None:
    """Train softmax regression and the network for some epochs, with a loop of one's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rows", type=int, default=60_000, help="training images to use")
    arguments = parser.parse_args(argv)
    (X, y), (X_test, y_test) = load_mnist()
    X, y = X[: arguments.rows], y[: arguments.rows]

    theta = np.zeros((784, 10), np.float32)
    for epoch in range(arguments.epochs):
        softmax_regression_epoch(X, y, theta, lr=0.2, batch=100)
        loss, err = loss_err(X_test @ theta, y_test)
        print(f"softmax regression, epoch {epoch}: test loss {loss:.4f}, test error {err:.2%}")

    random = np.random.default_rng(0)
    W1 = random.standard_normal((784, 100)).astype(np.float32) / 10
    W2 = random.standard_normal((100, 10)).astype(np.float32) / np.float32(10**0.5)
    for epoch in range(arguments.epochs):
        nn_epoch(X, y, W1, W2, lr=0.2, batch=100)
        loss, err = loss_err(np.maximum(X_test @ W1, 0) @ W2, y_test)
        print(f"network, epoch {epoch}: test loss {loss:.4f}, test error {err:.2%}")


if __name__ == "__main__":
    main()

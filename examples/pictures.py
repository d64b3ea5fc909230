"""
Pictures of a model
===================

The learning curves of a network, its hidden units as images, its worst mistakes, and the calibration of its
probabilities.
"""

import argparse
from pathlib import Path

from fastml import load_mnist, predict_proba, train_nn
from fastml.plotting import plot_calibration, plot_history, plot_mistakes, plot_weights, save_picture


def main(argv: list[str] | None = None) -> None:
    """Train a network on MNIST and draw four pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="training images to use")
    parser.add_argument("--directory", type=Path, help="save the pictures in this directory, as PNG")
    arguments = parser.parse_args(argv)
    (X, y), (X_test, y_test) = load_mnist(raw=True)
    X, y = X[: arguments.rows], y[: arguments.rows]
    history = train_nn(X, y, X_test, y_test, hidden_dim=36, epochs=10, lr=0.2, scale=1 / 255, verbose=False)
    probabilities = predict_proba(X_test, history.weights)
    pictures = {
        "curves": plot_history(history, title="36 hidden units, lr 0.2"),
        "weights": plot_weights(history.weights[0], (28, 28)),
        "mistakes": plot_mistakes(X_test, y_test, probabilities, (28, 28), most=20),
        "calibration": plot_calibration(y_test, probabilities),
    }
    if arguments.directory:
        for name, axes in pictures.items():
            save_picture(axes, arguments.directory / f"{name}.png")
    print(f"test error {history[-1].test_err:.2%}; pictures: {', '.join(pictures)}")


if __name__ == "__main__":
    main()

"""
Callbacks
=========

A callback of your own, early stopping that restores the best weights, and a picture of the run.
"""

import argparse

from fastml import History, load_mnist, train_nn
from fastml.callbacks import EarlyStopping
from fastml.plotting import plot_history, save_picture


def announce_records(history: History) -> None:
    """Print a line when the validation error is the lowest so far. A callback that returns true ends the training."""
    if history.epochs_since_best(0.0, "valid_err") == 0:
        print(f"epoch {history[-1].epoch} is the best so far, with a validation error of {history[-1].valid_err:.2%}")


def main(argv: list[str] | None = None) -> None:
    """Train the network until its validation error has not fallen for two epochs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=60_000, help="training images to use")
    parser.add_argument("--picture", help="save the learning curves in this file")
    arguments = parser.parse_args(argv)
    (X, y), _ = load_mnist(raw=True)
    stopping = EarlyStopping("valid_err", patience=2, restore_best=True)
    history = train_nn(
        X[: arguments.rows],
        y[: arguments.rows],
        hidden_dim=100,
        epochs=30,
        lr=0.2,
        scale=1 / 255,
        validation_fraction=0.1,
        verbose=False,
        callback=[announce_records, stopping],
    )
    curves = plot_history(history, title="100 hidden units, lr 0.2")
    if arguments.picture:
        save_picture(curves, arguments.picture)
    print(history)


if __name__ == "__main__":
    main()

"""
More images than memory
=======================

Large MNIST in a file, trained from a memory map.

8.1 million images take 6.4 GB on the disk: ``python examples/large_mnist.py DIR --count 8100000``.
"""

import argparse
import os

from fastml import load_mnist, train_nn
from fastml.datasets import generate_mnist


def main(argv: list[str] | None = None) -> None:
    """Make the images if they are not there, and train on them for an epoch with a checkpoint."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", help="where the images are made")
    parser.add_argument("--count", type=int, default=300_000, help="training images")
    parser.add_argument("--hidden", type=int, default=400)
    arguments = parser.parse_args(argv)
    generate_mnist(arguments.directory, arguments.count, seed=0)

    (X, y), (X_test, y_test) = load_mnist(arguments.directory, raw=True)  # X is mapped, not read
    run = os.path.join(arguments.directory, "run")
    settings = {"hidden_dim": arguments.hidden, "lr": 0.2, "scale": 1 / 255, "shuffle": True}
    train_nn(X, y, X_test, y_test, epochs=1, checkpoint=run, resume=os.path.exists(run), **settings)


if __name__ == "__main__":
    main()

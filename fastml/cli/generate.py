"""`fastml generate`: write a large MNIST with deformed images, for `--data`."""

import argparse
import time
from typing import Any

import numpy as np

from fastml.cli.arguments import (
    PICTURE,
    Commands,
    add_command,
    add_quiet,
    check_outputs,
    count_up_to,
    integer_in,
    progress_unless_quiet,
)
from fastml.datasets import deform, generate_mnist, load_mnist
from fastml.datasets.generate import LARGEST_COUNT, LARGEST_SHARDS, SIDE

# On the contact sheet of --plot.
DEFORMATIONS_OF_A_DIGIT = 15


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Make large MNIST: the training images, and small random deformations of them."
    parser = add_command(commands, "generate", purpose, "fastml generate DIR --count 8.1m && fastml train --data DIR")
    add_quiet(parser)
    add = parser.add_argument
    add("directory", metavar="DIR", help="directory to write to; the same command continues interrupted work")
    counts: dict[str, Any] = {"type": count_up_to(LARGEST_COUNT), "metavar": "N", "required": True}
    add("--count", **counts, help="training images to make, 784 bytes each: 100000, 1e5 or 0.1m")
    seeds = integer_in(0, 2**64 - 1)
    add("--seed", type=seeds, default=0, metavar="N", help="seed of the deformations (default: %(default)s)")
    shards: dict[str, Any] = {"type": integer_in(1, LARGEST_SHARDS), "metavar": "K"}
    add("--shards", **shards, help="write the training set as K files, for fastml train --dask")
    add("--plot", **PICTURE, help="draw digits and deformations of them, as PNG, SVG or PDF")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write the files, print a summary, and with --plot draw a digit of each class and deformations of it."""
    plotting = check_outputs(arguments.plot)
    began = time.perf_counter()
    with progress_unless_quiet(arguments, " examples") as progress:
        generate_mnist(arguments.directory, arguments.count, arguments.seed, progress, arguments.shards)
    seconds = time.perf_counter() - began
    print(f"{arguments.directory} holds {arguments.count:,} training images and MNIST's test set; {seconds:.1f} s")
    if plotting is not None:
        (X, y), _ = load_mnist(raw=True)
        originals = X.reshape(-1, SIDE, SIDE)
        first = np.unique(y, return_index=True)[1]
        numbers = first[:, None] + len(originals) * np.arange(1 + DEFORMATIONS_OF_A_DIGIT)
        images = deform(originals, numbers.ravel(), arguments.seed).reshape(*numbers.shape, SIDE, SIDE)
        images[:, 0] = originals[first]
        plotting.save_picture(plotting.plot_deformations(images), arguments.plot)

"""`fastml evaluate`: print the loss, the error and the confusion matrix of saved weights on a test set."""

import argparse
import math

import numpy as np
from numpy.typing import NDArray

from fastml.checks import first_not_finite
from fastml.cli.arguments import PIXEL_SCALE, check_outputs, data_directory, name_ending
from fastml.cli.progress import progress_bar
from fastml.datasets import load_mnist
from fastml.evaluation import evaluate, predict
from fastml.models import model_of
from fastml.weights import load_weights


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    parser = commands.add_parser(
        "evaluate", parents=[data_directory()], help="print the loss, error and confusion matrix of a model"
    )
    parser.add_argument("file", metavar="FILE.npz", help="weights saved by `fastml train --save`")
    parser.add_argument("--plot", type=name_ending(".png"), metavar="FILE.png", help="draw the confusion matrix")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the loss, the error and the confusion matrix of saved weights on the test set."""
    plotting = check_outputs(arguments.plot)
    weights, _ = load_weights(arguments.file)
    with progress_bar("B") as progress:
        _, (X, y) = load_mnist(arguments.data, raw=True, progress=progress)
    loss, err = evaluate(X, y, *weights, scale=PIXEL_SCALE)
    if not math.isfinite(loss):
        named = model_of(weights).named(weights)
        reason = first_not_finite(weights[0].dtype, **named) or "the logits are beyond the range of the dtype"
        raise FloatingPointError(f"the loss of {arguments.file} is {loss}: {reason}")
    num_classes = weights[-1].shape[1]
    pairs = num_classes * y.astype(np.int64) + predict(X, *weights, scale=PIXEL_SCALE)
    matrix = np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)
    print(f"test loss {loss:.5f}, test error {err:.2%} of {len(y)} examples")
    print("rows: true class, columns: predicted class")
    print(format_matrix(matrix))
    if plotting is not None:
        plotting.plot_confusion(matrix, arguments.plot)


def format_matrix(matrix: NDArray[np.int64]) -> str:
    """Return a square matrix of counts as lines of text, with the numbers of the classes above and on the left."""
    table = np.vstack([np.arange(len(matrix)), matrix])
    label, column = len(str(len(matrix) - 1)), len(str(table.max())) + 2
    lines = ["".join(f"{count:>{column}}" for count in row) for row in table]
    heads = ["", *range(len(matrix))]
    return "\n".join(f"{head:>{label}}{line}" for head, line in zip(heads, lines, strict=True))

"""`fastml evaluate`: print the loss, the error and the confusion matrix of a model on a test set, and draw pictures."""

import argparse
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.checks import first_not_finite
from fastml.cli.arguments import (
    PICTURE,
    Commands,
    add_command,
    add_data,
    add_quiet,
    check_outputs,
    class_labels,
    pixel_keywords,
    progress_unless_quiet,
)
from fastml.datasets import load_mnist
from fastml.evaluation import evaluate, predict, predict_proba
from fastml.weights import load_weights

# The most classes of a matrix that is printed, and of one that is drawn: a matrix grows with their square.
MOST_PRINTED, MOST_DRAWN = 100, 256
PICTURES = ("confusion", "mistakes", "calibration", "weights")
# The pairs of confused classes that are printed in the place of a matrix.
MOST_PAIRS = 20


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Print the loss, the error and the confusion matrix of saved weights on the test set, or on the only set."
    parser = add_command(commands, "evaluate", purpose, "fastml evaluate weights.npz --data DIR")
    add_quiet(parser)
    add_data(parser)
    parser.add_argument("file", metavar="FILE.npz", help="weights saved by `fastml train --save` or by an estimator")
    parser.add_argument("--plot", **PICTURE, help="draw a picture, as PNG, SVG or PDF")
    parser.add_argument("--picture", choices=PICTURES, default="confusion", help="what to draw (default: %(default)s)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Print the loss and the error of saved weights on the test set, and the confusion matrix or the confused pairs."""
    plotting = check_outputs(arguments.plot)
    weights, settings = load_weights(arguments.file)
    num_classes = weights[-1].shape[1]
    if plotting is not None and arguments.picture == "confusion" and num_classes > MOST_DRAWN:
        raise ValueError(f"--plot draws at most {MOST_DRAWN} classes, {arguments.file} has {num_classes}")
    with progress_unless_quiet(arguments, "B") as progress:
        train_set, test_set = load_mnist(arguments.data, raw=True, progress=progress)
    which, evaluated = ("test", test_set) if len(test_set.y) else ("training", train_set)
    X = evaluated.X
    y = as_classes(evaluated.y, class_labels(weights, settings), arguments.file)
    keywords = pixel_keywords(weights, settings)
    loss, err = evaluate(X, y, *weights, **keywords)
    if not math.isfinite(loss):
        reason = first_not_finite(weights[0].dtype, **weights.parameters.named())
        reason = reason or "the logits are beyond the range of the dtype"
        raise FloatingPointError(f"the loss of {arguments.file} is {loss}: {reason}")
    predictions = predict(X, *weights, **keywords)
    print(f"{which} loss {loss:.5f}, {which} error {err:.2%} of {len(y)} examples")
    if num_classes > MOST_PRINTED:
        print(format_pairs(y, predictions))
    else:
        print("rows: true class, columns: predicted class")
        print(format_matrix(confusion_matrix(y, predictions, num_classes), evaluated.classes))
    if plotting is None:
        return
    if arguments.picture == "confusion":
        axes = plotting.plot_confusion(confusion_matrix(y, predictions, num_classes))
    elif arguments.picture == "weights":
        axes = plotting.plot_weights(weights[0], image_shape(X))
    else:
        probabilities = predict_proba(X, *weights, **keywords)
        if arguments.picture == "calibration":
            axes = plotting.plot_calibration(y, probabilities)
        else:
            axes = plotting.plot_mistakes(X, y, probabilities, image_shape(X))
    plotting.save_picture(axes, arguments.plot)


def as_classes(y: NDArray[Any], labels: list[Any], file: str) -> NDArray[Any]:
    """Return the labels of a test set as indices of the classes of a model."""
    if labels == list(range(len(labels))):
        return y
    unknown = sorted(set(y.tolist()) - set(labels))
    if unknown:
        raise ValueError(f"the classes of {file} are {labels}, and the test set has label {unknown[0]}")
    places = {label: index for index, label in enumerate(labels)}
    return np.array([places[label] for label in y.tolist()])


def image_shape(X: NDArray[Any]) -> tuple[int, int]:
    """Return the rows and columns of the images: a square if their pixels make one, otherwise one row."""
    side = math.isqrt(X.shape[1])
    return (side, side) if side**2 == X.shape[1] else (1, X.shape[1])


def confusion_matrix(y: NDArray[Any], predictions: NDArray[np.int64], num_classes: int) -> NDArray[np.int64]:
    """Return how often each class (row) was predicted as each class (column)."""
    pairs = num_classes * y.astype(np.int64) + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def format_pairs(y: NDArray[Any], predictions: NDArray[np.int64]) -> str:
    """Return the pairs of a true class and another predicted class as lines of text, the most frequent first."""
    wrong = y != predictions
    pairs, counts = np.unique(np.stack([y[wrong], predictions[wrong]]), axis=1, return_counts=True)
    lines = [f"{len(counts)} pairs of classes are confused, most often (true class, predicted class, examples)"]
    for i in np.argsort(-counts, kind="stable")[:MOST_PAIRS]:
        lines.append("".join(f"{number:>8}" for number in (*pairs[:, i], counts[i])))
    return "\n".join(lines)


def format_matrix(matrix: NDArray[np.int64], classes: Sequence[str] | None = None) -> str:
    """Return a square matrix of counts as lines of text, with the names of the classes above and on the left.

    Classes without names are called by their numbers.
    """
    names = classes if classes is not None and len(classes) == len(matrix) else [str(k) for k in range(len(matrix))]
    table = [names, *matrix.tolist()]
    label, column = max(map(len, names)), max(len(str(cell)) for row in table for cell in row) + 2
    lines = ["".join(f"{cell:>{column}}" for cell in row) for row in table]
    heads = ["", *names]
    return "\n".join(f"{head:>{label}}{line}" for head, line in zip(heads, lines, strict=True))

"""`fastml predict`: write what a model predicts for the images of a test set."""

import argparse
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

from numpy.typing import NDArray

from fastml.cli.arguments import (
    Commands,
    add_command,
    add_data,
    add_quiet,
    check_outputs,
    class_labels,
    name_ending,
    pixel_keywords,
    progress_unless_quiet,
)
from fastml.datasets.mnist import load_images
from fastml.evaluation import predict, predict_proba
from fastml.files import replacing
from fastml.weights import load_weights


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Write the labels that a model predicts for the test set, or for the only set; the set needs no labels."
    parser = add_command(commands, "predict", purpose, "fastml predict weights.npz --data test.csv --kaggle")
    add_quiet(parser)
    add_data(parser)
    add = parser.add_argument
    add("file", metavar="FILE.npz", help="weights saved by `fastml train --save` or by an estimator")
    add("--csv", type=name_ending(".csv"), metavar="FILE.csv", help="file to write (default: standard output)")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--probabilities", action="store_true", help="write the probability of each class")
    what.add_argument(
        "--kaggle", action="store_true", help="write columns ImageId and Label, for Kaggle's digit recognizer"
    )
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Write a line for each image of the test set."""
    check_outputs(arguments.csv, None)
    weights, settings = load_weights(arguments.file)
    labels, keywords = class_labels(weights, settings), pixel_keywords(weights, settings)
    with progress_unless_quiet(arguments, "B") as progress:
        X = load_images(arguments.data, len(weights[0]), progress)
    if arguments.probabilities:
        lines = probability_lines(predict_proba(X, *weights, **keywords), labels)
    else:
        lines = label_lines(predict(X, *weights, **keywords), labels, arguments.kaggle)
    text = StringIO()
    for line in lines:
        text.write(",".join(map(str, line)) + "\n")
    if arguments.csv is None:
        sys.stdout.write(text.getvalue())
        return
    with replacing(arguments.csv) as file:
        file.write(text.getvalue().encode())


def label_lines(predictions: NDArray[Any], labels: list[Any], kaggle: bool) -> Iterator[tuple[Any, ...]]:
    """Yield the head and the lines of predicted labels; Kaggle numbers the images from 1."""
    yield ("ImageId", "Label") if kaggle else ("label",)
    for number, index in enumerate(predictions.tolist(), 1):
        yield (number, labels[index]) if kaggle else (labels[index],)


def probability_lines(probabilities: NDArray[Any], labels: list[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the head, the label of each class, and the lines of probabilities, with all their digits."""
    yield tuple(labels)
    yield from map(tuple, probabilities)

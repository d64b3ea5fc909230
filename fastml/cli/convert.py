"""`fastml convert`: convert LIBSVM text or Kaggle CSV to IDX files, for `--data`."""

import argparse
import re
from pathlib import Path

from fastml.datasets.convert import FORMATS, convert
from fastml.datasets.mnist import IMAGES, LABELS
from fastml.progress import progress_bar


def add(commands: argparse._SubParsersAction) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    parser = commands.add_parser("convert", help="convert LIBSVM text or Kaggle CSV to IDX files")
    add = parser.add_argument
    add("source", metavar="SOURCE", help="text file, plain or compressed with gzip, bzip2 or xz")
    add("directory", metavar="DIR", help="directory to write to, under the names of MNIST's training set")
    add("--test", action="store_true", help="write under the names of MNIST's test set")
    shape = {"type": image_shape, "default": (28, 28), "metavar": "HxW"}
    add("--shape", **shape, help="rows and columns of an image (default: 28x28)")
    add("--format", choices=FORMATS, help="format of SOURCE (default: csv if its name says so, else libsvm)")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Convert a set; never overwrite an existing file."""
    images, labels = (Path(arguments.directory, names[arguments.test]) for names in (IMAGES, LABELS))
    for path in (images, labels):
        if path.exists():
            raise FileExistsError(f"{path} is there already: choose another directory, or remove it")
    settings = {"shape": arguments.shape, "text_format": arguments.format}
    with progress_bar("B") as progress:
        count = convert(arguments.source, images, labels, **settings, progress=progress)
    print(f"{images}: {count:,} images of {' x '.join(map(str, arguments.shape))}")


def image_shape(text: str) -> tuple[int, int]:
    """Return the rows and columns of a text such as 28x28; an argument type for argparse."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be rows and columns, such as 28x28, got {text}")
    return int(match[1]), int(match[2])

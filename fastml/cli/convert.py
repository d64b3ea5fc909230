"""`fastml convert`: convert LIBSVM text or CSV to IDX files, for `--data`."""

import argparse
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastml.cli.arguments import Commands, add_command, add_quiet, progress_unless_quiet, real
from fastml.datasets.convert import FORMATS, Layout, convert, format_of
from fastml.datasets.mnist import IMAGES, LABELS


def add(commands: Commands) -> argparse.ArgumentParser:
    """Add the command to the argparse commands and return its parser."""
    purpose = "Convert LIBSVM text or CSV, such as Kaggle's, to IDX files, which `--data` takes."
    parser = add_command(commands, "convert", purpose, "fastml convert mnist8m.bz2 DIR")
    add_quiet(parser)
    add = parser.add_argument
    add("source", metavar="SOURCE", help="text, plain or compressed with gzip, bzip2 or xz, or the only file of a zip")
    add("directory", metavar="DIR", help="directory to write to, under the names of MNIST's training set")
    add("--test", action="store_true", help="write under the names of MNIST's test set")
    shape: dict[str, Any] = {"type": image_shape, "default": (28, 28), "metavar": "HxW"}
    add("--shape", **shape, help="rows and columns of an image (default: 28x28)")
    add("--format", choices=list(FORMATS), help="format of SOURCE (default: csv for names with .csv, else libsvm)")
    add("--scale", type=real, default=1.0, metavar="X", help="factor of pixels: 255 for pixels in [0, 1] (default: 1)")
    zero_based = "libsvm only: indices begin at 0, as scikit-learn's dump_svmlight_file writes them by default"
    add("--zero-based", action="store_true", help=zero_based)
    column: dict[str, Any] = {"type": column_name, "metavar": "COLUMN"}
    add("--label-column", **column, help="csv only: number from 0, -1 for the last, or name (default: label, or 0)")
    add("--index-column", **column, help="csv only: column to leave out (default: the first, if it has no name)")
    add("--no-labels", action="store_true", help="csv only: there is no column of labels; write images alone")
    return parser


def run(arguments: argparse.Namespace) -> None:
    """Convert a set; never overwrite an existing file."""
    text_format = arguments.format or format_of(arguments.source)
    check_options(arguments, text_format)
    images, labels = (Path(arguments.directory, names[arguments.test]) for names in (IMAGES, LABELS))
    for path in (images, labels):
        if path.exists():
            raise FileExistsError(f"{path} exists already: choose another directory, or remove the file")
    layout = Layout(arguments.zero_based, arguments.label_column, arguments.index_column, arguments.scale)
    settings = {"shape": arguments.shape, "text_format": text_format, "layout": layout}
    with made_directory(images.parent), progress_unless_quiet(arguments, "B") as progress:
        destination = None if arguments.no_labels else labels
        count = convert(arguments.source, images, destination, **settings, progress=progress)
    print(f"{images}: {count:,} images of {' x '.join(map(str, arguments.shape))}")
    if text_format == "libsvm" and not arguments.zero_based:
        print("indices were read from 1 on; use --zero-based if they begin at 0, which is scikit-learn's default")


def check_options(arguments: argparse.Namespace, text_format: str) -> None:
    """Reject options of the other format."""
    owners = {"zero_based": "libsvm", "label_column": "csv", "index_column": "csv", "no_labels": "csv"}
    for name, owner in owners.items():
        value = getattr(arguments, name)
        if value is not None and value is not False and text_format != owner:
            raise ValueError(f"--{name.replace('_', '-')} needs --format {owner}, got {text_format}")
    if arguments.no_labels and arguments.label_column is not None:
        raise ValueError("--no-labels and --label-column cannot both be given")


@contextmanager
def made_directory(directory: Path) -> Iterator[None]:
    """Make a directory for the block; remove it again if the block raises and the directory is new."""
    is_new = not directory.exists()
    directory.mkdir(exist_ok=True)
    try:
        yield
    except BaseException:
        if is_new:
            directory.rmdir()
        raise


def column_name(text: str) -> int | str:
    """Return the number or the name of a column; an argument type for argparse."""
    return int(text) if re.fullmatch(r"-?\d+", text) else text


def image_shape(text: str) -> tuple[int, int]:
    """Return the rows and columns of a text such as 28x28; an argument type for argparse."""
    match = re.fullmatch(r"([1-9]\d{0,3})x([1-9]\d{0,3})", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"must be rows and columns, such as 28x28, got {text}")
    return int(match[1]), int(match[2])

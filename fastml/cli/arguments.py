"""Arguments that several commands share: argument types for argparse, and checks of output paths."""

import argparse
import decimal
import difflib
import importlib
import math
import re
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from types import ModuleType
from typing import Any, NoReturn, TypeAlias

import numba
import numpy as np

from fastml.datasets.image_set import PIXEL_SCALE
from fastml.files import check_destination
from fastml.progress import ShowProgress, progress_bar
from fastml.weights import Weights


class CommandParser(argparse.ArgumentParser):
    """A parser with errors that suggest the nearest option or choice, and show the usage of the command at hand."""

    def __init__(self, **settings: Any):
        self.options: list[str] = []
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """Add an argument, and remember its options."""
        action = super().add_argument(*names, **settings)
        self.options += action.option_strings
        return action

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse arguments; reject unknown ones, also when the main parser calls the parser of a command."""
        namespace, unknown = super().parse_known_args(args, namespace)
        if unknown:
            name = unknown[0].partition("=")[0]
            self.error(f"unrecognized arguments: {' '.join(unknown)}{suggestion(name, self.options)}")
        return namespace, unknown

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit; after an invalid choice, suggest the nearest valid one."""
        invalid = re.search(r"invalid choice: '(.*?)' \(choose from (.*)\)", message)
        if invalid is not None:
            message += suggestion(invalid[1], re.findall(r"[\w-]+", invalid[2]))
        super().error(message)


# The commands of the parser, to which each module adds its own.
Commands: TypeAlias = "argparse._SubParsersAction[CommandParser]"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return the end of a message: a question that suggests the nearest known name, or nothing if none is near."""
    nearest = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def add_command(commands: Commands, name: str, purpose: str, example: str) -> argparse.ArgumentParser:
    """Add a command to the argparse commands, with a sentence on what it is for and an example; return its parser."""
    short = purpose[0].lower() + purpose[1:].partition(". ")[0].rstrip(".")
    return commands.add_parser(name, help=short, description=purpose, epilog=f"example:\n  {example}")


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add the option --quiet of the commands that show progress."""
    parser.add_argument("--quiet", action="store_true", help="print only the result, and no progress")


def progress_unless_quiet(arguments: argparse.Namespace, unit: str) -> AbstractContextManager[ShowProgress | None]:
    """Return a progress bar as a context manager; with --quiet the bar is not shown."""
    return progress_bar(unit, shown=not arguments.quiet)


def add_data(parser: argparse.ArgumentParser) -> None:
    """Add the option --data of the commands that read a data set."""
    parser.add_argument(
        "--data", metavar="DIR", help="directory with IDX files named like MNIST's, .npz or .csv (default: MNIST)"
    )


def integer_in(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Return an argument type for integers from minimum to maximum; error messages show the name of the type."""

    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            bounds = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {value}")
        return value

    return integer


def count_up_to(maximum: int) -> Callable[[str], int]:
    """Return an argument type for numbers of things, from 1 to maximum: 100000, 1e5, 100k or 0.1m."""

    def count(text: str) -> int:
        factor = {"k": 1_000, "m": 1_000_000}.get(text[-1:].lower())
        try:
            value = decimal.Decimal(text[:-1]) * factor if factor else decimal.Decimal(text)
        except ArithmeticError:
            raise argparse.ArgumentTypeError(f"must be a number such as 100000, 1e5 or 8.1m, got {text}") from None
        if not value.is_finite() or not 1 <= value <= maximum or value != int(value):
            raise argparse.ArgumentTypeError(f"must be a whole number from 1 to {maximum}, got {text}")
        return int(value)

    return count


def address(text: str) -> str | int:
    """Return the address of a Dask scheduler, or a number of local workers; an argument type for argparse."""
    kind, _, workers = text.partition(":")
    if kind == "local":
        return integer_in(1)(workers) if workers else numba.config.NUMBA_NUM_THREADS
    if "://" not in text:
        raise argparse.ArgumentTypeError(f"must be local, local:N or an address such as tcp://host:8786, got {text}")
    return text


def real(text: str) -> float:
    """Return text as a finite number; an argument type for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {value}")
    return value


def name_ending(*suffixes: str) -> Callable[[str], str]:
    """Return an argument type for names of files that end in one of the suffixes."""

    def name(text: str) -> str:
        if not text.endswith(suffixes):
            raise argparse.ArgumentTypeError(f"must end in {' or '.join(suffixes)}, got {text}")
        return text

    return name


def pixel_keywords(weights: Weights, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the keywords with which `predict` applies the weights of a file to raw pixels.

    Weights without scale and shift were trained on pixels in [0, 1], unless an estimator was fitted to bytes.
    """
    keywords = weights.keywords
    is_raw = np.ndim(weights.scale) == 0 and weights.scale == 1 and not np.any(weights.shift)
    if is_raw and settings.get("input") != "uint8":
        keywords["scale"] = PIXEL_SCALE
    return keywords


def class_labels(weights: Weights, settings: dict[str, Any]) -> list[Any]:
    """Return the labels of the classes of a file of weights, by default 0, 1, 2, ..."""
    num_classes, classes = weights[-1].shape[1], settings.get("classes")
    if not isinstance(classes, dict):
        return list(range(num_classes))
    labels = classes.get("labels")
    if not isinstance(labels, list) or len(labels) != num_classes:
        raise ValueError(f"the settings must have {num_classes} labels, one for each class, got {labels!r}")
    return labels


# The settings of an option for a picture, in a format that `fastml.plotting.save_picture` writes.
PICTURE: dict[str, Any] = {"type": name_ending(".png", ".svg", ".pdf"), "metavar": "FILE.png"}


def check_outputs(*paths: str | None) -> ModuleType | None:
    """Reject paths that cannot be written; return `fastml.plotting` if the last path, that of a picture, is given."""
    for path in paths:
        if path is not None:
            check_destination(path)
    return None if paths[-1] is None else importlib.import_module("fastml.plotting")

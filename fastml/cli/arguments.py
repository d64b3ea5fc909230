"""Arguments that several commands share: argument types for argparse, and checks of output paths."""

import argparse
import importlib
import math
from collections.abc import Callable
from types import ModuleType

from fastml.files import check_destination


def data_directory() -> argparse.ArgumentParser:
    """Return the parent parser of the commands that read a data set; it has the option --data."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--data", metavar="DIR", help="directory with four IDX files named like MNIST's (default: MNIST)"
    )
    return parser


def integer_in(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Return an argument type for integers from minimum to maximum; argparse shows its name in error messages."""

    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            bounds = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {value}")
        return value

    return integer


def real(text: str) -> float:
    """Return text as a finite number; an argument type for argparse."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {value}")
    return value


def name_ending(suffix: str) -> Callable[[str], str]:
    """Return an argument type for names of files that end in suffix."""

    def name(text: str) -> str:
        if not text.endswith(suffix):
            raise argparse.ArgumentTypeError(f"must end in {suffix}, got {text}")
        return text

    return name


def check_outputs(*paths: str | None) -> ModuleType | None:
    """Reject paths that cannot be written; return `fastml.plotting` if the last path, that of a picture, is given."""
    for path in paths:
        if path is not None:
            check_destination(path)
    return None if paths[-1] is None else importlib.import_module("fastml.plotting")

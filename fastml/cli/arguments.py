"""What the commands share of their arguments: types that argparse calls, and checks of what is to be written."""

import argparse
import importlib
import math
from collections.abc import Callable
from types import ModuleType

from fastml.files import check_destination

# Of raw pixels, so that the step sizes of [0, 1] hold.
PIXEL_SCALE = 1 / 255


def data_directory() -> argparse.ArgumentParser:
    """Return the parent parser of the commands that read a set."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument(
        "--data", metavar="DIR", help="directory with four IDX files named like MNIST's (default: MNIST)"
    )
    return parser


def integer_in(minimum: int, maximum: float = math.inf) -> Callable[[str], int]:
    """Return the argument type of the integers from minimum to maximum, under the name that argparse shows."""

    def integer(text: str) -> int:
        value = int(text)
        if not minimum <= value <= maximum:
            bounds = f"at least {minimum}" if maximum == math.inf else f"from {minimum} to {maximum}"
            raise argparse.ArgumentTypeError(f"must be {bounds}, got {value}")
        return value

    return integer


def real(text: str) -> float:
    """Return a finite number: an argument type."""
    value = float(text)
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"must be finite, got {value}")
    return value


def name_ending(suffix: str) -> Callable[[str], str]:
    """Return the argument type of the names of files that end in suffix."""

    def name(text: str) -> str:
        if not text.endswith(suffix):
            raise argparse.ArgumentTypeError(f"must end in {suffix}, got {text}")
        return text

    return name


def check_outputs(*paths: str | None) -> ModuleType | None:
    """Refuse paths that can't be written; return the module of pictures if the last path asks for one."""
    for path in paths:
        if path is not None:
            check_destination(path)
    return None if paths[-1] is None else importlib.import_module("fastml.plotting")

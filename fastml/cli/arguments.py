"""Arguments that several commands share: argument types for argparse, and checks of output paths."""

import argparse
import importlib
import math
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numba
import numpy as np

from fastml.files import check_destination
from fastml.weights import Weights

# Scales raw pixels to [0, 1], so that the usual step sizes for such pixels are right.
PIXEL_SCALE = 1 / 255


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
    """Return what `predict` takes beside the weights of a file for raw pixels.

    Weights without scale and shift are of a training on pixels in [0, 1], unless an estimator has seen bytes.
    """
    keywords = weights.keywords
    is_raw = np.ndim(weights.scale) == 0 and weights.scale == 1 and not np.any(weights.shift)
    if is_raw and settings.get("input") != "uint8":
        keywords["scale"] = PIXEL_SCALE
    return keywords


def class_labels(weights: Weights, settings: dict[str, Any]) -> list:
    """Return the labels of the classes of a file of weights, by default 0, 1, 2, ..."""
    classes = settings.get("classes")
    return classes["labels"] if isinstance(classes, dict) else list(range(weights[-1].shape[1]))


# An option with the file of a picture, of a kind that `fastml.plotting.save_picture` writes.
PICTURE = {"type": name_ending(".png", ".svg", ".pdf"), "metavar": "FILE.png"}


def check_outputs(*paths: str | None) -> ModuleType | None:
    """Reject paths that cannot be written; return `fastml.plotting` if the last path, that of a picture, is given."""
    for path in paths:
        if path is not None:
            check_destination(path)
    return None if paths[-1] is None else importlib.import_module("fastml.plotting")

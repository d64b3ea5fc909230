"""Warnings about arguments that are accepted, but are rarely what the caller means."""

import sys
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.arrays import RowSource

# The largest value of a pixel of one byte, and the least maximum of X that counts as one of raw pixels.
LARGEST_PIXEL, LEAST_LARGEST_PIXEL = 255, 16
# This many rows, spread over X, show whether X holds raw pixels.
SAMPLED_ROWS = 1000
# If the loss is above this part of the loss of guessing, the model has learned nothing.
LEARNED_NOTHING = 0.95


class FastmlWarning(UserWarning):
    """The category of all warnings of fastml."""


def warn(message: str) -> None:
    """Issue a `FastmlWarning` at the line outside of fastml that called it."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "fastml":
        level, frame = level + 1, frame.f_back
    warnings.warn(message, FastmlWarning, stacklevel=level)


def warn_of_gaps(y: NDArray[Any], num_classes: int, name: str = "y") -> None:
    """Warn if fewer than half of the classes occur: most likely the labels do not number the classes.

    Parameters
    ----------
    y : ndarray of integers, shape (num_examples,)
        Labels in [0, num_classes).
    num_classes : int
        The number of classes of the model.
    name : str
        The name of y in the message.
    """
    found = np.unique(y).size
    if 2 * found < num_classes:
        warn(
            f"{name} makes {num_classes} classes, one for each number from 0 to its largest label, and only {found} of "
            f"them occur; np.unique({name}, return_inverse=True)[1] numbers the labels from 0 to {found - 1}"
        )


def scale_of_raw_pixels(
    X: RowSource,
    scale: float | NDArray[Any],
    shift: float | NDArray[Any],
    name: str = "X",
    remedy: str = "scale=1/{largest}?",
) -> str | None:
    """Return the advice to scale X, or None if X does not hold raw pixels, or has a scale or a shift."""
    if np.any(np.asarray(scale) != 1) or np.any(np.asarray(shift)) or 0 in X.shape:
        return None
    sample = X[np.linspace(0, len(X) - 1, min(SAMPLED_ROWS, len(X))).astype(np.int64)]
    with np.errstate(invalid="ignore"):
        largest = sample.max()
        if not LEAST_LARGEST_PIXEL <= largest <= LARGEST_PIXEL or sample.min() < 0 or np.any(sample % 1 != 0):
            return None
    # The brightest pixel of all may not be among the rows of the sample.
    largest = LARGEST_PIXEL if 2 * int(largest) > LARGEST_PIXEL else int(largest)
    return f"{name} holds values up to {largest}: {remedy.format(largest=largest)}"


def warn_of_raw_pixels(loss: float, y: NDArray[Any], advice: str | None, when: str = "the first epoch") -> None:
    """Warn if a loss is not below that of guessing, and X holds raw pixels.

    Parameters
    ----------
    loss : float
        The mean loss of the training examples.
    y : ndarray of integers, shape (num_examples,)
        Their labels.
    advice : str or None
        What `scale_of_raw_pixels` returns.
    when : str
        The part of the training that the loss was computed after, for the message.
    """
    if advice is None:
        return
    _, counts = np.unique(y, return_counts=True)
    frequencies = counts / y.size
    guessing = -float(frequencies @ np.log(frequencies))
    if loss > LEARNED_NOTHING * guessing > 0:
        warn(
            f"{advice} After {when}, the training loss is {loss:.3g}, and that of guessing is {guessing:.3g}: "
            "the model is dead or saturated"
        )

"""Checks of numbers, flags and choices among the arguments of the public functions, with their error messages.

A check returns its argument in the form that the rest of the package uses.
"""

import math
import numbers
from typing import Any, TypeVar

import numpy as np

Choice = TypeVar("Choice", bound=str)


def check_real(name: str, value: object) -> float:
    """Return a finite real number as a float."""
    found = as_scalar(value)
    if not is_real(found):
        raise TypeError(f"{name} must be a real number, got {found!r} of type {type(found).__name__}")
    try:
        number = float(found)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite and within the range of float64, got {found!r}")
    return number


def check_at_least(name: str, value: float, minimum: float) -> float:
    """Return a finite real number of at least minimum as a float."""
    value = check_real(name, value)
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum:g}, got {value!r}")
    return value


def check_fraction(name: str, value: float) -> float:
    """Return a real number in [0, 1) as a float."""
    value = check_real(name, value)
    if not 0 <= value < 1:
        raise ValueError(f"{name} must lie in [0, 1), got {value!r}")
    return value


def check_integer(name: str, value: object, minimum: int) -> int:
    """Return an integer of at least minimum as an int; a float that is a whole number counts as one."""
    number = as_scalar(value)
    if not is_real(number):
        raise TypeError(f"{name} must be an integer, got {number!r} of type {type(number).__name__}")
    if not isinstance(number, numbers.Integral) and (not math.isfinite(number) or number != int(number)):
        raise ValueError(f"{name} must be an integer, got {number!r}")
    whole = int(number)
    if whole < minimum:
        raise ValueError(f"{name} must be at least {minimum}, got {whole!r}")
    return whole


def check_seed(seed: int) -> int:
    """Return a seed of 64 bits as an int."""
    seed = check_integer("seed", seed, minimum=0)
    if seed >= 2**64:
        raise ValueError(f"seed must be below 2**64, got {seed}")
    return seed


def check_flag(name: str, value: object) -> bool:
    """Return True or False, Python's or NumPy's, as a bool."""
    value = as_scalar(value)
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, got {value!r} of type {type(value).__name__}")
    return bool(value)


def check_choice(name: str, value: object, choices: tuple[Choice, ...]) -> Choice:
    """Return the choice that value equals."""
    for choice in choices:
        if isinstance(value, str) and value == choice:
            return choice
    raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")


def is_real(value: object) -> bool:
    """Return whether a value is a real number, Python's or NumPy's; a bool is none."""
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def as_scalar(value: object) -> Any:
    """Return the element of a 0-d array; return any other value unchanged."""
    return value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value

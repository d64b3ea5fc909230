"""Conversion of arguments, such as other libraries' arrays, to ndarrays of numbers.

If an argument cannot be converted, the error says what was found.
"""

import decimal
import numbers
from typing import Any, Protocol

import numpy as np
from numpy import ma  # NumPy would import it in the first check; a fork at that moment leaves a child that hangs
from numpy.typing import ArrayLike, NDArray

# An array of Python objects of these types counts as an array of numbers.
REAL = (numbers.Real, np.bool_, decimal.Decimal)


class RowSource(Protocol):
    """The examples that an epoch reads: an array, or another object that returns its rows as an array."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The numbers of rows and columns."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the rows."""

    def __len__(self) -> int:
        """Return the number of rows."""

    def __getitem__(self, rows: NDArray[Any] | slice) -> NDArray[Any]:
        """Return some rows."""


def as_array(name: str, value: ArrayLike) -> NDArray[Any]:
    """Return value as an ndarray, without a copy if it already is one; reject other objects, and masked elements.

    Arrays of Python objects that are all numbers, which nullable and Arrow-backed data frames make, become int64 or
    float64.
    """
    check_unmasked(name, value)
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise TypeError(
            f"{name} is a sparse matrix, {type(value).__name__} of shape {np.shape(value)}: pass {name}.toarray()"
        )
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{name} must be an array of numbers, got {type(value).__name__}: {error}") from error
    return numbers_of_objects(array) if array.dtype.kind == "O" else array


def check_unmasked(name: str, value: ArrayLike) -> None:
    """Reject a masked array with a masked element, or a list of such arrays: the kernels would use the masked value."""
    for part in value if isinstance(value, list | tuple) else [value]:
        if isinstance(part, ma.MaskedArray) and ma.is_masked(part):
            first = np.unravel_index(np.argmax(part.mask), part.shape)
            place = f" at {', '.join(map(str, first))}" if first else ""
            raise ValueError(f"{name} has a masked element{place}; fill it, as {name}.filled(0) does, or leave it out")


def numbers_of_objects(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array of Python objects as int64 or float64, or unchanged if one of them is no real number."""
    kinds = set(map(type, array.flat))
    try:
        if kinds and all(kind is not bool and issubclass(kind, numbers.Integral) for kind in kinds):
            return array.astype(np.int64)
        if all(issubclass(kind, REAL) for kind in kinds):
            return array.astype(np.float64)
    except OverflowError:  # an integer beyond the range of the dtype
        pass
    return array


def describe(array: NDArray[Any]) -> str:
    """Return the shape and dtype of an array as the error messages show them, with the first object that is no number.

    A number beyond the range of int64 counts as such an object.
    """
    description = f"an array of shape {array.shape} and dtype {array.dtype}"
    if array.dtype.kind == "O":
        for place, value in np.ndenumerate(array):
            if not isinstance(value, REAL) or is_beyond_integers(value):
                where = f"[{', '.join(map(str, place))}] is " if place else "the element is "
                missing = value is None or type(value).__name__ in ("NAType", "NaTType")
                hint = ": fill in missing values, or leave their rows out" if missing else ""
                description += f" ({where}{value!r:.40} of type {type(value).__name__}{hint})"
                break
    return description


def is_beyond_integers(value: Any) -> bool:
    """Return whether a number is outside of the range of int64."""
    return bool(abs(value) >= 2**63)

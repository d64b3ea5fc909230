"""Checks of the arrays among the arguments of the public functions, with their error messages.

A check returns its argument in the form that the rest of the package uses. No check modifies its argument.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import advice, scalars
from fastml.arrays import RowSource, as_array, check_unmasked, describe

CHUNK_BYTES = 4 << 20


def check_features(X: ArrayLike, input_dim: int | None = None, name: str = "X") -> NDArray[Any]:
    """Return X as a 2-D array of booleans, integers or floats up to 64 bits, with input_dim columns if it is given."""
    X = as_array(name, X)
    if X.dtype.kind not in "buif" or X.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold booleans, integers or floats of at most 64 bits, got {describe(X)}")
    if X.ndim != 2:
        raise ValueError(f"{name} must be 2-D, (num_examples, input_dim), got {describe(X)}")
    if input_dim is not None and X.shape[1] != input_dim:
        raise ValueError(f"{name} must have {input_dim} columns, one for each row of the weights, got {describe(X)}")
    return X


def check_logits(Z: ArrayLike) -> NDArray[Any]:
    """Return logits as a 2-D array with at least one row and one class."""
    Z = as_array("logits", Z)
    if Z.dtype.kind not in "buif" or Z.dtype.itemsize > 8:
        raise TypeError(f"logits must hold booleans, integers or floats of at most 64 bits, got {describe(Z)}")
    if Z.ndim != 2 or Z.size == 0:
        raise ValueError(f"logits must be 2-D, (num_examples, num_classes), and not empty, got {describe(Z)}")
    return Z


def check_examples(X: RowSource, name: str = "X") -> None:
    """Reject an X without rows, for functions that return a mean over the rows."""
    if X.shape[0] == 0:
        raise ValueError(f"{name} must have at least one row, got an array of shape {X.shape} and dtype {X.dtype}")


def check_labels(y: ArrayLike, num_examples: int, num_classes: int | None, name: str = "y") -> NDArray[Any]:
    """Return y as a 1-D integer array of num_examples labels, each in [0, num_classes).

    Without num_classes, labels are below 2**31 - 1. A column of labels is accepted with a warning.
    """
    y = as_array(name, y)
    if y.dtype.kind not in "iu" and y.size:
        raise TypeError(f"{name} must hold integers, got {describe(y)}{hint_for_labels(name, y)}")
    if y.shape == (num_examples, 1):
        advice.warn(
            f"{name} is a column of shape {y.shape}; labels are 1-D: {name}.ravel(), or one column of a data frame"
        )
        y = y[:, 0]
    if y.ndim != 1 or y.size != num_examples:
        raise ValueError(f"{name} must be 1-D with {num_examples} labels, one for each row of X, got {describe(y)}")
    if num_classes is None:
        limit, reason = np.iinfo(np.int32).max, "the most classes that a model can have"
    else:
        limit, reason = num_classes, f"there are {num_classes} classes"
    if y.size and y.min() < 0:
        reason = f"as they count the classes from 0; np.unique({name}, return_inverse=True)[1] makes such labels"
    check_range(name, y, limit, "labels", reason)
    return y


def hint_for_labels(name: str, y: NDArray[Any]) -> str:
    """Return the end of an error message: how labels that are not integers become integers."""
    if y.dtype.kind in "OSUT":
        return f"; fastml.estimators take labels of any type, np.unique({name}, return_inverse=True)[1] numbers them"
    if y.dtype.kind == "f" and np.isfinite(y).all() and not np.any(y % 1):
        return f"; {name}.astype(int) makes integers of them"
    return ""


def check_vector(name: str, values: ArrayLike, size: int, each: str) -> NDArray[np.float64]:
    """Return values as a 1-D float64 array of a size, all finite; `each` says what there is one number for."""
    values = as_array(name, values)
    if values.dtype.kind not in "buif" or values.dtype.itemsize > 8:
        raise TypeError(f"{name} must hold real numbers, got {describe(values)}")
    if values.shape != (size,):
        raise ValueError(f"{name} must have shape ({size},), one number for each {each}, got {describe(values)}")
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        first = int(np.argmin(np.isfinite(values)))
        raise ValueError(f"{name}[{first}] is {values[first]}; {name} must be finite")
    return values


def check_scale(scale: float | ArrayLike, input_dim: int) -> float | NDArray[np.float64]:
    """Return scale as a float, or as a float64 array of input_dim numbers that are not zero."""
    if np.ndim(scale) == 0:
        return scalars.check_real("scale", scale)
    scale = check_vector("scale", scale, input_dim, "feature")
    if not scale.all():
        raise ValueError(f"scale[{int(np.argmin(scale != 0))}] is 0; a scale for each feature must not be 0")
    return scale


def check_shift(shift: float | ArrayLike, input_dim: int) -> float | NDArray[np.float64]:
    """Return shift as a float, or as a float64 array of input_dim numbers."""
    return (
        scalars.check_real("shift", shift)
        if np.ndim(shift) == 0
        else check_vector("shift", shift, input_dim, "feature")
    )


def check_sample_weight(weights: ArrayLike | None, num_examples: int) -> NDArray[np.float64] | None:
    """Return the weights of the examples as a float64 array of finite numbers that are not negative, or None."""
    if weights is None:
        return None
    weights = check_vector("sample_weight", weights, num_examples, "row of X")
    if weights.size and weights.min() < 0:
        first = int(np.argmax(weights < 0))
        raise ValueError(f"sample_weight[{first}] is {weights[first]}; weights of examples must not be negative")
    return weights


def check_order(order: ArrayLike | None, num_rows: int) -> NDArray[Any] | None:
    """Return order as a 1-D array of row indices of X, each in [0, num_rows), or None."""
    if order is None:
        return None
    order = as_array("order", order)
    if order.dtype.kind not in "iu" and order.size:
        raise TypeError(f"order must be None or hold integers, got {describe(order)}")
    if order.ndim != 1:
        raise ValueError(f"order must be None or a 1-D array of row indices, got {describe(order)}")
    check_range("order", order, num_rows, "indices", f"there are {num_rows} rows of X")
    return order


def check_range(name: str, values: NDArray[Any], limit: int, plural: str, reason: str) -> None:
    """Reject values outside [0, limit); the error names the first such value and the reason.

    The minimum and the maximum detect such a value without allocating memory. Only then is its position searched.
    """
    if values.size == 0 or (values.min() >= 0 and values.max() < limit):
        return
    first = int(np.argmax((values < 0) | (values >= limit)))
    raise ValueError(f"{name}[{first}] is {values[first]}; {plural} must lie in [0, {limit}), {reason}")


def first_not_finite(dtype: np.dtype[Any], **arrays: NDArray[Any]) -> str | None:
    """Return the name, place and value of the first element of the arrays that is not finite in a dtype, or None.

    An array may be a memory map that is larger than memory, so a few megabytes are checked at a time.
    """
    for name, array in arrays.items():
        rows = max(1, CHUNK_BYTES // max(1, array[:1].nbytes))
        for start in range(0, len(array) if array.dtype.kind == "f" else 0, rows):
            with np.errstate(over="ignore"):  # numbers beyond the range of the dtype become infinity
                finite = np.isfinite(array[start : start + rows].astype(dtype, copy=False))
            if not finite.all():
                row, *others = np.unravel_index(np.argmin(finite), finite.shape)
                place = start + row, *others
                return f"{name}[{', '.join(map(str, place))}] is {array[place]}, which is not finite in {dtype}"
    return None


def check_images(images: ArrayLike, most_pixels: int) -> NDArray[Any]:
    """Return images as a 3-D array of uint8 that is not empty, with sides of at most most_pixels."""
    images = as_array("images", images)
    if images.dtype != np.uint8:
        raise TypeError(f"images must be uint8, got {describe(images)}")
    if images.ndim != 3 or images.size == 0:
        raise ValueError(f"images must be 3-D, (n, rows, columns), and not empty, got {describe(images)}")
    if max(images.shape[1:]) > most_pixels:
        raise ValueError(f"images must have sides of at most {most_pixels} pixels, got {describe(images)}")
    return images


def check_numbers(numbers: ArrayLike) -> NDArray[Any]:
    """Return image numbers as a 1-D integer array, each in [0, 2**63)."""
    numbers = as_array("numbers", numbers)
    if numbers.dtype.kind not in "iu" and numbers.size:
        raise TypeError(f"numbers must hold integers, got {describe(numbers)}")
    if numbers.ndim != 1:
        raise ValueError(f"numbers must be 1-D, got {describe(numbers)}")
    check_range("numbers", numbers, 2**63, "numbers of images", "the range of int64")
    return numbers


def check_out(out: NDArray[Any], shape: tuple[int, ...], **inputs: NDArray[Any]) -> None:
    """Reject an array that cannot hold images of the given shape, is not writable, or shares memory with an input."""
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a NumPy array, got {type(out).__name__}")
    check_unmasked("out", out)
    if out.dtype != np.uint8:
        raise TypeError(f"out must be uint8, got {describe(out)}")
    if out.shape != shape:
        raise ValueError(f"out must have shape {shape}, got {describe(out)}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"out must be C-contiguous and writable, got strides {out.strides}, {out.flags.writeable=}")
    for name, array in inputs.items():
        if shares_memory(out, array):
            raise ValueError(f"out shares memory with {name}; pass a copy of one")


def check_weights(**weights: NDArray[Any]) -> None:
    """Reject weights of shapes that cannot be multiplied in order, or that are not all float32 or all float64."""
    outputs, dtype, before = None, None, None
    for name, W in weights.items():
        if not isinstance(W, np.ndarray):
            hint = ""
            if isinstance(W, list | tuple):
                hint = "; pass its arrays one by one, as *weights does"
            elif hasattr(W, "weights"):
                hint = "; pass its weights"
            raise TypeError(f"{name} must be a NumPy array, got {type(W).__name__}{hint}")
        check_unmasked(name, W)
        if W.dtype.kind != "f" or W.dtype.itemsize not in (4, 8):
            raise TypeError(f"{name} must be float32 or float64, got {describe(W)}")
        if W.ndim != 2 or W.size == 0:
            raise ValueError(f"{name} must be 2-D and not empty, got {describe(W)}")
        if dtype is not None and W.dtype.itemsize != dtype.itemsize:
            raise TypeError(f"{name} must have the dtype of {before}, {dtype}, got {describe(W)}")
        if outputs is not None and W.shape[0] != outputs:
            raise ValueError(f"{name} must have {outputs} rows, one for each column of {before}, got {describe(W)}")
        outputs, dtype, before = W.shape[1], W.dtype, name


def check_bias(name: str, b: NDArray[Any], W_name: str, W: NDArray[Any]) -> None:
    """Reject a bias that is not one number of the dtype of the weights for each of their columns."""
    if not isinstance(b, np.ndarray):
        raise TypeError(f"{name} must be None or a NumPy array, got {type(b).__name__}")
    check_unmasked(name, b)
    if b.dtype.kind != "f" or b.dtype.itemsize != W.dtype.itemsize:
        raise TypeError(f"{name} must have the dtype of {W_name}, {W.dtype}, got {describe(b)}")
    if b.shape != W.shape[1:]:
        raise ValueError(
            f"{name} must have shape {W.shape[1:]}, one number for each column of {W_name}, got {describe(b)}"
        )


def check_updatable(inputs: dict[str, NDArray[Any] | None], weights: dict[str, NDArray[Any]]) -> None:
    """Reject weights that cannot be updated in place: read-only arrays, and arrays with overlapping memory."""
    others = dict(inputs)
    for name, W in weights.items():
        if not W.flags.writeable:
            raise ValueError(f"{name} is updated in place but is read-only; pass a writable array or a copy")
        if overlaps_itself(W):
            raise ValueError(f"{name} is updated in place but its strides {W.strides} make elements share memory")
        for other, array in others.items():
            if array is not None and shares_memory(W, array):
                raise ValueError(f"{name} is updated in place but shares memory with {other}; pass a copy of one")
        others[name] = W


def overlaps_itself(W: NDArray[Any]) -> bool:
    """Return whether two elements of an array may share bytes, as in a broadcast view."""
    reach = W.itemsize
    for stride, length in sorted((abs(stride), length) for stride, length in zip(W.strides, W.shape, strict=True)):
        if length > 1:
            if stride < reach:
                return True
            reach += stride * (length - 1)
    return False


def shares_memory(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Return whether two arrays share a byte; also return True if the exact check would take too long."""
    try:
        # NumPy's stub allows only -1 and 0.
        return np.shares_memory(a, b, max_work=1_000_000)  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return True

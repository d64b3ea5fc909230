"""Weights with their biases, scale and shift, and files of them: saved with settings, loaded safely from any origin.

The file is an uncompressed .npz, readable with `numpy.load`: the arrays ``theta``, or ``W1`` and ``W2``; if there are
any, biases by their names, ``scale`` and ``shift``; and the string ``settings``, a JSON object.
"""

from __future__ import annotations

import json
import math
import os
import zipfile
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import Any, BinaryIO, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastml import checks
from fastml.files import open_zip, replacing
from fastml.models import MODELS, Model, Parameters, parameters_of

# A scale and a shift, as they are given or after their checks.
Scale = TypeVar("Scale")
Shift = TypeVar("Shift")
# The largest accepted directory of an archive: that of more than a hundred arrays.
MOST_DIRECTORY_BYTES = 1 << 14


class Weights(tuple[NDArray[Any], ...]):
    """The weights of a model, ``(theta,)`` or ``(W1, W2)``: a tuple that also holds biases, scale and shift.

    Attributes
    ----------
    biases : dict of str to ndarray
        ``bias`` of softmax regression, ``b1`` and ``b2`` of the network; empty without biases.
    scale, shift : float or ndarray of float64, shape (input_dim,)
        The model takes ``scale * (X - shift)``.

    Examples
    --------
    >>> import numpy as np
    >>> from fastml import predict
    >>> weights = Weights([np.eye(2)], {"bias": np.array([0.0, 3.0])}, scale=1 / 255)
    >>> X = np.array([[255, 0], [0, 255]], np.uint8)
    >>> predict(X, weights)
    array([1, 1])
    >>> theta, bias = weights[0], weights.biases["bias"]
    >>> predict(X, theta, bias=bias, scale=1 / 255)
    array([1, 1])
    >>> predict(X, weights.folded())
    array([1, 1])
    """

    biases: dict[str, NDArray[Any]]
    scale: float | NDArray[np.float64]
    shift: float | NDArray[np.float64]

    def __new__(
        cls,
        weights: Iterable[NDArray[Any]],
        biases: Mapping[str, NDArray[Any]] | None = None,
        scale: float | ArrayLike = 1.0,
        shift: float | ArrayLike = 0.0,
    ) -> Weights:
        """Check and keep the arrays, without copies."""
        made = super().__new__(cls, weights)
        made.biases = {name: b for name, b in (biases or {}).items() if b is not None}
        input_dim = len(made.parameters.weights[0])
        made.scale, made.shift = checks.check_scale(scale, input_dim), checks.check_shift(shift, input_dim)
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:
        """Return what pickle and copy make the object from."""
        return tuple(self), self.biases, self.scale, self.shift

    def __eq__(self, other: object) -> bool:
        """Return whether other weights are the same: dtypes, shapes, numbers, biases, scale and shift."""
        if not isinstance(other, Weights):
            return False
        mine, others = arrays_of(self), arrays_of(other)
        return mine.keys() == others.keys() and all(
            A.dtype == others[name].dtype and np.array_equal(A, others[name]) for name, A in mine.items()
        )

    def __ne__(self, other: object) -> bool:
        """Return whether other weights differ."""
        return not self == other

    @property
    def parameters(self) -> Parameters:
        """The weights and biases, and their model."""
        return parameters_of(tuple(self), self.biases)

    @property
    def keywords(self) -> dict[str, Any]:
        """What `evaluate`, `predict`, `predict_proba` and the epoch functions take beside the weights."""
        return {**self.biases, "scale": self.scale, "shift": self.shift}

    def transform_beside(
        self, scale: Scale, shift: Shift
    ) -> tuple[Scale | float | NDArray[np.float64], Shift | float | NDArray[np.float64]]:
        """Return the scale and the shift of the weights, or the given ones where the weights have none of their own.

        A ValueError names a given one that differs from that of the weights.
        """
        if not (np.any(self.scale != 1.0) or np.any(self.shift)):
            return scale, shift
        for name, given, default in (("scale", scale, 1.0), ("shift", shift, 0.0)):
            value: NDArray[Any] = np.asarray(given)
            if (value.ndim or value != default) and not np.array_equal(value, getattr(self, name)):
                raise ValueError(f"{name} differs from the {name} of weights; leave {name} out")
        return self.scale, self.shift

    def biases_beside(self, biases: Mapping[str, NDArray[Any] | None]) -> dict[str, NDArray[Any]]:
        """Return the biases of the weights; reject a given bias that is another array."""
        for name, b in biases.items():
            if b is not None and b is not self.biases.get(name):
                raise TypeError(f"{name} is given beside Weights, which hold their own biases; leave {name} out")
        return self.biases

    def folded(self) -> Weights:
        """Return weights that take X as it is: scale and shift are multiplied into new arrays of the first layer."""
        (first, *others), model = self, self.parameters.model
        dtype, input_dim = first.dtype, len(first)
        scale, shift = (np.broadcast_to(np.asarray(each, np.float64), input_dim) for each in (self.scale, self.shift))
        folded, name = scale[:, None] * first, model.bias_names[0]
        biases = dict(self.biases)
        if shift.any() or name in biases:
            biases[name] = (biases.get(name, 0.0) - shift @ folded).astype(dtype)
        return Weights([folded.astype(dtype), *others], biases)


class WeightsError(ValueError):
    """A file does not hold the weights of a model."""


def save_weights(path: str | os.PathLike[str], weights: tuple[NDArray[Any], ...], settings: dict[str, Any]) -> None:
    """Save the weights of a model and its settings; a file at `path` is replaced completely or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write; its name usually ends in ``.npz``.
    weights : Weights or tuple of ndarray of float32 or float64
        ``(theta,)`` of shape (input_dim, num_classes), or ``(W1, W2)`` of shapes (input_dim, hidden_dim) and
        (hidden_dim, num_classes).
    settings : dict
        Settings that JSON can express.

    Raises
    ------
    TypeError, ValueError
        If weights or settings are invalid.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "weights.npz")
    ...     save_weights(path, (np.ones((784, 10)),), {"lr": 0.2})
    ...     (theta,), settings = load_weights(path)
    >>> theta.shape, settings
    ((784, 10), {'lr': 0.2})
    """
    save_arrays(path, arrays_of(weights), settings)


def load_weights(path: str | os.PathLike[str]) -> tuple[Weights, dict[str, Any]]:
    """Load weights and settings that `save_weights` saved.

    Pickled objects are rejected. A header that claims more data than the file holds is rejected before memory is
    allocated.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file.

    Returns
    -------
    weights : Weights
        ``(theta,)`` or ``(W1, W2)``, in the dtype that they were saved in and native byte order, C-contiguous.
    settings : dict
        The settings that were saved with them.

    Raises
    ------
    WeightsError
        A ValueError: if the file does not have the format of `save_weights`.
    OSError
        If the file is missing or cannot be read.
    """
    weights, _, settings = load_arrays(path)
    return weights, settings


def arrays_of(weights: tuple[NDArray[Any], ...]) -> dict[str, NDArray[Any]]:
    """Return the arrays of weights as a file holds them."""
    weights = weights if isinstance(weights, Weights) else Weights(weights)
    arrays = weights.parameters.named()
    for name, default in (("scale", 1.0), ("shift", 0.0)):
        value = np.asarray(getattr(weights, name))
        if value.ndim or value != default:
            arrays[name] = value
    return arrays


def save_arrays(path: str | os.PathLike[str], arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> None:
    """Save arrays and settings."""
    with replacing(path) as file:
        members: dict[str, Any] = {**arrays, "settings": np.array(json.dumps(settings))}
        np.savez(file, **members)


def load_arrays(
    path: str | os.PathLike[str], others: tuple[str, ...] = ()
) -> tuple[Weights, dict[str, NDArray[Any]], dict[str, Any]]:
    """Return the weights in a file, its arrays whose names begin with one of others, and its settings."""
    with open(path, "rb") as file:
        try:
            model, members = read_members(file, others)
            arrays = {name: read_array(data) for name, data in members.items()}
            settings = json.loads(str(arrays.pop("settings")))
            if not isinstance(settings, dict):
                raise TypeError(f"settings must be a JSON object, got {type(settings).__name__}")
            arrays = {name: np.array(A, A.dtype.newbyteorder("="), order="C") for name, A in arrays.items()}
            weights = Weights(
                [arrays.pop(name) for name in model.weight_names],
                {name: arrays.pop(name) for name in model.bias_names if name in arrays},
                arrays.pop("scale", 1.0),
                arrays.pop("shift", 0.0),
            )
        except Exception as error:  # on damaged bytes, the parsers of zip, NumPy and JSON raise many types
            raise WeightsError(f"{path} is no file of weights as save_weights makes them: {error}") from error
    return weights, arrays, settings


def read_members(file: BinaryIO, others: tuple[str, ...]) -> tuple[Model, dict[str, bytes]]:
    """Return the model and the members of a zip archive by their names without ``.npy``.

    The members must be uncompressed and together no larger than the file, so that the size of the file limits the
    memory for reading them.
    """
    with open_zip(file, MOST_DIRECTORY_BYTES) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        found = {name for name in members if not name.startswith(others)} if others else set(members)
        for model in MODELS:
            least = {*model.weight_names, "settings"}
            if least <= found <= {*least, *model.bias_names, "scale", "shift"}:
                break
        else:
            raise ValueError(f"it holds {', '.join(members) or 'nothing'}, not settings and theta, or W1 and W2")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("it is compressed")
        if sum(info.file_size for info in members.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("it claims to hold more than its own size")
        return model, {name: archive.read(info) for name, info in members.items()}


def read_array(data: bytes) -> NDArray[Any]:
    """Return the array in the bytes of an .npy file, read-only; reject pickled objects and false sizes."""
    stream = BytesIO(data)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"it holds an array in version {version} of the format, not (1, 0)")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(stream)
    if dtype.hasobject:
        raise ValueError("it holds pickled objects")
    elements = data[stream.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(elements):
        raise ValueError(f"it claims an array of shape {shape} and dtype {dtype} in {len(elements)} bytes")
    return np.ndarray(shape, dtype, elements, order="F" if fortran_order else "C")

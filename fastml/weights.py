"""Files of weights: save weights with the settings of their training, and load files of any origin safely.

The file is an uncompressed .npz, readable with `numpy.load`: the arrays ``theta``, or ``W1`` and ``W2``, and the string
``settings``, a JSON object.
"""

import json
import math
import os
import zipfile
from io import BytesIO
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.files import open_zip, replacing
from fastml.models import MODELS, model_of

# More than a hundred arrays.
MOST_DIRECTORY_BYTES = 1 << 14


class WeightsError(ValueError):
    """A file does not hold the weights of a model."""


def save_weights(path: str | os.PathLike, weights: tuple[NDArray, ...], settings: dict[str, Any]) -> None:
    """Save the weights of a model and its settings; a file at `path` is replaced completely or not at all.

    Parameters
    ----------
    path : str or os.PathLike
        The file to write; its name usually ends in ``.npz``.
    weights : tuple of ndarray of float32 or float64
        ``(theta,)`` of shape (input_dim, num_classes), or ``(W1, W2)`` of shapes (input_dim, hidden_dim) and
        (hidden_dim, num_classes).
    settings : dict
        Anything that JSON can express.

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
    arrays = model_of(weights).named(weights)
    checks.check_weights(**arrays)
    arrays["settings"] = np.array(json.dumps(settings))
    with replacing(path) as file:
        np.savez(file, **arrays)


def load_weights(path: str | os.PathLike) -> tuple[tuple[NDArray, ...], dict[str, Any]]:
    """Load weights and settings that `save_weights` saved.

    Pickled objects are rejected, and so is a header that claims more data than the file holds, before memory is
    allocated for them.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file.

    Returns
    -------
    weights : tuple of ndarray
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
    with open(path, "rb") as file:
        try:
            arrays = {name: read_array(data) for name, data in read_members(file).items()}
            settings = json.loads(str(arrays.pop("settings")))
            if not isinstance(settings, dict):
                raise TypeError(f"settings must be a JSON object, got {type(settings).__name__}")
            checks.check_weights(**arrays)
        except Exception as error:  # on damaged bytes, the parsers of zip, NumPy and JSON raise many types
            raise WeightsError(f"{path} is no file of weights as save_weights makes them: {error}") from error
    return tuple(np.array(W, W.dtype.newbyteorder("="), order="C") for W in arrays.values()), settings


def read_members(file: BinaryIO) -> dict[str, bytes]:
    """Return the members of a zip archive by their names without ``.npy``, in the order of the model's weights.

    The members must be uncompressed and together no larger than the file, so that the size of the file limits the
    memory for reading them.
    """
    with open_zip(file, MOST_DIRECTORY_BYTES) as archive:
        members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
        model = next((model for model in MODELS if members.keys() == {*model.weight_names, "settings"}), None)
        if model is None:
            raise ValueError(f"it holds {', '.join(members) or 'nothing'}, not settings and theta, or W1 and W2")
        if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
            raise ValueError("it is compressed")
        if sum(info.file_size for info in members.values()) > os.fstat(file.fileno()).st_size:
            raise ValueError("it claims to hold more than its own size")
        return {name: archive.read(members[name]) for name in (*model.weight_names, "settings")}


def read_array(data: bytes) -> NDArray:
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

"""Weights in a file: save them with the settings that they were trained with, load them from files of any origin.

The file is an uncompressed .npz, readable with `numpy.load`: the arrays ``theta``, or ``W1`` and ``W2``, and the string
``settings``, a JSON object.
"""

import json
import math
import os
import zipfile
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.evaluation import MODELS
from fastml.files import replacing

NAMES = {count: names for count, (_, names) in MODELS.items()}
ENCRYPTED = 0x1


class WeightsError(ValueError):
    """A file does not hold the weights of a model."""


def save_weights(path: str | os.PathLike, weights: tuple[NDArray, ...], settings: dict[str, Any]) -> None:
    """Save the weights of a model and its settings: all of the file, or what was there before.

    Parameters
    ----------
    path : str or os.PathLike
        Where to, by custom a name that ends in ``.npz``.
    weights : tuple of ndarray of float32 or float64
        ``(theta,)`` of shape (input_dim, num_classes), or ``(W1, W2)`` of shapes (input_dim, hidden_dim) and
        (hidden_dim, num_classes).
    settings : dict
        Anything that JSON can express.

    Raises
    ------
    TypeError, ValueError
        For weights or settings that are not as above.
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
    arrays = named(weights)
    checks.check_weights(**arrays)
    arrays["settings"] = np.array(json.dumps(settings))
    with replacing(path) as file:
        np.savez(file, **arrays)


def load_weights(path: str | os.PathLike) -> tuple[tuple[NDArray, ...], dict[str, Any]]:
    """Load what `save_weights` saved.

    No pickled object is loaded, and a header that claims more than the file holds takes no memory.

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
        A ValueError: if the file is not as `save_weights` makes them.
    OSError
        If the file is missing or cannot be read.
    """
    with open(path, "rb") as file:
        members = read_members(file, os.fspath(path))
    try:
        arrays = {name: read_array(data) for name, data in members.items()}
        settings = json.loads(str(arrays.pop("settings")))
        if not isinstance(settings, dict):
            raise TypeError(f"settings must be a JSON object, got {type(settings).__name__}")
        checks.check_weights(**arrays)
    except Exception as error:  # a damaged header makes NumPy's and JSON's parsers raise nearly anything
        raise WeightsError(f"{path}: {error}") from error
    return tuple(np.array(W, W.dtype.newbyteorder("="), order="C") for W in arrays.values()), settings


def named(weights: tuple[NDArray, ...]) -> dict[str, NDArray]:
    """Return the weights under the names of their model."""
    if len(weights) not in NAMES:
        raise TypeError(f"weights must be theta, or W1 and W2; got {len(weights)} arrays")
    return dict(zip(NAMES[len(weights)], weights, strict=True))


def read_members(file, path: str) -> dict[str, bytes]:
    """Return the members of a zip archive by their names without ``.npy``, in the order of a model's weights.

    All members must be stored as they are and together be no larger than the file: so reading them is no larger either.
    """
    size = os.fstat(file.fileno()).st_size
    try:
        with zipfile.ZipFile(file) as archive:
            found = archive.infolist()
            wanted = next(
                (names for names in members_of_models() if sorted(names) == sorted(info.filename for info in found)), None
            )
            if wanted is None:
                raise WeightsError(f"{path}: must hold settings and theta, or settings, W1 and W2")
            if any(info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED for info in found):
                raise WeightsError(f"{path}: must not be compressed or encrypted, as numpy.savez writes it")
            if sum(info.file_size for info in found) > size:
                raise WeightsError(f"{path}: claims more than the {size} bytes that it has")
            return {name.removesuffix(".npy"): archive.read(name) for name in wanted}
    except WeightsError:
        raise
    except Exception as error:
        raise WeightsError(f"{path}: {error}") from error

"""Sets in one file: an archive of NumPy arrays, the form of Keras's MNIST, or a table of CSV."""

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastml.files import open_zip
from fastml.weights import read_array

from .idx import IdxError

Arrays = tuple[NDArray[Any], NDArray[Any]]
# The largest accepted directory of an archive: that of more than a hundred arrays.
MOST_DIRECTORY_BYTES = 1 << 14


def read_sets(path: Path, input_dim: int | None = None) -> tuple[Arrays, Arrays]:
    """Return the pixels, (num_examples, input_dim), and labels of the training and the test set in a file.

    A missing test set has no rows. With input_dim, a table may have no labels: they are 0 then.

    Raises
    ------
    IdxError, ConvertError
        ValueErrors: if the file is neither an archive nor a table, or does not hold images and their labels.
    OSError
        If the file cannot be read.
    """
    from .convert import format_of, read_table  # imported here because `convert` has kernels to compile

    if path.suffix.lower() == ".npz":
        with open(path, "rb") as file:
            return read_archive(file, path)
    if format_of(path) == "csv":
        X, y = read_table(path, input_dim)
        return (X, y), (X[:0], y[:0])
    raise IdxError(f"{path} is a file: pass the directory of a set, or a file that ends in .npz or .csv")


def read_archive(file: BinaryIO, path: str | os.PathLike[str]) -> tuple[Arrays, Arrays]:
    """Return both sets in an archive of the arrays x_train, y_train, x_test and y_test, or of the first two."""
    try:
        with open_zip(file, MOST_DIRECTORY_BYTES) as archive:
            members = {name.removesuffix(".npy").lower(): name for name in archive.namelist()}
            wanted = ("x_train", "y_train", "x_test", "y_test")
            arrays = {name: read_array(archive.read(members[name])) for name in wanted if name in members}
    except Exception as error:  # on damaged bytes, the parsers of zip and NumPy raise many types
        raise IdxError(f"{path} is no archive of arrays: {error}") from error
    if not {"x_train", "y_train"} <= arrays.keys():
        raise IdxError(f"{path} holds {', '.join(members) or 'nothing'}, need x_train and y_train, x_test and y_test")
    train = images_and_labels(arrays["x_train"], arrays["y_train"], path)
    if not {"x_test", "y_test"} <= arrays.keys():
        return train, (train[0][:0], train[1][:0])
    return train, images_and_labels(arrays["x_test"], arrays["y_test"], path)


def images_and_labels(images: NDArray[Any], y: NDArray[Any], path: str | os.PathLike[str]) -> Arrays:
    """Return images as rows of pixels, and their labels; reject other arrays."""
    if images.dtype != np.uint8 or images.ndim < 2:
        raise IdxError(f"{path}: found images of {images.dtype} and shape {images.shape}, need uint8 and (n, ...)")
    y = y[:, 0] if y.shape == (len(images), 1) else y
    if y.dtype.kind not in "iu" or y.shape != (len(images),):
        raise IdxError(f"{path}: found labels of {y.dtype} and shape {y.shape}, need integers and ({len(images)},)")
    return np.ascontiguousarray(images).reshape(len(images), -1), y

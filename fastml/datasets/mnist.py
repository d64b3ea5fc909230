"""MNIST: 70,000 handwritten digits of 28 x 28 grey pixels, from the package or from other files."""

import math
import os
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastml.files import Progress
from fastml.threads import Call

from .idx import IdxError, read_idx
from .image_set import ImageSet
from .mapped_idx import open_or_read_idx
from .one_file import read_sets
from .places import CLASSES, IMAGE_FILE, LABEL_FILE, LETTERS, TEST, TRAIN, Place, find_place

IMAGES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
LABELS = ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")
# Compressed images of more bytes are unpacked in their directory and mapped, not read into memory.
MOST_BYTES = 1 << 27

# The MNIST inside the package.
INSIDE = files("fastml.datasets") / "data"


def parse_mnist(
    image_filename: str | os.PathLike[str], label_filename: str | os.PathLike[str]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Read images and their labels from two IDX files, with the pixels scaled to [0, 1].

    The name, the arguments and the results are those of a function of homework 0 of CMU 10-714.

    Parameters
    ----------
    image_filename : str or os.PathLike
        uint8 images, (num_examples, ...), plain or compressed with gzip or xz.
    label_filename : str or os.PathLike
        uint8 labels, (num_examples,), plain or compressed with gzip or xz.

    Returns
    -------
    X : ndarray of shape (num_examples, input_dim), float32
        A row per image: its pixels, divided by 255.
    y : ndarray of shape (num_examples,), uint8
        The labels.

    Raises
    ------
    IdxError
        A ValueError: if a file is not IDX, holds another dtype or number of dimensions, or there are not as many
        labels as images.
    OSError
        If a file is missing or cannot be read.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastml.datasets import write_idx
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     images, labels = Path(directory, "images.gz"), Path(directory, "labels.gz")
    ...     write_idx(images, np.array([[[0, 255], [51, 0]]], np.uint8))
    ...     write_idx(labels, np.array([7], np.uint8))
    ...     parse_mnist(images, labels)
    (array([[0. , 1. , 0.2, 0. ]], dtype=float32), array([7], dtype=uint8))
    """
    return _scaled(*_read_pixels(image_filename, label_filename))


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None, *, raw: bool = False, progress: Progress | None = None
) -> tuple[ImageSet, ImageSet]:
    """Load the training set and the test set of MNIST, or of similar data, without a download.

    Parameters
    ----------
    data_dir : str or os.PathLike, optional
        Other data, in a directory or a file; by default, the MNIST inside the package. A directory holds files under
        MNIST's four names (``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``,
        ``t10k-labels-idx1-ubyte``, also with a point before ``idx``), or under NIST's names of EMNIST
        (``emnist-letters-train-images-idx3-ubyte``), or holds such a directory from torchvision (``MNIST/raw``). Each
        file is plain or compressed with the suffix ``.gz`` or ``.xz``; the first of these that exists is read. A single
        file is ``.npz`` with Keras's arrays x_train, y_train, x_test and y_test, or ``.csv`` with a column of labels
        (see `fastml.datasets.convert`).
    raw : bool, default False
        Keep the pixels as uint8, 0 to 255, in a quarter of the memory. Images that are not compressed are mapped
        read-only, so they may be larger than memory. Compressed images of more than 134 MB are first unpacked in their
        directory, once, and then mapped (see `fastml.datasets.open_idx`).
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes, while images are unpacked.

    Returns
    -------
    (X_train, y_train), (X_test, y_test) : ImageSets, which are tuples of ndarray
        X is (num_examples, input_dim), float32 in [0, 1], or uint8 if `raw`; y is (num_examples,), of integers. In
        MNIST input_dim is 784 and num_examples 60,000 and 10,000. The attribute `scale` of each set is the scale to
        train with: 1/255 if `raw`, else 1. A missing test set has no rows.

    Raises
    ------
    FileNotFoundError
        If the training set is not in `data_dir`, or the images of the test set are not.
    ValueError
        If `data_dir` holds several sets.
    IdxError, ConvertError
        ValueErrors: if the files are not images and labels that belong together (see `parse_mnist`).
    OSError
        If a file cannot be read, or there is no space to unpack it.

    Notes
    -----
    MNIST is the work of Yann LeCun and Corinna Cortes, under CC BY-SA 3.0: see ``LICENSE`` beside the files. EMNIST's
    images are made upright, and its letters count from 0; `ImageSet.classes` names them.

    Examples
    --------
    >>> (X_train, y_train), (X_test, y_test) = load_mnist(raw=True)
    >>> X_train.shape, X_test.shape, y_train[:10].tolist()
    ((60000, 784), (10000, 784), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    """
    source, classes = None if data_dir is None else Path(data_dir), None
    if source is not None and source.is_file():
        train, test = read_sets(source)
        if not raw:
            train, test = _scaled(*train), _scaled(*test)
    else:
        place = find_place(INSIDE if source is None else source)
        classes = place.classes
        parts = [TRAIN, TEST] if place.has_test() else [TRAIN]
        if raw:
            # One set after the other, in the thread that receives Ctrl-C: unpacking may take minutes.
            sets = [_read_part(place, part, progress) for part in parts]
        else:
            # Decompression and division release the GIL, so two threads load both sets at the same time.
            calls = [Call(lambda part: _scaled(*_read_part(place, part)), part).start() for part in parts]
            sets = [call.result() for call in calls]
        train = sets[0]
        test = sets[1] if len(sets) == 2 else (train[0][:0], train[1][:0])
    return ImageSet(*train, classes), ImageSet(*test, classes)


def load_images(
    data_dir: str | os.PathLike[str] | None, input_dim: int, progress: Progress | None = None
) -> NDArray[Any]:
    """Return the raw images of the test set, or of the only set, to predict their labels. The set needs no labels.

    Parameters
    ----------
    data_dir, progress
        As in `load_mnist`.
    input_dim : int
        The number of pixels of an image. It shows whether a CSV without names has a column of labels.

    Returns
    -------
    ndarray of uint8, shape (num_examples, pixels)
        A row for each image.
    """
    source = None if data_dir is None else Path(data_dir)
    if source is not None and source.is_file():
        (train, _), (test, _) = read_sets(source, input_dim)
        return test if len(test) else train
    place = find_place(INSIDE if source is None else source)
    part = TRAIN if place.file(TEST, IMAGE_FILE) is None else TEST
    with as_file(place.needed(part, IMAGE_FILE)) as path:
        images = _read_images(path, progress)
    if place.name:
        images = _upright(images, path)
    return images.reshape(len(images), math.prod(images.shape[1:]))


def _scaled(pixels: NDArray[Any], y: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return pixels divided by 255, and the labels."""
    return np.divide(pixels, np.float32(255), dtype=np.float32), y


def _read_part(place: Place, part: int, progress: Progress | None = None) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the pixels and labels of a part of a set, as uint8; EMNIST's images are upright, its letters from 0 on."""
    with as_file(place.needed(part, IMAGE_FILE)) as images, as_file(place.needed(part, LABEL_FILE)) as labels:
        X, y = _read_set(images, labels, progress)
        if place.name:
            X = _upright(X, images)
        if place.name == LETTERS:
            most = len(CLASSES[LETTERS])
            if not np.all((y >= 1) & (y <= most)):
                raise IdxError(f"{labels}: found other labels than 1 to {most}, which stand for letters")
            y = y - 1
    return X.reshape(len(X), math.prod(X.shape[1:])), y


def _upright(images: NDArray[Any], path: str | os.PathLike[str]) -> NDArray[Any]:
    """Return images with rows and columns exchanged."""
    if images.ndim != 3:
        raise IdxError(f"{path}: found shape {images.shape}, images of EMNIST have 3 dimensions")
    return np.ascontiguousarray(images.transpose(0, 2, 1))


def load_test_set(data_dir: str | os.PathLike[str]) -> ImageSet | None:
    """Return the raw test set in a directory as `load_mnist` does, without its training set; None if there is none."""
    place = find_place(Path(data_dir))
    return ImageSet(*_read_part(place, TEST), place.classes) if place.has_test() else None


def _read_pixels(
    image_filename: str | os.PathLike[str], label_filename: str | os.PathLike[str], progress: Progress | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images as rows of pixels, (num_examples, input_dim), and the labels, (num_examples,); both uint8."""
    images, y = _read_set(image_filename, label_filename, progress)
    return images.reshape(len(images), math.prod(images.shape[1:])), y


def _read_images(path: str | os.PathLike[str], progress: Progress | None = None) -> NDArray[Any]:
    """Return images, (num_examples, ...), as uint8."""
    images = open_or_read_idx(path, MOST_BYTES, progress)
    if images.dtype != np.uint8 or images.ndim < 2:
        raise IdxError(
            f"{path}: found {images.dtype.name} of shape {images.shape}, images are uint8 of 2 or more dimensions"
        )
    return images


def _read_set(
    image_filename: str | os.PathLike[str], label_filename: str | os.PathLike[str], progress: Progress | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the images, (num_examples, ...), and the labels, (num_examples,); both uint8."""
    images, y = _read_images(image_filename, progress), read_idx(label_filename)
    if y.dtype != np.uint8 or y.ndim != 1:
        raise IdxError(f"{label_filename}: found {y.dtype} of shape {y.shape}, labels are uint8 of 1 dimension")
    if len(images) != len(y):
        raise IdxError(f"found {len(images)} images in {image_filename}, but {len(y)} labels in {label_filename}")
    return images, y

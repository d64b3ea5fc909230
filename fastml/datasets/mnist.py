"""MNIST: 70,000 handwritten digits of 28 x 28 grey pixels, from the package or from other files."""

import math
import os
from contextlib import ExitStack
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

import numpy as np

from fastml.files import Progress
from fastml.threads import Call

from .idx import IdxError, read_idx
from .mapped_idx import open_or_read_idx

IMAGES = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
LABELS = ("train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte")
_SUFFIXES = ("", ".gz", ".xz")
# Compressed images of more bytes are unpacked in their directory and mapped, not read into memory.
MOST_BYTES = 1 << 27


def parse_mnist(image_filename: str | os.PathLike, label_filename: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
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
    pixels, y = _read_pixels(image_filename, label_filename)
    return np.divide(pixels, np.float32(255), dtype=np.float32), y


def load_mnist(
    data_dir: str | os.PathLike | None = None, *, raw: bool = False, progress: Progress | None = None
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Load the training set and the test set of MNIST, without a download.

    Parameters
    ----------
    data_dir : str or os.PathLike, optional
        A directory that holds other data under MNIST's four names (``train-images-idx3-ubyte``,
        ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``, ``t10k-labels-idx1-ubyte``). Each file is
        plain or compressed with the suffix ``.gz`` or ``.xz``; the first of these that exists is read. By default, the
        MNIST inside the package.
    raw : bool, default False
        Keep the pixels as uint8, 0 to 255, in a quarter of the memory. Images that are not compressed are mapped
        read-only, so they may be larger than memory. Compressed images of more than 134 MB are first unpacked in their
        directory, once, and then mapped (see `fastml.datasets.open_idx`).
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes, while images are unpacked.

    Returns
    -------
    (X_train, y_train), (X_test, y_test) : tuples of ndarray
        X is (num_examples, input_dim), float32 in [0, 1], or uint8 if `raw`; y is (num_examples,), uint8. In MNIST
        input_dim is 784 and num_examples 60,000 and 10,000.

    Raises
    ------
    FileNotFoundError
        If one of the four files is not in `data_dir`.
    IdxError
        If the files are not images and labels that belong together (see `parse_mnist`).
    OSError
        If a file cannot be read, or there is no space to unpack it.

    Notes
    -----
    MNIST is the work of Yann LeCun and Corinna Cortes, under CC BY-SA 3.0: see ``LICENSE`` beside the files.

    Examples
    --------
    >>> (X_train, y_train), (X_test, y_test) = load_mnist(raw=True)
    >>> X_train.shape, X_test.shape, y_train[:10].tolist()
    ((60000, 784), (10000, 784), [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    """
    directory = files("fastml.datasets") / "data" if data_dir is None else Path(data_dir)
    with ExitStack() as stack:
        images = [stack.enter_context(as_file(find(directory, name))) for name in IMAGES]
        labels = [stack.enter_context(as_file(find(directory, name))) for name in LABELS]
        if raw:
            # One set after the other, in the thread that receives Ctrl-C: unpacking may take minutes.
            train, test = (_read_pixels(*paths, progress) for paths in zip(images, labels, strict=True))
        else:
            # Decompression and division release the GIL, so two threads load both sets at the same time.
            calls = [Call(parse_mnist, *paths).start() for paths in zip(images, labels, strict=True)]
            train, test = [call.result() for call in calls]
    return train, test


def load_test_set(data_dir: str | os.PathLike) -> tuple[np.ndarray, np.ndarray]:
    """Return the raw images and labels of the test set in a directory, as `load_mnist` does."""
    return _read_pixels(*(find(Path(data_dir), names[1]) for names in (IMAGES, LABELS)))


def _read_pixels(
    image_filename: str | os.PathLike, label_filename: str | os.PathLike, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Return the images as rows of pixels, (num_examples, input_dim), and the labels, (num_examples,); both uint8."""
    images, y = open_or_read_idx(image_filename, MOST_BYTES, progress), read_idx(label_filename)
    if images.dtype != np.uint8 or images.ndim < 2:
        raise IdxError(
            f"{image_filename}: found {images.dtype.name} of shape {images.shape}, "
            f"images are uint8 of 2 or more dimensions"
        )
    if y.dtype != np.uint8 or y.ndim != 1:
        raise IdxError(f"{label_filename}: found {y.dtype} of shape {y.shape}, labels are uint8 of 1 dimension")
    if len(images) != len(y):
        raise IdxError(f"found {len(images)} images in {image_filename}, but {len(y)} labels in {label_filename}")
    return images.reshape(len(images), math.prod(images.shape[1:])), y


def find(directory: Traversable, name: str) -> Traversable:
    """Return the file of that name in `directory`: the plain file if it exists, else a compressed file."""
    for suffix in _SUFFIXES:
        file = directory / f"{name}{suffix}"
        if file.is_file():
            return file
    raise FileNotFoundError(f"{directory} holds none of {', '.join(f'{name}{suffix}' for suffix in _SUFFIXES)}")

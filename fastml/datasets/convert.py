"""Convert LIBSVM text or CSV to IDX files, as a stream: a set may be larger than memory.

MNIST8M is published as LIBSVM text. A line is ``label index:value index:value ...``. The indices begin at 1 and
increase; pixels without an index are 0. Source: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support
vector machines", README, and their page "LIBSVM Data: Classification (Multi-class)". By default, scikit-learn's
``dump_svmlight_file`` begins at 0.

Kaggle CSV begins with a line of names, ``label,pixel0,pixel1,...``. Each further line has the numbers of one image.
"""

import math
import os
from collections.abc import Iterator
from contextlib import ExitStack
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastml import scalars
from fastml.files import Progress, replacing
from fastml.kernels.compile import forks

from . import lines
from .idx import idx_header
from .lines import ConvertError
from .text_formats import FORMATS, Csv, Layout, Libsvm, TextFormat

__all__ = ["FORMATS", "ConvertError", "Layout", "convert", "format_of", "read_table"]

COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
UINT8 = np.dtype("u1")

# Pixels of the images that one call of a kernel writes: 5,349 images of 28 x 28.
BLOCK_PIXELS = 2**22
# The longest accepted line has this many bytes for each pixel, or BLOCK_BYTES if that is more. LIBSVM text has up to 9
# bytes for each of 784 pixels.
LINE_BYTES_PER_PIXEL = 64


def convert(
    source: str | os.PathLike[str],
    images: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    *,
    shape: tuple[int, int] = (28, 28),
    text_format: TextFormat | None = None,
    layout: Layout | None = None,
    progress: Progress | None = None,
) -> int:
    r"""Convert a set from text to two IDX files; if an error occurs, existing files stay unchanged.

    The text is read as a stream, plain or compressed with gzip, bzip2 or xz, or as the only file of a zip archive; its
    first bytes show the compression. The conversion needs about 20 MB of memory for a text of any length.

    Parameters
    ----------
    source : str or os.PathLike
        A regular file: LIBSVM text, or CSV with or without a first line of names. Labels and pixels are whole numbers
        from 0 to 255, such as 7, 7.0 or 1e2, in CSV also in quotes. Empty lines are skipped, and in LIBSVM text
        comments, from # to the end of a line.
    images : str or os.PathLike
        The file for the images, as uint8 of shape ``(num_examples, *shape)``.
    labels : str or os.PathLike or None
        The file for the labels, as uint8 of shape (num_examples,). None for CSV without a column of labels.
    shape : tuple of int, default (28, 28)
        Rows and columns of an image.
    text_format : {"libsvm", "csv"}, optional
        By default csv for names that end in ``.csv``, with or without ``.gz``, ``.bz2``, ``.xz`` or ``.zip``, in any
        case; else libsvm.
    layout : Layout, optional
        Further facts about the text: its columns, the first index, a scale.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes of `source`.

    Returns
    -------
    int
        The number of examples.

    Raises
    ------
    TypeError, ValueError
        If `shape`, `text_format` or `layout` is invalid.
    ConvertError
        A ValueError: for the first invalid line, with its number; for a damaged compressed stream, or one that other
        bytes follow; for a text without examples.
    OSError
        If a file cannot be read or written.

    Examples
    --------
    >>> import tempfile
    >>> from fastml.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     source, images, labels = (Path(directory, name) for name in ("text", "images", "labels"))
    ...     _ = source.write_text("7 1:255 4:9\n3 2:1\n")
    ...     convert(source, images, labels, shape=(2, 2))
    ...     read_idx(images).tolist(), read_idx(labels).tolist()
    2
    ([[[255, 0], [0, 9]], [[0, 1], [0, 0]]], [7, 3])
    """
    forks.check_not_compiling()
    text_format = text_format or format_of(source)
    if text_format not in FORMATS:
        raise ValueError(f"text_format must be one of {', '.join(FORMATS)}, got {text_format!r}")
    sides = [scalars.check_integer("each side of shape", side, minimum=1) for side in shape]
    if len(sides) != 2:
        raise ValueError(f"shape must be rows and columns, got {sides}")
    if labels is None and text_format == "libsvm":
        raise ValueError("labels must be a file for LIBSVM text: its lines begin with a label")
    layout, count = Layout() if layout is None else layout, 0
    scalars.check_real("layout.scale", layout.scale)
    reader = FORMATS[text_format](layout, math.prod(sides), labels is not None)
    with ExitStack() as stack:
        file = stack.enter_context(open(source, "rb"))
        size = os.fstat(file.fileno()).st_size
        # The number of examples is known only at the end. Then the headers are written again.
        image_file, label_file = stack.enter_context(replacing(images)), None
        image_file.write(idx_header(UINT8, (0, *sides)))
        if labels is not None:
            label_file = stack.enter_context(replacing(labels))
            label_file.write(idx_header(UINT8, (0,)))
        for X, y in read_examples(file, reader):
            image_file.write(X.data)
            if label_file is not None:
                label_file.write(y.data)
            count += len(y)
            if progress is not None:
                progress(file.tell(), size)
        if count == 0:
            raise ConvertError(f"{file.name}: found no examples")
        image_file.seek(0)
        image_file.write(idx_header(UINT8, (count, *sides)))
        if label_file is not None:
            label_file.seek(0)
            label_file.write(idx_header(UINT8, (count,)))
    return count


def format_of(source: str | os.PathLike[str]) -> TextFormat:
    """Return the format that the name of a file implies."""
    suffixes = [suffix.lower() for suffix in Path(source).suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    return "csv" if suffixes and suffixes[-1] == ".csv" else "libsvm"


def read_table(
    path: str | os.PathLike[str], num_pixels: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return the pixels, (num_examples, num_pixels), and the labels of a CSV with a column of labels, in memory.

    With num_pixels, the column may be missing: the labels are 0 then.
    """
    with open(path, "rb") as file:
        reader = Csv(Layout(), num_pixels or 0, None if num_pixels else True)
        parts = [(X.copy(), y.copy()) for X, y in read_examples(file, reader)]
    if not parts:
        raise ConvertError(f"{path}: found no examples")
    X, y = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return X, y


def read_examples(file: BufferedReader, reader: Libsvm | Csv) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield images, (count, num_pixels), and labels of a text in blocks; each block reuses the same memory."""
    images: NDArray[np.uint8] | None = None
    labels, lines_before = np.zeros(0, np.uint8), 0
    longest = max(lines.BLOCK_BYTES, LINE_BYTES_PER_PIXEL * reader.num_pixels)
    for block in lines.read_lines(file, longest):
        position = 0
        if images is None and block.strip():
            try:
                position = reader.begin(block)
            except ConvertError as error:
                raise ConvertError(f"{file.name}, {error}") from None
            images = np.empty((max(1, BLOCK_PIXELS // reader.num_pixels), reader.num_pixels), np.uint8)
            labels = np.zeros(len(images), np.uint8)
        while images is not None and position < len(block):
            with forks.parallel_lock:  # may compile
                rows, size, wrong = reader.read(np.frombuffer(block, np.uint8, offset=position), images, labels)
            position += size
            if wrong:
                line = lines_before + block.count(b"\n", 0, position) + 1
                raise ConvertError(f"{file.name}, line {line}: {reader.complaint(block, position, wrong)}")
            yield images[:rows], labels[:rows]
        lines_before += block.count(b"\n")

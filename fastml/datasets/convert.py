"""Convert LIBSVM text or Kaggle CSV to IDX files, as a stream: a set may be larger than memory.

MNIST8M is published as LIBSVM text. A line is ``label index:value index:value ...``. The indices begin at 1 and
increase; pixels without an index are 0. Source: C.-C. Chang, C.-J. Lin, "LIBSVM: a library for support
vector machines", README, and their page "LIBSVM Data: Classification (Multi-class)".

Kaggle CSV begins with a line of names, ``label,pixel0,pixel1,...``. Each further line has the numbers of one image.
"""

import bz2
import math
import os
import re
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastml import checks
from fastml.datasets.kernels import text as kernels
from fastml.files import Progress, replacing
from fastml.kernels.compile import forks

from .idx import DAMAGED_STREAM_ERRORS, decompressed, idx_header

# The kernel of each format, and the pattern of a token, for error messages.
FORMATS = {"libsvm": (kernels.read_libsvm, re.compile(rb"\S*")), "csv": (kernels.read_csv, re.compile(rb"[^,\n]*"))}
COMPRESSED_SUFFIXES = (".gz", ".bz2", ".xz")
BZIP2_MAGIC = b"BZh"
UINT8 = np.dtype("u1")

# Bytes of text that are read at a time.
BLOCK_BYTES = 2**22
# Pixels of the images that one call of a kernel writes: 5,349 images of 28 x 28.
BLOCK_PIXELS = 2**22
# The longest accepted line has this many bytes for each pixel, or BLOCK_BYTES if that is more. LIBSVM text has up to 9
# bytes for each of 784 pixels.
LINE_BYTES_PER_PIXEL = 64
# An error message shows at most this many bytes of a wrong token.
SHOWN_BYTES = 40


class ConvertError(ValueError):
    """A text is invalid; the message names the file and, if possible, the line."""


def convert(
    source: str | os.PathLike,
    images: str | os.PathLike,
    labels: str | os.PathLike,
    *,
    shape: tuple[int, int] = (28, 28),
    text_format: str | None = None,
    progress: Progress | None = None,
) -> int:
    r"""Convert a set from text to two IDX files; if an error occurs, existing files stay unchanged.

    The text is read as a stream, plain or compressed with gzip, bzip2 or xz; its first bytes tell the compression. The
    conversion needs about 20 MB of memory for a text of any length.

    Parameters
    ----------
    source : str or os.PathLike
        A regular file: LIBSVM text, or Kaggle CSV with or without its first line of names. Labels and pixels are
        integers from 0 to 255. Empty lines are skipped.
    images : str or os.PathLike
        The file for the images, as uint8 of shape (num_examples, *shape).
    labels : str or os.PathLike
        The file for the labels, as uint8 of shape (num_examples,).
    shape : tuple of int, default (28, 28)
        Rows and columns of an image.
    text_format : {"libsvm", "csv"}, optional
        By default csv for names that end in ``.csv``, with or without ``.gz``, ``.bz2`` or ``.xz``, else libsvm.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes of `source`.

    Returns
    -------
    int
        The number of examples.

    Raises
    ------
    TypeError, ValueError
        If `shape` or `text_format` is invalid.
    ConvertError
        A ValueError: for the first invalid line, with its number; for a damaged compressed stream; for a text without
        examples.
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
    shape = [checks.check_integer("each side of shape", side, minimum=1) for side in shape]
    if len(shape) != 2:
        raise ValueError(f"shape must be rows and columns, got {shape}")
    count = 0
    with open(source, "rb") as file, replacing(images) as image_file, replacing(labels) as label_file:
        size = os.fstat(file.fileno()).st_size
        # The number of examples is known only at the end. Then the headers are written again.
        image_file.write(idx_header(UINT8, (0, *shape)))
        label_file.write(idx_header(UINT8, (0,)))
        for X, y in read_examples(file, text_format, math.prod(shape)):
            image_file.write(X)
            label_file.write(y)
            count += len(y)
            if progress is not None:
                progress(file.tell(), size)
        if count == 0:
            raise ConvertError(f"{file.name}: found no examples")
        image_file.seek(0)
        image_file.write(idx_header(UINT8, (count, *shape)))
        label_file.seek(0)
        label_file.write(idx_header(UINT8, (count,)))
    return count


def format_of(source: str | os.PathLike) -> str:
    """Return the format that the name of a file implies."""
    path = Path(source)
    if path.suffix in COMPRESSED_SUFFIXES:
        path = path.with_suffix("")
    return "csv" if path.suffix == ".csv" else "libsvm"


def read_examples(
    file: BufferedReader, text_format: str, num_pixels: int
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Yield images, (count, num_pixels), and labels of a text in blocks; each block reuses the same memory."""
    read, token = FORMATS[text_format]
    images = np.empty((max(1, BLOCK_PIXELS // num_pixels), num_pixels), np.uint8)
    labels = np.empty(len(images), np.uint8)
    lines_before = 0
    for block in read_lines(file, max(BLOCK_BYTES, LINE_BYTES_PER_PIXEL * num_pixels)):
        position = head_size(block) if text_format == "csv" and lines_before == 0 else 0
        while position < len(block):
            with forks.parallel_lock:  # may compile
                rows, size, wrong = read(np.frombuffer(block, np.uint8, offset=position), images, labels)
            position += size
            if wrong:
                line = lines_before + block.count(b"\n", 0, position) + 1
                raise ConvertError(f"{file.name}, line {line}: {complaint(block, position, token, wrong, num_pixels)}")
            yield images[:rows], labels[:rows]
        lines_before += block.count(b"\n")


def read_lines(file: BufferedReader, longest: int) -> Iterator[bytes]:
    """Yield the decompressed text in blocks of whole lines; add a newline to the last line if it has none."""
    stream = bz2.BZ2File(file) if file.peek(len(BZIP2_MAGIC)).startswith(BZIP2_MAGIC) else decompressed(file)
    rest = b""
    while True:
        try:
            data = stream.read(BLOCK_BYTES)
        except (*DAMAGED_STREAM_ERRORS, OSError) as error:
            # For damaged data, bz2 raises an OSError without errno. An OSError with errno is an error of the disk.
            if getattr(error, "errno", None) is not None:
                raise
            raise ConvertError(f"{file.name}: found a damaged compressed stream ({error}), need a whole one") from error
        if not data:
            break
        end = data.rfind(b"\n") + 1
        if end:
            yield rest + data[:end]
            rest = data[end:]
        else:
            rest += data
        if len(rest) > longest:
            raise ConvertError(f"{file.name}: found a line of more than {longest} bytes")
    if rest:
        yield rest + b"\n"


def head_size(block: bytes) -> int:
    """Return the size of the first line if it is a line of names, which begins with "label"; otherwise 0."""
    line, newline, _ = block.partition(b"\n")
    name = line.partition(b",")[0].strip(b' "').lower()
    return len(line) + len(newline) if name == b"label" else 0


def complaint(block: bytes, position: int, token: re.Pattern, wrong: int, num_pixels: int) -> str:
    """Return the message of an error: the token found at a position, and the tokens that are accepted there."""
    if wrong == kernels.COLUMNS:
        columns = block.count(b",", position, block.index(b"\n", position)) + 1
        return f"found {columns} columns, need {num_pixels + 1}: a label and {num_pixels} pixels"
    found = token.match(block, position).group().strip()[:SHOWN_BYTES].decode(errors="replace")
    accepted = {
        kernels.LABEL: f"a label is an integer from 0 to {kernels.LARGEST}",
        kernels.INDEX: f"a pixel is index:value with an index from 1 to {num_pixels}",
        kernels.ORDER: "the indices of a line must grow",
        kernels.VALUE: f"the value of a pixel is an integer from 0 to {kernels.LARGEST}",
    }
    return f"found {found!r}, {accepted[wrong]}"

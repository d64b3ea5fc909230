"""Map IDX files that may be larger than memory; compressed files are first unpacked in their directory."""

import errno
import math
import os
import shutil
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastml.files import Progress, replacing

from .idx import (
    DAMAGED_STREAM_ERRORS,
    IdxError,
    check_size,
    decompressed,
    idx_header,
    read_header,
    read_idx,
    shaped,
)
from .streams import CHUNK_BYTES, Readable

SUFFIXES = (".gz", ".xz")
# The dtype and the shape that a header claims.
Header = tuple[np.dtype[Any], tuple[int, ...]]


def open_idx(path: str | os.PathLike[str], *, progress: Progress | None = None) -> np.memmap[Any, Any]:
    """Map an IDX file into memory, read-only; the array may be larger than memory.

    The operating system reads a page of the file when one of its elements is used, and drops the page when memory runs
    short. Reshaping copies nothing: ``images.reshape(len(images), 784)`` makes rows for the epoch functions from images
    of shape (count, 28, 28), and the rows are still mapped.

    A file that is compressed with gzip or xz is first unpacked in its directory, under its name without ``.gz`` or
    ``.xz``. The unpacked file is complete or does not exist. An existing unpacked file is mapped, not unpacked again.

    Parameters
    ----------
    path : str or os.PathLike
        A regular file.
    progress : callable, optional
        Called as ``progress(done, total)``, in bytes of the unpacked file, while it is written.

    Returns
    -------
    memmap
        The elements in the shape of the header, which may be ``()``, as stored in the file: uint8, int8, or
        big-endian int16, int32, float32 or float64, not always aligned. C-contiguous and read-only.

    Raises
    ------
    IdxError
        For a file that `read_idx` rejects; if the name of a compressed file does not end in ``.gz`` or ``.xz``; if the
        unpacked file exists with another dtype or shape.
    OSError
        If the file is missing or cannot be mapped, or if the disk has no space to unpack it.

    Notes
    -----
    A mapped file must not get shorter: the use of an element beyond the end of the file kills the process with the
    signal SIGBUS. So never rewrite a mapped file in place. Write a new file and rename it, as `write_idx` does: the map
    then keeps the old content.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from fastml.datasets import write_idx
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "images")
    ...     write_idx(path, np.arange(8, dtype=np.uint8).reshape(2, 2, 2))
    ...     X = open_idx(path).reshape(2, 4)
    ...     X[1].tolist()
    [4, 5, 6, 7]
    """
    name = os.fspath(path)
    with open(name, "rb") as file, decompressed(file) as stream:
        try:
            header = read_header(stream, name)
            if stream is file:
                return _map(file, header, name)
            unpacked = _unpacked_path(name)
            if not unpacked.exists():
                _unpack(stream, header, name, unpacked, progress)
        except DAMAGED_STREAM_ERRORS as error:
            raise IdxError(f"{name}: found a damaged compressed stream ({error}), need a whole one") from error
    with open(unpacked, "rb") as file:
        found = read_header(file, str(unpacked))
        if found != header:
            raise IdxError(
                f"{unpacked}: found {found[0].name} of shape {found[1]}, need what {name} holds, {header[0].name} of "
                f"shape {header[1]}; remove {unpacked} to unpack it again"
            )
        return _map(file, header, str(unpacked))


def open_or_read_idx(path: str | os.PathLike[str], most: int, progress: Progress | None = None) -> NDArray[Any]:
    """Read a compressed file into memory if its header claims at most `most` bytes; map any other file."""
    name = os.fspath(path)
    with open(name, "rb") as file, decompressed(file) as stream:
        try:
            dtype, shape = read_header(stream, name)
        except DAMAGED_STREAM_ERRORS:
            return read_idx(path)  # its error describes the damage
        if stream is not file and math.prod(shape) * dtype.itemsize <= most:
            return read_idx(path)
    return open_idx(path, progress=progress)


def _map(file: BinaryIO, header: Header, name: str) -> np.memmap[Any, Any]:
    """Return the elements of a plain file as a map; the header of the file has been read."""
    dtype, shape = header
    claimed, offset = math.prod(shape) * dtype.itemsize, file.tell()
    check_size(os.fstat(file.fileno()).st_size - offset, claimed, dtype, shape, name)
    # The operating system maps whole pages. The first page has the header, so the mapping is never empty.
    mapped = shaped(np.memmap(file, np.uint8, "r", offset, (claimed,)), dtype, shape, name)
    assert isinstance(mapped, np.memmap)  # a view of a memmap is a memmap
    return mapped


def _unpacked_path(name: str) -> Path:
    """Return the path to which a compressed file is unpacked."""
    path = Path(name)
    if path.suffix not in SUFFIXES:
        raise IdxError(f"{name}: found a compressed file; to be mapped, its name must end in {' or '.join(SUFFIXES)}")
    return path.with_suffix("")


def _unpack(
    stream: Readable,
    header: Header,
    name: str,
    unpacked: Path,
    progress: Progress | None,
) -> None:
    """Write the header and the elements of a compressed file to another file, completely or not at all."""
    dtype, shape = header
    claimed, free = math.prod(shape) * dtype.itemsize, shutil.disk_usage(unpacked.parent).free
    if claimed > free:
        message = f"{claimed / 1e9:,.2f} GB are needed to unpack it, {free / 1e9:,.2f} GB are free"
        raise OSError(errno.ENOSPC, message, name)
    with replacing(unpacked) as file:
        file.write(idx_header(dtype, shape))
        done = 0
        while chunk := stream.read(min(CHUNK_BYTES, claimed + 1 - done)):
            done += len(chunk)
            if done > claimed:
                break
            file.write(chunk)
            if progress is not None:
                progress(done, claimed)
        check_size(done, claimed, dtype, shape, name)
